"""Scaling: trained ranges are frozen, young ones are learnt, constants stay still, nothing touches a neighbour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.scaling import LIMIT, Pace, Ranges, Scaling

CODES = np.arange(3, dtype=np.int32)


def trained_on(values, codes=None, entities=1):
    codes = np.zeros(len(values), np.int32) if codes is None else codes
    return Ranges.fit(codes, np.asarray(values, np.float32), entities)


def bound(ranges, places):
    scaling = Scaling(ranges)
    scaling.bind(np.arange(len(places), dtype=np.int32), np.asarray(places, np.int64))
    return scaling


def one(scaling, entity, value, learn=True):
    return scaling.scale(np.array([entity], np.int32), np.array([[value]], np.float32), learn)[0, 0]


def test_training_range_is_zero_to_one_and_beyond_is_clipped():
    scaling = bound(trained_on(np.linspace(10, 20, 100)[:, None]), [0])
    assert one(scaling, 0, 10) == pytest.approx(0, abs=1e-6)
    assert one(scaling, 0, 15) == pytest.approx(0.5, abs=1e-6)
    assert one(scaling, 0, 20) == pytest.approx(1, abs=1e-6)
    assert one(scaling, 0, 1e6) == LIMIT
    assert one(scaling, 0, -1e6) == -LIMIT


def test_a_trained_range_is_frozen():
    scaling = bound(trained_on(np.linspace(10, 20, 100)[:, None]), [0])
    before = {name: array.tobytes() for name, array in scaling.rows(CODES[:1]).items()}
    for value in (0, 50, 100):
        one(scaling, 0, value)
    assert {name: array.tobytes() for name, array in scaling.rows(CODES[:1]).items()} == before


def test_each_entity_has_its_own_range():
    values = np.concatenate([np.linspace(0, 1, 100), np.linspace(1000, 3000, 100)])[:, None]
    scaling = bound(trained_on(values, np.repeat(CODES[:2], 100), 2), [0, 1])
    out = scaling.scale(CODES[:2], np.array([[0.5], [2000.0]], np.float32))
    np.testing.assert_allclose(out, 0.5, atol=1e-6)


def test_missing_stays_missing_and_does_not_teach():
    ranges = trained_on([[1.0, np.nan], [np.nan, np.nan]] * 100)
    scaling = bound(ranges, [0])
    assert ranges.counts.tolist() == [[100, 0]]
    out = scaling.scale(CODES[:1], np.array([[np.nan, np.nan]], np.float32))
    assert np.isnan(out).all()
    assert scaling.rows(CODES[:1])["seen"][0].tolist() == [512, 0]


@pytest.mark.parametrize("level", [0.0, 5.0, -1e6])
def test_a_constant_channel_is_still_and_scores_when_it_moves(level):
    scaling = bound(trained_on(np.full((200, 1), level)), [0])
    still = one(scaling, 0, np.float32(level) * np.float32(1 + 1e-7))
    assert still == pytest.approx(0.5, abs=0.01)
    assert one(scaling, 0, level + max(abs(level), 1.0)) == LIMIT


def test_of_log_lines_the_unit_counts_and_a_burst_is_told_from_a_line():
    silent = np.zeros((200, 3), np.float32)
    scaling = bound(Ranges.fit(np.zeros(200, np.int32), silent, 1, [1.0, 3.0, 0.0]), [0])
    for lines, expected in ((0, [0, 0, 0]), (1, [1, 1 / 3, 3.5]), (6, [6, 2, 3.5]), (100, [15.5, 15.5, 3.5])):
        out = scaling.scale(CODES[:1], np.full((1, 3), lines, np.float32))[0] - 0.5
        np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_a_unit_does_not_narrow_a_range():
    ranges = Ranges.fit(np.zeros(100, np.int32), np.linspace(0, 50, 100, dtype=np.float32)[:, None], 1, [3.0])
    assert one(bound(ranges, [0]), 0, 25) == pytest.approx(0.5, abs=1e-6)
    assert one(bound(Ranges.restore(ranges.state()), [0]), 0, 100) == pytest.approx(2, abs=1e-6)


def test_a_constant_channel_has_a_width_of_its_fleet():
    values = np.concatenate([np.full(100, 7.0), np.linspace(0, 100, 100), np.linspace(0, 100, 100)])[:, None]
    scaling = bound(trained_on(values, np.repeat(CODES, 100), 3), [0, 1, 2])
    # 1% of the fleet's width of 100 is one unit.
    assert one(scaling, 0, 7.5) - one(scaling, 0, 7.0) == pytest.approx(0.5, rel=1e-4)


def test_a_young_entity_takes_its_own_level_and_the_fleets_width():
    values = np.concatenate([np.linspace(0, 10, 100), np.linspace(50, 60, 100)])[:, None]
    scaling = bound(trained_on(values, np.repeat(CODES[:2], 100), 2), [0, 1, -1])
    first = one(scaling, 2, 1000.0)
    assert first == pytest.approx(0.5, abs=1e-5)
    assert one(scaling, 2, 1002.0) == pytest.approx(0.6, abs=0.05)


def test_a_young_entity_ends_in_its_own_range_then_freezes():
    rng = np.random.default_rng(0)
    scaling = bound(trained_on(np.linspace(0, 10, 100)[:, None]), [0, -1])
    for value in rng.uniform(100, 200, 600):
        one(scaling, 1, value)
    row = scaling.rows(np.array([1], np.int32))
    assert row["seen"][0, 0] == Pace().adopt_rows
    assert one(scaling, 1, row["low"][0, 0]) == pytest.approx(0, abs=1e-4)
    assert one(scaling, 1, row["high"][0, 0]) == pytest.approx(1, abs=1e-4)
    assert row["high"][0, 0] - row["low"][0, 0] > 95
    one(scaling, 1, 500.0)
    assert scaling.rows(np.array([1], np.int32))["high"][0, 0] == row["high"][0, 0]


def test_the_young_are_those_who_still_learn():
    scaling = bound(trained_on(np.linspace(0, 10, 100)[:, None]), [0, -1, -1])
    everyone = np.array([0, 1, 2], np.int32)
    for value in range(Pace().adopt_rows):
        assert scaling.young(everyone).tolist() == [False, True, True]
        one(scaling, 1, value)
    assert scaling.young(everyone).tolist() == [False, False, True]
    assert scaling.young(np.array([9], np.int32)).tolist() == [True], "whom nobody has bound yet"
    assert [scaling.learns(everyone[[row]]) for row in everyone] == [False, False, True]


def test_a_spike_does_not_swell_a_young_range():
    rng = np.random.default_rng(1)
    scaling = bound(Ranges.none(1), [-1])
    for value in rng.uniform(0, 1, 100):
        one(scaling, 0, value)
    assert one(scaling, 0, 1000.0) == LIMIT
    assert scaling.rows(CODES[:1])["high"][0, 0] < 1.5


def test_cold_start_scales_from_the_first_row_on():
    rng = np.random.default_rng(2)
    scaling = bound(Ranges.none(1), [-1])
    out = [one(scaling, 0, value) for value in rng.normal(500, 10, 300)]
    assert out[0] == pytest.approx(0.5, abs=1e-4)
    assert np.isfinite(out).all()
    assert np.std(out[200:]) == pytest.approx(0.17, abs=0.08)


def test_an_entity_with_one_trained_row_is_young():
    values = np.concatenate([[3.0], np.linspace(0, 10, 100)])[:, None]
    codes = np.array([0] + [1] * 100, np.int32)
    scaling = bound(trained_on(values, codes, 2), [0, 1])
    assert one(scaling, 0, 4.0) == pytest.approx(0.55, abs=0.02)
    assert scaling.rows(CODES[:1])["seen"][0, 0] == 2


def test_without_learn_nothing_changes():
    scaling = bound(trained_on(np.linspace(0, 10, 100)[:, None]), [0, -1])
    for value in (5.0, 7.0):
        one(scaling, 1, value)
    before = scaling.rows(CODES)
    assert one(scaling, 2, 3.0, learn=False) == pytest.approx(0.5, abs=1e-6)
    one(scaling, 1, 900.0, learn=False)
    after = scaling.rows(CODES)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert one(scaling, 1, 6.0, learn=False) == one(scaling, 1, 6.0, learn=False)
    repeated = scaling.scale(np.array([1, 2, 1, 2], np.int32), np.array([[6], [3], [7], [90]], np.float32), learn=False)
    assert repeated[[0, 2], 0].tolist() == [one(scaling, 1, 6.0, learn=False), one(scaling, 1, 7.0, learn=False)]
    assert repeated[[1, 3], 0].tolist() == [0.5, 0.5]


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=2, max_size=2),
        min_size=1,
        max_size=40,
    ),
    young=st.booleans(),
)
def test_alone_is_as_in_a_crowd(values, young):
    ranges = trained_on(np.random.default_rng(3).normal(size=(100, 2)))
    place = -1 if young else 0
    alone, crowd = bound(ranges, [place]), bound(ranges, [0, place, -1])
    noise = np.random.default_rng(4).normal(size=(len(values), 2)).astype(np.float32)
    for value, other in zip(np.array(values, np.float32), noise, strict=True):
        single = alone.scale(CODES[:1], value[None])
        together = crowd.scale(CODES, np.stack([other, value, other]))
        assert single[0].tobytes() == together[1].tobytes()
        assert np.isnan(single[0]).tolist() == np.isnan(value).tolist()
        assert np.nanmax(np.abs(np.nan_to_num(single))) <= LIMIT


def test_rows_travel_and_forget_empties():
    ranges = trained_on(np.linspace(0, 10, 100)[:, None])
    scaling, other = bound(ranges, [0, -1]), bound(ranges, [0, -1])
    for value in (5.0, 9.0, 2.0):
        one(scaling, 1, value)
    other.put_rows(CODES[:2], scaling.rows(CODES[:2]))
    assert one(other, 1, 4.0) == one(scaling, 1, 4.0)
    scaling.forget(CODES[1:2])
    assert scaling.rows(CODES[1:2])["seen"].sum() == 0
    assert one(scaling, 1, 77.0) == pytest.approx(0.5, abs=1e-5)


def test_ranges_lead_back_to_raw_values():
    values = np.random.default_rng(6).uniform(100, 200, (100, 2)).astype(np.float32)
    values[:, 1] = np.nan
    scaling = bound(trained_on(values), [0, -1])
    raw = np.array([[130, np.nan], [7, np.nan]], np.float32)
    scaled = scaling.scale(CODES[:2], raw)
    origin, width = scaling.inverse(CODES[:2])
    np.testing.assert_allclose(origin + scaled * width, raw, rtol=1e-5)
    assert (origin[:, 1].tolist(), width[:, 1].tolist()) == ([0, 0], [1, 1])


def test_a_foreign_row_is_refused():
    scaling = bound(trained_on(np.zeros((3, 2))), [0])
    rows = scaling.rows(CODES[:1])
    with pytest.raises(ValueError, match="low must be"):
        scaling.put_rows(CODES[:1], rows | {"low": np.zeros((1, 3), np.float32)})
    with pytest.raises(ValueError, match="rows need"):
        scaling.put_rows(CODES[:1], {"low": rows["low"]})


def test_state_of_ranges_comes_back():
    ranges = trained_on(np.random.default_rng(5).normal(size=(50, 3)))
    again = Ranges.restore(ranges.state())
    for name in ("low", "high", "counts", "width", "units"):
        np.testing.assert_array_equal(getattr(again, name), getattr(ranges, name))
