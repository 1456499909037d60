"""Rates and missing values as functions of the raw ring."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streaming.cells import FLOAT32_MAX
from streaming.derive import Derivation, previous
from streaming.ring import ALWAYS, SlotRing
from streaming.settings import SECOND, FeatureRule, FeatureRules

nan = float("nan")


def filled(values: list[list[float]], slots: list[int], size: int = 32) -> SlotRing:
    """One entity's ring: `values` (one row a slot) at `slots`."""
    ring = SlotRing(size)
    ring.widen(len(values[0]))
    ring.since[:] = ALWAYS
    ring.write(np.zeros(len(slots), np.int32), np.array(slots), np.array(values, np.float32))
    return ring


def derived(rule: FeatureRule, values: list[float], slots: list[int] | None = None, step: int = SECOND) -> list[float]:
    """One feature of one entity under `rule`, at each of `slots`."""
    slots = list(range(len(values))) if slots is None else slots
    ring = filled([[value] for value in values], slots)
    derivation = Derivation(FeatureRules(rule), step, 8)
    derivation.extend(["f"])
    return derivation(ring, np.zeros(len(slots), np.int32), np.array(slots))[:, 0].tolist()


def test_without_rules_the_values_stay():
    assert_array_equal(derived(FeatureRule(), [1, nan, 3]), [1, nan, 3])


def test_zero_where_missing():
    assert derived(FeatureRule(missing="zero"), [1, nan, 3]) == [1, 0, 3]


def test_zero_only_since_the_column_counts():
    ring = filled([[nan], [nan], [5], [nan]], [0, 1, 2, 3])
    ring.since[:] = 2
    derivation = Derivation(FeatureRules(FeatureRule(missing="zero")), SECOND, 8)
    derivation.extend(["f"])
    assert_array_equal(derivation(ring, np.zeros(4, np.int32), np.arange(4))[:, 0], [nan, nan, 5, 0])


def test_carried_for_so_many_slots():
    assert_array_equal(
        derived(FeatureRule(missing="carry", carry=2), [nan, 4, nan, nan, nan, 6]), [nan, 4, 4, 4, nan, 6]
    )


def test_carry_counts_slots_not_rows():
    assert_array_equal(derived(FeatureRule(missing="carry", carry=2), [4, nan, nan], [0, 2, 3]), [4, 4, nan])


def test_a_counter_becomes_a_rate_per_second():
    rates = derived(FeatureRule(counter=True), [100, 160, 160, 190], step=60 * SECOND)
    assert_array_equal(rates, [nan, 1, 0, 0.5])


def test_a_rate_spans_a_gap():
    assert_array_equal(derived(FeatureRule(counter=True), [10, nan, nan, 40]), [nan, nan, nan, 10])
    assert_array_equal(derived(FeatureRule(counter=True), [10, 40], [0, 3]), [nan, 10])


def test_a_reset_counts_from_zero():
    assert_array_equal(derived(FeatureRule(counter=True), [100, 30, 50]), [nan, 30, 20])


def test_the_look_back_is_bounded():
    assert_array_equal(derived(FeatureRule(counter=True), [10, 40, 50], [0, 8, 17]), [nan, 3.75, nan])


def test_a_rate_is_carried_as_a_rate():
    rule = FeatureRule(missing="carry", carry=2, counter=True)
    assert_array_equal(derived(rule, [10, 12, nan, nan, nan, 20]), [nan, 2, 2, 2, nan, 2])


def test_a_rate_that_would_overflow_stays_a_number():
    rates = derived(FeatureRule(counter=True), [-FLOAT32_MAX, FLOAT32_MAX], step=SECOND // 1000)
    assert rates[1] == np.float32(FLOAT32_MAX)


def test_exempt_columns_and_the_rules_of_the_others():
    rules = FeatureRules(FeatureRule(missing="zero"), {"b": FeatureRule("max")})
    derivation = Derivation(rules, SECOND, 8, lambda name: name.startswith("log."))
    derivation.extend(["a", "log.lines"])
    derivation.extend(["b"])
    assert derivation.aggregates.tolist() == ["mean", "sum", "max"]
    ring = filled([[nan, nan, nan]], [0])
    assert_array_equal(derivation(ring, np.zeros(1, np.int32), np.zeros(1, np.int64)), [[0, nan, nan]])


@pytest.mark.parametrize("carry", [8, -1])
def test_a_carry_beyond_the_look_back_is_refused(carry):
    derivation = Derivation(FeatureRules(FeatureRule(missing="carry", carry=carry)), SECOND, 8)
    with pytest.raises(ValueError, match=f"carry of 'f' must be 0 to 7 slots, got {carry}"):
        derivation.extend(["f"])


def test_reach():
    derivation = Derivation(FeatureRules(named={"c": FeatureRule(counter=True)}), SECOND, 8)
    derivation.extend(["a"])
    assert derivation.reach == 0
    derivation.extend(["c"])
    assert derivation.reach == 8


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=2, max_size=20),
    st.integers(0, 19),
    st.integers(0, 3),
    st.booleans(),
)
def test_a_changed_cell_changes_rows_within_reach_only(values, place, carry, counter):
    place %= len(values)
    rule = FeatureRule(missing="carry", carry=carry, counter=counter)
    derivation = Derivation(FeatureRules(rule), SECOND, 6)
    derivation.extend(["f"])
    changed = [*values[:place], 4 if values[place] is None else None, *values[place + 1 :]]
    rows, slots = np.zeros(len(values), np.int32), np.arange(len(values))
    before, after = (
        derivation(filled([[nan if v is None else v] for v in given], slots.tolist()), rows, slots)[:, 0]
        for given in (values, changed)
    )
    differs = np.flatnonzero((before != after) & ~(np.isnan(before) & np.isnan(after)))
    assert ((differs >= place) & (differs <= place + derivation.reach)).all()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=4), st.integers(1, 11))
def test_previous_finds_the_last_present_value(present, reach):
    ring = SlotRing(12)
    ring.widen(2)
    for row, held in enumerate(present):
        slots = np.flatnonzero(held)
        values = np.stack([np.full(len(slots), nan), slots + 100 * row], axis=1).astype(np.float32)
        ring.write(np.full(len(slots), row, np.int32), slots, values)
    rows = np.arange(len(present), dtype=np.int32)
    values, found = previous(ring, rows, np.full(len(present), 11), 1, reach)
    for row, held in enumerate(present):
        back = [slot for slot in range(max(0, 11 - reach), 11) if held[slot]]
        if back:
            assert (values[row], found[row]) == (back[-1] + 100 * row, back[-1])
        else:
            assert np.isnan(values[row])
            assert found[row] == 11
