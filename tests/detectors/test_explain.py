import io
import json
from dataclasses import replace

import numpy as np
import pytest
from planted import SLOTS, setting

from detectors.explain import Explainer, ExplainSettings, Suspects, seed_of
from streaming.types import State, Windows

NEVER = ExplainSettings(least_r2=2.0)
"""The surrogate may never speak: permutation SHAP alone."""
ANOMALIES = [("shift", 4.0, 10), ("shift", 8.0, 10), ("flat", 0.0, SLOTS)]


@pytest.fixture(scope="module", params=[6, 38], ids=["6 channels", "38 channels"])
def fitted(request):
    scene = setting(request.param)
    return scene, Explainer.fit(scene.train, scene.background, scene.score)


@pytest.fixture(scope="module")
def scene():
    return setting(6)


@pytest.fixture(scope="module")
def explainer(scene):
    return Explainer.fit(scene.train, scene.background, scene.score)


def suspects(scene, windows: Windows, origin=0.0, width=1.0) -> Suspects:
    shape = (len(windows), len(windows.features))
    return Suspects(
        windows,
        observed=np.float32(origin) + np.float32(width) * windows.values,
        origin=np.full(shape, origin, np.float32),
        width=np.full(shape, width, np.float32),
        shares=scene.score.shares(windows),
        votes=[("subspace",)] * len(windows),
        alerts=[f"alert-{end}" for end in windows.ends],
    )


def first(found, channel) -> np.ndarray:
    """Where the planted channel is first, with a positive value."""
    values = np.stack([one.values for one in found])
    return (values.argmax(axis=1) == channel) & (values.max(axis=1) > 0)


def by_surrogate(found) -> np.ndarray:
    return np.array([one.explained_by == "surrogate" for one in found])


@pytest.mark.parametrize(("kind", "size", "length"), ANOMALIES, ids=["4 sigma", "8 sigma", "flat line"])
def test_the_planted_channel_is_first_in_190_of_200_windows(fitted, kind, size, length):
    scene, explainer = fitted
    windows, channel = scene.planted(kind, size, length)
    found = explainer.explain(suspects(scene, windows), scene.score)
    asked = Explainer(scene.background, explainer.surrogate, NEVER).explain(suspects(scene, windows), scene.score)
    assert len(found) == 200
    assert first(found, channel).sum() >= 190
    assert not by_surrogate(asked).any()
    assert first(asked, channel).sum() >= 190
    quick = by_surrogate(found)
    assert first(found, channel)[quick].sum() >= 0.95 * quick.sum()


@pytest.mark.parametrize("size", [4.0, 8.0])
def test_the_surrogate_alone_finds_the_planted_channel(fitted, size):
    scene, explainer = fitted
    windows, channel = scene.planted("shift", size, 10)
    trusting = replace(explainer, settings=ExplainSettings(tolerance=np.inf))
    found = trusting.explain(suspects(scene, windows), scene.score)
    assert by_surrogate(found).sum() >= 190
    values, _ = explainer.surrogate.explain(windows)
    assert ((values.argmax(axis=1) == channel) & (values.max(axis=1) > 0)).sum() >= 190


def test_base_values_and_residual_add_up_to_the_score(fitted):
    scene, explainer = fitted
    for kind, size, length in ANOMALIES:
        windows, _ = scene.planted(kind, size, length, 60)
        for one, score in zip(
            explainer.explain(suspects(scene, windows), scene.score), scene.score(windows), strict=True
        ):
            assert one.score == pytest.approx(score, abs=1e-6)
            assert one.base + one.values.sum() + one.residual == pytest.approx(one.score, abs=1e-4)


def test_the_surrogate_speaks_only_where_it_explains_80_percent(fitted):
    scene, explainer = fitted
    windows, _ = scene.planted("shift", 8.0, 10)
    found = explainer.explain(suspects(scene, windows), scene.score)
    shares = scene.score.shares(windows)
    values, base = explainer.surrogate.explain(windows)
    residual = np.abs(scene.score(windows) - base - values.sum(axis=1))
    close = residual <= 0.2 * (scene.score(windows) - base)
    assert np.array_equal(by_surrogate(found), close & (values.argmax(axis=1) == shares.argmax(axis=1)))
    assert 0 < by_surrogate(found).sum() < 200 or len(windows.features) == 6
    for one in found:
        if one.explained_by == "surrogate":
            assert abs(one.residual) <= 0.2 * (one.score - one.base)
            assert one.fidelity == explainer.surrogate.r2
        else:
            assert one.residual == pytest.approx(0, abs=1e-9)
            assert one.fidelity == 1


