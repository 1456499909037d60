"""Seasons: local hours, what is learnt and what is not, and profiles that are taken off and put back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seasonal_rows import BERLIN, HOUR, OFFICE, course, ns

from detectors.scaling import LIMIT, Ranges, Scaling
from detectors.seasons import DAY_HOURS, WEEK_HOURS, LocalClock, Seasons, learn, split

ZONES = (BERLIN, "UTC", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe")
STEP = HOUR // 4


def learnt(values, step=STEP, first="2024-01-08", zone=BERLIN, entities=1):
    """Profiles of `entities` that have the same number of rows; the last 30% of each are held back."""
    count = len(values) // entities
    times = np.tile(ns(first) + np.arange(count) * step, entities)
    hours = LocalClock(zone).hours(times + step // 2)
    fitted = np.tile(np.arange(count) < 0.7 * count, entities)
    codes = np.repeat(np.arange(entities, dtype=np.int32), count)
    return learn(codes, np.asarray(values, np.float32), hours, fitted, step / HOUR, entities)


def times_of(days, step=STEP, first="2024-01-08"):
    return ns(first) + np.arange(int(days * 24 * HOUR / step)) * step


def lengths(seasons):
    return seasons.length[0].tolist()


# --- the clock


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(ns("1971-01-01"), ns("2037-12-31")), min_size=1, max_size=5), st.sampled_from(ZONES))
def test_local_hours_are_those_of_the_standard_library(times, zone):
    hours = LocalClock(zone).hours(np.array(times, np.int64))
    for time, hour in zip(times, hours.tolist(), strict=True):
        there = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time / 1000)).astimezone(ZoneInfo(zone))
        clock = there.hour + there.minute / 60 + there.second / 3600 + there.microsecond / 3.6e9
        assert hour % WEEK_HOURS == pytest.approx(24 * there.weekday() + clock, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "before", "after"), [("2024-03-31T01:00", 2, 3), ("2024-10-27T01:00", 3, 2)], ids=["spring", "autumn"]
)
def test_the_clock_goes_forward_in_spring_and_back_in_autumn(change, before, after):
    """The second before the change is the end of the hour `before` - 1; at the change it is `after` o'clock."""
    second = 10**9
    hours = LocalClock(BERLIN).hours(np.array([ns(change) - second, ns(change), ns(change) + 23 * HOUR]))
    assert hours[0] % 24 == pytest.approx(before - 1 / 3600)
    assert hours[1] % 24 == pytest.approx(after)
    assert hours[2] % 24 == pytest.approx((after + 23) % 24)


def test_one_time_is_as_many():
    times = times_of(30, HOUR)
    whole = LocalClock(BERLIN).hours(times)
    assert all(LocalClock(BERLIN).hours(np.asarray(time)) == hour for time, hour in zip(times, whole, strict=True))


# --- what is learnt


def test_a_day_a_week_and_nothing_are_told_apart():
    times = times_of(56)
    seasons = learnt(course(times))
    assert lengths(seasons) == [DAY_HOURS, WEEK_HOURS, 0]
    day = seasons.of(0, 0)
    np.testing.assert_allclose(day - day.min(), 5 * (OFFICE - OFFICE.min()), atol=0.5)
    weekday, weekend = seasons.of(0, 1)[:24], seasons.of(0, 1)[144:]
    assert np.ptp(weekday) == pytest.approx(80, rel=0.1)
    assert np.ptp(weekend) < 25


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York"])
def test_profiles_go_by_the_hours_of_the_zone(zone):
    seasons = learnt(course(times_of(40), zone=zone), zone=zone)
    assert int(np.argmin(seasons.of(0, 0)[:20])) < 6
    elsewhere = learnt(course(times_of(40), zone=zone), zone="Asia/Tokyo")
    assert 6 <= int(np.argmin(elsewhere.of(0, 0))) < 20


