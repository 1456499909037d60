"""Routes that group by incident: one thing for the receiver, told again where it matters, and corrected."""

import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from receivers import Receiver, web

from storage.deliveries import CLAIM, Deliveries, Delivery
from storage.engine import Database, open_database
from storage.gathered import Decided, gathered
from storage.leases import Leases
from storage.types import Alert, Changes, EntityRow, StreamRow
from tests.storage.stored_samples import alert
from tests.tsad.command_line import tsad
from tests.tsad.related_alerts import BONDS, MINUTE, Desk, moved
from tests.tsad.test_incident_passes import EVENT
from tsad.config import Config, ConfigError, parse_config
from tsad.delivery import incidents
from tsad.delivery.messages import telling
from tsad.delivery.sending import Deliverer, sender_of
from tsad.triage.answers import Answers
from tsad.triage.calendars import Calendar
from tsad.triage.passes import Triage

URL = "https://example.org/x"


def configured(**routes: Any) -> Config:
    made = {name: {"kind": "webhook", "url": URL, "group_by": "incident"} | route for name, route in routes.items()}
    return parse_config(
        {"delivery": {"allow": ["127.0.0.1"], "routes": made, "link": "https://tsad.example/"}}
    )  # fmt: skip


class House(Desk):
    """Alerts of `fleet`, taken up by triage that tells routes."""

    def __init__(self, database: Database, config: Config, labels: tuple[str, ...] = ()) -> None:
        super().__init__(database, BONDS, labels)
        tell = telling(config.delivery)
        self.config = config
        self.answers = Answers.of(database, self.clock, tell)
        self.triage = Triage(self.incidents, BONDS, lambda _: {"fleet": MINUTE}, labels, self.answers.standings)
        self.deliveries = Deliveries(database, self.clock)

    def queue(self) -> list[tuple[str, str]]:
        """Status and severity of what is to be told, in order."""
        return [(row["status"], row["severity"]) for row in reversed(self.deliveries.listing(1000))]

    def deliver(self) -> None:
        deliverer = Deliverer(self.deliveries, self.config.delivery, sender_of(self.config, self.clock))
        while deliverer.once():
            pass


def house(database: Database, labels: tuple[str, ...] = (), **route: Any) -> House:
    return House(database, configured(ops=route), labels)


# --- what is told


def test_an_incident_is_told_once_when_it_gets_worse_and_when_it_is_over(database: Database) -> None:
    place, one, other = house(database), moved("a", 10, {"cpu": 10}), moved("b", 11, {"io": 10})
    place.told(one)
    assert place.queue() == [("firing", "warning")]
    place.told(other)
    assert place.groups() == [["a", "b"]], "one incident"
    assert place.queue() == [("firing", "warning")], "nothing that people need to hear again"
    place.told(replace(other, severity="critical"))
    assert place.queue()[1:] == [("firing", "critical")]
    place.told(replace(other, severity="critical", state="resolved"))
    assert len(place.queue()) == 2, "the other one goes on"
    place.told(replace(one, state="resolved"))
    assert place.queue()[2:] == [("resolved", "critical")]
    place.told(replace(moved("a", 40, {"cpu": 40}, state="open")))
    assert place.queue()[3:] == [("firing", "warning")], "another incident"
    keys = [row["key"] for row in place.deliveries.listing(10)]
    assert sorted(keys.count(key) for key in set(keys)) == [1, 3]


def test_many_entities_are_worse_than_each_of_them(database: Database) -> None:
    place = house(database, labels=("rack",))
    names = ("a", "b", "c")
    place.save(entities=tuple(EntityRow(name, {"rack": "r"}, 0, 9) for name in names))
    for number, name in enumerate(names):
        place.told(moved(name, 10 + number, {name: 10}))
    assert place.queue() == [("firing", "warning"), ("firing", "critical")]


