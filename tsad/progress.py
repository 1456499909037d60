"""How a run goes: how much it takes at a time, how far it has come, and what it spares itself."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streaming.ring import EVERY
from tsad.overlap import Overlap

FRESH_OBJECTS = 100_000
"""So many more objects than before make the garbage collector look for cycles among them."""


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Let the garbage collector pass over what was there before the block: libraries, models, rings of a whole stream.

    And let it look at a poll's objects once, not hundreds of times: nearly all go by themselves. Measured: a tenth of a
    row's cost each. What is frozen already, by a block around this one or for good, stays as it is.
    """
    thresholds, ours = gc.get_threshold(), gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    gc.set_threshold(FRESH_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if ours:
            gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a poll reads and explains, and how often memory is kept (slots; None: never, all is read again)."""

    poll: int = 5000
    explain_per_poll: int = 50
    snapshot_every: int | None = 1440


@dataclass(frozen=True, slots=True)
class Historic:
    """What is over is judged by the version `version` alone. Slots up to `through` close, also behind the last record;
    closed ones are kept in files of `span` hours, with expected `bands` beside them if said. `overlap`: it is a part of
    a series. `lead`: so many slots may close at a time."""

    version: str
    through: int | None = None
    span: int = 1
    bands: bool = False
    overlap: Overlap | None = None
    lead: int = 1

    @property
    def own(self) -> range:
        """The slots that it answers for."""
        return EVERY if self.overlap is None else self.overlap.core.clip(EVERY)


@dataclass(slots=True)
class Progress:
    """Where a run stands: `rows` read, `windows` judged, `alerts` opened, the event time of the last closed slot."""

    rows: int = 0
    windows: int = 0
    alerts: int = 0
    slot: int | None = None
    missing_slots: int | None = None
