"""The API says what the database holds: lists, pages, one alert with why, and what belongs to a stream."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from storage.events import ContextEvent
from storage.read import AlertFilter, Reader
from tests.tsad.asking import Asking
from tests.tsad.streams import FIT_SLOTS, STREAM, ListApp, cells_with_anomalies, payloads, run_through
from tsad.rows import utc
from tsad.runner import Limits

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)


@pytest.fixture(scope="module")
def app(make_shared: Any) -> ListApp:
    """A stream with alerts, two broken records, and an event. Not to be changed."""
    app: ListApp = make_shared({"telemetry": [*LIVE[:9], b"{", b"\xff", *LIVE[9:]]})
    run_through(app, Limits())
    app.context_events.add(STREAM, [ContextEvent("deploy", utc(10**18), None, None, "shop 9", {}, "file")])
    return app


@pytest.fixture(scope="module")
def asking(app: ListApp) -> Iterator[Asking]:
    found = Asking(app.database)
    with found.client:
        yield found


def test_alerts_are_those_of_the_database(app: ListApp, asking: Asking) -> None:
    known = {one.id: one for one in app.reader.alerts(AlertFilter(limit=None))}
    assert len(known) > 3
    page = asking.found("/alerts", limit=500)
    assert page["next_cursor"] is None
    assert {row["id"] for row in page["items"]} == set(known)
    for row in page["items"]:
        alert = known[row["id"]]
        assert (row["entity"], row["state"], row["severity"]) == (alert.entity, alert.state, alert.severity)
        assert (row["score"], row["p"]) == (alert.score, alert.p)
        assert datetime.fromisoformat(row["first_time"]) == alert.first_time
        assert row["sentence"] == alert.sentence
        assert [part["share"] for part in row["features"]] == sorted(alert.attribution.values(), reverse=True)[:3]
    times = [row["first_time"] for row in page["items"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("sort", ["-first_time", "first_time", "-score", "score"])
def test_pages_are_turned_by_their_cursor(asking: Asking, sort: str) -> None:
    whole = [row["id"] for row in asking.found("/alerts", sort=sort, limit=500)["items"]]
    turned, cursor = list[str](), {}
    while True:
        page = asking.found("/alerts", sort=sort, limit=2, **cursor)
        turned += [row["id"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert turned == whole


def test_alerts_are_filtered(app: ListApp, asking: Asking) -> None:
    def known(**which: Any) -> set[str]:
        return {one.id for one in app.reader.alerts(AlertFilter(limit=None, **which))}

    def found(**query: Any) -> set[str]:
        return {row["id"] for row in asking.found("/alerts", limit=500, **query)["items"]}

    assert found(entity="b") == known(entity="b") != set()
    assert found(state=["resolved", "open"]) == known(states=["resolved", "open"])
    assert found(severity="critical") == known(severities=["critical"])
    middle = sorted(one.first_time for one in app.reader.alerts(AlertFilter(limit=None)))[2]
    assert found(since=middle.isoformat()) == known(since=middle)
    assert found(until=middle.isoformat()) == known(until=middle) != set()
    assert found(stream="nothing") == found(run="past") == found(entity="b\0%' or 1=1 --") == set()


def test_a_time_may_lie_at_the_end_of_the_calendar(app: ListApp, asking: Asking) -> None:
    whole = len(app.reader.alerts(AlertFilter(limit=None)))
    for query in ({"since": "0001-01-01T00:00:00+23:00"}, {"until": "9999-12-31T23:59:59-23:00"}):
        assert len(asking.found("/alerts", limit=500, **query)["items"]) == whole
    for query in ({"until": "0001-01-01T00:00:00+23:00"}, {"since": "9999-12-31T23:59:59-23:00"}):
        assert asking.found("/alerts", **query)["items"] == []


def test_one_alert_says_why(app: ListApp, asking: Asking) -> None:
    alert = max((one for one in app.reader.alerts(AlertFilter(limit=None))), key=lambda one: one.score)
    told = asking.found(f"/alerts/{alert.id}")
    assert told == asking.found(f"/alerts/{alert.id[:10]}")
    assert {name: vote["voted"] for name, vote in told["votes"].items()} == {
        name: vote["voted"] for name, vote in alert.votes.items()
    }
    assert {part["feature"]: part["share"] for part in told["attribution"]} == alert.attribution
    parts = [part for part in told["explanations"] if part["target"] == "decision"]
    peak = [part for part in parts if part["time"] == parts[0]["time"]]
    summed = peak[0]["base"] + sum(part["value"] for part in peak) + peak[0]["residual"]
    assert summed == pytest.approx(peak[0]["score"], rel=1e-5)
    assert told["explained"] is True


def test_an_alert_has_the_channels_of_its_picture(app: ListApp, asking: Asking) -> None:
    alert = max((one for one in app.reader.alerts(AlertFilter(limit=None))), key=lambda one: one.score)
    told = asking.found(f"/alerts/{alert.id}/series")
    assert told["step_seconds"] == 60
    assert datetime.fromisoformat(told["end_time"]) == utc(alert.evidence["slot"] * 60 * 10**9)
    assert [channel["feature"] for channel in told["channels"]] == alert.evidence["features"]
    assert [channel["observed"] for channel in told["channels"]] == alert.evidence["observed"]
    assert all(len(channel["observed"]) == len(told["channels"][0]["observed"]) for channel in told["channels"])


def test_an_alert_that_is_not_explained_has_no_channels_yet(make_app: Any) -> None:
    app: ListApp = make_app({"telemetry": LIVE})
    runner = app.runner(STREAM, {}, limits=Limits(explain_per_poll=0))
    while runner.step() and not app.reader.alerts():
        pass
    (alert, *_) = app.reader.alerts()
    asking = Asking(app.database)
    assert asking.found(f"/alerts/{alert.id}")["explained"] is False
    answer = asking.get(f"/alerts/{alert.id}/series")
    assert answer.status_code == 409
    assert answer.json()["detail"] == "there are no curves: it waits to be explained, or is of a session"


def test_a_stream_tells_how_far_it_has_come(app: ListApp, asking: Asking) -> None:
    (listed,) = asking.found("/streams")
    told = asking.found(f"/streams/{STREAM}")
    active = app.models.active(STREAM)
    assert active is not None
    assert listed == {name: told[name] for name in listed}
    assert (listed["stream"], listed["step_seconds"], listed["model_version"]) == (STREAM, 60, active.version)
    health = Reader(app.database).health(STREAM)
    assert told["alerts"] == health["alerts"]
    (partition,) = told["partitions"]
    assert partition["counts"] == health["partitions"][0]["counts"]
    assert datetime.fromisoformat(partition["closed_until"]) == utc(health["partitions"][0]["next_slot"] * 60 * 10**9)


def test_what_belongs_to_a_stream(app: ListApp, asking: Asking) -> None:
    first = asking.found("/entities", stream=STREAM, limit=2)
    rest = asking.found("/entities", stream=STREAM, cursor=first["next_cursor"])
    assert [row["entity"] for row in [*first["items"], *rest["items"]]] == ["a", "b", "c"]
    assert [row["entity"] for row in asking.found("/entities", stream=STREAM, contains="B")["items"]] in ([], ["b"])
    scored = asking.found("/scores", stream=STREAM, entity="b", limit=500)
    assert [row["score"] for row in scored["slots"]] == [row["score"] for row in app.reader.scores(STREAM, "b")][:500]
    assert scored["hours"][0]["count"] == app.reader.rollups(STREAM, "b")[0]["count"]
    (model,) = asking.found("/models", stream=STREAM)
    assert model["state"] == "active"
    (event,) = asking.found("/context-events", stream=STREAM)
    assert (event["kind"], event["title"], event["entity"]) == ("deploy", "shop 9", None)
    letters = asking.get("/dead-letters", "responder", stream=STREAM).json()
    assert [row["payload"] for row in letters["items"]] == ["{", "\\xff"]


@pytest.mark.parametrize("path", ["/entities?", "/scores?entity=b&", "/context-events?", "/dead-letters?"])
def test_a_stream_that_is_not_there_is_named(asking: Asking, path: str) -> None:
    answer = asking.client.get(f"/api/v1{path}stream=nothing", headers=asking.bearer("admin"))
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"stream: run 'live' has no stream 'nothing'; it has: {STREAM}"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/alerts?limit=0", "query.limit: Input should be greater than or equal to 1, got '0'"),
        ("/alerts?limit=501", "query.limit: Input should be less than or equal to 500, got '501'"),
        ("/alerts?state=closed", "query.state.0: Input should be 'open', 'confirmed', 'retracted' or 'resolved'"),
        ("/alerts?sort=entity", "query.sort: Input should be '-first_time', 'first_time', '-score' or 'score'"),
        ("/alerts?since=2026-01-05T00:00:00", "query.since: Input should have timezone info"),
        ("/alerts?entitty=b&entity=b", "query.entitty: there is no such parameter; there are: cursor, entity, limit"),
        ("/me?x=1", "query.x: there is no such parameter; there are: none"),
        ("/alerts?entity=a&entity=b", "query.entity: one value is needed, got 2"),
        ("/alerts/xyz", "path.alert: String should match pattern"),
        ("/scores?stream=machines", "query.entity: Field required"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(asking: Asking, path: str, said: str) -> None:
    answer = asking.client.get(f"/api/v1{path}", headers=asking.bearer("viewer"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["detail"].startswith(said), problem
    assert problem["title"] == "Unprocessable Content" or problem["title"] == "Unprocessable Entity"
    assert problem["errors"][0]["field"] == said.split(": ", maxsplit=1)[0]


def test_a_cursor_of_another_order_is_refused(asking: Asking) -> None:
    cursor = asking.found("/alerts", limit=1)["next_cursor"]
    for made_up in ({"cursor": cursor, "sort": "-score"}, {"cursor": "nonsense"}, {"cursor": "W10"}, {"cursor": "\0"}):
        answer = asking.get("/alerts", limit=1, **made_up)
        assert answer.status_code == 404
        assert answer.json()["errors"][0]["field"] == "query.cursor"


@pytest.mark.parametrize(("path", "status"), [("/alerts/abcdef012345", 404), ("/nothing", 404), ("/", 404)])
def test_what_is_not_there_is_a_problem_too(asking: Asking, path: str, status: int) -> None:
    answer = asking.get(path)
    assert (answer.status_code, answer.json()["status"], answer.json()["type"]) == (status, status, "about:blank")
    refused = asking.client.post("/api/v1/alerts", headers=asking.bearer("viewer"))
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
    assert refused.headers["content-type"] == "application/problem+json"
