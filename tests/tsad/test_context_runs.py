"""Deploys explain alerts away, through the commands; faults inside them do not go unnoticed."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.outbox import Outbox
from storage.read import Stretch
from tests.tsad.command_line import tsad
from tests.tsad.deploys import DEPLOYS, deployed, event, home_of
from tests.tsad.streams import FIT_SLOTS, START, differences, final_rows, payloads, run_through
from tsad.announcing import Announcer
from tsad.findings import Event
from tsad.runner import Limits
from tsad.shadow import counted

Cells = Mapping[tuple[str, int], np.ndarray]
OF_A = "".join(event(slot, entity="a", title=f"shop {slot}") for slot in DEPLOYS)
KNOWN, FAULTY = (331, 401), (541,)


def slot_of(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() - START) // 60


def broken_disk(cells: Cells) -> None:
    """Beside the fourth deploy."""
    for slot in range(544, 552):
        cells["a", slot][2:] -= 3


def alerts(home: Path) -> dict[int, dict[str, Any]]:
    """The alerts of `a` behind the first slots, by the slot in which they opened."""
    rows = tsad(home, "alerts", "--entity", "a", "--json").json
    return {slot_of(row["event_time"]): row for row in rows if slot_of(row["event_time"]) > DEPLOYS[0]}


def watched(home: Path) -> Path:
    for arguments in (("fit", "s", "--from", "history.jsonl"), ("run", "s", "--source", "live.jsonl")):
        said = tsad(home, *arguments)
        assert said.code == 0, said.err
    return home


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five deploys and nothing else."""
    return watched(home_of(tmp_path_factory.mktemp("ordinary"), deployed(), OF_A))


def test_a_deploy_that_looks_like_those_before_explains_its_alert(ordinary: Path) -> None:
    found = alerts(ordinary)
    assert [slot for slot, row in found.items() if row["explained_by_event"] is None] == [401, 331]
    for slot in (471, 541, 611):
        row = found[slot]
        assert (row["severity"], row["state"]) == ("info", "resolved")
        assert row["score"] > 2  # it stays what it was
        named = row["explained_by_event"]
        assert (named["kind"], named["title"], named["why"]) == ("deploy", f"shop {slot - 1}", "learnt")
        assert row["explained_by"] in ("surrogate", "permutation", "vote")
        assert f"Deploy 'shop {slot - 1}' at 2023-11-1" in row["sentence"]
        assert "explains it (learnt)." in row["sentence"]
    assert all(found[slot]["severity"] != "info" for slot in KNOWN)


def test_people_are_told_which_event_explains_it(ordinary: Path) -> None:
    identity = alerts(ordinary)[611]["id"]
    said = " ".join(tsad(ordinary, "explain", identity).out.split())
    assert "explains it (learnt)." in said
    assert tsad(ordinary, "explain", identity, "--json").json["explained_by_event"]["title"] == "shop 610"
    assert "deploy 'shop 610'" in tsad(ordinary, "alerts").out


def test_the_events_of_the_file_are_listed(ordinary: Path) -> None:
    rows = tsad(ordinary, "context", "list", "s", "--json").json
    assert [slot_of(row["start"]) for row in rows] == sorted(DEPLOYS, reverse=True)
    assert {(row["kind"], row["entity"], row["source"]) for row in rows} == {("deploy", "a", "events.jsonl")}
    assert "shop 610" in tsad(ordinary, "context", "list", "s").out


def test_what_happens_all_the_time_explains_nothing(tmp_path: Path) -> None:
    """Each spike follows a tick, as everything does."""
    ticks = "".join(event(slot, "tick") for slot in range(FIT_SLOTS, 700, 4))
    found = alerts(watched(home_of(tmp_path / "home", deployed(), ticks)))
    assert {row["explained_by_event"] for row in found.values()} == {None}
    assert len(found) >= 5


def test_without_events_each_spike_is_an_alert(tmp_path: Path) -> None:
    home = watched(home_of(tmp_path / "home", deployed(), ""))
    assert {row["explained_by_event"] for row in alerts(home).values()} == {None}


