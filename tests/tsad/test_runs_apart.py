"""What a run over history found shows nowhere but where the run is named: not in lists, pages, incidents, messages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.deliveries import Deliveries
from storage.engine import Database, open_database
from storage.models import Models
from storage.types import ModelRow
from tests.storage.kept_runs import MINUTE, fill
from tests.storage.stored_samples import START, Clock, alert, at
from tests.tsad.asking import Asking
from tests.tsad.command_line import tsad
from tsad.api.application import PREFIX, specification
from tsad.config import parse_config
from tsad.delivery.messages import telling
from tsad.triage.answers import Answers
from tsad.triage.untaught import Untaught

ASKED = {"entity": "web-1", "stream": "fleet", "name": "fleet"}
ALL = 10**9
"""Slots before and after."""
NOT_ASKED = {"/events", "/metrics"}
"""An endless answer; figures of the process."""


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """With `live`; its clock stands."""
    opened = open_database(sqlite_url)
    fill(opened, "live")
    Models(opened, Clock()).add(ModelRow("fleet", "m1", "file", "ab", START))
    yield opened
    opened.close()


def places(asking: Asking, database: Database) -> list[tuple[str, dict[str, str]]]:
    """Every GET of the API with what it must be told, as of `live`."""
    known = {
        "alert": alert("web-1").id, "stream": "fleet", "name": "fleet",
        "incident": asking.found("/incidents")["items"][0]["id"], "mark": "x",
    }  # fmt: skip
    found = []
    for path, operations in specification(asking.made)["paths"].items():
        short = path.removeprefix(PREFIX)
        if "get" not in operations or not path.startswith(PREFIX) or short in NOT_ASKED:
            continue
        wanted = [one["name"] for one in operations["get"].get("parameters", ()) if one["in"] == "query"]
        required = {name: ASKED[name] for name in wanted if name in ASKED}
        times = {"since": at(-600).isoformat(), "until": at(600).isoformat()}
        required |= {name: times[name] for name in wanted if name in times}
        found.append((short.format(**known), required))
    return found


def answers(asking: Asking, database: Database) -> dict[str, Any]:
    said = {}
    for path, query in places(asking, database):
        answer = asking.get(path, role="admin", **query)
        said[path] = answer.status_code, answer.json()
    return said


def test_no_answer_of_the_api_changes(database: Database) -> None:
    clock = Clock(at(300))
    asking = Asking(database, clock)
    asking.bearer("admin"), asking.bearer("viewer")
    before = answers(asking, database)
    assert len(before) > 20
    assert sum(code == 200 for code, _ in before.values()) > 0.8 * len(before)
    fill(database, "june", marked=False)
    after = answers(asking, database)
    assert [path for path in before if before[path] != after[path]] == []
    named = asking.found("/alerts", run="june")["items"]
    assert {row["run"] for row in named} == {"june"}
    assert len(named) == 2
    assert asking.found(f"/alerts/{named[0]['id']}")["run"] == "june"
    assert asking.found("/streams", run="june")[0]["stream"] == "fleet"
    assert {row["id"] for row in asking.found("/incidents")["items"]}.isdisjoint(
        row["id"] for row in asking.found("/incidents", run="june")["items"]
    )


def test_nothing_of_it_is_told_or_left_out_of_a_fit(database: Database, tmp_path: Path) -> None:
    """Not even where somebody has what is to become of its alerts decided."""
    clock = Clock(at(300))
    routes = {"desk": {"kind": "webhook", "url": "http://127.0.0.1:9/"}}
    config = parse_config({"delivery": {"allow": ["127.0.0.1"], "routes": routes}})
    standings = Answers.of(database, clock, telling(config.delivery)).standings
    untaught, deliveries = Untaught.of(database), Deliveries(database, clock)
    standings.again("fleet")
    told, without = deliveries.listing(100), untaught.stretches("fleet", MINUTE, -ALL, ALL)
    assert told and without
    fill(database, "june", marked=False)
    standings.again("fleet")
    standings.again("fleet", run="june")
    assert deliveries.listing(100) == told
    assert untaught.stretches("fleet", MINUTE, -ALL, ALL) == without


LISTS = (
    ("alerts",), ("incidents",), ("models",), ("dead-letters", "s"), ("context", "list", "s"), ("templates", "s"),
    ("feedback", "queue"), ("feedback", "list"), ("rules", "show"), ("check",),
)  # fmt: skip


def test_no_list_of_the_command_line_changes(home: Path) -> None:
    def lists() -> dict[str, tuple[int, str]]:
        return {" ".join(words): (said.code, said.out) for words in LISTS for said in (tsad(home, *words, "--json"),)}

    before = lists()
    opened = open_database(f"sqlite:///{home}/tsad.db")
    fill(opened, "june", marked=False)
    opened.close()
    assert lists() == before
    found = json.loads(tsad(home, "alerts", "--run", "june", "--json").out)
    assert {row["entity"] for row in found if row["kind"] == "anomaly"} == {"web-1", "web-2"}
