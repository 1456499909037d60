"""Quantiles against the values that were counted, and what was added to a cumulative histogram."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.histograms import MAX_SERIES, QUANTILES, Buckets, CumulativeBuckets, explicit, exponential
from streaming.settings import SECOND

counts = st.lists(st.integers(0, 50), min_size=4, max_size=4)


def exponential_point(values, scale):
    """What an SDK makes of `values`."""
    base = 2.0 ** (2.0**-scale)
    sides = {}
    for sign in (1, -1):
        places = [int(np.ceil(np.log(abs(v)) / np.log(base))) - 1 for v in values if v * sign > 0]
        low = min(places, default=0)
        numbers = np.bincount(np.array(places, int) - low) if places else []
        sides[sign] = SimpleNamespace(offset=low, bucket_counts=[int(n) for n in numbers])
    zero = sum(v == 0 for v in values)
    return SimpleNamespace(scale=scale, zero_count=zero, positive=sides[1], negative=sides[-1])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=60))
def test_explicit_quantiles_lie_in_the_bucket_of_the_true_value(values):
    bounds = [1.0, 5.0, 20.0, 50.0, 100.0]
    places = np.searchsorted(bounds, values)
    buckets = explicit(bounds, np.bincount(places, minlength=6).tolist())
    edges = [0.0, *bounds]
    for quantile, found in zip(QUANTILES, buckets.quantiles(), strict=True):
        true = sorted(values)[max(int(np.ceil(quantile * len(values) - 1e-9)) - 1, 0)]
        place = int(np.searchsorted(bounds, true))
        assert edges[place] <= found <= edges[place + 1]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.3, 1.5, 7.0, 900.0, -0.3, -7.5, -80.0]), min_size=1, max_size=40),
    st.integers(-1, 6),
)
def test_exponential_quantiles_lie_in_the_bucket_of_the_true_value(values, scale):
    found = exponential(exponential_point(values, scale)).quantiles()
    base = 2.0 ** (2.0**-scale)
    for quantile, answer in zip(QUANTILES, found, strict=True):
        true = sorted(values)[max(int(np.ceil(quantile * len(values) - 1e-9)) - 1, 0)]
        near, far = abs(true) / base * 0.999, abs(true) * base * 1.001
        assert near <= abs(answer) <= far
        assert answer * true >= 0
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("bounds", "numbers", "expected"),
    [
        ([10.0], [0, 5], [10, 10, 10]),  # all above the last bound
        ([10.0], [4, 0], [5, 9.5, 9.9]),
        ([-10.0, 10.0], [4, 0, 0], [-10, -10, -10]),  # open below
        ([], [7], [0, 0, 0]),
        ([10.0], [0, 0], []),
    ],
)
def test_open_buckets_have_their_finite_bound(bounds, numbers, expected):
    assert explicit(bounds, numbers).quantiles() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("bounds", "numbers"),
    [
        ([1.0, 1.0], [0, 0, 0]),
        ([2.0, 1.0], [0, 0, 0]),
        ([float("nan")], [0, 0]),
        ([float("inf")], [0, 0]),
        ([1.0], [0]),
        ([1.0], [0, 0, 0]),
        ([1.0], [-1, 2]),
    ],
)
def test_what_is_no_histogram(bounds, numbers):
    assert explicit(bounds, numbers) is None


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 21},
        {"scale": -11},
        {"zero_count": -1},
        {"positive": SimpleNamespace(offset=2**40, bucket_counts=[1])},
    ],
)
def test_what_is_no_exponential_histogram(change):
    point = exponential_point([1.0, 2.0], 0)
    assert exponential(point) is not None
    for name, value in change.items():
        setattr(point, name, value)
    assert exponential(point) is None


@pytest.mark.parametrize(("scale", "offset"), [(-10, 2**31 - 1), (-10, -(2**31)), (20, 2**31 - 1)])
def test_the_farthest_buckets_are_finite(scale, offset):
    far = SimpleNamespace(offset=offset, bucket_counts=[1, 1])
    none = SimpleNamespace(offset=0, bucket_counts=[])
    point = SimpleNamespace(scale=scale, zero_count=0, positive=far, negative=none)
    found = exponential(point).quantiles()
    assert np.isfinite(np.array(found, np.float32)).all()


@settings(max_examples=60, deadline=None)
@given(counts, counts)
def test_what_was_added_is_the_difference(first, more):
    bounds = [1.0, 2.0, 3.0]
    known = CumulativeBuckets()
    later = [a + b for a, b in zip(first, more, strict=True)]
    assert known.added(0, "s", 5, 0, explicit(bounds, first)) is None
    assert known.added(1, "s", 5, 1, explicit(bounds, later)) == explicit(bounds, more)


def test_resets_and_other_bounds():
    known = CumulativeBuckets()
    known.added(0, "s", 5, 0, explicit([1.0], [4, 4]))
    assert known.added(1, "s", 9, 1, explicit([1.0], [1, 2])) == explicit([1.0], [1, 2])
    assert known.added(2, "s", 9, 2, explicit([1.0], [0, 9])) is None  # it fell, and does not say that it began anew
    assert known.added(3, "s", 9, 3, explicit([2.0], [5, 9])) is None
    assert known.added(4, "t", 9, 4, explicit([2.0], [5, 9])) is None


def test_places_are_bounded_and_state_is_that_of_any_position():
    """Twenty series a minute, each with one point."""
    minute = 60 * SECOND
    points = [(f"s{k}", k // 20 * minute) for k in range(2400)]
    known, buckets = CumulativeBuckets(), Buckets(3, {5: 1})
    for poll in range(4):
        known.begin()
        for k in range(poll * 600, (poll + 1) * 600):
            series, time = points[k]
            assert known.added(k, series, 1, time, buckets) is None
    held = [row[0] for row in known.state()]
    # full after 51 minutes; from an hour on each new one takes the place of the oldest, until that is a young one again
    assert held == [f"s{k}" for k in range(1200, 1200 + MAX_SERIES)]
    for before in (1800, 1900, 2399, 2400):
        other = CumulativeBuckets()
        for k in range(before):
            other.added(k, points[k][0], 1, points[k][1], buckets)
        assert known.state(before) == other.state()
        again = CumulativeBuckets()
        again.restore(json.loads(json.dumps(known.state(before))))
        assert again.state() == other.state()


def test_more_series_than_places_keep_those_that_have_one():
    known, buckets = CumulativeBuckets(), Buckets(3, {5: 1})
    told = []
    for minute in range(3):
        told += [
            known.added(minute, f"s{k}", 1, minute * 60 * SECOND, Buckets(3, {5: 1 + minute})) for k in range(1100)
        ]
    assert [one is not None for one in told[1100:2200]] == [k < MAX_SERIES for k in range(1100)]
    assert told[2200] == buckets
