"""Metrics and lines are looked at apart, and the greater surprise decides."""

from dataclasses import replace

import numpy as np
import pytest

from detectors import registry
from detectors.calibration import Tail
from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.scorer import Scorer
from detectors.subspace import Subspace
from detectors.types import Rows
from detectors.views import Viewed, Views, covered, in_views, surprise
from streaming.types import Windows

METRICS = ["cpu", "memory", "net"]
LINES = [f"log.template.{number}" for number in range(12)]
ENTITIES, SLOTS, LATER = 4, 900, 120
SETTINGS = EnsembleSettings(60 * 10**9, window=16, detectors={"subspace": {}, "vote": {}}, settle=5, seasons=False)


def rows(features: list[str], slots: int = SLOTS, seed: int = 1) -> Rows:
    """Metrics that wander a little, and templates of which each comes once in twenty slots."""
    draw = np.random.default_rng(seed)
    codes, ends = np.repeat(np.arange(ENTITIES), slots), np.tile(np.arange(slots), ENTITIES)
    metric = draw.normal(50, 1, (len(codes), len(METRICS)))
    lines = draw.poisson(0.05, (len(codes), len(LINES)))
    whole = dict(zip(METRICS + LINES, np.concatenate([metric, lines], axis=1).T, strict=True))
    values = np.stack([whole[name] for name in features], axis=1).astype(np.float32)
    return Rows([f"e{code}" for code in range(ENTITIES)], codes.astype(np.int32), ends, values, features)


def windows(ensemble: Ensemble, more: dict[str, float], seed: int = 2) -> Windows:
    """A window of each entity whose last five slots have `more` of some features."""
    later = rows(list(ensemble.features), 16, seed)
    values = later.values.reshape(ENTITIES, 16, -1).copy()
    for name, height in more.items():
        values[:, -5:, ensemble.features.index(name)] += height
    scorer, each = Scorer(ensemble), np.arange(ENTITIES, dtype=np.int32)
    scorer.bind(each, later.names)
    scaled = np.stack([scorer.scale(each, 0, values[:, slot], learn=False) for slot in range(16)], axis=1)
    return Windows(each, np.full(ENTITIES, 2000), scaled, list(ensemble.features), later.names)


def surprise_of(ensemble: Ensemble, more: dict[str, float]) -> float:
    """The least of the entities' scores; above 1 is a flag."""
    seen = windows(ensemble, more)
    scorer = Scorer(ensemble)
    scorer.bind(seen.entities, list(seen.names))
    return float(scorer.score(seen, learn=False).score.min())


@pytest.fixture(scope="module")
def both() -> Ensemble:
    return Ensemble.fit(rows(METRICS + LINES), SETTINGS)


@pytest.fixture(scope="module")
def alone() -> Ensemble:
    return Ensemble.fit(rows(METRICS), SETTINGS)


@pytest.mark.parametrize("features", [METRICS, LINES])
def test_where_there_is_one_kind_nothing_is_apart(features: list[str]) -> None:
    told = {"subspace": {"rank": 4}, "vote": {}}
    assert in_views(told, features, registry.load) == told


def test_detectors_with_window_memory_see_either() -> None:
    told = in_views({"linear-far": {"ahead": 10}, "forecast": {}, "vote": {}}, METRICS + LINES, registry.load)
    assert told == {
        "linear-far": {"ahead": 10, "view": "metrics"}, "linear-far-logs": {"ahead": 10, "view": "logs"},
        "forecast": {}, "vote": {},
    }  # fmt: skip
    assert in_views(told, METRICS + LINES, registry.load) == told
    assert all(registry.registered(name) in registry.DETECTORS for name in told)


def test_lines_do_not_hide_what_metrics_do(both: Ensemble, alone: Ensemble) -> None:
    """Nor do they make more of it: a second view only adds to what may exceed by chance."""
    for height in (6.0, 8.0, 10.0):
        apart, by_itself = surprise_of(both, {"cpu": height}), surprise_of(alone, {"cpu": height})
        assert 0.9 * by_itself < apart < by_itself
    assert apart > 2
    assert tuple(both.detectors) == ("subspace", "subspace-logs", "vote")
    assert tuple(alone.detectors) == ("subspace", "vote")