def test_nobody_is_told_of_one_that_is_only_explained_calm_small_or_of_another_run(database: Database) -> None:
    place = house(database, min_severity="critical")
    place.told(moved("a", 10, {"cpu": 10}, explained_by_event=EVENT, severity="critical"))
    place.told(moved("b", 60, {"cpu": 60}))
    place.told(moved("b", 60, {"cpu": 60}, state="resolved"))
    place.told(moved("c", 110, {"cpu": 110}, state="retracted", severity="critical"))
    place.answers.put(
        Calendar.model_validate({"name": "m", "entity": "d", "start": "2020-01-01", "end": "2030-01-01"}), "x"
    )
    place.told(moved("d", 160, {"cpu": 160}, severity="critical"))
    place.store.put_stream(StreamRow("past", "fleet", MINUTE))
    epoch = Leases(database, place.clock).acquire("fleet", [0], "host", "past")[0]
    past = replace(moved("e", 10, {"cpu": 10}, severity="critical"), run="past")
    place.store.save([Changes("past", "fleet", 0, epoch, alerts=[past])])
    place.triage.all("past")
    assert len(place.incidents.signatures("past", past.first_time)) == 1
    assert place.queue() == []


def test_of_what_came_and_went_beginning_and_end_are_told(database: Database) -> None:
    place = house(database)
    place.told(moved("a", 10, {"cpu": 10}, state="resolved"))
    assert place.queue() == [("firing", "warning"), ("resolved", "warning")]


def test_what_late_data_takes_back_is_corrected(database: Database) -> None:
    place = house(database)
    bad, other = moved("a", 10, {"cpu": 10}, severity="critical"), moved("b", 11, {"io": 10})
    place.told(bad, other)
    place.told(replace(bad, state="retracted"))
    assert place.queue() == [("firing", "critical"), ("firing", "warning")], "it was not as bad"
    place.told(replace(other, state="retracted"))
    assert place.queue()[2:] == [("withdrawn", "warning")]


def test_two_that_turn_out_to_be_one_are_told_as_one(database: Database) -> None:
    place = house(database)
    known = [moved("a", 10, {"cpu": 9}), moved("b", 11, {"io": 9})]
    place.told(*(alert(one.entity, one.opened_slot) for one in known))
    assert place.queue() == [("firing", "warning")] * 2
    place.told(*known)
    assert place.queue()[2:] == [("withdrawn", "warning")]
    first, second = place.rows()
    [last] = place.deliveries.claim(50, ["ops"])[1:]
    assert (second["merged_into"], last.key) == (first["id"], second["id"])
    place.deliveries.sent(last)
    [correction] = [one for one in place.deliveries.claim(50, ["ops"]) if one.key == second["id"]]
    assert (correction.body["reason"], correction.body["merged_into"]) == ("merged", first["id"])


def test_what_people_say_is_told_at_once(database: Database) -> None:
    """Without a pass: the decision's own transaction tells it."""
    place, one, other = house(database), moved("a", 10, {"cpu": 10}), moved("b", 11, {"io": 10})
    place.told(one, other)
    first = place.answers.say(one, "close", "anna")
    assert place.queue() == [("firing", "warning")], "there is another one in it"
    second = place.answers.say(other, "feedback", "anna", answer="false")
    assert place.queue()[1:] == [("withdrawn", "warning")]
    place.answers.unsay(second.id, "anna")
    place.answers.unsay(first.id, "anna")
    assert place.queue()[2:] == [("firing", "warning")]


def test_what_is_held_is_told_when_it_is_held_no_more(database: Database) -> None:
    place, one = house(database), moved("a", 10, {"cpu": 10})
    place.save(one)
    place.answers.say(one, "snooze", "anna", until=place.clock.now + timedelta(hours=1))
    place.triage.all()
    assert place.queue() == []
    place.clock.now += timedelta(hours=2)
    place.triage.all()
    assert place.queue() == [("firing", "warning")]


