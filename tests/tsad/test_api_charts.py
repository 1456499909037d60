"""What a dashboard draws: standings, counts over time, the heat map, similar alerts, history, near misses."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.engine import Database, open_database
from storage.leases import Leases
from storage.read import AlertFilter
from storage.store import Store
from storage.types import Alert, Checkpoint, EntityRow, Rollup, ScoreRow, StreamRow
from tests.storage.stored_samples import START, Clock, alert, at, empty
from tests.tsad.asking import Asking
from tests.tsad.streams import FEATURES, FIT_SLOTS, STREAM, ListApp, cells_with_anomalies, payloads, run_through
from tsad.runner import Limits

MINUTE = 60 * 10**9
FIRST = int(START.timestamp()) // 60


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    Leases(database, Clock()).acquire("fleet", [0, 1], "host-a")
    made = Store(database, Clock(at(60)))
    made.put_stream(StreamRow("live", "fleet", MINUTE, {}))
    return made


@pytest.fixture
def asking(database: Database) -> Iterator[Asking]:
    found = Asking(database, Clock(at(70)))
    with found.client:
        yield found


def kept(store: Store, *alerts: Alert, **changes: Any) -> None:
    store.save([empty(alerts=list(alerts), **changes)])


def moment(said: str) -> datetime:
    return datetime.fromisoformat(said)


def test_the_overview_says_how_streams_stand(store: Store, asking: Asking) -> None:
    counts = {"late": 3, "duplicates": 2, "evicted": 1, "dead:broken_json": 4, "dead:too_late": 5}
    counts |= {"unknown:gpu": 700, "sessions": 30}
    store.save(
        [
            empty(
                checkpoint=Checkpoint({}, FIRST + 50, counts), alerts=[alert("a", 40), alert("b", severity="critical")]
            ),
            empty(1, checkpoint=Checkpoint({}, FIRST + 55, {"late": 1})),
        ]
    )
    told = asking.found("/overview")
    assert moment(told["now"]) == at(70)
    assert moment(told["until"]) == at(55)
    assert told["open"] == {"warning": 1, "critical": 1}
    (fleet,) = told["streams"]
    assert (fleet["stream"], fleet["partitions"], fleet["open"]) == ("fleet", 2, 2)
    assert (fleet["late"], fleet["duplicates"], fleet["dead_letters"]) == (4, 2, 9)
    assert moment(fleet["closed_until"]) == at(50)
    assert (moment(fleet["saved_at"]), fleet["lag_seconds"]) == (at(60), 600)
    assert asking.found("/overview", stream="nothing")["streams"] == []


def test_before_anything_ran_there_is_nothing_and_no_error(asking: Asking) -> None:
    told = asking.found("/overview")
    assert (told["open"], told["streams"], moment(told["until"])) == ({}, [], at(70))
    assert asking.found("/alert-counts")["buckets"] == []
    assert asking.found("/heat-map")["rows"] == []


def test_a_stream_that_never_saved_is_shown_too(store: Store, asking: Asking) -> None:
    (fleet,) = asking.found("/overview")["streams"]
    assert (fleet["partitions"], fleet["closed_until"], fleet["saved_at"], fleet["lag_seconds"]) == (
        0,
        None,
        None,
        None,
    )


def test_alerts_are_counted_by_stretches_that_suit_the_time(store: Store, asking: Asking) -> None:
    kept(
        store, alert("a", 1), alert("b", 2), alert("a", 200, severity="critical"),
        entities=[EntityRow("a", {}, FIRST, FIRST + 200)],
    )  # fmt: skip
    told = asking.found("/alert-counts")
    assert (moment(told["since"]), told["bucket_seconds"]) == (at(0), 300)
    assert moment(told["until"]) == at(200) + timedelta(seconds=1)
    assert [(moment(one["start"]), one["counts"]) for one in told["buckets"]] == [
        (at(0), {"warning": 2}), (at(200), {"critical": 1}),
    ]  # fmt: skip
    week = asking.found("/alert-counts", since=at(-6 * 1440).isoformat(), until=at(1440).isoformat())
    assert week["bucket_seconds"] == 3 * 3600
    assert asking.found("/alert-counts", entity="b")["buckets"][0]["counts"] == {"warning": 1}
    ages = asking.found("/alert-counts", since="0001-01-01T00:00:00Z", until="9999-12-31T00:00:00Z")
    assert len(ages["buckets"]) <= 120
    assert sum(sum(one["counts"].values()) for one in ages["buckets"]) == 3
    assert asking.found("/alert-counts", since=at(5).isoformat(), until=at(1).isoformat())["buckets"] == []


def test_the_heat_map_begins_with_who_alerts_most(store: Store, asking: Asking) -> None:
    names = ("a", "b", "c")
    hours = [
        Rollup(name, at(60 * hour), 0.4 + place * (hour == 1), 0.2, 60)
        for place, name in enumerate(names)
        for hour in range(3)
    ]
    kept(
        store, alert("b", 65), alert("b", 100), alert("c", 70), rollups=hours,
        entities=[EntityRow(name, {}, FIRST, FIRST + 170) for name in names],
        checkpoint=Checkpoint({}, FIRST + 180, {}),
    )  # fmt: skip
    told = asking.found("/heat-map", stream="fleet")
    assert (moment(told["since"]), told["bucket_seconds"]) == (at(0), 3600)
    rows = [(row["entity"], row["alerts"], row["rate"], row["maxima"]) for row in told["rows"]]
    assert [row[:2] for row in rows] == [("b", 2), ("c", 1), ("a", 0)]
    assert [row[2] for row in rows] == pytest.approx([1 / 3, 1 / 3, 0])
    assert rows[1][3] == pytest.approx([0.4, 2.4, 0.4])
    assert [row["entity"] for row in asking.found("/heat-map", limit=1)["rows"]] == ["b"]
    part = asking.found("/heat-map", since=at(60).isoformat(), until=at(120).isoformat())
    assert part["rows"][0]["maxima"] == pytest.approx([1.4])


def test_similar_alerts_are_those_of_like_features_before_it(store: Store, asking: Asking) -> None:
    def one(slot: int, **attribution: float) -> Alert:
        return alert(f"web-{slot}", slot, attribution=attribution, explanation="done")

    kept(
        store,
        one(10, cpu=1.0),
        one(20, cpu=0.9, memory=0.1),
        one(30, disk=1.0),
        one(40, cpu=0.8, memory=0.2),
        one(50, cpu=1.0),
    )
    (asked,) = (row for row in asking.found("/alerts")["items"] if row["entity"] == "web-40")
    told = asking.found(f"/alerts/{asked['id']}/similar")
    assert [row["entity"] for row in told] == ["web-20", "web-10"]
    assert [row["similarity"] for row in told] == pytest.approx([0.9909, 0.9701], abs=1e-4)
    assert asking.get("/alerts/abcdef0123/similar").status_code == 404
    kept(store, alert("nothing", 60, attribution={}, explanation="done"))
    (bare,) = (row for row in asking.found("/alerts")["items"] if row["entity"] == "nothing")
    assert asking.found(f"/alerts/{bare['id']}/similar") == []


def test_near_misses_say_why_there_is_no_alert(store: Store, asking: Asking) -> None:
    votes = {"vote": {"p": 0.01, "voted": True}, "linear": {"p": 0.2, "voted": False}}
    scores = [
        ScoreRow("a", FIRST + n, at(n), score, 0.1, votes, "m1")
        for n, score in ((5, 0.9), (21, 1.4), (31, 1.9), (41, 1.1))
    ]
    standing, taken = alert("a", 30), alert("a", 20, state="retracted")
    kept(store, standing, taken, scores=scores, checkpoint=Checkpoint({}, FIRST + 50, {}))
    told = asking.found("/near-misses", stream="fleet", entity="a")
    assert [(moment(row["time"]), row["score"], row["alert"]) for row in told] == [
        (at(21), 1.4, taken.id), (at(41), 1.1, None), (at(5), 0.9, None),
    ]  # fmt: skip
    assert [row["why"] for row in told] == [
        "an alert was opened and taken back, since it did not last; 1 of 2 detectors voted: vote",
        "above the threshold, but outside of an alert; 1 of 2 detectors voted: vote",
        "together they stayed below the threshold, 1; 1 of 2 detectors voted: vote",
    ]
    assert asking.found("/near-misses", stream="fleet", entity="nobody") == []
    assert asking.get("/near-misses", stream="nothing", entity="a").status_code == 404


@pytest.fixture(scope="module")
def app(make_shared: Any) -> ListApp:
    """A stream that was run, with its history."""
    app: ListApp = make_shared({"telemetry": payloads(cells_with_anomalies(), FIT_SLOTS)})
    run_through(app, Limits())
    return app


@pytest.fixture(scope="module")
def asking_of_run(app: ListApp) -> Asking:
    return Asking(app.database, history=Path(app.config.history))


def test_history_is_that_of_the_files(app: ListApp, asking_of_run: Asking) -> None:
    asking = asking_of_run
    whole = asking.found("/history", stream=STREAM, entity="c", points=1000, feature=list(FEATURES))
    cells = {
        slot: values for (name, slot), values in cells_with_anomalies().items() if name == "c" and slot >= FIT_SLOTS
    }
    assert whole["point_seconds"] == 60
    assert [channel["feature"] for channel in whole["channels"]] == list(FEATURES)
    drawn = [value for value in whole["channels"][2]["mean"] if value is not None]
    assert drawn == pytest.approx([float(cells[slot][2]) for slot in sorted(cells)][: len(drawn)], rel=1e-5)
    assert len(drawn) > 60
    assert max(score for score in whole["score"] if score is not None) > 1
    assert sorted(whole["features"]) == sorted(FEATURES)
    start = moment(whole["start"])
    thin = asking.found(
        "/history",
        stream=STREAM,
        entity="c",
        points=5,
        since=start.isoformat(),
        until=(start + timedelta(hours=1)).isoformat(),
    )
    assert len(thin["score"]) <= 5
    assert len(thin["channels"]) == 4
    told = app.reader.alerts(AlertFilter(entity="c", states=["resolved", "confirmed", "open"]))[0]
    first = asking.found("/history", stream=STREAM, entity="c")["channels"][0]["feature"]
    assert told.attribution[first] > 0.2, "unless told, the channels that its alerts were about"


def test_history_that_is_not_there_is_empty(app: ListApp, asking_of_run: Asking, tmp_path: Path) -> None:
    here = asking_of_run
    here.made.state.desk = replace(here.made.state.desk, history=tmp_path)
    told = here.found("/history", stream=STREAM, entity="a")
    assert (told["start"], told["score"], told["channels"], told["features"]) == (None, [], [], [])
    here.made.state.desk = replace(here.made.state.desk, history=Path(app.config.history))
    early = here.found(
        "/history", stream=STREAM, entity="a", since="1999-01-01T00:00:00Z", until="2000-01-01T00:00:00Z"
    )
    assert early["score"] == []
    answer = here.get("/history", stream=STREAM, entity="nobody")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (404, "query.entity")
    assert here.get("/history", stream=STREAM, entity="a", points=0).status_code == 422
    assert datetime.now(UTC) > moment(here.found("/overview")["until"])
