"""Marks, feedback, rules, calendars and events over the API: each acts at once, and leaves a row in the chain."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from triaged import STEP, at, episode

from storage.engine import Database
from storage.leases import Leases
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tests.storage.stored_samples import Clock
from tests.tsad.asking import Asking
from tsad.api.application import PREFIX
from tsad.triage.standing import Standings

FIRST, SECOND = episode(slot=100), episode(slot=300, entity="web-2")
OTHER = episode(slot=400, moved={"disk": [10.0] * 12 + [2.0] * 4})


@pytest.fixture
def clock() -> Clock:
    return Clock(at(1000))


@pytest.fixture
def asking(database: Database, clock: Clock) -> Iterator[Asking]:
    keep(database, FIRST, SECOND, OTHER)
    Standings.of(database, clock).again()
    yield Asking(database, clock)


def keep(database: Database, *alerts: Alert) -> None:
    store = Store(database)
    store.put_stream(StreamRow(LIVE, "fleet", STEP, {}))
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    store.save([Changes(LIVE, "fleet", 0, epoch, alerts=list(alerts))])


def told(asking: Asking) -> dict[str, str]:
    """Why each alert stands as it does, by its first slot."""
    rows = asking.found("/alerts", sort="first_time")["items"]
    return {str(row["first_time"])[11:16]: f"{row['decision']['standing']} {row['decision']['reason']}" for row in rows}


def ask(asking: Asking, method: str, path: str, role: Any = "responder", body: Any = None, **query: Any) -> Any:
    return asking.client.request(
        method, f"{PREFIX}{path}", json=body, params=query, headers=asking.bearer(role)
    )  # fmt: skip


def made(asking: Asking, *told: Any, status: int = 200, **query: Any) -> Any:
    answer = ask(asking, *told, **query)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def test_a_false_alert_takes_what_is_like_it_along_until_that_is_undone(asking: Asking, database: Database) -> None:
    before = {"01:40": "notify confirmed", "05:00": "notify confirmed", "06:40": "notify confirmed"}
    assert told(asking) == before
    said = {"kind": "feedback", "answer": "false", "note": "backup <b>"}
    mark = made(asking, "POST", f"/alerts/{FIRST.id}/marks", "responder", said, status=201)
    assert (mark["by"], mark["note"], mark["answer"]) == ("a responder", "backup <b>", "false")
    assert told(asking) == before | {"01:40": "suppress answered", "05:00": "suppress alike"}
    assert asking.found(f"/alerts/{SECOND.id}")["decision"]["rule"] == mark["id"]
    assert [row["id"] for row in asking.found("/alerts", standing="suppress")["items"]] == [SECOND.id, FIRST.id]
    # what comes later is held back when it is looked at, by whoever does that
    later = episode(slot=600, entity="web-3")
    keep(database, later)
    assert [row.reason for row in Standings.of(database, Clock(at(1000))).settle([later])] == ["alike"]
    assert made(asking, "DELETE", f"/marks/{mark['id']}")["undone_by"] == "a responder"
    assert told(asking) == before | {"10:00": "notify confirmed"}
    assert [row["undone_at"] is None for row in asking.found(f"/alerts/{FIRST.id}/marks")] == [False]
    assert ask(asking, "DELETE", f"/marks/{mark['id']}").status_code == 404


def test_acknowledge_snooze_close_and_reopen(asking: Asking, clock: Clock) -> None:
    place = f"/alerts/{FIRST.id}/marks"
    said = [
        ({"kind": "acknowledge"}, "notify acknowledged"),
        ({"kind": "snooze", "until": (clock.now + timedelta(hours=1)).isoformat()}, "hold snoozed"),
        ({"kind": "close"}, "suppress closed"),
        ({"kind": "reopen"}, "hold snoozed"),
    ]
    for body, standing in said:
        made(asking, "POST", place, "responder", body, status=201)
        clock.now += timedelta(minutes=1)
        assert told(asking)["01:40"] == standing
    clock.now += timedelta(hours=1)
    made(asking, "POST", place, "responder", {"kind": "note", "note": "back"}, status=201)
    assert told(asking)["01:40"] == "notify acknowledged"
    assert [row["kind"] for row in asking.found(place)] == ["acknowledge", "snooze", "close", "reopen", "note"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "feedback"}, "an answer belongs to feedback"),
        ({"kind": "close", "answer": "true"}, "an answer belongs to feedback"),
        ({"kind": "snooze"}, "an end belongs to a snooze"),
        ({"kind": "snooze", "until": "2020-01-01T00:00:00Z"}, "is over already"),
        ({"kind": "like"}, "body.kind"),
        (
            {"kind": "note", "text": "x"},
            "Extra inputs are not permitted; there are: kind, answer, until, note, got 'x'",
        ),
        ({"kind": "note"}, "a note needs words, got note = ''"),
        ({"kind": "note", "note": " \n"}, "a note needs words"),
        ({"kind": "note", "note": "x" * 10_001}, "body.note"),
    ],
)
def test_what_cannot_be_said_is_refused(asking: Asking, body: dict[str, Any], said: str) -> None:
    answer = ask(asking, "POST", f"/alerts/{FIRST.id}/marks", "responder", body)
    assert answer.status_code == 422
    assert said in answer.text
    assert asking.found(f"/alerts/{FIRST.id}/marks") == []


@pytest.mark.parametrize(
    ("book", "said"),
    [
        (
            {"rules": [{"name": "a", "foo": 1}]},
            "body.rulebook.rules.0.foo: Extra inputs are not permitted; there are: name, ",
        ),
        (
            {"rules": [{"name": "a"}, {"name": "b", "like": {"x": 1}}]},
            "body.rulebook.rules.1.like.x: Extra inputs are not",
        ),
        ({"notify_on": "x"}, "body.rulebook.notify_on: Input should be 'open' or 'confirmed', got 'x'"),
        (
            {"rule": []},
            "body.rulebook.rule: Extra inputs are not permitted; there are: notify_on, reopen, rules, got []",
        ),
        ({"reopen": "soon"}, "'2d' is needed, got 'soon'"),
        ({"rules": 5}, "body.rulebook.rules: "),
        (5, "body.rulebook: "),
    ],
)
def test_what_is_wrong_with_rules_is_told_by_its_place(asking: Asking, book: Any, said: str) -> None:
    told = ask(asking, "PUT", "/rules", "admin", {"rulebook": book}).json()["detail"]
    assert said in told
    assert told.count("got 'soon'") <= 1
    assert asking.found("/rules")["version"] == 0


def test_what_is_no_json_is_called_so(asking: Asking) -> None:
    headers = asking.bearer("admin") | {"Content-Type": "application/json"}
    answer = asking.client.put(f"{PREFIX}/rules", content=b'{"rulebook": ', headers=headers)
    assert answer.json()["errors"] == [{"field": "body", "detail": "no JSON: Expecting value, at character 13"}]


def test_rules_are_tried_applied_and_taken_back(asking: Asking) -> None:
    assert asking.found("/rules") == {
        "version": 0, "at": None, "since": None, "by": "", "cause": "", "undoes": None,
        "rulebook": {"notify_on": "open", "reopen": "0s", "rules": []},
    }  # fmt: skip
    book = {"rules": [{"name": "only up", "direction": "up", "min_duration": "2m"}]}
    seen = made(asking, "POST", "/rules/preview", "viewer", book)
    assert seen["looked_at"] == 3
    assert [(row["alert"], row["reason"], row["rule"]) for row in seen["vanish"]] == [
        (OTHER.id, "direction", "only up")
    ]
    assert (seen["appear"], seen["lost"]) == ([], [])
    assert told(asking)["06:40"] == "notify confirmed"
    first = made(asking, "PUT", "/rules", "admin", {"rulebook": book, "cause": "too many"})
    assert (first["version"], first["by"], first["cause"]) == (1, "a admin", "too many")
    assert first["rulebook"]["rules"][0]["min_duration"] == "120s"
    assert told(asking)["06:40"] == "suppress direction"
    assert ask(asking, "POST", "/rules/undo", "admin", {"version": 7}).status_code == 409
    second = made(asking, "POST", "/rules/undo", "admin", {"version": 1})
    assert (second["version"], second["undoes"], second["rulebook"]["rules"]) == (2, 1, [])
    assert told(asking)["06:40"] == "notify confirmed"
    assert [row["version"] for row in asking.found("/rules/versions")] == [2, 1]
    assert asking.found("/rules") == second


def test_answers_speak_for_rules_which_nobody_applies_but_a_person(asking: Asking, database: Database) -> None:
    small: list[Alert] = [
        episode(slot=slot, entity=f"e{slot}", moved={"cpu": [10.0] * 12 + [12.0 + slot / 1000] * 4})
        for slot in (500, 700)
    ]
    keep(database, *small)
    answers = {small[0].id: "false", small[1].id: "expected", FIRST.id: "true", OTHER.id: "false"}
    for alert, answer in answers.items():
        body = {"kind": "feedback", "answer": answer}
        made(asking, "POST", f"/alerts/{alert}/marks", "responder", body, status=201)
    least, like = asking.found("/feedback/proposals", days=30)
    assert (least["rule"]["features"], least["rule"]["min_deviation"]) == (
        ["cpu"],
        pytest.approx(1.05 * 2.7, abs=0.001),
    )
    assert least["why"] == "2 alerts led by cpu were none, and went at most 2.7 off; the 1 true ones went 10 and more"
    assert sorted(least["alerts"]) == sorted(one.id for one in small)
    assert (least["preview"]["lost"], least["preview"]["vanish"]) == ([], [])  # their own answers hold them back
    assert (like["rule"]["mute"], like["alerts"]) == (True, [OTHER.id])
    # a rule that hides what somebody said is true says so
    seen = made(asking, "POST", "/rules/preview", "viewer", {"rules": [{"name": "all", "mute": True}]})
    assert [row["alert"] for row in seen["lost"]] == [FIRST.id]
    assert asking.found("/rules")["version"] == 0


def test_a_maintenance_window_holds_back_what_lies_in_it(asking: Asking) -> None:
    window = {"name": "upgrade", "start": "2026-03-01T06:00:00", "end": "2026-03-01T07:00:00", "entity": "web-*"}
    made(asking, "PUT", "/calendars/upgrade", "responder", window)
    assert told(asking) == {
        "01:40": "notify confirmed", "05:00": "notify confirmed", "06:40": "suppress maintenance",
    }  # fmt: skip
    [entry] = asking.found("/calendars")
    assert (entry["by"], entry["calendar"]["entity"], entry["calendar"]["rrule"]) == ("a responder", "web-*", None)
    assert entry["next"] == [], "it is over: the clock says 16:40"
    nightly = {"name": "n", "start": "2026-02-01T02:00", "rrule": "FREQ=DAILY", "duration": "1h"}
    kept = made(asking, "PUT", "/calendars/n", "responder", nightly | {"timezone": "Europe/Berlin"})
    assert [one["start"] for one in kept["next"]] == [f"2026-03-0{day}T02:00:00+01:00" for day in (2, 3, 4)]
    assert [row["next"] == kept["next"] for row in asking.found("/calendars")] == [True, False]
    assert ask(asking, "PUT", "/calendars/other", "responder", window).status_code == 422
    assert ask(asking, "PUT", "/calendars/upgrade", "viewer", window).status_code == 403
    made(asking, "DELETE", "/calendars/upgrade", status=204)
    assert told(asking)["06:40"] == "notify confirmed"
    assert ask(asking, "DELETE", "/calendars/upgrade").status_code == 404


def test_rules_that_were_made_of_an_older_version_are_refused(asking: Asking) -> None:
    """Two who change them at once: the second one sees what the first one did."""
    assert made(asking, "PUT", "/rules", "admin", {"rulebook": {}, "after": 0})["version"] == 1
    late = ask(asking, "PUT", "/rules", "admin", {"rulebook": {"notify_on": "confirmed"}, "after": 0})
    assert (late.status_code, late.json()["detail"]) == (409, "version 0 of the rules is not the newest, which is 1")
    assert made(asking, "PUT", "/rules", "admin", {"rulebook": {}, "after": 1})["version"] == 2


def test_a_fault_names_the_field_of_the_rule(asking: Asking) -> None:
    rules = [{"name": "a"}, {"name": "b", "min_score": 0, "features": ["x", 1]}]
    for path, method, body, place in (
        ("/rules", "PUT", {"rulebook": {"rules": rules}}, "body.rulebook.rules"),
        ("/rules/preview", "POST", {"rules": rules}, "body.rules"),
    ):
        told = ask(asking, method, path, "admin", body)
        assert told.status_code == 422
        assert {one["field"] for one in told.json()["errors"]} == {f"{place}.1.min_score", f"{place}.1.features.1"}


def test_an_event_is_told_once(asking: Asking) -> None:
    event = {"kind": "deploy", "start": "2026-03-01T01:39:00Z", "title": "shop <9>", "entity": "web-*"}
    first = made(asking, "POST", "/context-events", "responder", event, status=201, stream="fleet")
    again = made(asking, "POST", "/context-events", "responder", event, status=201, stream="fleet")
    assert first == again
    [seen] = asking.found("/context-events", stream="fleet")
    assert (seen["id"], seen["source"], seen["title"]) == (first["id"], "api: a responder", "shop <9>")
    wrong = event | {"end": "2026-03-01T01:00:00Z"}
    assert ask(asking, "POST", "/context-events", "responder", wrong, stream="fleet").status_code == 422
    assert ask(asking, "POST", "/context-events", "responder", event, stream="nobody").status_code == 404


def test_whoever_changed_something_is_in_the_chain(asking: Asking) -> None:
    made(asking, "POST", f"/alerts/{FIRST.id}/marks", "responder", {"kind": "close"}, status=201)
    made(asking, "PUT", "/rules", "admin", {"rulebook": {}})
    rows = asking.get("/acts", "admin").json()
    # tokens are made when they are first needed
    assert [(row["by"], row["action"]) for row in rows] == [
        ("a admin", "apply rules"), ("", "add token"), ("a responder", "mark close"), ("", "add token"),
    ]  # fmt: skip
    assert rows[2]["target"] == f"alert:{FIRST.id}"
    older = asking.get("/acts", "admin", before=rows[1]["sequence"], limit=1).json()
    assert older == rows[2:3]
    verdict = asking.get("/acts/verification", "admin").json()
    assert verdict == {"rows": 4, "head": rows[0]["hash"], "fault": None}
    assert "tsad_" not in str(rows)


def test_a_database_that_is_broken_is_no_missing_alert(asking: Asking, database: Database) -> None:
    import sqlalchemy as sa

    assert asking.get("/alerts/abcdef").status_code == 404
    database.write(lambda connection: connection.execute(sa.text("ALTER TABLE alerts RENAME TO gone")))
    assert asking.get("/alerts/abcdef").status_code == 503
