"""What people say of an incident: of each of its alerts, as one act, and of which later alerts it holds too."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from triaged import START, STEP, at, episode

from storage.acts import Acts
from storage.engine import Database, open_database
from storage.gathered import Tell
from storage.incidents import IncidentRow, Incidents
from storage.leases import Leases
from storage.rulings import DecisionRow
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tests.storage.stored_samples import Clock
from tests.tsad.asking import Asking
from tests.tsad.command_line import tsad
from tsad.api.application import PREFIX
from tsad.triage.answers import Answers
from tsad.triage.feedback import proposals
from tsad.triage.following import triage_of
from tsad.triage.settings import TriageConfig
from tsad.triage.untaught import Untaught

SLOT = int(START.timestamp()) // 60
"""The slot of 2026-03-01 00:00."""


def began(slot: int, feature: str = "cpu", height: float = 20.0, entity: str = "web-1") -> Alert:
    """An alert from a minute of that day on, whose times are those of its slots."""
    made = episode(slot=SLOT + slot, entity=entity, moved={feature: [10.0] * 12 + [height] * 4})
    return replace(
        made, first_time=at(slot), last_time=at(slot + 3), peak_time=at(slot), detected_at=at(slot + 3)
    )  # fmt: skip


CPU, DISK = began(100), began(108, "disk", 2.0)
"""They are one incident: the same entity, four minutes apart."""
LIKE_CPU = began(300, entity="web-2")
NETWORK = began(118, "network", 30.0)
"""It joins them, and is like neither."""


class World:
    """A database, its triage, and what people were told of in order."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock, self.told = database, Clock(at(5000)), list[tuple[str, str]]()
        self.answers = Answers.of(database, self.clock, Tell(self.tell))
        self.triage = triage_of(database, TriageConfig(), self.clock, Tell(self.tell))

    def tell(self, alert: Alert, decision: DecisionRow) -> tuple[()]:
        self.told.append((alert.id, f"{decision.standing} {decision.reason}"))
        return ()

    def comes(self, *alerts: Alert) -> None:
        """Stored as a worker does, and taken up."""
        store = Store(self.database, self.clock)
        store.put_stream(StreamRow(LIVE, "fleet", STEP, {}))
        epoch = Leases(self.database, self.clock).acquire("fleet", [0], "host")[0]
        store.save([Changes(LIVE, "fleet", 0, epoch, alerts=list(alerts))])
        self.triage.all()
        self.clock.now += timedelta(seconds=1)

    def say(self, kind: Any, incident: str = "INC-1", **more: Any) -> Any:
        self.clock.now += timedelta(seconds=1)
        return self.answers.say(self.incident(incident), kind, "anna", **more)

    def incident(self, name: str = "INC-1") -> IncidentRow:
        return Incidents(self.database).find(name)

    def reasons(self, *alerts: Alert) -> list[str]:
        found = self.answers.standings.rulings.decisions([one.id for one in alerts])
        return [found[one.id].reason for one in alerts]


@pytest.fixture
def world(database: Database) -> World:
    made = World(database)
    made.comes(CPU, DISK)
    made.comes(LIKE_CPU)
    assert made.incident().alerts == 2
    return made


def test_an_answer_is_one_on_each_alert_and_one_act(world: World, database: Database) -> None:
    everything, marks = (CPU, DISK, LIKE_CPU), world.answers.standings.marks

    def untaught() -> list[int]:
        found = Untaught.of(database).stretches("fleet", STEP, SLOT, SLOT + 1440)
        return [one.first_slot - SLOT for one in found]

    assert world.reasons(*everything) == ["confirmed"] * 3
    assert untaught() == [100, 108, 300]
    said = world.say("feedback", answer="false", note="backup")
    assert world.reasons(*everything) == ["answered", "answered", "alike"]
    assert untaught() == [300]
    # each alert has it as its own, with the incident beside it
    assert [(one.id, one.target, one.answer, one.note) for one in marks.answers()] == [
        (said.id, alert.id, "false", "backup") for alert in sorted((CPU, DISK), key=lambda one: one.id)
    ]
    [on_cpu] = marks.on([CPU.id])
    assert (on_cpu.about, on_cpu.detail["incident"]) == ("alert", world.incident().id)
    assert [one.id for one in marks.feedback()] == [said.id]
    assert {one.alerts for one in proposals(marks.answers(), (CPU, DISK, LIKE_CPU))} == {(CPU.id,), (DISK.id,)}
    [act] = Acts(database).listing(1)
    assert (act.action, act.target) == ("mark feedback", f"incident:{world.incident().id}")
    assert act.told["alerts"] == sorted([CPU.id, DISK.id])
    # an alert's own answer that comes later goes before it
    world.clock.now += timedelta(seconds=1)
    mine = world.answers.say(DISK, "feedback", "bert", answer="true")
    assert world.reasons(*everything) == ["answered", "confirmed", "alike"]
    world.answers.unsay(mine.id, "bert")
    assert world.answers.unsay(said.id, "bert").about == "incident"
    assert world.reasons(*everything) == ["confirmed"] * 3
    assert (untaught(), marks.answers(), marks.feedback()) == ([100, 108, 300], [], [])
    assert Acts(database).verify().fault is None