def test_an_unfaithful_surrogate_never_speaks(scene, explainer):
    windows, _ = scene.planted("shift", 8.0, 10, 20)
    for poor in (replace(explainer.surrogate, r2=0.4), replace(explainer.surrogate, rank=0.4)):
        found = Explainer(scene.background, poor).explain(suspects(scene, windows), scene.score)
        assert not by_surrogate(found).any()


def test_an_explanation_does_not_depend_on_its_batch_or_moment(fitted):
    scene, explainer = fitted
    windows, _ = scene.planted("shift", 4.0, 10, 12)
    together = explainer.explain(suspects(scene, windows), scene.score)
    backwards = explainer.explain(suspects(scene, windows.take(slice(None, None, -1))), scene.score)[::-1]
    later = Explainer.restore(explainer.state(), scene.background)
    for k, one in enumerate(together):
        alone = later.explain(suspects(scene, windows.take(slice(k, k + 1))), scene.score)[0]
        for other in (alone, backwards[k]):
            assert np.array_equal(one.values, other.values)
            assert (one.base, one.score, one.explained_by) == (other.base, other.score, other.explained_by)
            assert one.sentence == other.sentence


def test_what_is_drawn_follows_from_alert_and_slot(scene):
    asking = Explainer(scene.background, None)
    windows, _ = scene.planted("shift", 4.0, 10, 1)
    one = suspects(scene, windows)
    other = replace(one, alerts=["another"])
    first_values, again, different = (asking.explain(x, scene.score)[0].values for x in (one, one, other))
    assert np.array_equal(first_values, again)
    assert not np.array_equal(first_values, different)
    np.testing.assert_allclose(first_values.sum(), different.sum(), atol=1e-9)


def test_seeds_are_fixed_for_ever():
    assert seed_of("a", 1) == seed_of("a", 1)
    assert len({seed_of("a", 1), seed_of("a", 2), seed_of("b", 1), seed_of("a/1", 1)}) == 4
    assert seed_of("4be1", 2930) == 5655406983408854602


def test_a_cold_start_is_explained_without_any_normal_windows(scene):
    windows, channel = scene.planted("shift", 8.0, 10, 20)
    empty = Explainer(scene.background.take(slice(0, 0)))
    found = empty.explain(suspects(scene, windows), scene.score)
    assert not by_surrogate(found).any()
    assert all(np.isnan(one.lower).all() for one in found)
    for one in found:
        assert one.base + one.values.sum() == pytest.approx(one.score, abs=1e-4)
    assert first(found, channel).mean() > 0.5


def test_few_windows_fit_no_surrogate(scene):
    found = Explainer.fit(scene.train.take(slice(0, 49)), scene.background, scene.score)
    assert found.surrogate is None
    assert Explainer.restore(found.state(), scene.background).surrogate is None


def test_gaps_and_silent_channels_are_explained(scene, explainer):
    windows, channel = scene.planted("shift", 8.0, 10, 40)
    values = windows.values.copy()
    silent = (channel + 1) % 6
    values[np.arange(40), :, silent] = np.nan
    values[:, 3:6] = np.nan
    gaps = replace(windows, values=values)
    for explaining in (explainer, Explainer(scene.background, None)):
        found = explaining.explain(suspects(scene, gaps), scene.score)
        assert first(found, channel).sum() >= 36
        assert all(np.isfinite(one.values).all() and np.isfinite(one.base) for one in found)


def test_a_score_without_an_opinion_counts_as_nothing(scene, explainer):
    windows, _ = scene.planted("shift", 8.0, 10, 3)
    found = explainer.explain(suspects(scene, windows), lambda seen: np.full(len(seen), np.nan))
    assert [one.score for one in found] == [0, 0, 0]
    assert all(one.values.sum() + one.base + one.residual == pytest.approx(0, abs=1e-9) for one in found)


def test_nothing_to_explain(scene, explainer):
    assert explainer.explain(suspects(scene, scene.later.take(slice(0, 0))), scene.score) == []