@pytest.mark.parametrize(
    ("days", "expected"), [(1.5, [0, 0]), (2.7, [0, 0]), (6, [24, 0]), (12, [24, 0]), (35, [24, 168])]
)
def test_a_short_training_part_learns_little_or_none(days, expected):
    """A weekend within it that no other weekend explains speaks against a plain day."""
    assert lengths(learnt(course(times_of(days), noise=0.02)))[:2] == expected


def ar(rng, rows, channels, slots):
    """Autoregressive noise that forgets in `slots`."""
    values, share = np.zeros((rows, channels)), np.exp(-1 / slots)
    for row in range(1, rows):
        values[row] = share * values[row - 1] + rng.normal(size=channels)
    return values


@pytest.mark.parametrize("days", [4, 9, 30])
def test_noise_walks_spikes_and_other_periods_have_no_season(days):
    rng = np.random.default_rng(3)
    rows = len(times_of(days))
    at = np.arange(rows)[:, None]
    kinds = {
        "noise": rng.normal(size=(rows, 40)),
        "walk": rng.normal(size=(rows, 40)).cumsum(axis=0),
        "slow": ar(rng, rows, 40, 200),
        "spikes": rng.standard_t(1.5, size=(rows, 40)),
        "constant": np.full((rows, 40), 7.0),
        "missing": np.full((rows, 40), np.nan),
        "other period": np.sin(2 * np.pi * (at / 27 + rng.uniform(size=40))),
    }
    found = {name: np.count_nonzero(learnt(values).length) for name, values in kinds.items()}
    assert sum(found.values()) <= 2, found
    assert found["noise"] == found["spikes"] == found["constant"] == found["missing"] == 0


def test_a_season_that_ended_before_the_last_days_is_not_learnt():
    values = course(times_of(30))
    values[int(0.7 * len(values)) :, 0] = values[0, 0]
    assert lengths(learnt(values))[0] == 0


def test_one_strange_day_does_not_teach():
    values, clean = course(times_of(20)), learnt(course(times_of(20)))
    values[4 * 24 * 7 : 4 * 24 * 7 + 16, 0] += 100
    seasons = learnt(values)
    assert lengths(seasons)[0] == 24
    np.testing.assert_allclose(seasons.of(0, 0), clean.of(0, 0), atol=0.3)


def test_gaps_are_bridged_and_missing_hours_interpolated():
    times = times_of(20)
    values = course(times, noise=0.02)
    values[np.random.default_rng(5).uniform(size=len(values)) < 0.1] = np.nan
    hour = LocalClock(BERLIN).hours(times) % 24
    values[(hour >= 10) & (hour < 11)] = np.nan
    day = learnt(values).of(0, 0)
    assert np.isfinite(day).all()
    assert day[10] == pytest.approx((day[9] + day[11]) / 2, abs=1e-4)


def test_an_entity_learns_from_its_own_rows_alone():
    times = times_of(20)
    one, other = course(times, 1), course(times, 2)[:, ::-1]
    both = learnt(np.concatenate([one, other]), entities=2)
    for place, values in enumerate((one, other)):
        alone = learnt(values)
        assert [both.of(place, f).tobytes() for f in range(3)] == [alone.of(0, f).tobytes() for f in range(3)]


# --- profiles


@pytest.fixture(scope="module")
def seasons():
    return learnt(course(times_of(56)))


def test_between_the_centres_of_hours_there_are_no_jumps(seasons):
    hours = np.arange(0, 2 * WEEK_HOURS, 0.02)
    values = seasons.at(np.zeros(len(hours), np.int64), hours)
    for feature, length in ((0, 24), (1, 168)):
        profile = seasons.of(0, feature)
        steepest = np.abs(np.diff(profile, append=profile[0])).max()
        assert np.abs(np.diff(values[:, feature])).max() <= 0.02 * steepest * 1.01
        np.testing.assert_allclose(values[25::50, feature][:length], profile, rtol=1e-4, atol=1e-3)
        assert profile.mean() == pytest.approx(0, abs=1e-4)
    assert not values[:, 2].any()