def test_a_fault_beside_a_deploy_is_an_alert(tmp_path: Path) -> None:
    found = alerts(watched(home_of(tmp_path / "home", deployed(broken_disk), OF_A)))
    assert (found[541]["severity"], found[541]["explained_by_event"]) == ("critical", None)
    assert found[471]["severity"] == found[611]["severity"] == "info"


def test_a_rule_explains_at_once_and_only_what_it_names(tmp_path: Path) -> None:
    rules = 'learn = false\n[[stream.s.context.rules]]\nkind = "deploy"\nentity = "a"\nfeatures = ["cp*"]\n'
    found = alerts(watched(home_of(tmp_path / "home", deployed(broken_disk), OF_A, rules)))
    named = {slot: row["explained_by_event"] and row["explained_by_event"]["why"] for slot, row in found.items()}
    assert named == {331: "rule", 401: "rule", 471: "rule", 541: None, 611: "rule"}


@pytest.mark.parametrize(
    "rule",
    [
        'kind = "backup"\n', 'kind = "deploy"\nentity = "b"\n', 'kind = "deploy"\nfeatures = ["disk", "net"]\n',
        'kind = "deploy"\nmax_score = 1.5\n', 'kind = "deploy"\nmax_duration = "4m"\n',
    ],
)  # fmt: skip
def test_what_a_rule_does_not_name_stays_an_alert(tmp_path: Path, rule: str) -> None:
    context = f"learn = false\n[[stream.s.context.rules]]\n{rule}"
    found = alerts(watched(home_of(tmp_path / "home", deployed(), OF_A, context)))
    assert {row["explained_by_event"] for row in found.values()} == {None}
    assert len(found) >= 5


def test_an_event_that_is_told_by_hand_is_taken_up_by_the_next_run(tmp_path: Path) -> None:
    rules = '[[stream.s.context.rules]]\nkind = "deploy"\n'
    home = home_of(tmp_path / "home", deployed(), "", rules)
    assert tsad(home, "fit", "s", "--from", "history.jsonl").code == 0
    start = datetime.fromtimestamp(START + 60 * 470).astimezone().isoformat()
    for _ in range(2):  # told twice, it is one
        assert tsad(home, "context", "add", "s", "deploy", "--entity", "a", "--start", start).code == 0
    assert tsad(home, "run", "s", "--source", "live.jsonl").code == 0
    assert len(tsad(home, "context", "list", "s", "--json").json) == 1
    assert [slot for slot, row in alerts(home).items() if row["explained_by_event"]] == [471]


def test_check_reads_the_events(tmp_path: Path) -> None:
    home = home_of(tmp_path / "home", deployed(), OF_A)
    assert tsad(home, "fit", "s", "--from", "history.jsonl").code == 0

    def checked() -> tuple[bool, str]:
        (row,) = [row for row in tsad(home, "check", "--json").json if row["check"] == "s context"]
        return row["ok"], row["detail"]

    assert checked() == (True, "events.jsonl: 5 events")
    (home / "events.jsonl").write_text(OF_A + '{"time": 7}\n')
    ok, detail = checked()
    assert not ok
    assert "line 6 is no event" in detail
    (home / "events.jsonl").unlink()
    assert not checked()[0]


def test_what_is_explained_does_not_count_against_the_budget_of_a_candidate() -> None:
    def opened(entity: str, slot: int, reason: str = "opened") -> Event:
        return Event("alert", entity, slot, slot, {"reason": reason, "late": 0})

    events = [opened("a", 100), opened("a", 111), opened("b", 105), opened("a", 120, "resolved")]
    spared = [Stretch("a", 95, 95, 110, "resolved", {"id": "x"})]
    assert counted(events, []) == 3
    assert counted(events, spared) == 2


