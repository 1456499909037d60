"""Incidents by API and by command: lists, pages, one with its alerts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from storage.engine import Database, open_database
from storage.incidents import Incidents
from storage.prune import prune
from storage.types import StoreError
from tests.storage.stored_samples import at
from tests.tsad.asking import Asking
from tests.tsad.command_line import tsad
from tests.tsad.related_alerts import Desk, moved
from tsad.triage.following import Follower, follow, triage_of
from tsad.triage.settings import TriageConfig

MADE = (
    moved("db-3", 11, {"cpu": 9, "io": 10}, score=2.4, severity="critical"),
    moved("web-1", 12, {"latency": 9}, score=1.2),
    moved("<b>web-2</b>", 200, {"net": 200, "disk": 200}, state="resolved", severity="info"),
    moved("web-3", 400, {"errors": 400}, state="retracted"),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Any) -> Iterator[Desk]:
    """Two alerts that belong together, one alone of their type, one taken back. Not to be changed."""
    import shutil

    path = tmp_path_factory.mktemp("pages") / "tsad.db"
    shutil.copy(sqlite_template, path)
    database = open_database(f"sqlite:///{path}")
    desk = Desk(database)
    desk.told(*(replace(one, state="open") for one in MADE))
    desk.told(*MADE)
    yield desk
    database.close()


@pytest.fixture(scope="module")
def asking(desk: Desk) -> Asking:
    return Asking(desk.database)


def test_the_list_says_what_happened(asking: Asking) -> None:
    page = asking.found("/incidents")
    assert page["next_cursor"] is None
    assert [(row["number"], row["state"]) for row in page["items"]] == [(3, "retracted"), (2, "resolved"), (1, "open")]
    last = page["items"][-1]
    assert last["title"] == "db-3: cpu and 1 more channel rise, 2 entities"
    assert (last["entity"], last["feature"], last["alerts"], last["entities"]) == ("db-3", "cpu", 2, 2)
    assert (last["severity"], last["new_type"], last["like"]) == ("critical", True, None)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"state": "open"}, [1]),
        ({"state": ["open", "resolved"]}, [2, 1]),
        ({"severity": "info"}, [2]),
        ({"entity": "db-3"}, [1]),
        ({"stream": "nobody"}, []),
        ({"run": "backfill"}, []),
        ({"since": at(100).isoformat()}, [3, 2]),
        ({"until": at(100).isoformat()}, [1]),
        ({"sort": "-severity_score", "state": ["open", "resolved"]}, [1, 2]),
        ({"sort": "first_time"}, [1, 2, 3]),
    ],
)
def test_filters_and_orders(asking: Asking, query: dict[str, Any], numbers: list[int]) -> None:
    assert [row["number"] for row in asking.found("/incidents", **query)["items"]] == numbers


@pytest.mark.parametrize("sort", ["-first_time", "first_time", "-severity_score", "severity_score"])
def test_pages_go_on_behind_their_cursor(asking: Asking, sort: str) -> None:
    whole = [row["id"] for row in asking.found("/incidents", sort=sort)["items"]]
    turned, cursor = list[str](), dict[str, str]()
    while True:
        page = asking.found("/incidents", sort=sort, limit=1, **cursor)
        turned += [row["id"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert turned == whole
    assert asking.get("/incidents", sort="first_time", cursor="x").status_code == 404


def test_those_of_a_type_are_found_by_it(asking: Asking) -> None:
    first = asking.found("/incidents/INC-1")
    assert [row["number"] for row in asking.found("/incidents", type=first["id"])["items"]] == [1]
    assert asking.found("/incidents", type="short")["items"] == []


def test_one_has_suspects_alerts_and_what_happened(asking: Asking, desk: Desk) -> None:
    found = asking.found("/incidents/INC-1")
    assert [one["entity"] for one in found["members"]] == ["db-3", "web-1"]
    assert (found["suspects"][0]["entity"], found["suspects"][0]["lag"]) == ("db-3", 0)
    began = found["timeline"][0]
    assert (began["what"], began["entity"]) == ("moved", "db-3")
    assert found["timeline"] == sorted(found["timeline"], key=lambda one: one["time"])
    assert (found["times_in_30_days"], found["similar"]) == (1, [])
    assert asking.found(f"/incidents/{found['id']}") == found
    assert asking.found(f"/incidents/{found['id'][:8]}") == found
    assert len(desk.rows()) == 3


def test_what_happened_is_told_of_all_alerts_where_some_are_shown(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = asking.found("/incidents/INC-1")
    monkeypatch.setattr("tsad.api.incidents.SHOWN", 1)
    cut = asking.found("/incidents/INC-1")
    assert cut["members"] == whole["members"][:1]
    assert {name: cut[name] for name in cut if name != "members"} == {
        name: whole[name] for name in whole if name != "members"
    }


@pytest.mark.parametrize("said", ["INC-9", "INC-999999999999999999", "abcdef123456"])
def test_one_that_is_not_there_is_said_so(asking: Asking, said: str) -> None:
    answer = asking.get(f"/incidents/{said}")
    assert answer.status_code == 404
    assert said in answer.json()["detail"]


def test_an_alert_names_its_incident(asking: Asking) -> None:
    first, *_, last = MADE
    told = asking.found(f"/alerts/{first.id}")["incident"]
    assert (told["number"], told["title"]) == (1, "db-3: cpu and 1 more channel rise, 2 entities")
    assert asking.found(f"/alerts/{last.id}")["incident"]["number"] == 3


def test_an_alert_that_triage_has_not_seen_has_none(database: Database) -> None:
    desk = Desk(database)
    desk.save(MADE[0])
    assert Asking(database).found(f"/alerts/{MADE[0].id}")["incident"] is None


@pytest.mark.parametrize(
    "said", ["", "INC-", "INC-x", "inc-77", "99999999999999999999999999999999999", "%", "_" * 6, "1" * 12]
)
def test_what_is_no_incident_is_refused(desk: Desk, said: str) -> None:
    with pytest.raises(StoreError, match="is no incident"):
        desk.incidents.find(said)


def test_the_commands_list_and_show(desk: Desk, tmp_path: Any) -> None:
    url = ("-d", f"sqlite:///{desk.database.name.split('///')[1]}")
    rows = json.loads(tsad(tmp_path, "incidents", "list", "--json", *url).out)
    assert [row["number"] for row in rows] == ["INC-3", "INC-2", "INC-1"]
    assert rows[-1]["kind"] == "new type"
    rows = json.loads(tsad(tmp_path, "incidents", "list", "--json", "--state", "open", "--sort", "worst", *url).out)
    assert [row["number"] for row in rows] == ["INC-1"]
    whole = json.loads(tsad(tmp_path, "incidents", "show", "1", "--json", *url).out)
    assert [one["entity"] for one in whole["members"]] == ["db-3", "web-1"]
    shown = tsad(tmp_path, "incidents", "show", "INC-1", *url)
    assert shown.code == 0
    assert "Suspects" in shown.out
    assert "db-3" in shown.out
    refused = tsad(tmp_path, "incidents", "show", "INC-77", *url)
    assert refused.code == 1
    assert "'INC-77' is no incident" in refused.err


def test_triage_is_a_command_and_a_run_ends_with_it(home: Any) -> None:
    """A run of files leaves incidents; what is taken up already is not again."""
    rows = json.loads(tsad(home, "incidents", "list", "--json", "--limit", "500").out)
    alerts = json.loads(tsad(home, "alerts", "--json", "--limit", "500").out)
    standing = [one for one in alerts if one["kind"] == "anomaly" and one["state"] != "retracted"]
    assert sum(row["alerts"] for row in rows) == len(standing) > 0
    said = tsad(home, "triage", "--once")
    assert said.code == 0
    assert "0 alerts taken up" in said.err


def test_triage_follows_until_it_is_stopped(database: Database) -> None:
    """Each pause brings something new; a fault of the database is outlived."""
    desk = Desk(database)
    waiting = list(MADE)
    triage = triage_of(database, TriageConfig.model_validate({"gap": "5m"}), desk.clock)

    def pause(seconds: float) -> None:
        assert seconds == 5
        desk.save(waiting.pop())

    done = follow(triage, 5, lambda: not waiting, pause)
    assert done.alerts == len(MADE) - 1
    triage.all()
    assert desk.groups() == [["db-3", "web-1"], ["<b>web-2</b>"]]


def test_serving_does_triage_on_a_thread(database: Database) -> None:
    desk, taken = Desk(database), Event()
    desk.save(*MADE)
    config = TriageConfig()
    triage = triage_of(database, config, desk.clock)
    once = triage.all

    def noticed(*arguments: Any, **named: Any) -> Any:
        found = once(*arguments, **named)
        taken.set()
        return found

    triage.all = noticed  # type: ignore[method-assign]
    with Follower(triage, config):
        assert taken.wait(60)
    assert len(desk.groups()) == 2


def test_old_incidents_go_and_their_types_stay(database: Database) -> None:
    desk = Desk(database)
    desk.told(*MADE)
    gone = prune(database, {"incidents": 0, "alerts": 0}, desk.clock.now.replace(year=2030))
    assert gone == {"incidents": 1, "alerts": 2}
    assert [row["state"] for row in desk.rows()] == ["open"]
    assert len(desk.incidents.types("live")) == 2
    assert len(Incidents(database).placed(one.id for one in MADE)) == 2