def test_one_hour_for_all_is_each_with_its_own_bit_for_bit(seasons):
    places = np.array([0, -1, 0, 0])
    for hour in (0.0, 0.5, 23.99, 24.1, 167.7, 1e6 + 0.3):
        together = seasons.at(places, np.full(4, hour))
        before, part = split(np.array(hour))
        low, rise = seasons.around(int(before))
        assert (low[places] + part * rise[places]).tobytes() == together.tobytes()
        each = [seasons.at(places[b : b + 1], np.array([hour]))[0] for b in range(4)]
        assert together.tobytes() == np.stack(each).tobytes()
        assert not together[1].any()


def test_rows_that_share_an_hour_are_as_each_alone_bit_for_bit():
    rng = np.random.default_rng(3)
    profiles = rng.normal(size=3 * WEEK_HOURS).astype(np.float32)
    start = np.array([[0, 24, 0], [48, 0, 200], [0, 100, 7]], np.int32)
    length = np.array([[24, 24, 0], [24, 168, 24], [0, 24, 168]], np.int32)
    table = Seasons(profiles, start, length)
    hours = np.round(rng.uniform(-30, 400, 500), 1)
    places = rng.integers(-1, 3, 500)
    for dtype in (np.int64, np.int32):
        found = table.at(places.astype(dtype), hours)
        alone = [table.at(places[[row]], hours[[row]])[0] for row in range(500)]
        assert found.dtype == np.float32
        assert found.tobytes() == np.stack(alone).tobytes()
    fleet = table.at(np.array([-1, 2]), np.array([7.3, 7.3]))
    assert fleet[0].tobytes() == fleet[1].tobytes()
    assert table.at(places[:0], hours[:0]).shape == (0, 3)


def test_state_comes_back(seasons):
    again = Seasons.restore(seasons.state())
    for name in ("profiles", "start", "length"):
        np.testing.assert_array_equal(getattr(again, name), getattr(seasons, name))
    assert again.any
    assert not Seasons.none(3, 2).any
    assert not Seasons.none(3, 2).at(np.array([0, 1, -1]), np.full(3, 5.0)).any()


def fleet_of(parts, width=2.0):
    """Seasons in widths of entities that have the same one-channel rows as `parts`."""
    values = np.concatenate(parts)[:, None]
    return learnt(values, entities=len(parts)).in_widths(np.full((len(parts), 1), width, np.float32))


def test_a_fleet_has_the_season_that_most_agree_on():
    times = times_of(20)
    daily = [course(times, seed)[:, 0] for seed in range(4)]
    night = np.roll(daily[3], 48)
    noise = np.random.default_rng(1).normal(size=len(times))
    own = learnt(daily[0][:, None]).of(0, 0)
    np.testing.assert_allclose(fleet_of([*daily[:3], night]).of(-1, 0), own / 2, atol=0.1)
    assert not len(fleet_of([daily[0], night]).of(-1, 0))
    assert not len(fleet_of([daily[0], noise, noise[::-1]]).of(-1, 0))
    assert not len(fleet_of([daily[0]]).of(-1, 0))


# --- with the scaling