@pytest.mark.parametrize(
    ("kind", "more", "there", "joined"),
    [
        ("acknowledge", {}, "acknowledged", "acknowledged"),
        ("snooze", {"until": at(9000)}, "snoozed", "snoozed"),
        ("close", {}, "closed", "confirmed"),
        ("feedback", {"answer": "expected"}, "answered", "confirmed"),
        ("note", {"note": "hm"}, "confirmed", "confirmed"),
    ],
)
def test_what_joins_later(world: World, kind: Any, more: dict[str, Any], there: str, joined: str) -> None:
    """What was acknowledged or snoozed stays so; what was judged or closed was what was there."""
    said = world.say(kind, **more)
    assert world.reasons(CPU, DISK) == [there, there]
    world.comes(NETWORK)
    assert world.incident().alerts == 3
    assert world.reasons(CPU, DISK, NETWORK) == [there, there, joined]
    assert [told for alert, told in world.told if alert == NETWORK.id] == [
        f"{'hold' if joined == 'snoozed' else 'notify'} {joined}"
    ], "nobody was told before it had joined"
    world.answers.unsay(said.id, "bert")
    assert world.reasons(CPU, DISK, NETWORK) == ["confirmed"] * 3


def test_a_snooze_that_is_over_holds_none_of_them(world: World) -> None:
    world.say("snooze", until=at(5100))
    world.comes(NETWORK)
    assert world.reasons(CPU, NETWORK) == ["snoozed", "snoozed"]
    world.clock.now = at(5100)
    late = began(124, "swap", 30.0)
    world.comes(late)
    assert world.incident().alerts == 4
    assert world.reasons(CPU, DISK, NETWORK, late) == ["confirmed"] * 4


def test_an_alert_that_comes_to_the_incident_by_another_is_held_too(world: World) -> None:
    """It had an incident of its own until one came that lies between."""
    apart = began(130, "swap", 30.0)
    world.comes(apart)
    assert world.incident("INC-3").alerts == 1
    world.say("snooze", until=at(9000))
    assert world.reasons(apart) == ["confirmed"]
    world.comes(NETWORK)
    assert world.incident().alerts == 4
    assert world.reasons(apart, NETWORK) == ["snoozed", "snoozed"]
    with pytest.raises(ValueError, match="no alert of INC-3 stands any more: it went into INC-1"):
        world.say("close", "INC-3")


def test_a_reopened_incident_and_one_alert_of_it(world: World) -> None:
    world.say("close")
    world.clock.now += timedelta(seconds=1)
    world.answers.say(CPU, "reopen", "bert")
    assert world.reasons(CPU, DISK) == ["confirmed", "closed"]
    world.say("reopen")
    assert world.reasons(CPU, DISK) == ["confirmed", "confirmed"]


@pytest.fixture
def asked(sqlite_url: str) -> Iterator[tuple[World, Asking]]:
    opened = open_database(sqlite_url)
    world = World(opened)
    world.comes(CPU, DISK)
    yield world, Asking(opened, world.clock)
    opened.close()


def ask(asking: Asking, method: str, path: str, body: Any = None) -> Any:
    return asking.client.request(method, f"{PREFIX}{path}", json=body, headers=asking.bearer("responder"))


def test_over_the_api(asked: tuple[World, Asking]) -> None:
    world, asking = asked
    place = f"/incidents/{world.incident().id[:8]}/marks"
    answer = ask(asking, "POST", place, {"kind": "feedback", "answer": "true", "note": "disk full"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["answer"], made["by"], made["incident"]) == ("true", "a responder", world.incident().id)
    assert asking.found("/incidents/INC-1/marks") == [made]
    assert asking.found(f"/alerts/{DISK.id}/marks") == [made]
    members = asking.found("/incidents/INC-1")["members"]
    assert [one["decision"]["reason"] for one in members] == world.reasons(CPU, DISK)
    assert [one["decision"] for one in members] == [asking.found(f"/alerts/{one['id']}")["decision"] for one in members]
    world.clock.now += timedelta(seconds=1)
    ask(asking, "POST", f"/alerts/{DISK.id}/marks", {"kind": "note", "note": "mine"})
    assert [one["incident"] for one in asking.found(f"/alerts/{DISK.id}/marks")] == [world.incident().id, None]
    assert [one["note"] for one in asking.found("/incidents/INC-1/marks")] == ["disk full"]
    undone = ask(asking, "DELETE", f"/marks/{made['id']}").json()
    assert (undone["undone_by"], undone["incident"]) == ("a responder", world.incident().id)
    assert ask(asking, "DELETE", f"/marks/{made['id']}").status_code == 404
    wrong = ask(asking, "POST", place, {"kind": "snooze", "until": "2020-01-01T00:00:00Z"})
    assert (wrong.status_code, "is over already" in wrong.text) == (422, True)
    assert ask(asking, "POST", "/incidents/INC-7/marks", {"kind": "close"}).status_code == 404
    world.comes(*(replace(one, state="retracted") for one in (CPU, DISK)))
    gone = ask(asking, "POST", place, {"kind": "close"})
    assert (gone.status_code, gone.json()["detail"]) == (409, "no alert of INC-1 stands any more")


def test_at_the_command_line(asked: tuple[World, Asking], tmp_path: Path, sqlite_url: str) -> None:
    world, _ = asked
    (tmp_path / "tsad.toml").write_text(f'database = "{sqlite_url}"\n')
    assert tsad(tmp_path, "mark", "INC-1", "acknowledge").err.strip().endswith("acknowledge, INC-1")
    said = tsad(tmp_path, "feedback", "give", "inc-1", "expected", "--note", "backup", "--json").json
    assert (said["about"], said["target"]) == ("incident", world.incident().id)
    assert world.reasons(CPU, DISK) == ["answered", "answered"]
    [row] = tsad(tmp_path, "feedback", "list", "--json").json
    assert row["id"] == said["id"]
    assert "taken back, INC-1" in tsad(tmp_path, "mark", said["id"], "undo").err
    assert world.reasons(CPU, DISK) == ["acknowledged", "acknowledged"]
    assert "'INC-9' is no incident" in tsad(tmp_path, "mark", "INC-9", "close").error
