"""Which alerts people are asked about first: by tables and properties, on planted kinds, and through the doors."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from triaged import STEP, at, episode

from storage.engine import Database, open_database
from storage.leases import Leases
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tests.storage.stored_samples import Clock
from tests.tsad.asking import Asking
from tests.tsad.command_line import tsad
from tsad.triage.answers import Answers
from tsad.triage.following import triage_of
from tsad.triage.review import Floats, Place, ordered, recent, review
from tsad.triage.settings import TriageConfig

AXES = np.eye(4)


def units(*rows: list[float]) -> Floats:
    found = np.array(rows, np.float64).reshape(len(rows), -1)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def asked(
    signatures: Floats, scores: list[float], answered: Floats | None = None, truths: tuple[float, ...] = ()
) -> list[Place]:
    """With the rows' numbers as ids."""
    known = np.zeros((0, signatures.shape[1])) if answered is None else answered
    return ordered(signatures, np.array(scores), [f"{row:03}" for row in range(len(scores))], known, np.array(truths))


def test_without_answers_large_groups_come_first_and_one_of_each() -> None:
    """Three alike, weaker than two that are alone: one of the three, the two, then the rest of the three."""
    found = asked(units([1, 0, 0], [0, 1, 0], [1, 0.05, 0], [0, 0, 1], [1, 0, 0.05]), [1.2, 3.0, 1.5, 2.0, 1.1])
    assert [place.row for place in found] == [2, 1, 3, 0, 4]
    assert [place.alike for place in found] == [3, 1, 1, 3, 3]
    assert found[0].why == "one of 3 alike, like nothing answered yet"
    assert found[1].why == "like nothing answered yet"


def test_what_is_like_an_answer_comes_last_and_what_answers_dispute_does_not() -> None:
    rows = units([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])
    answered = units([1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0])
    found = asked(rows, [50.0, 2.0, 1.5], answered, (1.0, 1.0, 0.0))
    assert [(place.row, place.why) for place in found] == [
        (1, "between answers that disagree"),
        (2, "like nothing answered yet"),
        (0, "answers on such ones agree"),
    ]
    assert found[-1].interest == pytest.approx(0, abs=1e-5)
    # nobody disagrees: what is like nothing goes before
    assert [place.row for place in asked(rows, [50.0, 2.0, 1.5], answered, (1.0, 0.0, 0.0))] == [2, 0, 1]


def test_interest_grows_with_the_distance_to_answers_that_agree() -> None:
    found = [
        asked(units([1.0, slope]), [2.0], units([1.0, 0.0]), (0.0,))[0].interest for slope in (0.0, 0.1, 0.3, 0.6, 5.0)
    ]
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (pytest.approx(0, abs=1e-5), pytest.approx(2 / 3, abs=1e-3))


@pytest.mark.parametrize("score", [0.0, -1.0, 1e308, float("inf"), float("nan")])
def test_any_score_has_a_place(score: float) -> None:
    found = asked(units([1, 0], [0, 1]), [score, 1.5])
    assert sorted(place.row for place in found) == [0, 1]
    assert all(0 <= place.interest <= 1 for place in found)


def test_what_has_no_attribution_is_like_nothing() -> None:
    found = asked(np.zeros((3, 2)), [1.0, 2.0, 3.0], units([1, 0]), (1.0,))
    assert [(place.row, place.alike, place.reason) for place in found] == [(2, 1, "new"), (1, 1, "new"), (0, 1, "new")]
    assert asked(np.zeros((0, 0)), []) == []


ROWS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=3, max_size=3), st.sampled_from([1.0, 1.5, 9.0])
    ),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(alerts: Any, answers: Any, random: Any) -> None:
    def names(alerts: list[Any], answers: list[Any]) -> list[tuple[str, float, int, str]]:
        ids = [name for name, _ in alerts]
        known = units(*(row for row, _ in answers)) if answers else np.zeros((0, 3))
        mine = units(*(row for _, (row, _) in alerts)) if alerts else np.zeros((0, 3))
        scores = np.array([score for _, (_, score) in alerts])
        found = ordered(mine, scores, ids, known, np.array([float(score > 1) for _, score in answers]))
        assert sorted(place.row for place in found) == list(range(len(ids))), "each has one place"
        return [(ids[place.row], place.interest, place.alike, place.reason) for place in found]

    named = [(f"{number:02}", alert) for number, alert in enumerate(alerts)]
    told = names(named, answers)
    assert names(named, answers) == told
    assert names(random.sample(named, len(named)), random.sample(answers, len(answers))) == told


SIZES, SEEDS = (60, 30, 15, 8, 4, 2), range(10)
"""Kinds of alerts, most of them rare."""


def planted(seed: int) -> tuple[Floats, list[int], list[float], list[float]]:
    """Signatures, kinds and scores of alerts; and whether each kind is true. The scores say little of the kind."""
    random = np.random.default_rng(seed)
    rows, kinds, scores = [], [], []
    for kind, size in enumerate(SIZES):
        typical, level = random.dirichlet(np.full(12, 0.3)), random.uniform(1.2, 6)
        for _ in range(size):
            rows.append(list(np.clip(typical + random.normal(0, 0.02, 12), 0, None)))
            kinds.append(kind)
            scores.append(level * random.lognormal(0, 0.4))
    return units(*rows), kinds, scores, [float(said) for said in random.integers(0, 2, len(SIZES))]


