"""What every session scorer keeps to, and the sessions that the fitted scorers find together."""

import json

import numpy as np
import pytest

from detectors.registry import SESSION_SCORERS, load_session_scorer
from detectors.sessionmodel import FittedSessions, SessionVerdicts
from detectors.types import SessionScorer
from streaming.sessions import Sessions
from streaming.types import State
from tests.detectors.planted_sessions import KINDS, TEMPLATES, crowd, planted, sessions_of, usual

ALL = pytest.mark.parametrize("name", SESSION_SCORERS)
TEXTS = [f"template {number}" for number in range(1, TEMPLATES + 1)]
NEW = sessions_of([usual(np.random.default_rng(5)), [], *(planted(kind, np.random.default_rng(6)) for kind in KINDS)])


@pytest.fixture(scope="module")
def model() -> FittedSessions:
    found = FittedSessions.fit(TEXTS, crowd(600)[0])
    assert found is not None
    return found


def from_file(state: State) -> State:
    """As a file brings it back."""
    return State({key: value.copy() for key, value in state.arrays.items()}, json.loads(json.dumps(state.meta)))


@ALL
def test_a_scorer_keeps_the_contract(name: str, model: FittedSessions) -> None:
    scorer = model.scorers[name]
    assert isinstance(scorer, SessionScorer)
    assert scorer.name == name
    said = scorer.score(NEW)
    assert said.values.dtype == said.shares.dtype == np.float32
    assert np.isnan(said.values[1]) and not said.shares[1].any()
    assert np.isfinite(np.delete(said.values, 1)).all() and (np.delete(said.values, 1) >= 0).all()
    assert said.shares.shape == (len(NEW), TEMPLATES + 1) and (said.shares >= 0).all()
    assert np.isin(np.round(said.shares.sum(axis=1), 5), (0, 1)).all()


@ALL
def test_what_a_scorer_knows_survives_a_file(name: str, model: FittedSessions) -> None:
    scorer, other = model.scorers[name], load_session_scorer(name)()
    other.restore(from_file(scorer.state()))
    before, after = scorer.score(NEW), other.score(NEW)
    np.testing.assert_array_equal(before.values, after.values)
    np.testing.assert_array_equal(before.shares, after.shares)


@ALL
def test_a_session_scores_alone_as_in_a_crowd(name: str, model: FittedSessions) -> None:
    scorer, (many, _) = model.scorers[name], crowd(150, seed=3, share=0.2)
    together = scorer.score(many)
    for order in (np.arange(150)[::-1], np.arange(0, 150, 7)):
        again = scorer.score(many.take(order))
        np.testing.assert_array_equal(again.values, together.values[order])
        np.testing.assert_array_equal(again.shares, together.shares[order])
    alone = scorer.score(many.take([11]))
    assert alone.values[0] == together.values[11]


@ALL
def test_templates_that_the_model_does_not_know_are_one(name: str, model: FittedSessions) -> None:
    foreign, beyond, late = (sessions_of([[1, 2, 2, 2, 3, 3, 5, code]]) for code in (0, TEMPLATES + 7, -1))
    values = [model.scorers[name].score(one).values.tolist() for one in (foreign, beyond, late)]
    assert values[0] == values[1] == values[2]


@ALL
def test_no_session_at_all_is_scored_too(name: str, model: FittedSessions) -> None:
    assert model.scorers[name].score(NEW.take(slice(0))).shares.shape == (0, TEMPLATES + 1)


def by_kind(verdicts: SessionVerdicts) -> dict[str, float]:
    return dict(zip(["usual", "empty", *KINDS], verdicts.score.tolist(), strict=True))


def test_each_kind_of_anomaly_is_found_and_what_is_usual_is_none(model: FittedSessions) -> None:
    verdicts = model.score(NEW)
    found = by_kind(verdicts)
    assert np.isnan(found.pop("empty")) and np.isnan(verdicts.p[1])
    assert found.pop("usual") < 1
    for kind in ("shuffled", "long"):  # no scorer looks at order yet
        found.pop(kind)
    assert min(found.values()) > 1, found
    assert verdicts.alert.tolist() == (verdicts.score > 1).tolist()


def test_normal_sessions_raise_few_alerts(model: FittedSessions) -> None:
    assert model.score(crowd(1000, seed=9)[0]).alert.mean() < 0.02


def test_a_fit_is_not_taken_in_by_the_anomalies_of_its_history() -> None:
    history, _ = crowd(800, seed=4, share=0.03)
    model = FittedSessions.fit(TEXTS, history)
    assert model is not None
    fresh, strange = crowd(400, seed=8, share=0.1)
    scores = model.score(fresh).score
    assert np.median(scores[strange]) > np.quantile(scores[~strange], 0.99)


def test_an_alert_names_the_template(model: FittedSessions) -> None:
    shares = model.score(NEW).shares
    places = {kind: place for place, kind in enumerate(KINDS, 2)}
    assert shares[places["failed"]].argmax() == 7
    assert shares[places["foreign"]].argmax() == 0
    assert shares[places["unclosed"]].argmax() == 5


def test_a_model_survives_a_file(model: FittedSessions) -> None:
    again = FittedSessions.restore(from_file(model.state()))
    before, after = model.score(NEW), again.score(NEW)
    for name in ("fused", "p", "score", "ratios", "shares"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_few_sessions_fit_nothing_and_a_name_must_be_known() -> None:
    assert FittedSessions.fit(TEXTS, crowd(19)[0]) is None
    assert FittedSessions.fit(TEXTS, sessions_of([[]] * 40)) is None
    with pytest.raises(KeyError, match="allowed: counts"):
        load_session_scorer("count")


def test_a_larger_budget_lowers_the_threshold() -> None:
    history: Sessions = crowd(600)[0]
    alphas = [model.alpha for budget in (0.5, 2.0) if (model := FittedSessions.fit(TEXTS, history, budget))]
    assert alphas[0] < alphas[1] <= 0.01
