import io
import json

import numpy as np
import pytest
from planted import SLOTS, setting

from detectors.inject import inject
from detectors.surrogate import MEASURES, Peers, Surrogate, measure
from streaming.types import State, Windows


@pytest.fixture(scope="module")
def small():
    return setting(6)


@pytest.fixture(scope="module")
def surrogate(small):
    return Surrogate.fit(small.train, small.background, small.score, seed=3)


def through_bytes(state: State) -> State:
    buffer = io.BytesIO()
    np.savez(buffer, **state.arrays)
    buffer.seek(0)
    arrays = dict(np.load(buffer, allow_pickle=False))
    return State(arrays, json.loads(json.dumps(state.meta)), state.blobs)


def test_base_and_values_are_the_prediction(small, surrogate):
    import xgboost

    windows, _ = small.planted("shift", 8, 10, 50)
    values, base = surrogate.explain(windows)
    features = measure(windows.values, surrogate.peers).reshape(len(windows), -1)
    np.testing.assert_allclose(
        base + values.sum(axis=1), surrogate.booster.predict(xgboost.DMatrix(features)), atol=1e-4
    )


def test_the_base_is_what_normal_windows_get(small, surrogate):
    values, base = surrogate.explain(small.background)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-9)
    assert base == pytest.approx(float(np.mean(small.score(small.background))), rel=0.1)


def test_fidelity_is_measured_on_windows_held_out(surrogate):
    assert surrogate.held == 1600
    assert 0.9 < surrogate.r2 <= 1
    assert 0.8 < surrogate.rank <= 1


@pytest.mark.parametrize("size", [4.0, 8.0])
def test_it_reaches_beyond_normal_windows(small, surrogate, size):
    """Fitted on normal windows alone, a surrogate explained 2% of score - base at 8 sigma."""
    windows, _ = small.planted("shift", size, 10)
    values, base = surrogate.explain(windows)
    explained = values.sum(axis=1) / (small.score(windows) - base)
    assert 0.8 < np.median(explained) < 1.2


def test_a_surrogate_of_a_score_without_structure_has_no_fidelity(small):
    def noise(windows: Windows) -> np.ndarray:
        return np.random.default_rng(len(windows)).random(len(windows))

    found = Surrogate.fit(small.train, small.background, noise, seed=0, budget=1500)
    assert found.r2 < 0.2
    assert found.rank < 0.3


def test_a_constant_score_has_no_fidelity_either(small):
    found = Surrogate.fit(small.train, small.background, lambda windows: np.ones(len(windows)), seed=0, budget=1000)
    assert (found.r2, found.rank) == (0.0, 0.0)
    values, base = found.explain(small.later.take(slice(0, 3)))
    assert base == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(values, 0, atol=1e-5)


def test_the_same_seed_gives_the_same_model_whatever_the_order_of_windows(small):
    rng = np.random.default_rng(0)
    shuffled = small.train.take(rng.permutation(len(small.train)))
    first, again, other = (
        Surrogate.fit(windows, small.background, small.score, seed=seed, budget=1000).state().blobs["booster"]
        for windows, seed in ((small.train, 1), (shuffled, 1), (small.train, 2))
    )
    assert first == again
    assert first != other


def test_its_state_comes_back_bit_for_bit(small, surrogate):
    again = Surrogate.restore(through_bytes(surrogate.state()))
    windows, _ = small.planted("flat", 0, SLOTS, 40)
    for mine, theirs in zip(surrogate.explain(windows), again.explain(windows), strict=True):
        assert np.array_equal(mine, theirs)
    assert (again.r2, again.rank, again.held) == (surrogate.r2, surrogate.rank, surrogate.held)


def test_a_window_is_explained_the_same_alone_and_in_a_crowd(small, surrogate):
    windows, _ = small.planted("spike", 8, 1, 60)
    together, _ = surrogate.explain(windows)
    alone = np.concatenate([surrogate.explain(windows.take(slice(k, k + 1)))[0] for k in range(60)])
    assert np.array_equal(together, alone)


def test_too_few_windows_are_refused(small):
    with pytest.raises(ValueError, match="10 windows, got 9"):
        Surrogate.fit(small.train.take(slice(0, 9)), small.background, small.score, seed=0)


def test_windows_that_the_ensemble_has_no_opinion_of_are_left_out(small):
    def partial(windows: Windows) -> np.ndarray:
        score = small.score(windows)
        return np.where(score > 0.8, np.nan, score)

    found = Surrogate.fit(small.train, small.background, partial, seed=0, budget=2000)
    assert 0 < found.held < 400
    assert found.explain(small.background)[1] < 0.8


def test_peers_blame_the_channel_that_left_them(small):
    peers = Peers.fit(small.train)
    planted = small.later.values[:100].copy()
    planted[:, -5:, 2] += 8 * small.sigma[2]
    misfit = np.abs(peers.misfit(planted))[:, -5:].mean(axis=(0, 1))
    assert misfit.argmax() == 2


def test_peers_survive_constant_missing_and_single_channels(small):
    values = small.train.values[:200].copy()
    values[:, :, 0], values[:, :, 1] = 0.5, np.nan
    windows = Windows(small.train.entities[:200], small.train.ends[:200], values, small.train.features, ["host-1"])
    misfit = Peers.fit(windows).misfit(values)
    assert np.isnan(misfit[:, :, 1]).all()
    assert np.isfinite(misfit[:, :, [0, 2, 3, 4, 5]]).all()
    lone = Windows(windows.entities, windows.ends, values[:, :, 3:4], ["c3"], ["host-1"])
    np.testing.assert_allclose(Peers.fit(lone).misfit(lone.values).mean(), 0, atol=0.05)


@pytest.mark.parametrize("slots", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_features_of_any_shape(slots, channels):
    values = np.random.default_rng(0).random((5, slots, channels)).astype(np.float32)
    names = [f"c{k}" for k in range(channels)]
    peers = Peers.fit(Windows(np.zeros(5, np.int32), np.arange(5), values, names, ["a"]))
    features = measure(values, peers)
    assert features.shape == (5, channels, len(MEASURES))
    assert np.isfinite(features).all()


def test_features_of_a_window_with_gaps_are_those_of_what_is_there(small):
    peers = Peers.fit(small.train)
    values = small.later.values[:4].copy()
    values[:, 3::5] = np.nan
    values[:, :, 4] = np.nan
    features = measure(values, peers)
    assert np.isnan(features[:, 4]).all()
    level = MEASURES.index("level")
    np.testing.assert_allclose(features[:, 0, level], np.nanmean(values[:, -10:, 0], axis=1), rtol=1e-5)


def test_planted_windows_score_higher_than_those_they_were_planted_in(small):
    """What the surrogate learns from is worth learning: most injections move the score."""
    found = inject(small.train.take(slice(0, 400)), small.sigma, 1, sizes=(4.0, 32.0))
    assert (small.score(found.windows) > small.score(small.train.take(slice(0, 400)))).mean() > 0.85
