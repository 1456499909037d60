"""What is particular to neighbours, to the space under it and subspace, and to bent detectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_windows import cut, fleet, with_gaps

from detectors.bending import Bent
from detectors.neighbours import Neighbours
from detectors.space import Space
from streaming.types import Windows

WINDOW = 20


def windows_of(seed: int = 0, hosts: int = 2, slots: int = 300) -> Windows:
    return cut(fleet(hosts, slots, seed), WINDOW)


def changed(windows: Windows, values: np.ndarray) -> Windows:
    return Windows(windows.entities, windows.ends, values.astype(np.float32), windows.features, windows.names)


def brute(training: np.ndarray, windows: np.ndarray, nearest: int) -> np.ndarray:
    """Mean distance to the nearest training windows in float64, as a root mean square."""
    bank, asked = (part.reshape(len(part), -1).astype(np.float64) for part in (training, windows))
    distances = np.sqrt(np.square(asked[:, None] - bank).sum(axis=2))
    return np.sort(distances, axis=1)[:, :nearest].mean(axis=1) / np.sqrt(bank.shape[1])


@pytest.mark.parametrize("nearest", [1, 5])
def test_the_score_is_the_distance_to_the_nearest_windows(nearest: int) -> None:
    training, windows = windows_of(), windows_of(seed=3, slots=90)
    detector = Neighbours(slots=4, nearest=nearest, prototypes=2000, trim=0.0)
    detector.fit(training)
    expected = brute(training.values[:, -4:], windows.values[:, -4:], nearest)
    # The prototypes' own residual, 0.1% of the variance, is left out.
    np.testing.assert_allclose(detector.score(windows).values, expected, rtol=0.05, atol=1e-3)


def test_what_lies_outside_the_space_of_training_counts() -> None:
    training = windows_of()
    detector = Neighbours(components=2)
    detector.fit(training)
    still = training.values[:1].copy()
    still[:, -10:, 5] += 1.0  # a channel that never moved is in no component
    said = detector.score(changed(training.take(slice(0, 1)), still))
    assert said.values[0] > 3 * detector.score(training.take(slice(0, 1))).values[0]
    assert said.shares[0].argmax() == 5


def test_there_are_no_more_prototypes_than_told() -> None:
    detector = Neighbours(prototypes=32)
    detector.fit(windows_of())
    assert len(detector.state().arrays["bank"]) == 32
    few = Neighbours(prototypes=512)
    few.fit(windows_of(slots=30))
    assert 0 < len(few.state().arrays["bank"]) <= 22


def test_means_stand_for_more_windows_than_they_are() -> None:
    training, windows = windows_of(), windows_of(seed=3, slots=120)
    plain, means = (Neighbours(prototypes=16, nearest=1, means=flag) for flag in (False, True))
    for detector in (plain, means):
        detector.fit(training)
    assert np.mean(means.score(windows).values) < 0.9 * np.mean(plain.score(windows).values)


@settings(max_examples=15, deadline=None)
@given(st.floats(-2, 2), st.integers(0, 5))
def test_a_level_that_does_not_count_changes_nothing(offset: float, channel: int) -> None:
    detector = Neighbours(level=False)
    detector.fit(windows_of())
    windows = windows_of(seed=3, slots=60)
    moved = windows.values.copy()
    moved[:, :, channel] += np.float32(offset)
    before, after = (detector.score(each).values for each in (windows, changed(windows, moved)))
    np.testing.assert_allclose(after, before, atol=2e-3)


def test_a_level_counts_unless_told_otherwise() -> None:
    windows = windows_of(seed=3, slots=60)
    detector = Neighbours()
    detector.fit(windows_of())
    moved = detector.score(changed(windows, windows.values + np.float32(1)))
    assert moved.values.min() > 3 * np.median(detector.score(windows).values)


def test_what_happened_once_in_training_is_no_prototype() -> None:
    """An anomaly on all hosts at once resembles itself; no other time does."""
    past = fleet(3, 600)
    past[:, 300:312, 2] += 1.5
    windows = cut(past, WINDOW)
    hit = (windows.ends >= 304) & (windows.ends < 312)
    trimmed, whole = Neighbours(trim=0.05), Neighbours(trim=0.0, prototypes=2048)
    for detector in (trimmed, whole):
        detector.fit(windows)
    said = trimmed.score(windows).values
    assert np.median(said[hit]) > 3 * np.median(said[~hit])
    assert np.median(whole.score(windows).values[hit]) < 0.7 * np.median(said[hit])


@pytest.mark.parametrize(("variance", "rank"), [(0.5, 20), (0.999, 3)])
def test_a_space_fills_gaps_from_what_is_there(variance: float, rank: int) -> None:
    values = windows_of().values[:, -6:]
    space = Space.fit(values, variance, rank)
    assert space.slots == 6 and space.basis.shape[1] <= rank
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(space.basis.shape[1]), atol=1e-5)
    holes = with_gaps(values, 0.1)
    filled, missing = space.centred(holes.copy())
    assert missing is not None and np.isfinite(filled).all()
    truth = (values - space.mean).reshape(len(values), -1)
    zeros = np.abs(truth[missing]).mean()
    assert np.abs(filled[missing] - truth[missing]).mean() < 0.9 * zeros
    np.testing.assert_array_equal(filled[~missing], truth[~missing])
    again, none = space.centred(values.copy())
    assert none is None
    np.testing.assert_array_equal(again, truth)


def test_bent_is_the_detector_on_the_bent_windows() -> None:
    training, windows = windows_of(), windows_of(seed=3, slots=60)
    bent = Bent(of="neighbours", slots=5)
    bent.fit(training)
    assert bent.span == 5
    arrays = bent.state().part("scale").arrays
    z = {
        name: (part.values - arrays["centre"][part.entities][:, None])
        for name, part in (("training", training), ("windows", windows))
    }
    spread = {"training": arrays["spread"][training.entities], "windows": arrays["spread"][windows.entities]}
    curved = {name: np.arcsinh(z[name] / spread[name][:, None]) for name in z}
    plain = Neighbours(slots=5)
    plain.fit(changed(training, curved["training"]))
    expected = plain.score(changed(windows, curved["windows"]))
    said = bent.score(windows)
    np.testing.assert_allclose(said.values, expected.values, rtol=1e-2, atol=1e-3)
    assert (said.shares.argmax(axis=1) == expected.shares.argmax(axis=1)).mean() > 0.95


def test_an_outlier_in_training_does_not_hide_small_moves_from_a_bent_detector() -> None:
    """The range of a channel is made by one peak; a shift of ten usual spreads is small in it."""
    past, now = fleet(1, 600), fleet(1, 100, seed=5)
    for values in (past, now):
        values[..., 2] *= 0.02
    past[0, 100, 2] = 1.0
    now[0, 60:, 2] += 0.01
    rises = []
    for detector in (Neighbours(), Bent(of="neighbours")):
        detector.fit(cut(past, WINDOW))
        said = detector.score(cut(now, WINDOW)).values
        rises.append(np.median(said[60 - WINDOW + 10 :]) / np.median(said[: 60 - WINDOW]))
    assert rises[1] > 1.3 > 1.1 > rises[0]


def test_an_online_detector_is_not_bent() -> None:
    with pytest.raises(ValueError, match="vote cannot be bent"):
        Bent(of="vote")
    with pytest.raises(KeyError, match="detector 'magic' is unknown"):
        Bent(of="magic")


@pytest.mark.parametrize("slots", [10, 20])
def test_a_window_with_gaps_is_no_stranger_than_a_whole_one(slots: int) -> None:
    """A new entity's first windows are mostly empty: they are filled from what is there, and measured as whole ones."""
    detector = Neighbours(slots=slots)
    detector.fit(windows_of())
    windows = windows_of(seed=4)
    usual = np.quantile(detector.score(windows).values, 0.98)
    for known in (slots // 2, slots - 3, slots - 1):
        values = windows.values.copy()
        values[:, :-known] = np.nan
        said = detector.score(changed(windows, values)).values
        assert (said < 1.75 * usual).mean() > 0.95
    values[:, : 1 - slots // 2] = np.nan
    assert np.isnan(detector.score(changed(windows, values)).values).all()


def test_what_is_there_of_a_window_with_gaps_still_counts() -> None:
    detector = Neighbours()
    detector.fit(windows_of())
    values = windows_of(seed=4).values.copy()
    values[:, :-5] = np.nan
    usual = detector.score(changed(windows_of(seed=4), values.copy())).values
    values[:, -5:, 1] += 3
    assert (detector.score(changed(windows_of(seed=4), values)).values > 2 * usual).all()
