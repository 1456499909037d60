"""Rejected records: a closed list of reasons, and which of them are kept."""

from typing import Any, Literal, get_args

from streaming.types import DeadLetter

DeadReason = Literal[
    "empty",
    "too_long",
    "bad_encoding",
    "broken_json",
    "broken_row",
    "broken_message",
    "unsupported",
    "no_match",
    "wrong_type",
    "missing_entity",
    "bad_entity",
    "missing_time",
    "bad_time",
    "mixed_time_unit",
    "future",
    "missing_values",
    "packed_length",
    "infinite_value",
    "too_late",
    "wrong_partition",
]
REASONS: tuple[str, ...] = get_args(DeadReason)

KEPT = 100
"""Dead letters of one reason that are kept in each bucket of positions."""
BUCKET = 100_000
PAYLOAD_BYTES = 64 * 1024
DETAIL_CHARACTERS = 500


class DeadLetters:
    """Counts every rejected record and keeps the first 100 of each reason in every 100,000 positions.

    What is kept is a function of the positions alone, not of poll sizes: positions must come in rising order (a
    position that was kept before is kept again, and counted again). One object serves one topic of one partition.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], list[int]] = {}
        self._letters: list[DeadLetter] = []
        self._counts: dict[str, int] = {}

    def add(self, position: int, reason: DeadReason, detail: str, payload: bytes | None) -> None:
        """Reject the record at `position`. `detail` names the field, its value and what is allowed."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        if self._keep(position, reason):
            cut = None if payload is None else payload[:PAYLOAD_BYTES]
            # PostgreSQL refuses NUL in text
            text = detail[:DETAIL_CHARACTERS].replace("\0", "\\0")
            self._letters.append(DeadLetter(position, reason, text, cut))

    def take(self) -> tuple[list[DeadLetter], dict[str, int]]:
        """What was added since the last call: the letters kept, and the number of all by reason (kept ones too)."""
        letters, counts = self._letters, self._counts
        self._letters, self._counts = [], {}
        return letters, counts

    def state(self, before: int | None = None) -> dict[str, Any]:
        """JSON: the positions kept in the newest buckets; of those below `before` only, when it is given."""
        kept = [
            [bucket, reason, [place for place in places if before is None or place < before]]
            for (bucket, reason), places in self._kept.items()
        ]
        return {"kept": kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._kept = {(int(bucket), str(reason)): list(places) for bucket, reason, places in state["kept"]}

    def _keep(self, position: int, reason: str) -> bool:
        key = (position // BUCKET, reason)
        places = self._kept.get(key)
        if places is None:
            # the bucket before stays: the state may be asked for a position that lies in it
            self._kept = {old: kept for old, kept in self._kept.items() if old[0] >= key[0] - 1}
            places = self._kept[key] = []
        if position in places:
            return True
        if len(places) < KEPT:
            places.append(position)
            return True
        return False
