"""The fitted model: what it is fitted on, what its threshold spends, what little data makes of it, and its state."""

import dataclasses
import json

import numpy as np
import pytest
import small_detectors as small
from hypothesis import given, settings
from hypothesis import strategies as st
from small_detectors import bits, fitted, joined, noise, planes, polls, rows_of, scorer_of, settings_of, windows_of

from detectors import registry
from detectors.cutting import by_slot, cut_rows, cut_windows, fit_places
from detectors.ensemble import Ensemble
from detectors.fitting import training_windows
from detectors.types import Rows
from streaming.types import State


@pytest.fixture(scope="module")
def ensemble():
    return fitted()


def stream(ensemble, values, poll=50, entities=None):
    scorer = scorer_of(ensemble, len(values))
    scaled = planes(scorer, values)
    parts = polls(values.shape[1], [poll])
    return joined([scorer.score(windows_of(ensemble, scaled, slots, entities)) for slots in parts])


def through_bytes(state, path):
    np.savez(path, **state.arrays)
    with np.load(path, allow_pickle=False) as read:
        return State({name: read[name] for name in read.files}, json.loads(json.dumps(state.meta)), state.blobs)


# --- cutting


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_windows_are_what_a_plain_loop_cuts(data):
    window = data.draw(st.integers(1, 6))
    parts = [sorted(data.draw(st.sets(st.integers(-5, 25), min_size=1, max_size=12))) for _ in range(3)]
    codes = np.concatenate([np.full(len(part), code, np.int32) for code, part in enumerate(parts)])
    slots = np.concatenate([np.array(part, np.int64) for part in parts])
    values = np.arange(len(codes) * 2, dtype=np.float32).reshape(-1, 2)
    rows = Rows(["a", "b", "c"], codes, slots, values, ["x", "y"])
    plain = {(code, slot): value for code, slot, value in zip(codes.tolist(), slots.tolist(), values, strict=True)}
    at = np.array(data.draw(st.lists(st.integers(0, len(codes) - 1), min_size=1)))
    windows = cut_windows(rows, at, window)
    for place, row in enumerate(at):
        code, end = int(codes[row]), int(slots[row])
        wanted = [plain.get((code, end - lag), np.full(2, np.nan)) for lag in range(window - 1, -1, -1)]
        np.testing.assert_array_equal(windows.values[place], np.stack(wanted))
    assert windows.entities.tolist() == codes[at].tolist()
    assert windows.ends.tolist() == slots[at].tolist()


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 120), min_size=1, max_size=6),
    window=st.integers(1, 20),
    most=st.integers(1, 200),
)
def test_cuts_keep_training_and_validation_apart(counts, window, most):
    codes = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    slots = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    rows = Rows([str(i) for i in range(len(counts))], codes, slots, np.zeros((len(codes), 1), np.float32), ["x"])
    cut = cut_rows(rows, window, most, shortest=30)
    assert 0 < len(cut.fit) <= most
    assert 0 < len(cut.validation) <= most
    assert np.isin(cut.fit, cut.fitted).all()
    assert np.isin(cut.validation, cut.streamed).all()
    for part in (cut.fit, cut.validation, cut.fitted, cut.streamed):
        assert (np.diff(part) > 0).all()
    if cut.in_sample:
        assert max(counts) < 10
        return
    for code, count in enumerate(counts):
        learnt = slots[cut.fitted][codes[cut.fitted] == code]
        judged = slots[cut.validation][codes[cut.validation] == code]
        assert learnt.max() + 1 == np.ceil(0.7 * count)
        if len(judged):
            assert judged.min() > learnt.max() + min(window, count // 10)
            assert judged.max() - judged.min() + 1 == len(judged)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 64), st.integers(1, 64))