def test_a_route_hears_of_what_it_lets_through(database: Database) -> None:
    place = House(
        database, configured(all={}, a={"entity": "a*"}, none={"stream": "other"}, alerts={"group_by": "alert"})
    )
    place.told(moved("a", 10, {"cpu": 10}), moved("b", 11, {"io": 10}, severity="critical"))
    place.told(moved("a", 10, {"cpu": 10}, state="resolved"))
    rows = list(reversed(place.deliveries.listing(100)))
    told = [(row["route"], row["status"], row["severity"]) for row in rows]
    assert [(status, severity) for route, status, severity in told if route == "all"] == [("firing", "critical")]
    assert [(status, severity) for route, status, severity in told if route == "a"] == [
        ("firing", "warning"), ("resolved", "warning"),
    ]  # fmt: skip
    assert sum(route == "alerts" for route, *_ in told) == 3, "each alert"
    assert "none" not in {route for route, *_ in told}


def test_a_route_that_begins_to_group_takes_back_what_it_told_of_alerts(database: Database) -> None:
    one = moved("a", 10, {"cpu": 10}, state="open")
    before = House(database, configured(ops={"group_by": "alert"}))
    before.told(one)
    place = House(database, configured(ops={}))
    place.clock.now = before.clock.now
    place.told(replace(one, state="confirmed"))
    found = {(row["alert_id"], row["status"]) for row in place.deliveries.listing(100)}
    incident = place.only()["id"]
    assert found == {(one.id, "firing"), (one.id, "withdrawn"), (incident, "firing")}


# --- in which form


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with web() as found:
        yield found


def test_every_kind_of_receiver_takes_it_for_one_thing(database: Database, receiver: Receiver) -> None:
    base = f"http://127.0.0.1:{receiver.port}"
    place = House(database, configured(
        hook={"url": f"{base}/hook"}, chat={"kind": "slack", "url": f"{base}/chat"},
        page={"kind": "pagerduty", "url": f"{base}/page", "key": "k"}, am={"kind": "alertmanager", "url": f"{base}/am"},
    ), ("rack",))  # fmt: skip
    place.save(entities=(EntityRow("a", {"rack": "r"}, 0, 9), EntityRow("b", {"rack": "r"}, 0, 9)))
    first, mover = moved("b", 10, {"io": 10}), moved("a", 11, {"io": 8}, severity="critical")
    place.told(first)
    place.deliver()
    place.told(mover)
    assert place.groups() == [["b", "a"]]
    place.told(replace(first, state="resolved"), replace(mover, state="resolved"))
    place.deliver()
    told: dict[str, list[Any]] = {}
    for path, _, body in receiver.requests:
        told.setdefault(path, []).append(json.loads(body))
    hook, page, am = told["/hook"], told["/page"], told["/am/api/v2/alerts"]
    *_, last = hook
    incident = place.incidents.find(last["key"])
    assert last["about"] == "incident"
    assert (last["status"], last["alerts"], last["entities"], last["entity"]) == ("resolved", 2, 2, "a")
    assert last["link"] == f"https://tsad.example/#/incidents/{incident.id}"
    assert f"2 alerts (INC-{incident.number})" in last["text"]
    assert last["features"] == ["io"]
    mine = [one["event_action"] for one in page if one["dedup_key"] == incident.id]
    assert mine[0] == "trigger"
    assert mine[-1] == "resolve"
    labels = {
        json.dumps({**one["labels"], "severity": ""})
        for some in am
        for one in some
        if one["labels"]["tsad_id"] == incident.id
    }
    assert len(labels) == 1, "whoever moved first"
    assert {one["labels"]["alertname"] for some in am for one in some} == {"tsad_incident"}
    assert any(f"(INC-{incident.number})" in one["text"] for one in told["/chat"])


def test_an_example_of_one_is_sent(tmp_path: Path, receiver: Receiver, sqlite_url: str) -> None:
    (tmp_path / "tsad.toml").write_text(
        f'database = "{sqlite_url}"\n[delivery]\nallow = ["127.0.0.1"]\n'
        f'[delivery.routes.ops]\nkind = "webhook"\ngroup_by = "incident"\nurl = "{receiver.url}"\n'
    )
    assert tsad(tmp_path, "notify", "test", "ops").code == 0
    assert [(body["about"], body["status"]) for body in receiver.bodies] == [
        ("incident", "firing"), ("incident", "resolved"),
    ]  # fmt: skip
    assert len({body["key"] for body in receiver.bodies}) == 1


