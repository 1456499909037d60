"""What every session scorer keeps to, and the sessions that the fitted scorers find together."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.countsurprise import CountSurprise
from detectors.registry import SESSION_SCORERS, load_session_scorer
from detectors.sessioncounts import PART, came_times, evenly, template_counts
from detectors.sessionmodel import FittedSessions, SessionVerdicts
from detectors.sessionneighbours import SessionNeighbours
from detectors.sessionspace import SessionSpace
from detectors.types import SessionScorer
from streaming.sessions import Sessions
from streaming.types import State
from tests.detectors.planted_sessions import KINDS, TEMPLATES, crowd, planted, sessions_of, usual

ALL = pytest.mark.parametrize("name", SESSION_SCORERS)
TEXTS = [f"template {number}" for number in range(1, TEMPLATES + 1)]
NEW = sessions_of([usual(np.random.default_rng(5)), [], *(planted(kind, np.random.default_rng(6)) for kind in KINDS)])


@pytest.fixture(scope="module")
def model() -> FittedSessions:
    """Of the scorers that decide."""
    return fitted(crowd(1500)[0])


@pytest.fixture(scope="module")
def whole() -> FittedSessions:
    """Of all scorers."""
    return fitted(crowd(300)[0], names=tuple(SESSION_SCORERS))


def fitted(history: Sessions, **options: Any) -> FittedSessions:
    found = FittedSessions.fit(TEXTS, history, **options)
    assert found is not None
    return found


def from_file(state: State) -> State:
    """As a file brings it back."""
    return State({key: value.copy() for key, value in state.arrays.items()}, json.loads(json.dumps(state.meta)))


@ALL
def test_a_scorer_keeps_the_contract(name: str, whole: FittedSessions) -> None:
    scorer = whole.scorers[name]
    assert isinstance(scorer, SessionScorer)
    assert scorer.name == name
    said = scorer.score(NEW)
    assert said.values.dtype == said.shares.dtype == np.float32
    assert np.isnan(said.values[1]) and not said.shares[1].any()
    assert np.isfinite(np.delete(said.values, 1)).all() and (np.delete(said.values, 1) >= 0).all()
    assert said.shares.shape == (len(NEW), TEMPLATES + 1) and (said.shares >= 0).all()
    assert np.isin(np.round(said.shares.sum(axis=1), 5), (0, 1)).all()


@ALL
def test_what_a_scorer_knows_survives_a_file(name: str, whole: FittedSessions) -> None:
    scorer, other = whole.scorers[name], load_session_scorer(name)()
    other.restore(from_file(scorer.state()))
    before, after = scorer.score(NEW), other.score(NEW)
    np.testing.assert_array_equal(before.values, after.values)
    np.testing.assert_array_equal(before.shares, after.shares)


@ALL
def test_a_session_scores_alone_as_in_a_crowd(name: str, whole: FittedSessions) -> None:
    scorer, (many, _) = whole.scorers[name], crowd(150, seed=3, share=0.2)
    together = scorer.score(many)
    for order in (np.arange(150)[::-1], np.arange(0, 150, 7)):
        again = scorer.score(many.take(order))
        np.testing.assert_array_equal(again.values, together.values[order])
        np.testing.assert_array_equal(again.shares, together.shares[order])
    alone = scorer.score(many.take([11]))
    assert alone.values[0] == together.values[11]


@ALL
def test_templates_that_the_model_does_not_know_are_one(name: str, whole: FittedSessions) -> None:
    foreign, beyond, late = (sessions_of([[1, 2, 2, 2, 3, 3, 5, code]]) for code in (0, TEMPLATES + 7, -1))
    values = [whole.scorers[name].score(one).values.tolist() for one in (foreign, beyond, late)]
    assert values[0] == values[1] == values[2]


@ALL
def test_no_session_at_all_is_scored_too(name: str, whole: FittedSessions) -> None:
    assert whole.scorers[name].score(NEW.take(slice(0))).shares.shape == (0, TEMPLATES + 1)


def by_kind(verdicts: SessionVerdicts) -> dict[str, float]:
    return dict(zip(["usual", "empty", *KINDS], verdicts.score.tolist(), strict=True))


def test_each_kind_of_anomaly_is_found_and_what_is_usual_is_none(model: FittedSessions) -> None:
    verdicts = model.score(NEW)
    found = by_kind(verdicts)
    assert np.isnan(found.pop("empty")) and np.isnan(verdicts.p[1])
    assert found.pop("usual") < 1
    found.pop("shuffled")  # as many of each as is usual
    assert min(found.values()) > 1, found
    assert verdicts.alert.tolist() == (verdicts.score > 1).tolist()


def test_normal_sessions_raise_few_alerts(model: FittedSessions) -> None:
    assert model.score(crowd(1000, seed=9)[0]).alert.mean() < 0.02


def test_a_fit_is_not_taken_in_by_the_anomalies_of_its_history() -> None:
    history, _ = crowd(1500, seed=4, share=0.03)
    model = fitted(history)
    fresh, strange = crowd(400, seed=8, share=0.1)
    scores = model.score(fresh).score
    assert np.quantile(scores[strange], 0.25) > 1.5 * np.quantile(scores[~strange], 0.99)  # a sixth are shuffled


def test_an_alert_names_the_template(model: FittedSessions) -> None:
    shares = model.score(NEW).shares
    places = {kind: place for place, kind in enumerate(KINDS, 2)}
    assert shares[places["failed"]].argmax() == 0  # never seen, though the model has a code for it
    assert shares[places["foreign"]].argmax() == 0
    assert shares[places["unclosed"]].argmax() == 5


def test_a_model_survives_a_file(whole: FittedSessions) -> None:
    again = FittedSessions.restore(from_file(whole.state()))
    before, after = whole.score(NEW), again.score(NEW)
    for name in ("fused", "p", "score", "ratios", "shares"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_few_sessions_fit_nothing_and_a_name_must_be_known() -> None:
    assert FittedSessions.fit(TEXTS, crowd(19)[0]) is None
    assert FittedSessions.fit(TEXTS, sessions_of([[]] * 40)) is None
    with pytest.raises(KeyError, match="allowed: components, counts"):
        load_session_scorer("count")


def test_a_larger_budget_lowers_the_threshold() -> None:
    history: Sessions = crowd(600)[0]
    alphas = [fitted(history, budget=budget).alpha for budget in (0.5, 2.0)]
    assert alphas[0] < alphas[1] <= 0.01


def test_order_finds_what_counts_do_not_see(whole: FittedSessions) -> None:
    values = whole.scorers["order"].score(NEW).values
    shuffled, plain = values[2 + KINDS.index("shuffled")], values[0]
    assert shuffled > 2 * plain


def test_neighbours_and_components_find_a_mixture_that_never_came() -> None:
    """Each count by itself is usual."""
    history = sessions_of([[1, *[2] * 6, 5] if number % 2 else [1, *[3] * 6, 5] for number in range(200)])
    both = sessions_of([[1, *[2] * 6, *[3] * 6, 5], [1, 5], [1, *[2] * 6, 5]])
    for name in ("nearest", "components"):
        scorer = load_session_scorer(name)()
        scorer.fit(history, TEMPLATES)
        values = scorer.score(both).values
        assert values[0] > values[2] + 0.5, name
        assert values[1] > values[2] + 0.5, name


def test_one_anomaly_that_came_often_is_no_neighbour_of_its_own() -> None:
    history = sessions_of([[1, 2, 5]] * 995 + [[1, 7, 7, 7]] * 5)
    scorer = load_session_scorer("nearest")()
    scorer.fit(history, TEMPLATES)
    distance = np.sqrt(2 * np.log(2) ** 2 + np.log(4) ** 2)
    assert scorer.score(history).values[[0, -1]].tolist() == pytest.approx([0, distance])


def test_a_rare_template_weighs_more_as_a_warning_but_a_usual_one_does_not() -> None:
    history = sessions_of([[1, 2, 5]] * 200)
    loud = replace(history, severities=np.full(len(history.templates), 3, np.int8))
    for taught in (history, loud):
        scorer = load_session_scorer("counts")()
        scorer.fit(taught, TEMPLATES)
        rare, usual_one = sessions_of([[1, 2, 4, 5]]), sessions_of([[1, 2, 5]])
        values = [
            scorer.score(replace(one, severities=np.full(len(one.templates), severity, np.int8))).values[0]
            for one in (rare, usual_one)
            for severity in (2, 3)
        ]
        assert values[1] == pytest.approx(2 * values[0])
        assert values[2] == values[3]


def test_counts_near_those_that_came_are_less_of_a_surprise() -> None:
    draw = np.random.default_rng(2)
    history = sessions_of([[1, *[2] * int(draw.integers(10, 16)), 5] for _ in range(300)])
    scorer = load_session_scorer("counts")()
    scorer.fit(history, TEMPLATES)
    near, far, none = scorer.score(sessions_of([[1, *[2] * 17, 5], [1, *[2] * 90, 5], [1, 5]])).values.tolist()
    assert near < 1 < far < none


def test_a_bad_option_is_refused_by_name() -> None:
    for scorer, options, said in (
        (CountSurprise, {"width": 0}, "width"),
        (SessionNeighbours, {"share": 1}, "share"),
        (SessionSpace, {"rank": 0}, "rank"),
    ):
        with pytest.raises(ValueError, match=said):
            scorer(**options)
    with pytest.raises(ValueError, match="1 lines are too few"):
        load_session_scorer("order")().fit(sessions_of([[1]]), TEMPLATES)


def test_many_sessions_are_scored_in_parts_as_if_at_once(whole: FittedSessions) -> None:
    many, _ = crowd(2 * PART + 30, seed=12, share=0.1)
    together = whole.score(many)
    for part in (slice(0, 5), slice(PART - 3, PART + 3), slice(2 * PART + 20, None)):
        alone = whole.score(many.take(part))
        for name in ("fused", "p", "score", "shares"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[part])
        np.testing.assert_array_equal(alone.ratios, together.ratios[:, part])
    assert whole.score(many.take(slice(0))).shares.shape == (0, TEMPLATES + 1)
    np.testing.assert_array_equal(
        whole.least(many)[PART - 3 : PART + 3], whole.least(many.take(slice(PART - 3, PART + 3)))
    )


LINES = st.lists(st.lists(st.integers(-1, TEMPLATES + 2), max_size=8), max_size=6)


@settings(max_examples=50, deadline=None)
@given(lines=LINES, most=st.integers(2, 5))
def test_times_are_counted_as_a_plain_loop_counts_them(lines: list[list[int]], most: int) -> None:
    sessions = sessions_of(lines)
    counts = template_counts(sessions, TEMPLATES)
    assert counts.sum() == len(sessions.templates)
    came = came_times(sessions, TEMPLATES, most)
    for template in range(TEMPLATES + 1):
        for times in range(most + 1):
            has = [min(int(row[template]), most) == times for row in counts]
            assert came[template, times] == sum(has)


def test_a_sample_is_even_and_small_crowds_are_whole() -> None:
    many, _ = crowd(100)
    assert evenly(many, 100) is many
    sample = evenly(many, 10)
    assert len(sample) == 10
    assert [sample.names[0], sample.names[-1]] == [many.names[0], many.names[-1]]


def test_no_line_to_come_takes_back_what_is_said_of_an_open_session(model: FittedSessions) -> None:
    """Whatever a session begins with bounds its score from below, ever more closely."""
    many, _ = crowd(60, seed=5, share=0.5)
    whole = [many.templates[start:stop].tolist() for start, stop in zip(many.bounds[:-1], many.bounds[1:], strict=True)]
    scores, before = model.score(sessions_of(whole)).score, np.zeros(len(whole), np.float32)
    for count in range(1, max(map(len, whole)) + 1):
        bound = model.least(sessions_of([codes[:count] for codes in whole]))
        assert (bound <= np.maximum(scores, 0) + 1e-6).all()
        assert (bound >= before - 1e-6).all()
        before = bound
    assert (before > 1).sum() > 5


def test_how_often_templates_commonly_come(model: FittedSessions) -> None:
    assert model.commonly is not None
    assert model.commonly.tolist()[1:] == [1, 3, 2, 0, 1, 0, 0, 0]