def test_wrong_use_is_told(ordinary: Path) -> None:
    early = ("--start", "2026-01-05", "--end", "2026-01-04")
    assert "lies before" in tsad(ordinary, "context", "add", "s", "deploy", *early).error
    assert "there is no stream 'x'" in tsad(ordinary, "context", "list", "x").error


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (
            '[[stream.s.context.rules]]\nkind = "x"\nkinds = "x"\n',
            "kinds is unknown; allowed here: kind, entity, features",
        ),
        ("afters = 3\n", "afters is unknown; allowed here: source, topic, after, learn, lines, rules, patterns"),
        ('[[stream.s.context.rules]]\nkind = "x"\nmax_score = 0\n', "max_score"),
        ('[[stream.s.context.patterns]]\nkind = "x"\npattern = "("\n', "no regular expression"),
        ('[[stream.s.context.patterns]]\nkind = "x"\npattern = "y"\n', "needs a [logs] section"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path: Path, context: str, message: str) -> None:
    home = home_of(tmp_path / "home", deployed(), "", context)
    assert message in tsad(home, "run", "s", "--source", "live.jsonl").error


def lists(cells: Cells) -> dict[str, list[bytes]]:
    return {"telemetry": payloads({key: values for key, values in cells.items() if key[0] == "a"}, FIT_SLOTS)}


def context_of(folder: Path, events: str = OF_A) -> dict[str, Any]:
    (folder / "events.jsonl").write_text(events)
    return {"source": str(folder / "events.jsonl"), "after": "5m"}


@pytest.mark.parametrize(
    ("poll", "poll_crashes", "save_crashes"),
    [(1, {50, 240, 247}, set()), (7, set(), {49, 175, 245, 315}), (90, {171, 175, 242}, {90, 245})],
)
def test_restarts_and_the_size_of_polls_change_nothing(
    make_app: Any, tmp_path: Path, poll: int, poll_crashes: set[int], save_crashes: set[int]
) -> None:
    """Crashes right before, inside and behind deploys; snapshots in the middle of explained alerts."""
    context, cells = context_of(tmp_path), lists(deployed(broken_disk))
    whole = make_app(cells, context=context)
    assert run_through(whole, Limits(poll=5000)) == 0
    crashes = {"poll": set(poll_crashes), "save": set(save_crashes)}
    killed = make_app(cells, crashes, context=context)
    assert run_through(killed, Limits(poll=poll, snapshot_every=16)) >= len(poll_crashes)
    one, other = final_rows(whole), final_rows(killed)
    assert differences(one, other) == []
    raised = [row["detail"] for row in one["audit"] if row["kind"] == "context"]
    assert sorted(said["reason"] for said in raised) == ["explained", "explained", "explained", "raised"]
    assert sum(bool(row["explained_by_event"]) for row in one["alerts"]) == 2


def test_late_records_inside_deploys_are_judged_alike_whatever_the_polls(make_app: Any, tmp_path: Path) -> None:
    context, live = context_of(tmp_path), lists(deployed())["telemetry"]
    for place in (104, 174, 176, 243, 246, 312):  # each comes some slots too late
        live[place : place + 6] = [*live[place + 1 : place + 6], live[place]]
    whole, parts = (make_app({"telemetry": live}, context=context) for _ in range(2))
    run_through(whole, Limits(poll=5000))
    run_through(parts, Limits(poll=11, snapshot_every=16))
    assert differences(final_rows(whole), final_rows(parts)) == []


def test_what_an_event_explains_is_not_announced_until_it_outgrows_it(make_app: Any, tmp_path: Path) -> None:
    app = make_app(lists(deployed(broken_disk)), context=context_of(tmp_path))
    runner = app.runner("s", {}, limits=Limits(poll=3))
    runner.announcer = Announcer("tsad.alerts", None, {})
    runner.run()
    messages = [json.loads(one.payload) for one in Outbox(app.database).take("s", {0: runner.epoch}, 1000)]
    opened = {slot_of(body["first_time"]) for body in messages}
    assert {331, 401, 541} <= opened
    assert not {471, 611} & opened
    grown = [body for body in messages if slot_of(body["first_time"]) == 541]
    assert grown[0]["revision"] == 1
    assert slot_of(grown[0]["last_time"]) > 541  # it was kept back at first
    assert "info" not in {body["severity"] for body in grown}
    assert all(body["explained_by_event"] is None for body in messages)
