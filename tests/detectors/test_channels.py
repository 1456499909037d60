"""What counts as a channel, and what data of few channels get: other detectors, longer windows, all of training."""

import json

import numpy as np
import pytest
from small_detectors import joined, planes, polls, rows_of, scorer_of, settings_of, windows_of

from detectors import registry
from detectors.channels import FEW, few, timing
from detectors.ensemble import Ensemble
from detectors.neighbours import Neighbours
from streaming.channels import continuous
from streaming.types import State

PLAIN = {"linear": {}, "subspace": {}}


def waves(slots: int, channels: int, entities: int = 1, seed: int = 0) -> np.ndarray:
    """E x slots x F: sines of different lengths, with noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(slots)[:, None] / (7 + 5 * np.arange(channels))
    return (np.sin(time) + 0.05 * rng.normal(size=(entities, slots, channels))).astype(np.float32)


def flags(slots: int, channels: int) -> np.ndarray:
    return (np.random.default_rng(1).random((1, slots, channels)) < 0.3).astype(np.float32)


def test_flags_constants_and_empty_channels_are_not_continuous() -> None:
    columns = [waves(50, 2)[0], flags(50, 3)[0], np.full((50, 1), 4.0), np.full((50, 1), np.nan)]
    values = np.concatenate(columns, axis=1).astype(np.float32)
    assert continuous(values) == 2
    values[3, 2] = np.nan
    assert continuous(values) == 2
    values[4, 2] = 0.5  # a flag with a third state is a measure
    assert continuous(values) == 3


def test_of_many_rows_an_even_part_is_read() -> None:
    rows = np.zeros((400_000, 1), np.float32)
    rows[::100, 0] = np.arange(4000)
    assert continuous(rows) == 1


@pytest.mark.parametrize("channels", [1, FEW, FEW + 1])
def test_few_is_up_to_three(channels: int) -> None:
    values = np.concatenate([waves(60, channels), flags(60, 4)], axis=2)[0]
    assert few(values) == (channels <= FEW)
    assert bool(timing(continuous(values))) == (channels <= FEW)


@pytest.mark.parametrize(("channels", "chosen"), [(2, "neighbours"), (FEW + 1, "linear")])
def test_the_fit_chooses_by_continuous_channels(channels: int, chosen: str) -> None:
    values = np.concatenate([waves(400, channels), flags(400, 3)], axis=2)
    told = settings_of(detectors=PLAIN, few_channels={"neighbours": {}}, window=20)
    model = Ensemble.fit(rows_of(values), told)
    assert chosen in model.detectors
    assert model.detectors.keys() == model.settings.detectors.keys()
    again = Ensemble.restore(model.state())
    assert again.detectors.keys() == model.detectors.keys()


def test_without_a_second_set_few_channels_change_nothing() -> None:
    model = Ensemble.fit(rows_of(waves(300, 1)), settings_of(detectors=PLAIN, window=20))
    assert list(model.detectors) == list(PLAIN)


def late_habit() -> np.ndarray:
    """A channel that takes up another habit in the last fifth of training, after the validation block began."""
    values = waves(1000, 2)
    values[0, 800:] += 3
    return values


def farness(whole: bool) -> tuple[float, float]:
    """Mean fused ratio of the new habit, and of one never seen."""
    given = settings_of(detectors={"neighbours": {"whole": whole}}, window=20)
    model = Ensemble.fit(rows_of(late_habit()), given)
    scorer = scorer_of(model, 1)
    ahead = waves(300, 2, seed=5)
    ahead[0, :150] += 3
    ahead[0, 150:] -= 3
    scaled = planes(scorer, ahead)
    fused = joined([scorer.score(windows_of(model, scaled, slots)) for slots in polls(300, [100])])["fused"]
    return float(np.nanmean(fused[30:150])), float(np.nanmean(fused[180:]))


def test_prototypes_from_all_of_training_know_its_end() -> None:
    usual, strange = farness(whole=True)
    usual_of_part, strange_of_part = farness(whole=False)
    assert usual < 0.2 * usual_of_part
    assert strange > 0.5 * strange_of_part
    assert strange > 5 * usual


@pytest.mark.parametrize(("slots", "asked", "look_ahead"), [(10, 20, 10), (40, 20, 20), (100, 40, 40)])
def test_a_window_distance_looks_ahead_at_most_its_window(slots: int, asked: int, look_ahead: int) -> None:
    assert Neighbours(slots=slots, look_ahead=asked).look_ahead == look_ahead


def test_each_detector_looks_ahead_for_itself_and_no_longer_than_settling() -> None:
    detectors = {"linear": {}, "subspace": {"slots": 40}, "neighbours": {"slots": 60, "look_ahead": 60}}
    model = Ensemble.fit(rows_of(waves(500, 4)), settings_of(detectors=detectors, window=64, settle=30))
    assert model.look_ahead.tolist() == [10, 20, 30]


def settled(model: Ensemble, values: np.ndarray, poll: int) -> dict[str, np.ndarray]:
    scorer = scorer_of(model, 1)
    scaled = planes(scorer, values)
    return joined([scorer.score(windows_of(model, scaled, slots)) for slots in polls(values.shape[1], [poll])])


def test_settled_ratios_are_means_over_each_look_ahead() -> None:
    detectors = {"linear": {}, "subspace": {"slots": 40, "rank": 5}}
    model = Ensemble.fit(rows_of(waves(600, 4)), settings_of(detectors=detectors, window=64, settle=20))
    values = waves(200, 4, seed=9)
    values[0, 120:123] += 2
    said = settled(model, values, 40)
    ratios = said["ratios"].astype(np.float64)
    for end in (100, 125, 139, 150):
        own = end - 19
        parts = [ratios[place, own : own + ahead].mean() for place, ahead in enumerate(model.look_ahead.tolist())]
        assert said["settled"][end] == pytest.approx(np.cbrt(np.mean(np.power(parts, 3))), rel=1e-5)
    again = settled(model, values, 7)
    assert all(said[name].tobytes() == again[name].tobytes() for name in said)


def test_evidence_decides_only_where_nobody_else_has_an_opinion() -> None:
    rows = rows_of(waves(500, 4, entities=2))
    with_it = Ensemble.fit(rows, settings_of(detectors={"subspace": {}, "forecast": {}}, window=20))
    without = Ensemble.fit(rows, settings_of(detectors={"subspace": {}}, window=20))
    alone = Ensemble.fit(rows, settings_of(detectors={"forecast": {}}, window=20))
    windows = windows_of(without, planes(scorer_of(without, 2), waves(60, 4, 2, seed=3)), range(20, 60))
    assert with_it.fused(windows).tobytes() == without.fused(windows).tobytes()
    assert np.isfinite(alone.fused(windows)).all()


def test_evidence_decides_for_explanations_where_nobody_else_can_tell() -> None:
    rows = rows_of(waves(500, 4, entities=2))
    both = Ensemble.fit(rows, settings_of(detectors={"neighbours": {}, "forecast": {}}, window=20))
    windows = windows_of(both, planes(scorer_of(both, 2), waves(60, 4, 2, seed=3)), range(20, 60))
    windows.values[::3, -10:-3] = np.nan  # too little for a distance, enough for a forecast
    own, fused = both.detectors["neighbours"].score(windows).values, both.fused(windows)
    assert np.isnan(own[::3]).all()
    assert np.isfinite(own[1::3]).all()
    assert np.isfinite(fused).all()
    some = np.flatnonzero(~np.isnan(own))  # alone as in a crowd
    assert both.fused(windows.take(some)).tobytes() == fused[some].tobytes()


def test_one_entity_is_its_stream() -> None:
    """Its own model would be the stream's once more: half of the fit's time and of its bytes."""
    rows = rows_of(waves(900, 4))
    sizes = []
    for scope in ("stream", "entity"):
        model = Ensemble.fit(rows, settings_of(detectors={"subspace": {}}, window=20, scope=scope))
        sizes.append(sum(array.nbytes for array in model.state().arrays.values()))
    assert sizes[0] == sizes[1]


def test_the_few_set_reads_a_hundred_slots() -> None:
    spans = [registry.load(name)(**options) for name, options in registry.profile("few").items()]
    assert max(getattr(each, "span", None) or 0 for each in spans) == timing(1)["window"]
    assert max(getattr(each, "look_ahead", 0) for each in spans) == timing(1)["settle"]


def sorted_keys(state: State) -> State:
    """The state as a file keeps it whose keys are in the order of the alphabet."""
    meta = json.loads(json.dumps(state.meta, sort_keys=True))
    return State(dict(sorted(state.arrays.items())), meta, dict(sorted(state.blobs.items())))


def test_a_model_file_does_not_shuffle_detectors() -> None:
    """Quantiles and tails go by the order of the detectors: a file whose keys are sorted gave them to others."""
    detectors = {"subspace": {"slots": 5}, "linear": {}, "neighbours": {"slots": 8}}
    model = Ensemble.fit(rows_of(waves(500, 4)), settings_of(detectors=detectors, window=20))
    again = Ensemble.restore(sorted_keys(model.state()))
    assert list(again.detectors) == list(detectors)
    values = waves(120, 4, seed=9)
    said, repeated = settled(model, values, 30), settled(again, values, 30)
    assert all(said[name].tobytes() == repeated[name].tobytes() for name in said)