def test_what_a_route_may_group_by_is_named() -> None:
    with pytest.raises(ConfigError, match="'alert', 'entity', 'stream' or 'incident'"):
        configured(ops={"group_by": "host"})


@pytest.mark.parametrize(
    ("alerts", "status"),
    [
        ([], "withdrawn"),
        ([("open", "notify")], "firing"),
        ([("resolved", "notify")], "resolved"),
        ([("resolved", "notify"), ("confirmed", "notify")], "firing"),
        ([("resolved", "notify"), ("open", "suppress")], "resolved"),
        ([("retracted", "notify")], "withdrawn"),
        ([("retracted", "notify"), ("resolved", "notify")], "resolved"),
        ([("open", "hold")], None),
        ([("open", "hold"), ("open", "notify")], "firing"),
        ([("retracted", "hold")], "withdrawn"),
        ([("open", "suppress"), ("open", "withdraw")], "withdrawn"),
    ],
)
def test_what_alerts_make_of_their_incident(alerts: list[tuple[Any, Any]], status: str | None) -> None:
    made = [Decided("i", "s", "e", state, 0.1, standing, "warning", "x") for state, standing in alerts]
    assert incidents.status_of(made) == status


# --- whoever dies, and whoever writes at the same time


class Died(Exception):
    """The process was killed."""