def test_channels_beyond_the_strongest_share_what_they_win_together():
    scene = setting(38)
    windows, _ = scene.planted("shift", 8.0, 10, 5)
    found = Explainer(scene.background, None, ExplainSettings(strongest=3)).explain(
        suspects(scene, windows), scene.score
    )
    for one in found:
        rest = np.argsort(-one.shares, kind="stable")[3:]
        ratio = one.values[rest] / one.shares[rest]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_the_band_and_the_values_are_in_raw_units(scene, explainer):
    windows, channel = scene.planted("shift", 8.0, 10, 10)
    plain = explainer.explain(suspects(scene, windows), scene.score)
    raw = explainer.explain(suspects(scene, windows, origin=200.0, width=50.0), scene.score)
    for b, (one, other) in enumerate(zip(plain, raw, strict=True)):
        assert np.array_equal(one.values, other.values)
        np.testing.assert_allclose(other.lower, 200 + 50 * one.lower, rtol=1e-5)
        np.testing.assert_allclose(other.upper, 200 + 50 * one.upper, rtol=1e-5)
        assert (one.lower < one.upper).all()
        assert np.array_equal(other.observed, 200 + 50 * windows.values[b])
        band = f"usual range {other.lower[channel[b]]:.3g} to {other.upper[channel[b]]:.3g}"
        assert other.sentence.startswith(f"c{channel[b]} rose to {other.observed[-1, channel[b]]:.3g}, {band}")


def test_texts_name_log_features(scene, explainer):
    windows, channel = scene.planted("shift", 8.0, 10, 1)
    names = [f"log.template.{k}" for k in range(6)]
    logs = replace(windows, features=names)
    found = explainer.explain(suspects(scene, logs), scene.score, texts={names[channel[0]]: "lost <*>"})
    assert 'log lines "lost <*>" in a slot' in found[0].sentence


def forecaster(scene):
    """A one-output booster for each channel: the newest value from the two before it, of all channels."""
    import xgboost

    names = [f"c{c} lag {lag}" for lag in (2, 1) for c in range(6)]

    def inputs(windows: Windows) -> np.ndarray:
        return windows.values[:, -3:-1].reshape(len(windows), -1)

    boosters = [
        xgboost.train(
            {"max_depth": 3},
            xgboost.DMatrix(inputs(scene.train), scene.train.values[:, -1, channel]),
            num_boost_round=10,
        )
        for channel in range(6)
    ]
    return lambda windows, channel: (boosters[channel], inputs(windows), names)


def test_the_forecast_of_the_strongest_channel_is_explained(scene, explainer):
    import xgboost

    windows, _ = scene.planted("shift", 8.0, 10, 30)
    forecast = forecaster(scene)
    found = explainer.explain(suspects(scene, windows, width=10.0), scene.score, forecast)
    for b, one in enumerate(found):
        booster, inputs, names = forecast(windows.take(slice(b, b + 1)), one.channel)
        native = 10 * booster.predict(xgboost.DMatrix(inputs), pred_contribs=True)[0, :-1]
        order = np.argsort(-np.abs(native), kind="stable")[:5]
        assert one.channel == one.values.argmax()
        np.testing.assert_allclose([part.effect for part in one.inputs], native[order], atol=1e-4)
        values = dict(zip(names, inputs[0], strict=True))
        assert all(part.value == pytest.approx(float(values[part.name])) for part in one.inputs)


def test_without_a_forecaster_no_inputs_are_named(scene, explainer):
    windows, _ = scene.planted("shift", 8.0, 10, 2)
    assert [one.inputs for one in explainer.explain(suspects(scene, windows), scene.score)] == [(), ()]


def test_its_state_survives_bytes(scene, explainer):
    state = explainer.state()
    buffer = io.BytesIO()
    np.savez(buffer, **state.arrays)
    buffer.seek(0)
    arrays = dict(np.load(buffer, allow_pickle=False))
    again = Explainer.restore(State(arrays, json.loads(json.dumps(state.meta)), state.blobs), scene.background)
    windows, _ = scene.planted("flat", 0, SLOTS, 20)
    pair = [one.explain(suspects(scene, windows), scene.score) for one in (explainer, again)]
    for mine, theirs in zip(*pair, strict=True):
        assert np.array_equal(mine.values, theirs.values)
        assert (mine.base, mine.fidelity) == (theirs.base, theirs.fidelity)


@pytest.mark.parametrize("wrong", ["observed", "origin", "width", "shares"])
def test_arrays_of_the_wrong_shape_are_refused(scene, wrong):
    windows, _ = scene.planted("shift", 8.0, 10, 2)
    with pytest.raises(ValueError, match=f"{wrong} must be 2 x"):
        replace(suspects(scene, windows), **{wrong: np.zeros((2, 5), np.float32)})
