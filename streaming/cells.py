"""Records of one (entity, slot) joined into one cell, the same whatever order and polls they came in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.quotes import NONE, Quotes
from streaming.settings import Aggregate
from streaming.types import Codes, Floats, Ints, State

TEMPLATE, FOUNDED, TEXT, SCORES = 0, 1, 2, 3
"""The first values of a line (see `Samples`)."""
SCORED = 5
"""Scores that a line has at most."""
SCORE, REASON = 3, 2
"""Values of a score: its column, what the line adds to that, and, as the last, the place of the reason."""
COUNTED = SCORES + SCORE * SCORED
"""How many of a line's values come before the columns that it is counted in."""
WORDS = (TEXT, *range(SCORES + REASON, COUNTED, SCORE))
"""Those of a line's values that are places of texts."""
FRACTION = 64
"""Scores of lines are whole numbers of 1/64, so that their sum in a slot is exact whatever the order."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


def narrow(values: NDArray[np.float64]) -> Floats:
    """`values` as float32; what would overflow to infinity stays at the largest number."""
    return np.clip(values, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Samples:
    """N records at their place in the ring: `rows`, `slots`, `times` (ns).

    `values` are, of telemetry, N x F float32 (NaN = absent); of log lines, N x k int32: first the template's number
    (-1 = the line is not told), whether the line founded it (-1 = it is known for long, and told for its scores, or as
    an example) and the place of its masked text in `texts` and of itself in `quotes`, then `SCORED` times a column
    (-1 = none), what the line adds to it in 1/64 and the place of the reason in `texts` (-1 = its text says all), and,
    from `COUNTED` on, the columns that each line is counted in (-1 = none).
    """

    rows: Codes
    slots: Ints
    times: Ints
    values: NDArray[Any]
    texts: Sequence[str] = ()
    quotes: Quotes = NONE

    @staticmethod
    def joined(parts: Sequence["Samples"]) -> "Samples":
        """`parts` (at least one) one after another, widened to the widest."""
        if len(parts) == 1:
            return parts[0]
        width = max(part.values.shape[1] for part in parts)
        parts, texts, quotes = _renumbered(parts)
        return Samples(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.slots for part in parts]),
            np.concatenate([part.times for part in parts]),
            np.concatenate([part.widened(width).values for part in parts]),
            texts,
            quotes,
        )

    def widened(self, width: int) -> "Samples":
        """With absent columns appended up to `width`."""
        more = width - self.values.shape[1]
        if more <= 0:
            return self
        absent = np.nan if self.values.dtype.kind == "f" else -1
        values = np.pad(self.values, ((0, 0), (0, more)), constant_values=absent)
        return replace(self, values=values)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[Any] | slice) -> "Samples":
        """The samples at `index`."""
        rows, slots, times, values = self.rows[index], self.slots[index], self.times[index], self.values[index]
        return Samples(rows, slots, times, values, self.texts, self.quotes)

    def state(self) -> State:
        """The four arrays: samples of telemetry have no texts."""
        return State({"rows": self.rows, "slots": self.slots, "times": self.times, "values": self.values})

    @staticmethod
    def restored(state: State) -> "Samples":
        """What `state` was taken of."""
        rows, slots, times, values = (state.arrays[name].copy() for name in ("rows", "slots", "times", "values"))
        return Samples(rows, slots, times, values)

    def ordered(self) -> "Samples":
        """By (slot, row, time), and by arrival where all three are equal."""
        if not len(self) or (np.diff(cells := _cell_numbers(self)) > 0).all():
            return self
        order = np.argsort(cells)
        if (np.diff(cells[order]) == 0).any():
            order = np.lexsort((self.times, cells))
        return self.take(order)


def collapse(samples: Samples) -> tuple[Samples, int]:
    """Join `samples` (ordered) of equal (row, slot, time); returns them and how many values were duplicates.

    Of a feature's values the first to arrive counts.
    """
    cells = _cell_numbers(samples)
    again = (np.diff(cells) == 0) & (np.diff(samples.times) == 0)
    if not again.any():
        return samples, 0
    starts = np.flatnonzero(np.concatenate([[True], ~again]))
    present = ~np.isnan(samples.values)
    places = np.where(present, np.arange(len(samples))[:, None], len(samples))
    first = np.minimum.reduceat(places, starts, axis=0)
    kept = Samples(samples.rows[starts], samples.slots[starts], samples.times[starts], _pick(samples.values, first))
    return kept, int(present.sum() - (first < len(samples)).sum())


def aggregate(samples: Samples, kinds: NDArray[np.str_]) -> tuple[Codes, Ints, Floats]:
    """Join `samples` (ordered, collapsed) into cells: rows, slots and values B x F.

    `kinds` (F) names each column's `Aggregate`; "last" is the one with the newest time. Sums run in float64 in the
    order of time, so that they depend on the set of the samples alone.
    """
    cells = _cell_numbers(samples)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(cells) != 0]))
    if len(starts) == len(samples):
        return samples.rows, samples.slots, samples.values
    joined = samples.values[starts]
    sizes = np.diff(starts, append=len(samples))
    crowded = np.repeat(sizes > 1, sizes)
    values, bounds = samples.values[crowded], np.cumsum(sizes[sizes > 1]) - sizes[sizes > 1]
    for kind in np.unique(kinds):
        columns = np.flatnonzero(kinds == kind)
        joined[np.ix_(sizes > 1, columns)] = _reduced(values[:, columns], bounds, str(kind))
    return samples.rows[starts], samples.slots[starts], joined


def count_lines(lines: Samples, features: int) -> tuple[Codes, Ints, Floats]:
    """Log lines as cells: rows, slots and what the lines add to each column, B x `features`, by (slot, row)."""
    cells, first, place = np.unique(_cell_numbers(lines), return_index=True, return_inverse=True)
    columns = lines.values[:, COUNTED:]
    flat = place.reshape(-1, 1) * features + columns
    counts = np.bincount(flat[columns >= 0], minlength=len(cells) * features).astype(np.float64)
    for pair in range(SCORES, COUNTED, SCORE):
        scored = np.flatnonzero(lines.values[:, pair] >= 0)
        if len(scored):
            into = place[scored] * features + lines.values[scored, pair]
            counts += np.bincount(into, lines.values[scored, pair + 1], len(counts)) / FRACTION
    return lines.rows[first], lines.slots[first], counts.reshape(len(cells), features).astype(np.float32)


def strange(said: Codes) -> NDArray[np.bool_]:
    """Which of N told lines (N x k) are of a new template, or have a score; the others are examples."""
    return (said[:, FOUNDED] >= 0) | (said[:, SCORES:COUNTED:SCORE] >= 0).any(axis=1)


def _renumbered(parts: Sequence[Samples]) -> tuple[list[Samples], list[str], Quotes]:
    """`parts` whose lines name their text in one list of texts, that list, and their quotes likewise."""
    texts: list[str] = []
    quotes = Quotes()
    renumbered = []
    for part in parts:
        values = part.values
        if part.texts and texts:
            values = values.copy()
            for column in WORDS:
                values[values[:, column] >= 0, column] += len(texts)
        texts += part.texts
        quotes += part.quotes
        renumbered.append(replace(part, values=values))
    return renumbered, texts, quotes


def _reduced(values: Floats, starts: Ints, kind: Aggregate | str) -> Floats:
    """Each stretch of rows of `values` (N x C) that begins at `starts` as one row."""
    if kind == "max":
        return np.fmax.reduceat(values, starts, axis=0)
    present = ~np.isnan(values)
    if kind == "last":
        places = np.where(present, np.arange(len(values))[:, None], -1)
        return _pick(values, np.maximum.reduceat(places, starts, axis=0))
    sums = np.add.reduceat(np.where(present, values, 0).astype(np.float64), starts, axis=0)
    counts = np.add.reduceat(present.astype(np.int64), starts, axis=0)
    missing = np.where(counts > 0, 1.0, np.nan)
    return narrow(sums * missing if kind == "sum" else sums / np.maximum(counts, 1) * missing)


def _pick(values: Floats, places: Ints) -> Floats:
    """M x F: `values[places[m, f], f]`; NaN where the place is outside."""
    inside = (places >= 0) & (places < len(values))
    picked = np.take_along_axis(values, np.where(inside, places, 0), axis=0)
    return np.where(inside, picked, np.float32(np.nan))


def _cell_numbers(samples: Samples) -> Ints:
    """One number a (slot, row), in that order."""
    if not len(samples):
        return np.empty(0, np.int64)
    span = int(samples.rows.max()) + 1
    numbers: Ints = (samples.slots - samples.slots.min()) * span + samples.rows
    return numbers


def alike(*keys: NDArray[Any]) -> tuple[Ints, Ints]:
    """Which of N places are equal in all `keys` (N each): the first of each group by rising place, each one's group."""
    order = np.lexsort(keys)
    begins = np.ones(len(order), np.bool_)
    begins[1:] = np.logical_or.reduce([key[order[1:]] != key[order[:-1]] for key in keys])
    firsts = order[begins]  # lexsort is stable
    rank = np.empty(len(firsts), np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    groups = np.empty(len(order), np.int64)
    groups[order] = rank[np.cumsum(begins) - 1]
    return np.sort(firsts), groups