@pytest.mark.parametrize(("part", "apart"), [(0.6, True), (0.4, False), (0.0, False)])
def test_lines_that_are_seldom_covered_have_no_view_of_their_own(part: float, apart: bool) -> None:
    """A tail of few windows would take every stretch that has lines for a strange one."""
    whole = rows(METRICS + LINES)
    values = whole.values.copy()
    values[whole.slots >= part * SLOTS, len(METRICS) :] = np.nan
    assert covered(whole.codes, values, whole.features) == apart
    some = Ensemble.fit(replace(whole, values=values), replace(SETTINGS, detectors={"subspace": {}}))
    assert ("subspace-logs" in some.detectors) == apart


def test_entities_that_never_write_do_not_make_lines_seldom() -> None:
    """Of 46 pods 27 wrote lines, in 62% of the minutes: that was 36%, and metrics were fitted together with them."""
    whole = rows(METRICS + LINES)
    values = whole.values.copy()
    values[whole.codes >= ENTITIES // 2, len(METRICS) :] = np.nan
    values[whole.slots % 5 > 2, len(METRICS) :] = np.nan
    assert covered(whole.codes, values, whole.features)
    values[whole.slots % 5 > 1, len(METRICS) :] = np.nan
    assert not covered(whole.codes, values, whole.features)


def test_metrics_do_not_hide_what_lines_do(both: Ensemble) -> None:
    assert surprise_of(both, {"log.template.3": 12.0}) > 1
    assert surprise_of(both, {}) < 1


def test_shares_lie_with_the_channels_that_did_it(both: Ensemble) -> None:
    for name, height in (("memory", 8.0), ("log.template.5", 12.0)):
        seen = windows(both, {name: height})
        scorer = Scorer(both)
        scorer.bind(seen.entities, list(seen.names))
        shares = scorer.score(seen, learn=False).shares
        assert {both.features[place] for place in shares.argmax(axis=1).tolist()} == {name}


def test_a_view_without_a_value_says_nothing(both: Ensemble) -> None:
    seen = windows(both, {"cpu": 8.0})
    values = seen.values.copy()
    values[:, :, len(METRICS) :] = np.nan
    scorer = Scorer(both)
    scorer.bind(seen.entities, list(seen.names))
    assert (scorer.score(replace(seen, values=values), learn=False).score > 1).all()


def test_an_ensemble_comes_back_bit_for_bit(both: Ensemble) -> None:
    other = Ensemble.restore(both.state())
    seen = windows(both, {"cpu": 3.0, "log.template.0": 2.0})
    found = []
    for ensemble in (both, other):
        scorer = Scorer(ensemble)
        scorer.bind(seen.entities, list(seen.names))
        found.append(scorer.score(seen))
    assert found[0].p.tolist() == found[1].p.tolist()
    assert np.array_equal(found[0].shares, found[1].shares)
    assert both.fused(seen).tolist() == other.fused(seen).tolist()
    assert both.seen[0][0].probability(np.ones(1)) == other.seen[0][0].probability(np.ones(1))


def test_a_state_from_before_there_were_views_is_read(alone: Ensemble) -> None:
    state = alone.state()
    del state.meta["ensemble"]["views"]
    assert Ensemble.restore(state).seen == ((), ())


def test_the_greatest_surprise_decides_and_one_view_is_as_it_is() -> None:
    tails = (Tail.fixed(), Tail.fixed())
    calm, strange, none = np.float32([0.5]), np.float32([9.0]), np.float32([np.nan])
    assert surprise([strange], ()).tolist() == strange.tolist()
    assert surprise([calm, strange], tails) == surprise([strange, calm], tails) == surprise([none, strange], tails)
    assert np.isnan(surprise([none, none], tails)).all()


def test_evidence_serves_every_view() -> None:
    evidence = np.array([False, False, True])
    views = Views(("metrics", "logs", ""), evidence)
    assert [some.tolist() for some in views.members] == [[True, False, True], [False, True, True]]
    assert [some.tolist() for some in Views(("", "", ""), evidence).members] == [[True] * 3]
    assert [some.tolist() for some in Views(("",), np.array([True])).members] == [[True]]


def test_a_view_has_one_of_two_names_and_its_detector_in_it() -> None:
    with pytest.raises(ValueError, match="view must be 'metrics' or 'logs', got 'both'"):
        Viewed(Subspace(), "both")
    seen = Viewed(Subspace(), "logs")
    only = Windows(np.zeros(2, np.int32), np.arange(2), np.zeros((2, 16, 3), np.float32), METRICS, ["e0"])
    said = seen.score(only)
    assert np.isnan(said.values).all()
    assert not said.shares.any()
