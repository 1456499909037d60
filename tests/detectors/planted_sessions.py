"""Sessions of a small made-up protocol, with anomalies of known kinds."""

from collections.abc import Sequence

import numpy as np

from streaming.sessions import Sessions
from streaming.settings import SECOND

TEMPLATES = 8
OPENED, READ, WROTE, CHECKED, CLOSED, RETRIED, FAILED, REPEATED = range(1, TEMPLATES + 1)
KINDS = ("short", "long", "failed", "unclosed", "shuffled", "foreign")


def sessions_of(lines: Sequence[Sequence[int]], step: int = 60) -> Sessions:
    """A session every `step` seconds with lines a second apart; severities are info, of `FAILED` error."""
    lengths = [len(one) for one in lines]
    templates = np.array([code for one in lines for code in one], np.int32)
    starts = np.arange(len(lines), dtype=np.int64) * step * SECOND
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    times = np.repeat(starts, lengths) + (np.arange(len(templates)) - np.repeat(bounds[:-1], lengths)) * SECOND
    ends = np.array(
        [start + max(length - 1, 0) * SECOND for start, length in zip(starts.tolist(), lengths, strict=True)]
    )
    severities = np.where(templates == FAILED, 4, 2).astype(np.int8)
    names = [f"request-{number}" for number in range(len(lines))]
    return Sessions(names, starts, ends.astype(np.int64), bounds, templates, times, severities)


def usual(draw: np.random.Generator) -> list[int]:
    """Opened, some reads and writes, sometimes checked or retried, closed."""
    middle = [READ] * 3 + [WROTE] * 2 + [CHECKED] * int(draw.random() < 0.3) + [RETRIED] * int(draw.poisson(0.08))
    return [OPENED, *middle, CLOSED]


def planted(kind: str, draw: np.random.Generator) -> list[int]:
    """A session that is an anomaly of `kind`."""
    plain = usual(draw)
    match kind:
        case "short":
            return plain[:1]
        case "long":
            return [OPENED, *[READ] * 3, *[WROTE] * 25, CLOSED]
        case "failed":
            return [*plain[:-1], FAILED, CLOSED]
        case "unclosed":
            return plain[:-1]
        case "shuffled":
            return plain[::-1]
        case _:
            return [*plain, 0]


def crowd(many: int, seed: int = 1, share: float = 0.0) -> tuple[Sessions, np.ndarray]:
    """`many` sessions, a `share` of them anomalies of all kinds by turns, and which those are."""
    draw = np.random.default_rng(seed)
    strange = draw.random(many) < share
    turns = (np.cumsum(strange) - 1) % len(KINDS)
    lines = [
        planted(KINDS[turn], draw) if odd else usual(draw)
        for odd, turn in zip(strange.tolist(), turns.tolist(), strict=True)
    ]
    return sessions_of(lines), strange
