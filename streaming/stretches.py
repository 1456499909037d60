"""What goes into a windower beside telemetry, and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streaming.quotes import NONE, Quotes
from streaming.types import Codes, Floats, Ints


@dataclass(frozen=True, slots=True)
class LogCounts:
    """A poll of log lines as columns to be counted; the arrays are as in `Lines`.

    `columns` N x k (int32) are columns of `features` that each line adds 1 to (-1 = none). `said` N x `cells.COUNTED`
    (int32) holds the lines' scores and, with `texts` and `quotes`, what told lines said, as in `cells.Samples`.
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
    quotes: Quotes = NONE


class ClosedSlot(NamedTuple):
    """The entities judged in `slot`: `rows` (B, rising) and their derived `values` B x F.

    `born`: (name, row) of those that were written for the first time (or the first time since their eviction), and so
    are among `rows`. `evicted`: (name, row) of those that go after this slot; their rows are given to others later.
    """

    slot: int
    rows: Codes
    values: Floats
    born: Sequence[tuple[str, int]] = ()
    evicted: Sequence[tuple[str, int]] = ()


def cells_of(closed: Sequence[ClosedSlot]) -> tuple[Codes, Ints, Floats]:
    """Rows (N), slots (N) and values (N x F) of `closed` (at least one), one after the other."""
    slots = np.repeat(np.array([each.slot for each in closed], np.int64), [len(each.rows) for each in closed])
    if len(closed) == 1:
        return closed[0].rows, slots, closed[0].values
    return np.concatenate([each.rows for each in closed]), slots, np.concatenate([each.values for each in closed])


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
