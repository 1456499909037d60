"""From evidence to stored explanations: alone as in a batch, before a model, on wide streams, and later."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.explain import Explainer
from storage.model_files import read_model
from streaming.settings import SECOND
from tests.tsad.streams import ENTITIES, FEATURES
from tsad.cases import Evidence
from tsad.explaining import OTHERS, SHOWN_VALUES, Answer, Request, explain, packed, tells, unpacked
from tsad.models import COLD, Model, cold_model

DETECTORS = ("subspace", "vote")


@pytest.fixture(scope="module")
def model(fitted: Any) -> Model:
    folder, row = fitted
    return Model.of(read_model(str(folder), row))


def evidence(seed: int, features: tuple[str, ...] = FEATURES, version: str = "v1", strange: int = 0) -> Evidence:
    """A window whose newest slot is 8 widths off in the channel `strange`."""
    rng = np.random.default_rng(seed)
    window = rng.normal(0, 0.5, (16, len(features))).astype(np.float32)
    window[-1, strange] = 8
    origin = rng.normal(0, 3, len(features)).astype(np.float32)
    width = rng.uniform(0.5, 2, len(features)).astype(np.float32)
    shares = np.full(len(features), 0.1 / len(features), np.float32)
    shares[strange] += 0.9
    return Evidence(
        100 + seed, version, features, DETECTORS, 2.5, 1e-5, 0.9, window, origin + width * window, origin, width,
        shares, np.array([1e-5, np.nan]), np.array([True, False]),
    )  # fmt: skip


def requests(count: int) -> list[Request]:
    return [Request(f"alert{n}", ENTITIES[n % 3], evidence(n, strange=n % 4)) for n in range(count)]


def plain(answer: Answer) -> tuple[Any, ...]:
    return answer.rows, answer.told.explained_by, answer.told.sentence, answer.told.evidence


@pytest.mark.parametrize(
    ("shares", "involved"),
    [
        ([0.7, 0.1, 0.1, 0.1], 1),
        ([0.4, 0.35, 0.1, 0.15], 2),
        ([0.25, 0.25, 0.25, 0.25], 4),
        ([0.22, 0.2, 0.2, 0.38], 1),
    ],
    ids=["one", "two", "all alike", "one over an even rest"],
)
def test_channels_involved_stand_out_from_the_rest(shares: list[float], involved: int) -> None:
    one = replace(evidence(0, ("a", "b", "c", "d")), shares=np.array(shares, np.float32))
    assert one.channels == involved


def test_an_explanation_is_the_same_alone_as_in_any_batch(model: Model) -> None:
    asked = requests(7)
    together = [plain(answer) for answer in explain(asked, lambda _: model)]
    alone = [plain(explain([one], lambda _: model)[0]) for one in asked]
    backwards = [plain(answer) for answer in explain(asked[::-1], lambda _: model)][::-1]
    assert together == alone == backwards
    assert explain([], lambda _: model) == []


def test_the_parts_add_up_to_the_score_and_name_the_strange_channel(model: Model) -> None:
    for request, answer in zip(requests(8), explain(requests(8), lambda _: model), strict=True):
        decision = [row for row in answer.rows if row.target == "decision"]
        whole = decision[0].base + sum(row.value for row in decision) + decision[0].residual
        assert whole == pytest.approx(decision[0].score, abs=1e-4)
        strongest = max(decision, key=lambda row: row.value).feature
        assert strongest == FEATURES[int(np.argmax(request.evidence.shares))]
        assert {(row.alert_id, row.slot) for row in answer.rows} == {(request.alert_id, request.evidence.slot)}
        assert answer.told.evidence["features"][0] == strongest
        assert answer.told.slot == request.evidence.slot
        assert strongest in answer.told.sentence
        assert not answer.told.pending


def test_each_request_is_explained_by_the_model_that_judged_it(model: Model) -> None:
    cold = cold_model(settings(), FEATURES)
    asked = [Request("x", "a", evidence(n, version=COLD if n % 2 else "v1")) for n in range(4)]
    answers = explain(asked, lambda request: cold if request.evidence.version == COLD else model)
    assert [answer.told.explained_by == "vote" for answer in answers] == [False, True, False, True]
    assert [answer.told.slot for answer in answers] == [100, 101, 102, 103]


def settings(**changes: Any) -> EnsembleSettings:
    return replace(
        EnsembleSettings(step_ns=60 * SECOND, window=16, detectors={"vote": {}}, settle=5, quiet=8), **changes
    )


def test_before_a_model_the_votes_own_shares_divide_its_score() -> None:
    request = Request("x", "new", evidence(1, version=COLD, strange=2))
    (answer,) = explain([request], lambda _: cold_model(settings(), FEATURES))
    decision = {row.feature: row for row in answer.rows if row.target == "decision"}
    assert decision["disk"].value == pytest.approx(0.925 * 2.5, rel=1e-3)
    assert sum(row.value for row in decision.values()) == pytest.approx(2.5, rel=1e-5)
    assert {row.explained_by for row in answer.rows} == {"vote"}


def test_the_rest_of_a_wide_stream_is_one_row() -> None:
    names = tuple(f"c{n:03}" for n in range(SHOWN_VALUES + 30))
    wide = Model(*_cold_parts(names))
    (answer,) = explain([Request("x", "new", evidence(3, names, COLD, strange=70))], lambda _: wide)
    decision = [row for row in answer.rows if row.target == "decision"]
    assert len(decision) == SHOWN_VALUES + 1
    assert decision[-1].feature == OTHERS
    assert decision[0].feature == "c070"
    assert sum(row.value for row in decision) == pytest.approx(2.5, rel=1e-4)
    assert sum(row.share for row in decision) == pytest.approx(1.0, rel=1e-4)


def _cold_parts(names: tuple[str, ...]) -> tuple[Ensemble, Explainer]:
    ensemble = Ensemble.cold(settings(), list(names))
    return ensemble, Explainer(ensemble.background)


def test_missing_values_are_told_as_missing(model: Model) -> None:
    holed = evidence(5)
    holed.observed[3:6, 1] = np.nan
    holed.window[3:6, 1] = np.nan
    (answer,) = explain([Request("x", "a", holed)], lambda _: model)
    shown = answer.told.evidence
    observed = shown["observed"][shown["features"].index("mem")]
    assert [value is None for value in observed] == [3 <= place < 6 for place in range(16)]


def test_waiting_evidence_comes_back_as_it_was() -> None:
    waiting = [evidence(1), evidence(2, strange=3)]
    again = unpacked(packed(waiting))
    assert [one.slot for one in again] == [101, 102]
    for one, other in zip(waiting, again, strict=True):
        assert (one.version, one.features, one.detectors, one.score, one.p, one.confidence) == (
            other.version, other.features, other.detectors, other.score, other.p, other.confidence,
        )  # fmt: skip
        for name in ("window", "observed", "origin", "width", "shares", "tails", "votes"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert packed([]) is None
    assert unpacked(None) == []


def test_evidence_of_which_nobody_has_an_opinion_comes_back_as_it_was() -> None:
    """NaN is null in JSON; a worker that had met one in its snapshot died of it whenever it was started again."""
    silent = replace(evidence(0), score=np.nan, p=np.nan, confidence=np.nan)
    (again,) = unpacked(packed([silent]))
    assert np.isnan([again.score, again.p, again.confidence]).all()
    assert again.slot == silent.slot


def test_explained_later_is_explained_the_same(model: Model) -> None:
    now = Request("x", "a", evidence(4))
    later = Request("x", "a", unpacked(packed([now.evidence]))[0])
    assert plain(explain([now], lambda _: model)[0]) == plain(explain([later], lambda _: model)[0])


@pytest.mark.parametrize(
    ("shown", "slot", "peak", "told"),
    [(None, 5, 9, True), (5, 5, 9, True), (5, 9, 9, True), (9, 5, 9, False), (5, 7, 9, False)],
)
def test_an_alert_shows_its_peak_else_the_first(shown: int | None, slot: int, peak: int, told: bool) -> None:
    assert tells(shown, slot, peak) is told
