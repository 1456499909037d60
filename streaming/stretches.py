"""What goes into a windower beside telemetry, and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from streaming.types import Codes, Floats, Ints


@dataclass(frozen=True, slots=True)
class LogCounts:
    """A poll of log lines as columns to be counted; the arrays are as in `Lines`.

    `columns` N x k (int32) are columns of `features` that each line adds 1 to (-1 = none). `said` N x 3 (int32) and
    `texts` tell of rare lines what they said, as in `cells.Samples`.
    """

    names: Sequence[str]
    codes: Codes
    times: Ints
    columns: Codes
    positions: Ints
    features: Sequence[str]
    next_position: int
    said: Codes
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class ClosedSlot:
    """The entities judged in `slot`: `rows` (B, rising) and their derived `values` B x F.

    `born`: (name, row) of those that were written for the first time (or the first time since their eviction), and so
    are among `rows`. `evicted`: (name, row) of those that go after this slot; their rows are given to others later.
    """

    slot: int
    rows: Codes
    values: Floats
    born: Sequence[tuple[str, int]] = ()
    evicted: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Closed:
    """Slots in order, at most `max_lead`; slots without a living entity are left out."""

    slots: Sequence[ClosedSlot]


@dataclass(frozen=True, slots=True)
class Amended:
    """Late data: cells (rows, slots; N, by (row, slot)) up to slot `after`, the last closed one, that differ now.

    `values` N x F are their new derived values. A cell is also listed when its entity was not judged there before, and
    is now. Every window that contains a listed cell, up to `after`, is to be judged again. `born`: as in `ClosedSlot`.
    """

    after: int
    rows: Codes
    slots: Ints
    values: Floats
    born: Sequence[tuple[str, int]] = ()


Stretch = Closed | Amended
