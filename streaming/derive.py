"""From raw cells to features: counters become rates, missing values follow their policy. Pure functions of the ring."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streaming.cells import narrow
from streaming.ring import Index, SlotRing
from streaming.settings import SECOND, FeatureRule, FeatureRules
from streaming.types import Floats, Ints


class Derivation:
    """The rules of the ring's columns. `step` in ns; `look_back`: how many slots a rate or a carried value may reach.

    A counter's rate at a slot is (value - previous value) / seconds between the two slots, against the last present
    value; after a reset (the value fell) it is value / seconds; without a previous value it is missing. A rate that is
    carried counts its `look_back` from the slot that it is carried to, less `carry`. A feature is zero where missing
    only from its column's `since` on. Columns for which `exempt` holds keep their values.
    """

    def __init__(
        self, rules: FeatureRules, step: int, look_back: int, exempt: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._rules, self._exempt = rules, exempt
        self._seconds = step / SECOND
        self._look_back = look_back
        self._columns: list[FeatureRule] = []
        self.extend(())

    def extend(self, names: Sequence[str]) -> None:
        """Append columns; ValueError when one is to be carried `look_back` slots or more."""
        for name in names:
            rule = FeatureRule("sum") if self._exempt(name) else self._rules.of(name)
            if not 0 <= rule.carry < self._look_back:
                raise ValueError(f"carry of {name!r} must be 0 to {self._look_back - 1} slots, got {rule.carry}")
            self._columns.append(rule)
        columns = self._columns
        self.aggregates = np.array([rule.aggregate for rule in columns], dtype="U4")
        self._zero = np.array([rule.missing == "zero" for rule in columns], np.bool_)
        self._carry = np.array([rule.carry * (rule.missing == "carry") for rule in columns], np.int64)
        self._counter = np.array([rule.counter for rule in columns], np.bool_)

    @property
    def reach(self) -> int:
        """A changed cell changes derived rows of its entity up to this many slots later."""
        return max(int(self._carry.max(initial=0)), self._look_back * bool(self._counter.any()))

    def __call__(self, ring: SlotRing, rows: Index, slots: Ints) -> Floats:
        """B x F: the derived values of B cells (rows, slots)."""
        values = ring.read(rows, slots)
        for column in np.flatnonzero((self._carry > 0) | self._counter):
            values[:, column] = self._column(ring, rows, slots, int(column), values[:, column])
        zero = np.flatnonzero(self._zero)
        if len(zero):
            held = values[:, zero]
            values[:, zero] = np.where(np.isnan(held) & (ring.since[zero] <= slots[:, None]), np.float32(0), held)
        return values

    def _column(self, ring: SlotRing, rows: Index, slots: Ints, column: int, values: Floats) -> Floats:
        """One column of B cells, carried and as a rate where its rule says so."""
        carry = int(self._carry[column])
        held, at = values.copy(), slots.copy()
        absent = np.flatnonzero(np.isnan(values))
        if carry and len(absent):
            held[absent], at[absent] = previous(ring, rows[absent], slots[absent], column, carry)
        if not self._counter[column]:
            return held
        there = np.flatnonzero(~np.isnan(held))
        before, when = previous(ring, rows[there], at[there], column, self._look_back - carry)
        rise = held[there].astype(np.float64) - before
        rise = np.where(rise < 0, held[there], rise)
        held[there] = narrow(rise / (np.maximum(at[there] - when, 1) * self._seconds))
        return held


def previous(ring: SlotRing, rows: Index, slots: Ints, column: int, reach: int) -> tuple[Floats, Ints]:
    """The last present value of `column` before each of N cells, at most `reach` slots back, and its slot.

    NaN and the cell's own slot where there is none.
    """
    values, found = np.full(len(rows), np.nan, np.float32), slots.copy()
    open_: NDArray[np.intp] = np.arange(len(rows))
    for back in range(1, reach + 1):
        if not len(open_):
            break
        read = ring.at(rows[open_], slots[open_] - back, np.full(len(open_), column))
        values[open_] = read
        hit = ~np.isnan(read)
        found[open_[hit]] -= back
        open_ = open_[~hit]
    return values, found