def test_a_short_history_is_not_spent_on_the_first_window(count, window, reads):
    reads, learnt = min(reads, window), int(np.ceil(0.7 * count))
    rows = rows_of(np.zeros((2, count, 1), np.float32))
    fit, whole = fit_places(rows, window, 10_000, reads)
    assert fit.tolist() == [*range(fit[0], learnt), *range(count + fit[0], count + learnt)]
    assert whole.tolist() == [*range(fit[0], count), *range(count + fit[0], 2 * count)]
    # whole windows where rows are many, else whole as far as anybody reads, or the last one
    assert fit[0] == min(window if learnt >= 4 * window else max(reads, min(learnt // 4, window)), learnt) - 1


def test_each_detector_is_fitted_on_the_windows_that_are_whole_for_it():
    """An hour and a half of minutes had left one window an entity, and a fit on those knew nothing."""
    rows = rows_of(noise(5, 90))
    ensemble = Ensemble.fit(rows, settings_of(window=64, detectors={"linear": {}, "subspace": {"slots": 20}}))
    assert len(training_windows(ensemble, rows)) == 5 * (63 - 19)  # 63 rows are fitted on, 20 slots are read at most
    assert len(ensemble.background) == 5 * (63 - 19)
    spiked = noise(5, 60, seed=2)
    spiked[1, 50] += 8
    scores = stream(ensemble, spiked)["score"]
    assert np.nanargmax(scores) == 50 * 5 + 1
    assert np.nanmax(scores) > 1


def test_rows_in_the_order_of_a_stream():
    rows = rows_of(noise(3, 4))
    order = by_slot(rows, np.arange(12))
    assert rows.slots[order].tolist() == sorted(rows.slots.tolist())
    assert rows.codes[order].tolist() == [0, 1, 2] * 4


# --- fitting


def test_a_fit_knows_its_stream(ensemble):
    assert ensemble.features == ("f0", "f1", "f2")
    assert list(ensemble.detectors) == ["level", "drift"]
    assert ensemble.quantiles.shape == (5, 2)
    assert (ensemble.quantiles > 0).all()
    assert ensemble.medians.shape == (5, 3)
    np.testing.assert_allclose(ensemble.medians, 0.5, atol=0.15)
    assert len(ensemble.background) == 256
    assert ensemble.background.values.shape[1:] == (8, 3)
    assert ensemble.trained(["host-002", "nobody"]).tolist() == [2, -1]
    assert ensemble.median("nobody").tolist() == ensemble.medians[-1].tolist()


def test_a_fit_tells_its_progress():
    told = []
    Ensemble.fit(rows_of(noise(2, 100)), settings_of(), progress=lambda *a: told.append(a), load=small.load)
    assert {stage for stage, _, _ in told} == {"fit level", "fit drift", "validate level", "validate drift"}
    assert all(done < total for _, done, total in told)


def test_the_same_rows_give_the_same_model(tmp_path):
    first, second = fitted().state(), fitted().state()
    assert first.meta == second.meta
    for name, array in first.arrays.items():
        assert array.tobytes() == second.arrays[name].tobytes(), name


def test_validation_quantiles_are_98_percent():
    ratios = stream(fitted(slots=3000), noise(4, 1500, seed=1))["ratios"]
    np.testing.assert_allclose((ratios > 1).mean(axis=1), 0.02, atol=0.015)


def test_held_out_p_is_uniform():
    verdicts = stream(fitted(slots=3000), noise(4, 3000, seed=2))
    for name in ("p", "settled_p"):
        p = verdicts[name][~np.isnan(verdicts[name])][400:]
        for level in (0.1, 0.3, 0.5, 0.7, 0.9):
            assert (p < level).mean() == pytest.approx(level, abs=0.06), (name, level)
    p = verdicts["p"]
    assert 0.4 < (p < 1e-2).mean() / 1e-2 < 2
    assert (p < 1e-3).mean() / 1e-3 < 3


def episodes(score, slots, entities, quiet):
    """Runs of flags of one entity, not more than `quiet` slots apart."""
    count = 0
    for entity in range(entities):
        flags = np.flatnonzero(score[entity::entities] > 1)
        count += int((np.diff(flags, prepend=-(10**9)) > quiet).sum())
    return count


@pytest.mark.parametrize("fusion", ["power", "majority"])
def test_the_budget_is_spent_on_stationary_data(fusion):
    """40 expected false episodes; issue 4 aims at half to twice, a factor of 4 holds here."""
    entities, slots, expected = 10, 2000, 40.0
    budget = expected / (slots / 1440)
    model = Ensemble.fit(
        rows_of(correlated(entities, 3000, seed=3)),
        settings_of(alert_budget=budget, fusion=fusion),
        load=small.load,
    )
    score = stream(model, correlated(entities, slots, seed=4))["score"]
    found = episodes(score, slots, entities, model.settings.quiet)
    assert expected / 4 <= found <= expected * 4, (found, model.alpha)


def correlated(entities, slots, seed):
    """Normal values that remember: each is .7 of the one before plus noise."""
    values = noise(entities, slots + 50, features=4, seed=seed)
    levels = np.random.default_rng(100).normal(0, 100, (entities, 1, 4))
    moved = np.zeros((entities, 4))
    out = []
    for step in np.moveaxis(values - levels, 1, 0):
        moved = 0.7 * moved + step
        out.append(moved)
    return (np.stack(out, axis=1)[:, 50:] + levels).astype(np.float32)


def test_alpha_follows_budget_entities_and_step(ensemble):
    rows = rows_of(noise(4, 400, 3))

    def alpha(**changes):
        return Ensemble.fit(rows, settings_of(**changes), load=small.load).alpha

    assert alpha(alert_budget=0.5) == pytest.approx(ensemble.alpha / 2)
    assert alpha(expected_entities=40) == pytest.approx(ensemble.alpha / 10)
    assert alpha(step_ns=small.MINUTE // 6) == pytest.approx(ensemble.alpha / 6)


# --- little and odd data


@pytest.mark.parametrize("slots", [1, 2, 5, 9, 15, 40])
def test_few_rows_are_enough_and_make_no_claims(slots):
    model = Ensemble.fit(rows_of(noise(1, slots)), settings_of(), load=small.load)
    verdicts = stream(model, noise(1, 60, seed=1))
    assert np.isfinite(verdicts["p"]).all()
    assert (verdicts["confidence"] < 0.4).all()
    assert (verdicts["score"] > 1).mean() < 0.1


def test_no_row_is_an_error():
    nothing = Rows([], np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros((0, 3), np.float32), ["a", "b", "c"])
    with pytest.raises(ValueError, match="at least one row"):
        Ensemble.fit(nothing, settings_of(), load=small.load)


def test_an_entity_of_one_row_beside_a_fleet():
    rows = rows_of(noise(3, 300))
    last = np.concatenate([np.arange(600), [600]])
    cut = dataclasses.replace(rows, codes=rows.codes[last], slots=rows.slots[last], values=rows.values[last])
    model = Ensemble.fit(cut, settings_of(), load=small.load)
    verdicts = stream(model, noise(3, 60, seed=1))
    assert (verdicts["confidence"][2::3] < verdicts["confidence"][0::3]).all()
    assert (verdicts["score"][2::3] > 1).mean() < 0.05


def test_constant_channels_are_quiet_until_they_move():
    values = noise(2, 400)
    values[:, :, 2] = 7.0
    model = Ensemble.fit(rows_of(values), settings_of(), load=small.load)
    new = noise(2, 100, seed=1)
    new[:, :, 2] = 7.0
    calm = stream(model, new)["score"]
    new[0, 80, 2] = 9.0
    moved = stream(model, new)
    assert (calm > 1).mean() < 0.03
    assert moved["score"][160] > 1
    assert moved["shares"][160].argmax() == 2


def test_wholly_constant_training_is_not_wholly_anomalous():
    model = Ensemble.fit(rows_of(np.full((2, 300, 3), 5, np.float32)), settings_of(), load=small.load)
    values = np.full((2, 60, 3), 5, np.float32)
    values[1, 50] = 6
    score = stream(model, values)["score"]
    assert score[101] > 1
    assert np.nanmax(score[:101]) < 1
    assert np.nanmax(score[0::2]) < 1


def test_missing_channels_and_gaps():
    values = noise(3, 400)
    values[0, :, 1] = np.nan
    values[1, 100:200] = np.nan
    values[2] = np.nan
    model = Ensemble.fit(rows_of(values), settings_of(), load=small.load)
    verdicts = stream(model, noise(3, 60, seed=1))
    assert np.isfinite(verdicts["p"]).all()
    assert (verdicts["score"] > 1).mean() < 0.05


def test_contaminated_training_still_finds_what_is_large():
    values = noise(4, 800)
    rng = np.random.default_rng(5)
    for entity in range(4):
        values[entity, rng.integers(0, 800, 4)] += 8
    model = Ensemble.fit(rows_of(values), settings_of(), load=small.load)
    new = noise(4, 100, seed=1)
    new[2, 70] += 60
    assert stream(model, new)["score"].argmax() == 70 * 4 + 2


# --- cold start


def test_a_cold_start_votes_with_low_confidence_and_is_calm():
    cold = Ensemble.cold(settings_of(), ["f0", "f1", "f2"], load=small.load)
    values = noise(5, 300, seed=1)
    values[3, 250:255] += 100
    verdicts = stream(cold, values)
    assert list(cold.detectors) == ["vote"]
    assert (verdicts["confidence"] < 0.55).all()
    assert verdicts["confidence"][:50].max() < 0.05
    calm = np.delete(verdicts["score"], np.arange(250 * 5 + 3, 300 * 5, 5))
    assert np.nanmean(calm > 1) < 0.01
    assert np.nanmax(verdicts["score"][250 * 5 + 3 : 255 * 5 : 5]) > 1


def test_a_cold_scorer_keeps_its_state(tmp_path):
    cold = Ensemble.cold(settings_of(), ["f0", "f1", "f2"], load=small.load)
    scorer, other = scorer_of(cold, 3), scorer_of(cold, 3)
    other.restore(through_bytes(scorer.state(), tmp_path / "empty.npz"))
    values = noise(3, 40)
    results = []
    for one in (scorer, other):
        scaled = planes(one, values)
        results.append(bits(one.score(windows_of(cold, scaled, range(40)))))
    assert results[0] == results[1]


def test_from_cold_to_fitted():
    values = noise(4, 500)
    cold = Ensemble.cold(settings_of(), ["f0", "f1", "f2"], load=small.load)
    scorer = scorer_of(cold, 4)
    scaled = planes(scorer, values[:, :50])
    scorer.score(windows_of(cold, scaled, range(50)))
    model = Ensemble.fit(rows_of(values), settings_of(), load=small.load)
    new, fresh = scorer.promote(model), scorer_of(model, 4)
    everyone = np.arange(4, dtype=np.int32)
    for name, array in fresh.rows(everyone).items():
        assert new.rows(everyone)[name].tobytes() == array.tobytes(), name


# --- state


@pytest.mark.parametrize("changes", [{}, {"fusion": "majority", "groups": {"host-000": "db"}, "calibration": "frozen"}])
def test_state_comes_back_bit_for_bit(changes, tmp_path):
    model = fitted(**changes)
    again = Ensemble.restore(through_bytes(model.state(), tmp_path / "model.npz"), load=small.load)
    assert again.settings == model.settings
    assert (again.alpha, again.features, again.names) == (model.alpha, model.features, model.names)
    left, right = model.state(), again.state()
    assert left.meta == right.meta
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        assert array.tobytes() == right.arrays[name].tobytes(), name
    values = noise(5, 60, seed=1)
    left, right = stream(model, values), stream(again, values)
    assert all(left[name].tobytes() == right[name].tobytes() for name in left)


def test_a_cold_model_comes_back(tmp_path):
    cold = Ensemble.cold(settings_of(), ["f0", "f1", "f2"], load=small.load)
    again = Ensemble.restore(through_bytes(cold.state(), tmp_path / "model.npz"), load=small.load)
    values = noise(2, 60)
    assert stream(cold, values)["p"].tobytes() == stream(again, values)["p"].tobytes()


@pytest.mark.parametrize("scope", ["stream", "entity", "auto"])
def test_the_products_own_detectors(scope, tmp_path):
    rows = rows_of(correlated(3, 900, seed=6))
    given = settings_of(detectors={"subspace": {}, "vote": {}}, window=16, scope=scope, max_windows=3000)
    model = Ensemble.fit(rows, given)
    assert model.scope == ("stream" if scope == "stream" else "entity")
    again = Ensemble.restore(through_bytes(model.state(), tmp_path / "model.npz"))
    values = correlated(4, 120, seed=7)
    values[1, 100] += 30
    whole, parts = stream(model, values), stream(again, values, poll=7)
    assert all(whole[name].tobytes() == parts[name].tobytes() for name in whole)
    slot, entity = divmod(int(whole["score"].argmax()), 4)
    assert entity == 1
    assert 100 <= slot < 110  # as long as the windows hold the spike
    assert np.nanmean(whole["score"] > 1) < 0.05


def test_a_profile_names_a_detector_twice(tmp_path):
    rows = rows_of(correlated(3, 900, seed=6))
    model = Ensemble.fit(rows, settings_of(detectors=registry.profile("default"), window=48, max_windows=2000))
    assert {"subspace", "subspace-long", "vote"} <= model.detectors.keys()
    again = Ensemble.restore(through_bytes(model.state(), tmp_path / "model.npz"))
    assert again.span == model.span == 40
    values = correlated(4, 120, seed=7)
    values[1, 100] += 30
    whole, parts = stream(model, values), stream(again, values, poll=7)
    assert all(whole[name].tobytes() == parts[name].tobytes() for name in whole)
    assert divmod(int(whole["score"].argmax()), 4)[1] == 1
    assert whole["score"][100 * 4 + 1] > 1
    assert np.nanmean(whole["score"][: 100 * 4] > 1) < 0.05


def test_the_fused_number_for_explanations_is_pure(ensemble):
    scorer = scorer_of(ensemble, 4)
    windows = windows_of(ensemble, planes(scorer, noise(4, 60, seed=1)), range(20, 40))
    first = ensemble.fused(windows)
    assert first.tobytes() == ensemble.fused(windows).tobytes()
    assert ensemble.fused(windows.take(slice(3, 4)))[0] == first[3]
    level = scorer.score(windows).ratios[0]
    np.testing.assert_array_equal(first, np.cbrt(level.astype(np.float64) ** 3).astype(np.float32))
