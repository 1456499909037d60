"""How far event time has come in one topic of one partition."""

from typing import Any

import numpy as np

from streaming.ring import NEVER
from streaming.types import Ints


class Watermark:
    """The newest event time of a topic, minus `lateness`; `step` and `lateness` in ns.

    It depends on the topic's records in their order only. A record is late when its slot lies below the watermark's
    slot at that record (the record itself included). `floor` (a slot) lifts it: a topic that goes on after its end
    finds everything below `floor` passed. Topics that have `ended`, or are `idle` until their next record, hold nothing
    back.
    """

    def __init__(self, step: int, lateness: int) -> None:
        self._step, self._lateness = step, lateness
        self.newest: int | None = None
        self.floor = NEVER
        self.ended = False
        self.idle = False

    @property
    def slot(self) -> int:
        """The first slot that is not passed: all below are, as far as this topic goes."""
        if self.newest is None:
            return self.floor
        return max((self.newest - self._lateness) // self._step, self.floor)

    @property
    def newest_slot(self) -> int:
        """The slot of the newest event time; `NEVER` before the first record."""
        return NEVER if self.newest is None else self.newest // self._step

    def ahead(self, times: Ints) -> tuple[Ints, Ints]:
        """The newest event time up to each of N records to come (ns), and the watermark's slot at each."""
        newest = np.maximum.accumulate(times)
        if self.newest is not None:
            newest = np.maximum(newest, self.newest)
        return newest, np.maximum((newest - self._lateness) // self._step, self.floor)

    def state(self) -> dict[str, Any]:
        """JSON."""
        return {"newest": self.newest, "floor": self.floor, "ended": self.ended, "idle": self.idle}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.newest, self.floor = state["newest"], state["floor"]
        self.ended, self.idle = state["ended"], state["idle"]
