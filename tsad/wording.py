"""How values are written for people: one line, bounded, and free of control characters."""

from datetime import UTC, datetime


def one_line(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters, cut with an ellipsis; unprintable characters become spaces.

    Names come from outside: an escape sequence in one must reach neither a terminal nor a picture.
    """
    clean = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return clean if len(clean) <= limit else clean[: max(limit - 1, 0)].rstrip() + "…"


def utc_text(time: datetime, fine: bool = False) -> str:
    """`time` in UTC as YYYY-MM-DD HH:MM:SS, `fine` with milliseconds; ValueError when it is naive."""
    if time.tzinfo is None:
        raise ValueError(f"a time needs a zone, got {time!r}")
    written = time.astimezone(UTC).replace(tzinfo=None)
    return written.isoformat(" ", "milliseconds" if fine else "seconds")


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 alert", "2 alerts", "3 entities"."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def signed(value: float) -> str:
    """A signed number of two decimals, or of two digits where those would be zeros: +0.31, -12.40, +0.0023."""
    return f"{value:+.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:+.2g}"
