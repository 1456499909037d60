"""What a run found: its figures, and the alerts of two runs side by side, however many there are."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from stored_samples import START, Clock, alert, at, empty, explanation

from storage.backfills import Backfills
from storage.engine import Database
from storage.leases import Leases
from storage.runalerts import ENTITIES, PAGE, RunAlerts
from storage.runs import Runs, Totals
from storage.store import Store
from storage.types import Alert, NotThereError, Rollup, StreamRow

MINUTE = 60 * 10**9


def save(database: Database, run: str, *alerts: Alert, stream: str = "fleet", **more: object) -> None:
    """As a run that found `alerts` would have."""
    clock = Clock()
    store = Store(database, clock)
    store.put_stream(StreamRow(run, stream, MINUTE))
    epoch = Leases(database, clock).acquire(stream, [0], "host", run)[0]
    mine = [replace(one, run=run, stream=stream) for one in alerts]
    store.save([empty(epoch=epoch, run=run, stream=stream, alerts=mine, **more)])


def three(run: str, database: Database) -> None:
    save(
        database, run, alert("a", 10, severity="critical", score=9.0), alert("a", 70), alert("b", 130, score=2.0),
        alert("c", 20, state="retracted", score=99.0),
    )  # fmt: skip


def test_runs_are_listed_without_live(database: Database) -> None:
    three("live", database)
    three("june", database)
    three("june.v2", database)
    Backfills(database).add("planned", "fleet", "v1", {}, [])
    found = Runs(database)
    assert found.names() == ["june", "june.v2", "planned"]
    assert (found.streams("june"), found.streams("planned"), found.versions("june")) == (["fleet"], [], ["m1"])
    assert found.known("june") == "june"
    with pytest.raises(NotThereError, match=r"there is no run 'july'; there is: june, june\.v2, planned"):
        found.known("july")
    with pytest.raises(NotThereError, match="`live` is what the streams found"):
        found.known("live")


def test_figures_are_of_the_run_and_of_what_stands(database: Database) -> None:
    three("live", database)
    three("june", database)
    found = Runs(database)
    assert found.totals("june") == Totals(3, 2, at(10), at(133))
    assert found.totals("july") == Totals(0, 0, None, None)
    assert {(row["severity"], row["state"]): row["count"] for row in found.states("june")} == {
        ("critical", "open"): 1, ("warning", "open"): 2, ("warning", "retracted"): 1,
    }  # fmt: skip
    hour = int(START.timestamp()) // 3600
    assert found.over_time("june", 3600) == [
        {"bucket": hour, "severity": "critical", "count": 1},
        {"bucket": hour + 1, "severity": "warning", "count": 1},
        {"bucket": hour + 2, "severity": "warning", "count": 1},
    ]
    assert [(row["entity"], row["count"], row["critical"], row["warning"], row["info"], row["score"])
            for row in found.busiest("june", 10)] == [("a", 2, 1, 1, 0, 9.0), ("b", 1, 0, 1, 0, 2.0)]  # fmt: skip
    assert [row["entity"] for row in found.busiest("june", 1)] == ["a"]
    assert [row["score"] for row in found.strongest("june", 2)] == [9.0, 2.0]


def test_scores_are_counted_between_edges(database: Database) -> None:
    hours = [Rollup("a", START + timedelta(hours=n), score, 0.1, 60) for n, score in enumerate((0.1, 0.5, 0.9, 3.0))]
    save(database, "june", *(alert("a", slot, score=score) for slot, score in ((10, 1.0), (30, 2.0), (50, 2.5))),
         rollups=hours)  # fmt: skip
    found = Runs(database)
    assert found.scores("june", (1.0, 2.0, 5.0)) == [0, 1, 2, 0]
    assert found.hours("june", (0.5, 1.0)) == [1, 2, 1]
    assert found.hours("july", (0.5, 1.0)) == [0, 0, 0]


def test_alerts_of_two_runs_come_by_entity_and_time(database: Database) -> None:
    """Entities in whatever order the database has; each one once, and its alerts by when they began."""
    names = [f"host {n}" for n in range(ENTITIES + 7)] + ["Ärger", "a", "B", "_", "é"]
    save(database, "june", *(alert(name, slot) for name in names[::2] for slot in (50, 10)))
    save(database, "july", *(alert(name, slot) for name in names for slot in (30,)), alert("a", 8, state="retracted"))
    save(database, "june", alert("other", 5), stream="rockets")
    three("live", database)
    found = list(RunAlerts(database).side_by_side("june", "july", "fleet"))
    order = [one.entity for one in found]
    assert order == sorted(order, key=order.index)
    assert Counter(order) == Counter(names[::2] * 2 + names)
    assert [(one.run, one.first_time) for one in found if one.entity == "host 0"] == [
        ("june", at(10)), ("july", at(30)), ("june", at(50)),
    ]  # fmt: skip


def test_an_entity_may_have_many_alerts(database: Database) -> None:
    many = PAGE * 2 + 3
    save(database, "june", *(alert("a", 10 * n) for n in range(many)), alert("b", 5))
    save(database, "july", *(alert("a", 10 * n) for n in range(many)))
    found = list(RunAlerts(database).side_by_side("june", "july", "fleet"))
    assert Counter((one.run, one.entity) for one in found) == {
        ("june", "a"): many, ("july", "a"): many, ("june", "b"): 1,
    }  # fmt: skip
    times = [one.first_time for one in found if one.entity == "a"]
    assert times == sorted(times)
    assert len(list(RunAlerts(database).channels("june"))) == many + 1


def test_an_alert_is_led_by_its_explanation_else_by_its_shares(database: Database) -> None:
    peak, late, none, silent = (
        alert(name, 10, peak_slot=12, run="june", score=score)
        for name, score in (("peak", 1.0), ("late", 2.0), ("none", 3.0), ("silent", 4.0))
    )
    parts = [
        explanation(peak, "opening", 10, value=9.0), explanation(peak, "disk", 12, value=0.7),
        explanation(peak, "calm", 12, value=-5.0), explanation(peak, "hour", 12, value=8.0, target="forecast"),
        explanation(late, "first", 10, value=0.2), explanation(late, "second", 11, value=0.1),
    ]  # fmt: skip
    save(database, "june", peak, late, none, replace(silent, attribution={}), explanations=parts)
    assert dict(RunAlerts(database).channels("june")) == {"disk": 1.0, "second": 2.0, "cpu": 3.0}
    led = {one.entity: one.channel for one in RunAlerts(database).side_by_side("june", "none", "fleet")}
    assert led == {"peak": "disk", "late": "second", "none": "cpu", "silent": ""}
