"""Training rows into windows: which slots are fitted on, which are validated on, and the windows that end there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.types import Rows
from streaming.types import Ints, Windows

FIT_SHARE = 0.7
SHORTEST_BLOCK = 32
"""No entity is validated on fewer windows, as far as it has them; rather on fewer entities."""
RUN_UP = 4
"""Before the first window that is fitted on lies at most a fourth of the rows that may be learnt from: of a history
of 90 slots there would else be one window of 64 an entity (measured: of 14 faults 2 are found, and were none)."""
WARM_ROWS = 256
"""Rows that an online detector sees before it is validated, and at the end of an entity's training rows."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Places of rows (ascending). Windows end at `fit`, `validation` and `whole` (all of training) rows; `fitted` rows
    may be learnt from (first 70% of each entity); `streamed` rows are shown to online detectors. `in_sample`: nothing
    was left for validation, which then takes the fitted windows."""

    fit: Ints
    validation: Ints
    fitted: Ints
    streamed: Ints
    whole: Ints
    in_sample: bool


def cut_rows(rows: Rows, window: int, max_windows: int, shortest: int = SHORTEST_BLOCK) -> Cut:
    """Fit on the first 70% of each entity's rows, validate on the last 30%, a gap of a window (at most a tenth of the
    rows) between them.

    Fitted windows are spread evenly (`fit_places`). Validated ones lie in one block of consecutive rows an entity, so
    that runs and settled scores can be told; the blocks' places in time differ from entity to entity.
    """
    starts = np.flatnonzero(np.diff(rows.codes, prepend=-1))
    counts = np.diff(starts, append=len(rows.codes))
    rank = np.arange(len(rows.codes)) - np.repeat(starts, counts)
    first = _learnt_from(counts)
    fitted = rank < np.repeat(first, counts)
    fit, whole = fit_places(rows, window, max_windows, window)

    opening = first + np.minimum(window, counts // 10)
    room = np.maximum(counts - opening, 0)
    able = np.flatnonzero(room > 0)
    if not len(able):
        everything = np.arange(len(rows.codes))
        return Cut(fit, _spread(np.flatnonzero(fitted), max_windows), np.flatnonzero(fitted), everything, whole, True)
    block = max(max_windows // len(able), min(shortest, max_windows))
    able = _spread(able, max(max_windows // block, 1))
    length = np.minimum(room[able], block)
    # Golden-ratio steps spread the blocks of neighbouring entities over the whole time.
    places = ((np.arange(len(able)) + 1) * 0.6180339887 % 1.0 * (room[able] - length + 1)).astype(np.int64)
    begin = starts[able] + opening[able] + places
    validation = _runs(begin, length)
    before = np.minimum(WARM_ROWS, begin - starts[able])
    last = np.minimum(WARM_ROWS, counts)
    streamed = np.union1d(_runs(begin - before, before + length), _runs(starts + counts - last, last))
    return Cut(fit, validation, np.flatnonzero(fitted), streamed, whole, False)


def fit_places(rows: Rows, window: int, max_windows: int, reads: int) -> tuple[Ints, Ints]:
    """The rows at which windows end that are fitted on, in the first 70% of each entity's rows, and in all of them.

    They have whole histories, or are the entity's last one where it has none. Where rows are few, it is enough that the
    newest `reads` slots are whole, which are all that somebody looks at.
    """
    starts = np.flatnonzero(np.diff(rows.codes, prepend=-1))
    counts = np.diff(starts, append=len(rows.codes))
    rank = np.arange(len(rows.codes)) - np.repeat(starts, counts)
    first = _learnt_from(counts)
    before = np.minimum(window, np.maximum(reads, first // RUN_UP))
    full = rank >= np.repeat(np.minimum(before, first) - 1, counts)
    fitted = rank < np.repeat(first, counts)
    return _spread(np.flatnonzero(fitted & full), max_windows), _spread(np.flatnonzero(full), max_windows)


def cut_windows(rows: Rows, at: Ints, window: int) -> Windows:
    """The windows (len(at) x `window` x F) that end at the rows `at`; slots that an entity has no row for are NaN."""
    lags = np.arange(window - 1, -1, -1)
    index = at[:, None] - lags
    kept = np.maximum(index, 0)
    whole = index[:, 0] >= 0
    whole &= (rows.codes[kept[:, 0]] == rows.codes[at]) & (rows.slots[at] - rows.slots[kept[:, 0]] == window - 1)
    values = rows.values[kept]
    if not whole.all():
        values[~whole] = _with_gaps(rows, at[~whole], lags)
    return Windows(rows.codes[at], rows.slots[at], values, rows.features, rows.names)


def by_slot(rows: Rows, at: Ints) -> Ints:
    """The rows `at` in the order of a stream: by (slot, entity)."""
    return at[np.lexsort((rows.codes[at], rows.slots[at]))]


def _learnt_from(counts: Ints) -> Ints:
    """How many of so many rows of an entity may be learnt from."""
    learnt: Ints = np.ceil(FIT_SHARE * counts).astype(np.int64)
    return learnt


def _with_gaps(rows: Rows, at: Ints, lags: Ints) -> NDArray[np.float32]:
    first = int(rows.slots.min())
    span = int(rows.slots.max()) - first + 1
    keys = rows.codes * np.int64(span) + (rows.slots - first)
    place = (rows.slots[at] - first)[:, None] - lags
    wanted = rows.codes[at].astype(np.int64)[:, None] * span + place
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = (place >= 0) & (keys[index] == wanted)
    values = np.full((*index.shape, rows.values.shape[1]), np.nan, np.float32)
    values[found] = rows.values[index[found]]
    return values


def _spread(items: Ints, most: int) -> Ints:
    """At most `most` of `items`, evenly spread."""
    if len(items) <= most:
        return items
    return items[np.linspace(0, len(items) - 1, most).astype(np.int64)]


def _runs(begin: Ints, length: Ints) -> Ints:
    """begin, begin + 1, ... for each run, one after the other."""
    offsets = np.cumsum(length) - length
    return np.arange(int(length.sum())) - np.repeat(offsets, length) + np.repeat(begin, length)