def answers_until_each_kind_has_one(seed: int, by_queue: bool) -> int:
    signatures, kinds, scores, truths = planted(seed)
    left, said = list(range(len(scores))), list[int]()
    while {kinds[row] for row in said} != set(range(len(SIZES))):
        best = max(left, key=lambda row: scores[row])
        if by_queue:
            known = tuple(truths[kinds[row]] for row in said)
            best = left[asked(signatures[left], [scores[row] for row in left], signatures[said], known)[0].row]
        left.remove(best)
        said.append(best)
    return len(said)


def test_the_queue_reaches_every_kind_in_fewer_answers_than_the_score_does() -> None:
    queue, score = ([answers_until_each_kind_has_one(seed, by_queue) for seed in SEEDS] for by_queue in (True, False))
    print(f"answers until each of {len(SIZES)} kinds has one: queue {sorted(queue)}, by score {sorted(score)}")
    assert all(mine <= theirs for mine, theirs in zip(queue, score, strict=True))
    assert median(queue) <= len(SIZES) + 1
    assert median(score) > 5 * len(SIZES)


CPU = [episode(slot=slot, entity=f"web-{slot}") for slot in (100, 200, 300)]
DISK = episode(slot=400, moved={"disk": [10.0] * 12 + [2.0] * 4}, score=1.2)
EVENT = episode(slot=500, moved={"swap": [10.0] * 12 + [2.0] * 4}, explained_by_event={"id": "e"})
GONE = episode(slot=600, moved={"heap": [10.0] * 12 + [2.0] * 4}, state="retracted")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    keep(opened, *CPU, DISK, EVENT, GONE)
    triage_of(opened, TriageConfig(), Clock(at(1000))).all()
    yield opened
    opened.close()


def keep(database: Database, *alerts: Alert) -> None:
    store = Store(database)
    store.put_stream(StreamRow(LIVE, "fleet", STEP, {}))
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    store.save([Changes(LIVE, "fleet", 0, epoch, alerts=list(alerts))])


def test_over_the_api(database: Database) -> None:
    asking, answers = Asking(database, Clock(at(1000))), Answers.of(database, Clock(at(1000)))
    # of alerts that are alike and as strong, the first by id
    first, *others = sorted(CPU, key=lambda one: one.id)
    rows = asking.found("/review")
    assert [(row["id"], row["alike"]) for row in rows] == [
        (first.id, 3), (DISK.id, 1), *((one.id, 3) for one in others)
    ]  # fmt: skip
    assert rows[0]["why"] == "one of 3 alike, like nothing answered yet"
    assert (rows[0]["decision"]["reason"], rows[0]["stream"]) == ("confirmed", "fleet")
    said = answers.say(first, "feedback", "anna", answer="false")
    rows = asking.found("/review", stream="fleet", limit=2)
    assert [(row["id"], row["why"]) for row in rows] == [
        (DISK.id, "like nothing answered yet"), (others[0].id, "one of 2 alike, answers on such ones agree"),
    ]  # fmt: skip
    answers.say(others[1], "feedback", "anna", answer="true")
    assert [row["why"] for row in asking.found("/review")] == [
        "between answers that disagree", "like nothing answered yet",
    ], "it is the stronger one"  # fmt: skip
    answers.unsay(said.id, "anna")
    assert first.id in {row["id"] for row in asking.found("/review")}
    assert [row["id"] for row in asking.found("/review", days=0.08)] == [DISK.id], "of two hours"
    assert asking.found("/review", stream="nobody") == []
    for wrong in ({"days": 0}, {"limit": 0}, {"limit": 501}, {"run": "live"}):
        assert asking.get("/review", **wrong).status_code == 422


def test_an_answer_teaches_when_its_alert_is_kept_no_longer(database: Database) -> None:
    """By what it looked like then; and an answer on an incident is one on its alerts."""
    answers = Answers.of(database, Clock(at(1000)))
    incident = answers.incidents.find(answers.incidents.of_alerts([CPU[0].id])[CPU[0].id][0])
    answers.say(incident, "feedback", "anna", answer="expected")
    which = recent(answers.standings.reader, "fleet", 30)
    before = [(one.alert.id, one.place.why) for one in review(answers.standings, which, 10)]
    assert CPU[0].id not in dict(before)
    assert before[-1][1] == "one of 2 alike, answers on such ones agree"
    database.write(lambda c: c.exec_driver_sql("DELETE FROM alerts WHERE id = ?", (CPU[0].id,)))
    assert [(one.alert.id, one.place.why) for one in review(answers.standings, which, 10)] == before


def test_at_the_command_line(database: Database, tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "tsad.toml").write_text(f"database = {json.dumps(sqlite_url)}\n")
    rows = tsad(tmp_path, "feedback", "queue", "--limit", "2", "--json").json
    assert [row["why"] for row in rows] == ["one of 3 alike, like nothing answered yet", "like nothing answered yet"]
    assert rows[1]["alert"] == DISK.id[:12]
    table = tsad(tmp_path, "feedback", "queue", "--stream", "fleet").out
    assert "Review" in table
    assert "there is no stream 'x'" in tsad(tmp_path, "feedback", "queue", "--stream", "x").error
