"""Triage beside a stream that runs: with what workers write, while they write it, and with whatever names they have."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from storage.context import ContextEvents
from storage.engine import Database, open_database
from storage.events import ContextEvent
from storage.read import AlertFilter
from streaming.settings import SECOND
from tests.storage.stored_samples import at
from tests.tsad.asking import Asking
from tests.tsad.related_alerts import Desk, moved, outcome
from tests.tsad.streams import FIT_SLOTS, NOW, STREAM, ListApp, cells_with_anomalies, payloads
from tsad.rows import utc
from tsad.runner import Limits
from tsad.triage.following import triage_of
from tsad.triage.settings import TriageConfig

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
CONFIG = TriageConfig.model_validate({"gap": "30m", "correlation": 0.7})
HOSTILE = [
    "", " ", "<script>alert(1)</script>", "a\x00b", "\ud800", "\x1b[31mred", "x" * 900, "%", "_",
    "'; DROP TABLE alerts", "\u202egnp.exe", "INC-1", "a|b|c", "{}", "\n\n",
]  # fmt: skip


def ticking(app: ListApp) -> ListApp:
    """Each look at the clock is a second later."""
    seconds = count(NOW, SECOND)
    app.clock = lambda: next(seconds)
    return app


@pytest.fixture(scope="module")
def finished(make_shared: Any) -> dict[str, Any]:
    """What comes of alerts when all are there."""
    app = ticking(make_shared({"telemetry": LIVE}))
    app.runner(STREAM, {}, limits=Limits()).run()
    triage_of(app.database, CONFIG, app.now).all()
    found = outcome(app.database, "opened_at")
    assert len(found["placed"]) > 3
    assert len(found["incidents"]) > 1
    return found


@pytest.mark.parametrize(("poll", "at_once"), [(60, 1000), (200, 1)])
def test_incidents_that_grow_are_those_of_a_finished_stream(
    make_shared: Any, finished: dict[str, Any], poll: int, at_once: int
) -> None:
    """A pass between any two polls, over all that has changed or one alert at a time; explanations come late."""
    app = ticking(make_shared({"telemetry": LIVE}))
    triage, taken = triage_of(app.database, CONFIG, app.now), list[int]()

    def between() -> bool:
        taken.append(triage.once(at_once=at_once).alerts)
        return False

    assert app.runner(STREAM, {}, limits=Limits(poll=poll, explain_per_poll=1)).run(between)
    triage.all()
    assert sum(taken) > 2, "alerts were taken up while they changed"
    assert outcome(app.database, "opened_at") == finished


def test_every_alert_that_stands_is_in_one_incident(make_shared: Any) -> None:
    app = ticking(make_shared({"telemetry": LIVE}))
    app.runner(STREAM, {}, limits=Limits()).run()
    triage = triage_of(app.database, CONFIG, app.now)
    done = triage.all()
    alerts = app.reader.alerts(AlertFilter(limit=None))
    assert done.alerts == len(alerts)
    asking = Asking(app.database)
    listed = asking.found("/incidents", limit=500)["items"]
    members = [one["id"] for row in listed for one in asking.found(f"/incidents/{row['id']}")["members"]]
    assert sorted(members) == sorted(one.id for one in alerts if one.state != "retracted")
    for row in listed:
        whole = asking.found(f"/incidents/INC-{row['number']}")
        assert whole["first_time"] == min(one["first_time"] for one in whole["members"])
        assert whole["last_time"] == max(one["last_time"] for one in whole["members"])
        assert whole["score"] == max(one["score"] for one in whole["members"])
        assert whole["entity"] in {one["entity"] for one in whole["members"]}
        assert {one["entity"] for one in whole["suspects"]} <= {one["entity"] for one in whole["members"]}
    assert not triage.once().alerts, "nothing is new"


@pytest.fixture
def opened(sqlite_url: str) -> Iterator[Database]:
    database = open_database(sqlite_url)
    yield database
    database.close()


def test_names_from_outside_are_kept_as_they_are(opened: Database) -> None:
    """Whatever an entity, a channel or a log line is called: told in full to programs, on one line to people."""
    desk = Desk(opened)
    for place, name in enumerate(HOSTILE):
        said = name.encode("utf-8", "replace").decode()  # as it comes out of the decoder
        desk.save(moved(name, 100 * place, {said or "none": 100 * place, "log.new": 100 * place}, said=[said]))
    desk.triage.all()
    asking = Asking(opened)
    listed = asking.found("/incidents", limit=500)["items"]
    assert len(listed) == len(HOSTILE)
    for row in listed:
        whole = asking.found(f"/incidents/{row['id']}")
        assert whole["members"][0]["entity"] == row["entity"]
        assert row["title"].isprintable()
        assert len(row["title"]) < 300
        found = asking.found("/incidents", entity=row["entity"], limit=500)["items"]
        assert [one["id"] for one in found] == [row["id"]]


def test_values_that_are_no_numbers_are_outlived(opened: Database) -> None:
    """Evidence without a value, without a range, all of it at once."""
    desk = Desk(opened)
    nothing = moved("a", 10, {"cpu": 10})
    nothing.evidence.update(observed=[[None] * 16], lower=[None], upper=[None], contributions=[["cpu", None]])
    flat = moved("b", 200, {"cpu": 200})
    flat.evidence.update(observed=[[0.5] * 16])
    short = moved("c", 400, {"cpu": 400})
    short.evidence.update(observed=[[9.0]])
    empty = replace(moved("d", 600, {"cpu": 600}), evidence={}, attribution={"cpu": float("nan"), "io": -1.0})
    assert desk.told(nothing, flat, short, empty) == [["a"], ["b"], ["c"], ["d"]]
    assert [row["title"] for row in desk.rows()] == [
        "a: cpu and 1 more channel move",
        "b: cpu moves",
        "c: cpu rises",
        "d: something is unusual",
    ]


def test_a_deploy_that_explains_an_alert_opens_no_incident(make_shared: Any) -> None:
    """The event is told before the stream runs; what it explains away is in no incident."""
    app = ticking(make_shared({"telemetry": LIVE}, context={"rules": [{"kind": "deploy"}], "after": "12h"}))
    events = ContextEvents(app.database, app.now)
    events.add(STREAM, [ContextEvent("deploy", utc(1_700_000_000 * SECOND), None, None, "shop 9")])
    app.runner(STREAM, {}, limits=Limits()).run()
    triage_of(app.database, CONFIG, app.now).all()
    alerts = app.reader.alerts(AlertFilter(limit=None))
    explained = {one.id for one in alerts if one.explained_by_event}
    assert explained
    placed = outcome(app.database)["placed"]
    assert {name for name, (incident, *_) in placed.items() if incident is None} == explained
    assert at(0).tzinfo is not None
