import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.inject import KINDS, inject, noise, plant
from streaming.types import Windows


def windows(count: int, slots: int = 20, channels: int = 4, seed: int = 0) -> Windows:
    values = np.random.default_rng(seed).normal(0.5, 0.1, (count, slots, channels)).astype(np.float32)
    names = [f"c{k}" for k in range(channels)]
    return Windows(np.zeros(count, np.int32), np.arange(count, dtype=np.int64), values, names, ["a"])


def one_planted(kind, size=3.0, length=5, source=None, seed=1):
    """`kind` in channel 2 of each of three windows, whose noise is 0.1."""
    source = source or windows(3)
    at = np.zeros((len(source), 4), np.bool_)
    at[:, 2] = True
    count = len(source)
    sizes, lengths = np.full(count, size, np.float32), np.full(count, length)
    rng = np.random.default_rng(seed)
    return source, plant(source, at, kind, sizes=sizes, lengths=lengths, sigma=np.full(4, 0.1, np.float32), rng=rng)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_newest_slots_of_the_chosen_channel_change(kind):
    source, planted = one_planted(kind)
    before = source.values.copy()
    assert np.array_equal(planted.values[:, :, [0, 1, 3]], source.values[:, :, [0, 1, 3]])
    assert np.array_equal(planted.values[:, :-5], source.values[:, :-5])
    assert not np.array_equal(planted.values[:, -5:, 2], source.values[:, -5:, 2])
    assert np.array_equal(source.values, before)


def test_a_shift_is_its_size_times_the_channels_noise():
    source, planted = one_planted("shift", size=-4.0)
    np.testing.assert_allclose((planted.values - source.values)[:, -5:, 2], -0.4, atol=1e-6)


def test_a_spike_is_one_slot():
    source, planted = one_planted("spike", size=8.0)
    changed = (planted.values - source.values)[:, :, 2]
    np.testing.assert_allclose(changed[:, -1], 0.8, atol=1e-6)
    assert not changed[:, :-1].any()


def test_a_flat_line_sticks_at_what_was_there_when_it_began():
    source, planted = one_planted("flat")
    assert np.array_equal(planted.values[:, -5:, 2], np.repeat(source.values[:, -5:-4, 2], 5, axis=1))


def test_a_trend_climbs_to_its_full_height():
    source, planted = one_planted("trend", size=5.0)
    climb = (planted.values - source.values)[:, -5:, 2]
    np.testing.assert_allclose(climb, np.tile([0.1, 0.2, 0.3, 0.4, 0.5], (3, 1)), atol=1e-6)


def test_noise_has_the_asked_deviation():
    source, planted = one_planted("noise", size=4.0, length=20, source=windows(400))
    assert np.std((planted.values - source.values)[:, :, 2]) == pytest.approx(0.4, rel=0.05)


def test_a_broken_correlation_is_the_channel_itself_at_another_time():
    source, planted = one_planted("decorrelate", length=20)
    for row, found in enumerate(planted.values[:, :, 2]):
        others = [source.values[k, ::-1, 2] for k in range(3) if k != row]
        assert any(np.array_equal(found, other) for other in others)


def test_a_lone_window_has_its_own_channel_reversed():
    source, planted = one_planted("decorrelate", length=20, source=windows(1))
    assert np.array_equal(planted.values[0, :, 2], source.values[0, ::-1, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_stay_missing_where_nothing_is_planted(kind):
    source = windows(3)
    source.values[:, :, 0] = np.nan
    _, planted = one_planted(kind, source=source)
    assert np.isnan(planted.values[:, :, 0]).all()
    assert not np.isnan(planted.values[:, :, 1:]).any()


@pytest.mark.parametrize("kind", ["spike", "shift", "noise", "trend"])
def test_a_missing_value_does_not_come_back_with_an_anomaly(kind):
    source = windows(3)
    source.values[:, -1, 2] = np.nan
    _, planted = one_planted(kind, source=source)
    assert np.isnan(planted.values[:, -1, 2]).all()


def test_results_stay_in_the_scaled_range():
    _, planted = one_planted("shift", size=1000.0)
    assert (planted.values[:, -5:, 2] == 4.0).all()


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 12),
    slots=st.integers(2, 16),
    channels=st.integers(1, 5),
    seed=st.integers(0, 10_000),
)
def test_injections_touch_what_they_say_and_nothing_else(count, slots, channels, seed):
    source = windows(count, slots, channels)
    found = inject(source, np.full(channels, 0.1, np.float32), seed)
    recent = np.arange(slots)[None, :] >= slots - found.lengths[:, None]
    allowed = recent[:, :, None] & found.channels[:, None, :]
    assert np.array_equal(np.where(allowed, 0, found.windows.values), np.where(allowed, 0, source.values))
    assert (found.channels.sum(axis=1) >= 1).all()
    assert ((found.lengths >= 1) & (found.lengths <= slots)).all()
    assert ((np.abs(found.sizes) >= 1) & (np.abs(found.sizes) <= 32.001)).all()


def test_injections_follow_from_their_seed():
    source, sigma = windows(64), np.full(4, 0.1, np.float32)
    first, again, other = inject(source, sigma, 7), inject(source, sigma, 7), inject(source, sigma, 8)
    assert np.array_equal(first.windows.values, again.windows.values)
    assert not np.array_equal(first.windows.values, other.windows.values)


def test_every_kind_and_both_signs_come_up_mostly_in_one_channel():
    found = inject(windows(600), np.full(4, 0.1, np.float32), 3)
    assert set(found.kinds) == set(range(len(KINDS)))
    assert 0.4 < (found.sizes > 0).mean() < 0.6
    assert 0.55 < (found.channels.sum(axis=1) == 1).mean() < 0.78


def test_only_the_asked_kinds_come_up():
    found = inject(windows(50), np.full(4, 0.1, np.float32), 3, kinds=("flat", "shift"))
    assert {KINDS[kind] for kind in found.kinds} == {"flat", "shift"}


def test_noise_is_measured_channel_by_channel_whatever_the_level():
    values = np.random.default_rng(0).standard_normal((300, 50, 3)).astype(np.float32) * np.array([0.1, 0.3, 0.02])
    values += np.random.default_rng(1).uniform(-1, 1, (300, 1, 3))
    source = windows(300, 50, 3)
    source.values[:] = values
    np.testing.assert_allclose(noise(source), [0.1, 0.3, 0.02], rtol=0.06)


def test_a_channel_that_never_moves_or_never_speaks_has_the_floor_for_noise():
    source = windows(10)
    source.values[:, :, 1] = 0.7
    source.values[:, :, 3] = np.nan
    found = noise(source)
    assert found[1] == found[3] == np.float32(0.01)
    assert (found[[0, 2]] > 0.05).all()
