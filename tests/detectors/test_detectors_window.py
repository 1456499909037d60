"""What is particular to subspace, reconstruction, forecast and linear."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_windows import FEATURES, cut, fleet, with_gaps

from detectors.forecast import Forecast
from detectors.linear import Linear
from detectors.reconstruction import Reconstruction
from detectors.subspace import Subspace
from detectors.types import Detector
from streaming.types import Windows

WINDOW = 20


def windows_of(seed: int = 0, hosts: int = 2, slots: int = 400) -> Windows:
    return cut(fleet(hosts, slots, seed), WINDOW)


@pytest.fixture(scope="module")
def forecast() -> Forecast:
    detector = Forecast()
    detector.fit(windows_of())
    return detector


# subspace -----------------------------------------------------------------------------------------------------------


def test_subspace_is_the_residual_of_a_pca() -> None:
    """Against the definition in float64, without trimming."""
    windows = windows_of()
    detector = Subspace(slots=4, rank=3, variance=1.0, trim=0.0)
    detector.fit(windows)
    flat = windows.values[:, -4:].reshape(len(windows), -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    residual = (centred - centred @ components[:3].T @ components[:3]).reshape(-1, 4, 6)
    expected = np.sqrt((residual**2).mean(axis=1)).mean(axis=1)
    np.testing.assert_allclose(detector.score(windows).values, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("variance", "rank"), [(0.5, 20), (0.999, 20), (0.999, 2)])
def test_subspace_keeps_as_many_components_as_it_is_told(variance: float, rank: int) -> None:
    detector = Subspace(variance=variance, rank=rank, trim=0.0)
    windows = windows_of()
    detector.fit(windows)
    kept = detector.state().arrays["space/basis"].shape[1]
    flat = windows.values[:, -10:].reshape(len(windows), -1).astype(np.float64)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(flat.T)))[::-1]
    needed = int(np.searchsorted(np.cumsum(eigenvalues) / eigenvalues.sum(), variance)) + 1
    assert kept == min(needed, rank)


def test_subspace_of_few_windows_is_not_their_span() -> None:
    windows = windows_of(slots=30).take(slice(0, 10))
    detector = Subspace()
    detector.fit(windows)
    assert detector.state().arrays["space/basis"].shape[1] <= 2


def test_subspace_sees_broken_correlation_that_no_channel_shows_alone() -> None:
    values = fleet(1, 400)
    detector = Subspace()
    detector.fit(cut(values, WINDOW))
    broken = fleet(1, 200, seed=3)
    normal = detector.score(cut(broken, WINDOW)).values
    broken[0, :, 1] = broken[0, ::-1, 1]
    assert np.median(detector.score(cut(broken, WINDOW)).values) > np.quantile(normal, 0.98)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.3, 3), st.floats(1.2, 3), st.integers(0, 5))
def test_subspace_grows_with_the_deviation(size: float, factor: float, channel: int) -> None:
    detector = Subspace()
    detector.fit(windows_of())
    window = windows_of(seed=4).take(slice(50, 51))

    def score(by: float) -> float:
        values = window.values.copy()
        values[:, -1, channel] += by
        return float(detector.score(Windows(window.entities, window.ends, values, FEATURES, window.names)).values[0])

    assert score(size * factor) > score(size)


# reconstruction -----------------------------------------------------------------------------------------------------


def test_reconstruction_takes_its_weights_from_its_seed_alone() -> None:
    import torch

    windows = windows_of(slots=150)
    scores = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        detector = Reconstruction(epochs=2, seed=5)
        detector.fit(windows)
        scores.append(detector.score(windows).values)
    np.testing.assert_array_equal(scores[0], scores[1])
    other = Reconstruction(epochs=2, seed=6)
    other.fit(windows)
    assert (other.score(windows).values != scores[0]).any()


def test_reconstruction_leaves_torch_as_it_was() -> None:
    import torch

    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    detector = Reconstruction(epochs=1)
    detector.fit(windows_of(slots=60))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_reconstruction_does_not_copy_an_anomaly() -> None:
    """A shift in all newest slots of one channel comes back as an error of about its size."""
    detector = Reconstruction()
    detector.fit(windows_of())
    window = windows_of(seed=4).take(slice(40, 140))
    values = window.values.copy()
    values[:, -4:, 0] += 0.8
    shifted = Windows(window.entities, window.ends, values, window.features, window.names)
    gain = (detector.score(shifted).values - detector.score(window).values) * len(FEATURES)
    assert np.median(gain) > 0.5 * 0.8
    assert (detector.score(shifted).shares.argmax(axis=1) == 0).mean() > 0.9


def test_reconstruction_scores_the_newest_slots_only() -> None:
    detector = Reconstruction(scored=4)
    detector.fit(windows_of(slots=200))
    window = windows_of(seed=4).take(slice(40, 60))
    values = window.values.copy()
    values[:, : WINDOW - 10] = 9.0
    older = Windows(window.entities, window.ends, values, window.features, window.names)
    np.testing.assert_array_equal(detector.score(older).values, detector.score(window).values)


def test_reconstruction_runs_on_the_device_it_is_given() -> None:
    import torch

    windows = windows_of(slots=100)
    detector = Reconstruction(epochs=2, device="auto")
    detector.fit(windows)
    copy = Reconstruction(device="cpu")
    copy.restore(detector.state())
    tolerance = 1e-3 if torch.cuda.is_available() else 0
    np.testing.assert_allclose(copy.score(windows).values, detector.score(windows).values, rtol=tolerance)


# forecast -----------------------------------------------------------------------------------------------------------


def test_forecast_inputs_are_named_and_are_what_they_say(forecast: Forecast) -> None:
    windows = windows_of(seed=3).take(slice(0, 30))
    _, inputs, names = forecast.explain_inputs(windows, 0)
    assert inputs.shape == (30, len(names))
    assert len(set(names)) == len(names)
    past = windows.values[:, :-1]
    expected = {
        "cpu lag 1": past[:, -1, 0],
        "cpu lag 3": past[:, -3, 0],
        "cpu lag 10": past[:, -10, 0],
        "cpu mean 5": past[:, -5:, 0].mean(axis=1),
        "cpu mean 15": past[:, -15:, 0].mean(axis=1),
        "cpu sd 15": past[:, -15:, 0].std(axis=1),
        "load lag 1": past[:, -1, 1],
    }
    for name, column in expected.items():
        np.testing.assert_allclose(inputs[:, names.index(name)], column, rtol=1e-4, atol=1e-6)


def test_forecast_of_one_channel_uses_its_peers_last_values(forecast: Forecast) -> None:
    windows = windows_of(seed=3)
    _, _, names = forecast.explain_inputs(windows, FEATURES.index("network"))
    assert next(name for name in names if not name.startswith("network")) == "disk lag 1"
    _, _, names = forecast.explain_inputs(windows, FEATURES.index("idle"))
    assert all(name.startswith("idle") for name in names)


def test_forecasts_of_single_channels_are_good_and_explainable(forecast: Forecast) -> None:
    import xgboost

    windows = windows_of(seed=3)
    booster, inputs, _ = forecast.explain_inputs(windows, 0)
    predicted = booster.inplace_predict(inputs)
    truth = windows.values[:, -1, 0]
    assert np.mean((predicted - truth) ** 2) < 0.3 * truth.var()
    shares = booster.predict(xgboost.DMatrix(inputs[:20]), pred_contribs=True)  # refused for vector leaves
    assert shares.shape == (20, inputs.shape[1] + 1)
    np.testing.assert_allclose(shares.sum(axis=1), predicted[:20], atol=1e-4)


def test_forecast_without_the_newest_value_of_a_channel_leaves_it_out(forecast: Forecast) -> None:
    window = windows_of(seed=3).take(slice(0, 40))
    values = window.values.copy()
    values[:, -1, 0] = np.nan
    scores = forecast.score(Windows(window.entities, window.ends, values, window.features, window.names))
    assert (scores.shares[:, 0] == 0).all()
    assert np.isfinite(scores.values).all()


def test_forecast_knows_each_hosts_own_noise() -> None:
    """The same deviation is stranger on a quiet host."""
    values = fleet(2, 900)
    values[1] += 0.3 * np.random.default_rng(0).standard_normal((900, 6)).astype(np.float32)
    windows = cut(values, WINDOW)
    detector = Linear()
    detector.fit(windows)
    late = windows.take(windows.ends > 800)
    shifted = late.values.copy()
    shifted[:, -1, 2] += 0.5
    change = (
        detector.score(Windows(late.entities, late.ends, shifted, late.features, late.names)).values
        - detector.score(late).values
    )
    assert np.median(change[late.entities == 0]) > 2 * np.median(change[late.entities == 1])


def test_forecast_of_gaps_uses_what_is_there(forecast: Forecast) -> None:
    windows = cut(with_gaps(fleet(1, 100, seed=3), 0.3), WINDOW)
    _, inputs, names = forecast.explain_inputs(windows, 2)
    past = windows.values[:, :-1, 2]
    np.testing.assert_allclose(inputs[:, names.index("memory mean 15")], np.nanmean(past[:, -15:], axis=1), rtol=1e-5)
    np.testing.assert_allclose(inputs[:, names.index("memory sd 15")], np.nanstd(past[:, -15:], axis=1), atol=1e-5)
    np.testing.assert_array_equal(inputs[:, names.index("memory lag 2")], past[:, -2])


# linear -------------------------------------------------------------------------------------------------------------


def autoregression(rows: int, seed: int) -> np.ndarray:
    """x_t = 0.8 x_(t-1) + noise; y_t = x_(t-1) exactly: a linear law that a linear forecast finds."""
    rng = np.random.default_rng(seed)
    x = np.zeros(rows)
    for row in range(1, rows):
        x[row] = 0.8 * x[row - 1] + 0.1 * rng.standard_normal()
    return np.stack([x[1:], x[:-1]], axis=1)[None].astype(np.float32)


def test_linear_finds_a_linear_law() -> None:
    detector = Linear(penalty=1e-6)
    detector.fit(cut(autoregression(800, 0), WINDOW))
    values = autoregression(300, 1)
    normal = detector.score(cut(values, WINDOW))
    values[0, 200, 1] += 0.3
    broken = detector.score(cut(values, WINDOW))
    slot = 200 - WINDOW + 1
    np.testing.assert_array_equal(broken.values[:slot], normal.values[:slot])
    assert broken.values[slot] > 2 * np.quantile(normal.values, 0.99)
    assert broken.shares[slot, 1] > 0.8


@pytest.mark.parametrize("kind", [Linear, Forecast])
def test_forecasts_need_a_past(kind: type[Detector]) -> None:
    detector = kind()
    detector.fit(windows_of(slots=150))
    window = windows_of(seed=3).take(slice(0, 4))
    values = window.values.copy()
    values[:, :-1] = np.nan
    scores = detector.score(Windows(window.entities, window.ends, values, window.features, window.names))
    assert np.isnan(scores.values).all()


def test_linear_carries_the_last_value_over_a_gap() -> None:
    detector = Linear()
    detector.fit(windows_of())
    window = windows_of(seed=3).take(slice(100, 160))
    gap, carried = window.values.copy(), window.values.copy()
    gap[:, -4:-2, 1] = np.nan
    carried[:, -4:-2, 1] = carried[:, -5:-4, 1]
    scores = [
        detector.score(Windows(window.entities, window.ends, values, window.features, window.names)).values
        for values in (gap, carried)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