def scaling_of(values, codes, entities, bind):
    """A scaling fitted on what seasons leave, as a fit does it; all rows are fitted."""
    count = len(values) // entities
    hours = LocalClock(BERLIN).hours(np.tile(times_of(count / 96), entities) + STEP // 2)
    raw = learn(codes, values, hours, np.tile(np.arange(count) < 0.7 * count, entities), STEP / HOUR, entities)
    ranges = Ranges.fit(codes, values - raw.at(codes, hours), entities)
    plain = Scaling(ranges)
    everyone = np.arange(entities, dtype=np.int32)
    plain.bind(everyone, everyone.astype(np.int64))
    scaling = Scaling(ranges, raw.in_widths(plain.inverse(everyone)[1]))
    scaling.bind(np.arange(len(bind), dtype=np.int32), np.array(bind))
    return scaling


@pytest.fixture(scope="module")
def fleet():
    values = np.concatenate([course(times_of(42), seed) for seed in range(3)])
    return lambda bind: scaling_of(values, np.repeat(np.arange(3, dtype=np.int32), len(values) // 3), 3, bind)


def test_what_is_left_of_a_season_is_noise_in_a_range_of_its_own(fleet):
    scaling, later = fleet([0]), times_of(14, first="2024-03-25")
    hours = LocalClock(BERLIN).hours(later + STEP // 2)
    values = course(later, 9)
    one = np.zeros(len(later), np.int32)
    scaled = scaling.scale(one, values, learn=False, hours=hours)
    hour = np.floor(hours % 24).astype(int)
    for feature in range(3):
        by_hour = np.array([scaled[hour == h, feature].mean() for h in range(24)])
        assert np.ptp(by_hour) < 0.25, feature
        assert 0.05 < scaled[:, feature].std() < 0.35
    origin, width = scaling.inverse(one, hours)
    np.testing.assert_allclose(origin + width * scaled, values, rtol=1e-4, atol=1e-3)


def test_a_value_of_noon_at_night_leaves_the_range(fleet):
    scaling = fleet([0])
    noon, night = np.array([[15.0, 120, 0]], np.float32), np.array([[10.0, 200, 0]], np.float32)
    one = np.zeros(1, np.int32)
    for values, hour, usual in ((noon, 35.5, True), (night, 26.5, True), (noon, 26.5, False), (night, 35.5, False)):
        scaled = scaling.scale(one, values, learn=False, hours=np.array(hour))[0]
        assert (np.abs(scaled[:2] - 0.5).max() < 1) == usual
        assert (np.abs(scaled) <= LIMIT).all()


def test_a_new_entity_of_a_fleet_has_its_season_from_the_first_row_on(fleet):
    """Ten times as large as its neighbours in all: the fleet's season comes in its own widths, as they are learnt."""
    scaling, times = fleet([-1]), times_of(6, first="2024-02-05")
    hours = LocalClock(BERLIN).hours(times + STEP // 2)
    values = course(times, 21)
    values[:, 0] += 1000
    one = np.zeros(1, np.int32)
    scaled = np.stack(
        [scaling.scale(one, row[None], hours=np.array(hour))[0] for row, hour in zip(values, hours, strict=True)]
    )
    assert np.abs(scaled[:, 0] - 0.5).max() < 1.2
    assert scaled[96:, 0].std() < 0.4
    blind = Scaling(scaling.ranges)
    blind.bind(one, np.array([-1]))
    unseasonal = np.stack([blind.scale(one, row[None])[0] for row in values])
    assert unseasonal[:96, 0].std() > 2 * scaled[:96, 0].std()


@pytest.mark.parametrize("bind", [[0, 1, 2], [-1, 2, -1]])
def test_alone_is_as_in_a_crowd_and_rows_travel(fleet, bind):
    crowd, alone, moved = fleet(bind), fleet([bind[1]]), fleet([-1])
    times = times_of(3, first="2024-02-05")
    hours = LocalClock(BERLIN).hours(times)
    values = np.stack([course(times, seed) for seed in (31, 32, 33)])
    everyone, one = np.arange(3, dtype=np.int32), np.zeros(1, np.int32)
    for slot, hour in enumerate(hours):
        together = crowd.scale(everyone, values[:, slot], hours=np.array(hour))
        single = alone.scale(one, values[1:2, slot], hours=np.array(hour))
        assert together[1].tobytes() == single[0].tobytes()
        if slot == 100:
            moved.put_rows(one, alone.rows(one))
        if slot > 100:
            assert moved.scale(one, values[1:2, slot], hours=np.array(hour)).tobytes() == single.tobytes()
    assert moved.trained(one).tolist() == [bind[1]]