class Mortal:
    """A database whose next transactions may be the last of their process: before they are kept, or behind."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self._database, self._chance, self.calm = database, chance, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def write(self, work: Callable[[Any], Any]) -> Any:
        fate = "lives" if self.calm else self._chance.choice(["lives"] * 6 + ["before", "behind"])

        def mortal(connection: Any) -> Any:
            done = work(connection)
            if fate == "before":
                raise Died
            return done

        done = self._database.write(mortal)
        if fate == "behind":
            raise Died
        return done


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Callable[[], Database]:
    folder, serial = tmp_path_factory.mktemp("told"), count()

    def fresh() -> Database:
        path = folder / f"{next(serial)}.db"
        shutil.copy(sqlite_template, path)
        return open_database(f"sqlite:///{path}")

    return fresh


@st.composite
def lives(draw: st.DrawFn) -> list[list[Alert]]:
    """Alerts, each as it was seen again and again."""
    found = []
    slots = st.integers(0, 60)
    for entity, slot in draw(st.sets(st.tuples(st.sampled_from("abc"), slots), min_size=1, max_size=8)):
        whole = moved(entity, slot, {draw(st.sampled_from("xy")): slot}, slot + draw(st.integers(0, 6)), state="open")
        versions = [alert(entity, slot)] if draw(st.booleans()) else []
        for _ in range(draw(st.integers(1, 3))):
            state = draw(st.sampled_from(["open", "confirmed", "resolved", "retracted"]))
            severity = draw(st.sampled_from(["info", "warning", "critical"]))
            event = EVENT if draw(st.integers(0, 5)) == 0 else {}
            versions.append(replace(whole, state=state, severity=severity, explained_by_event=event))  # type: ignore[arg-type]
        found.append(versions)
    return found


def truth(place: House, least: str) -> dict[str, tuple[str, str]]:
    """Of each incident that a route should have heard of: status, and severity while it goes on."""
    levels = ["info", "warning", "critical"]
    names = [row["id"] for row in place.rows()]
    found = {}
    for one in place.database.read(lambda connection: gathered(connection, names)):
        known = [part for part in one.alerts if part.standing == "notify"]
        if not known:
            continue
        worst = max(levels.index(part.severity) for part in known) + (len({part.entity for part in known}) > 2)
        severity = levels[min(worst, 2)]
        if levels.index(severity) >= levels.index(least):
            going = any(part.state != "resolved" for part in known)
            found[one.incident.id] = ("firing", severity) if going else ("resolved", "")
    return found


@settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
    phases=(Phase.explicit, Phase.generate),
)  # fmt: skip
@given(lives(), st.randoms(use_true_random=False), st.sampled_from(["info", "warning", "critical"]))
def test_the_last_word_on_each_incident_is_true_whoever_dies(
    room: Callable[[], Database], alerts: list[list[Alert]], chance: random.Random, least: str
) -> None:
    """Saves, passes, answers and deliveries in any order, any transaction the last of its process."""
    database = room()
    mortal: Any = Mortal(database, chance)
    place = House(database, configured(ops={"min_severity": least}))
    heard: dict[str, list[tuple[str, str]]] = {}

    def take(some: list[Delivery]) -> None:
        for one in some:
            heard.setdefault(one.key, []).append((one.status, one.severity))
            place.deliveries.sent(one)

    def working() -> House:
        made = House(mortal, place.config)
        made.clock, place.epoch = place.clock, made.epoch
        return made

    mortal.calm = True
    worker, waiting = working(), [list(versions) for versions in alerts]
    while waiting:
        mine = chance.choice(waiting)
        place.save(now := mine.pop(0))
        waiting = [versions for versions in waiting if versions]
        mortal.calm = False
        try:
            if chance.random() < 0.6:
                worker.triage.once(at_once=chance.randint(1, 3))
            if chance.random() < 0.4:
                worker.answers.say(now, chance.choice(["close", "reopen", "acknowledge"]), "anna")
            if chance.random() < 0.5:
                take(worker.deliveries.claim(3, ["ops"]))
        except Died:
            mortal.calm = True
            worker = working()
        mortal.calm = True
    worker.answers.standings.again()  # a word that was taken down and not acted on is acted on by the next look
    worker.triage.all()
    while True:
        place.clock.now += CLAIM + timedelta(seconds=1)
        some = place.deliveries.claim(50, ["ops"])
        if not some:
            break
        take(some)
    true = truth(place, least)
    burning = {key: said[-1][1] for key, said in heard.items() if said[-1][0] == "firing"}
    assert burning == {key: severity for key, (status, severity) in true.items() if status == "firing"}
    assert true.keys() <= heard.keys(), "what came and went is told too"
    assert len(place.incidents.placed(one[0].id for one in alerts)) == len(alerts), "all were taken up"
    assert all(said[0][0] == "firing" for said in heard.values()), "nothing is taken back that nobody knows"
    database.close()


def test_of_two_that_change_one_incident_at_once_the_second_sees_both(database: Database) -> None:
    """Each takes back one of two alerts. Whoever is second finds that none is left, and says so."""
    place, one, other = house(database), moved("a", 10, {"cpu": 10}), moved("b", 11, {"io": 10})
    place.told(one, other)
    tell = place.answers.standings.tell
    inside, waited, done = threading.Event(), [], threading.Event()

    def decide(which: Alert, gather: Any) -> None:
        held = place.answers.standings.rulings.decisions([which.id])[which.id]
        place.answers.standings.rulings.decide([replace(held, standing="withdraw")], gather=gather)

    def second() -> None:
        decide(other, tell.of_alerts)
        done.set()

    def first(connection: Any, ids: Any) -> Any:
        found = list(tell.of_alerts(connection, ids))
        if not inside.is_set():
            inside.set()
            thread.start()
            waited.append(not done.wait(0.5))
        return found

    thread = threading.Thread(target=second)
    decide(one, first)
    thread.join()
    assert waited == [True], "the second waits for the first"
    assert place.queue() == [("firing", "warning"), ("withdrawn", "warning")]


def test_decisions_of_others_bring_nothing_to_be_told(database: Database) -> None:
    """Where no route groups by incident nothing is gathered, and who is in no incident brings none."""
    place = House(database, configured(ops={"group_by": "alert"}))
    assert place.answers.standings.tell.incident is None
    place.told(moved("a", 10, {"cpu": 10}))
    assert len(place.queue()) == 1
    grouping = house(database)
    known = grouping.answers.standings.tell
    assert database.read(lambda c: list(known.of_alerts(c, ["no such alert"]))) == []
    assert database.read(lambda c: gathered(c, ["no such incident"])) == []
