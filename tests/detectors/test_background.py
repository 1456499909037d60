import numpy as np
import pytest
from planted import SLOTS, setting

from detectors.background import OWN, Background
from streaming.types import Windows


@pytest.fixture(scope="module")
def small():
    return setting(6)


@pytest.fixture(scope="module")
def background(small):
    return Background(small.background)


def test_a_normal_window_is_its_own_kind_of_normal(small, background):
    normal = small.later.take(slice(0, 100))
    apart = np.abs(background.references(normal) - normal.values).mean()
    from_median = np.abs(np.median(small.background.values, axis=0) - normal.values).mean()
    assert apart < from_median / 2


def test_an_anomalous_channel_gets_its_normal_course_from_its_peers(small, background):
    windows = small.later.take(slice(0, 50))
    values = windows.values.copy()
    values[:, -15:, 3] += 2.0
    shifted = Windows(windows.entities, windows.ends, values, windows.features, windows.names)
    apart = np.abs(background.references(shifted) - windows.values).mean(axis=(0, 1))
    assert apart[3] < 0.15
    assert apart.max() < 0.15


def test_a_missing_channel_is_filled_and_the_others_stand(small, background):
    windows = small.later.take(slice(0, 20))
    values = windows.values.copy()
    values[:, :, 1] = np.nan
    values[:, 5:9, 4] = np.nan
    gaps = Windows(windows.entities, windows.ends, values, windows.features, windows.names)
    found = background.references(gaps)
    assert np.isfinite(found).all()
    assert np.abs(found - windows.values)[:, :, 1].mean() < 0.15


def test_references_never_leave_the_range_of_normal_windows(small, background):
    wild = Windows(
        np.zeros(5, np.int32), np.arange(5), np.full((5, SLOTS, 6), 4.0, np.float32), small.train.features, ["host-1"]
    )
    found = background.references(wild)
    low, high = small.background.values.min(axis=(0, 1)), small.background.values.max(axis=(0, 1))
    assert (found >= low - 1e-6).all()
    assert (found <= high + 1e-6).all()


def test_a_reference_does_not_depend_on_the_batch(small, background):
    windows = small.later.take(slice(0, 30))
    together = background.references(windows)
    fresh = Background(small.background)
    for k in (29, 3, 0):
        assert np.array_equal(fresh.references(windows.take(slice(k, k + 1)))[0], together[k])


def test_bands_hold_nearly_all_normal_values(small, background):
    lower, upper = background.bands(small.train.take(slice(0, 3)))
    values = small.background.values.reshape(-1, 6)
    inside = ((values >= lower[0]) & (values <= upper[0])).mean(axis=0)
    np.testing.assert_allclose(inside, 0.98, atol=0.005)
    assert np.array_equal(lower[0], lower[2])


def two_entities(own: int) -> Background:
    values = np.concatenate([np.full((own, SLOTS, 1), 0.2), np.full((60, SLOTS, 1), 0.8)]).astype(np.float32)
    entities = np.r_[np.zeros(own), np.ones(60)].astype(np.int32)
    return Background(Windows(entities, np.arange(own + 60), values, ["c0"], ["a", "b"]))


def window_of(name: str) -> Windows:
    return Windows(
        np.zeros(1, np.int32), np.zeros(1, np.int64), np.full((1, SLOTS, 1), 0.5, np.float32), ["c0"], [name]
    )


def test_an_entity_with_enough_windows_is_compared_with_itself():
    found = two_entities(OWN)
    assert found.bands(window_of("a"))[1] == np.float32(0.2)
    assert found.references(window_of("a")).max() == np.float32(0.2)


@pytest.mark.parametrize("name", ["a", "stranger"])
def test_one_with_few_or_none_is_compared_with_the_fleet(name):
    lower, upper = two_entities(OWN - 1).bands(window_of(name))
    assert (lower[0, 0], upper[0, 0]) == (np.float32(0.2), np.float32(0.8))


def test_without_normal_windows_a_window_is_its_own_median_and_has_no_band():
    empty = Background(
        Windows(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros((0, 4, 2), np.float32), ["x", "y"], [])
    )
    values = np.array([[[1, np.nan], [2, np.nan], [3, np.nan], [9, np.nan]]], np.float32)
    window = Windows(np.zeros(1, np.int32), np.zeros(1, np.int64), values, ["x", "y"], ["a"])
    assert empty.references(window)[0].tolist() == [[2.5, 0.0]] * 4
    assert np.isnan(empty.bands(window)).all()


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_few_or_constant_normal_windows_are_enough(count):
    values = np.full((count, 4, 2), 0.5, np.float32)
    values[:, :, 1] = np.nan
    normal = Windows(np.zeros(count, np.int32), np.arange(count), values, ["x", "y"], ["a"])
    found = Background(normal).references(
        Windows(np.zeros(1, np.int32), np.zeros(1, np.int64), np.ones((1, 4, 2), np.float32), ["x", "y"], ["a"])
    )
    assert found[0].tolist() == [[0.5, 0.0]] * 4
