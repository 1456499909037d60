"""Decisions are made as triage passes over what has changed, whatever the passes, beside incidents and deliveries."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from triaged import STEP, at, episode

from storage.deliveries import Deliveries
from storage.engine import Database, open_database
from storage.leases import Leases
from storage.rulings import DecisionRow
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tests.storage.stored_samples import Clock
from tsad.config import parse_config
from tsad.delivery.messages import telling
from tsad.triage.answers import Answers
from tsad.triage.calendars import Calendar
from tsad.triage.following import follow, triage_of
from tsad.triage.rules import Rulebook
from tsad.triage.settings import TriageConfig
from tsad.triage.standing import Standings

ROUTES = parse_config({"delivery": {"routes": {"ops": {"kind": "webhook", "url": "https://example.org/x"}}}}).delivery


class Place:
    """A database that alerts come to; its clock goes on by a minute with each save."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, Clock(at(5000))
        Store(database, self.clock).put_stream(StreamRow(LIVE, "fleet", STEP, {}))
        self.triage = triage_of(database, TriageConfig(), self.clock, telling(ROUTES))
        self.answers = Answers.of(database, self.clock, telling(ROUTES))

    def keep(self, *alerts: Alert) -> None:
        """Store them, as a worker does."""
        self.clock.now += timedelta(minutes=1)
        epoch = Leases(self.database).acquire("fleet", [0], "host")[0]
        Store(self.database, self.clock).save([Changes(LIVE, "fleet", 0, epoch, alerts=list(alerts))])

    def decided(self, *alerts: Alert) -> list[DecisionRow | None]:
        found = Standings.of(self.database).rulings.decisions([one.id for one in alerts])
        return [found.get(one.id) for one in alerts]

    def told(self) -> list[tuple[str, str]]:
        rows = reversed(Deliveries(self.database).listing(1000))
        return [(row["alert_id"], row["status"]) for row in rows]


@pytest.fixture
def place(database: Database) -> Place:
    return Place(database)


def test_a_pass_decides_makes_an_incident_and_lets_people_be_told(place: Place) -> None:
    first, second = episode(slot=100), episode(slot=102, entity="web-2", state="retracted")
    place.keep(first, second)
    assert place.decided(first) == [None]
    place.triage.all()
    assert [row.reason if row else "" for row in place.decided(first, second)] == ["confirmed", "retracted"]
    assert place.told() == [(first.id, "firing")]
    assert place.triage.all().alerts == 0
    over = episode(slot=100, state="resolved")
    place.keep(over)
    place.triage.all()
    assert place.told() == [(first.id, "firing"), (first.id, "resolved")]


def test_a_snooze_ends_though_nothing_changes(place: Place) -> None:
    one = episode(slot=100)
    place.keep(one)
    place.answers.say(one, "snooze", "anna", until=place.clock.now + timedelta(hours=1))
    place.triage.all()
    assert place.told() == []
    place.clock.now += timedelta(hours=2)
    place.triage.all()
    assert place.told() == [(one.id, "firing")]


def test_following_goes_on_until_it_is_stopped(place: Place) -> None:
    rounds: list[float] = []
    one = episode(slot=100)

    def pause(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 1:
            place.keep(one)

    done = follow(place.triage, 2.5, lambda: len(rounds) >= 3, pause)
    assert (rounds, done.alerts) == ([2.5, 2.5, 2.5], 1)
    assert place.decided(one)[0] is not None


def test_two_that_do_triage_tell_nothing_twice(place: Place) -> None:
    other = triage_of(place.database, TriageConfig(), place.clock, telling(ROUTES))
    alerts = [episode(slot=100 * number) for number in range(1, 6)]
    place.keep(*alerts)
    place.triage.once(at_once=2)
    other.once(at_once=3)
    place.triage.all()
    other.all()
    assert sorted(identity for identity, _ in place.told()) == sorted(one.id for one in alerts)


@pytest.fixture(scope="module")
def fresh(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    """An empty database each time."""
    import shutil
    from itertools import count

    folder, serial = tmp_path_factory.mktemp("passes"), count()

    def made() -> Place:
        path = folder / f"{next(serial)}.db"
        shutil.copy(sqlite_template, path)
        return Place(open_database(f"sqlite:///{path}"))

    return made


RULES: list[dict[str, Any]] = [
    {},
    {"reopen": "12m"},
    {"reopen": "12m", "rules": [{"name": "h", "min_score": 1.6, "clear_score": 1.2}]},
    {"rules": [{"name": "long", "min_duration": "4m"}, {"name": "bad", "severity": "critical", "entity": "web-2"}]},
]
ONCE = Calendar.model_validate({"name": "c", "start": at(60), "end": at(90)})
made = st.lists(
    st.tuples(
        st.integers(0, 30), st.sampled_from(["web-1", "web-2"]), st.sampled_from([1.1, 1.4, 2.0]),
        st.sampled_from(["open", "confirmed", "resolved", "retracted"]), st.integers(1, 6),
    ),
    min_size=1, max_size=9,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(made, st.sampled_from(RULES), st.booleans(), st.randoms(use_true_random=False))
def test_the_passes_do_not_matter(
    fresh: Callable[[], Place], told: Any, rules: dict[str, Any], calm: bool, chance: random.Random
) -> None:
    """Saved in any order and looked at after any of the saves, as all at once."""
    alerts = [
        episode(slot=5 * slot, slots=slots, entity=entity, score=score, state=state)
        for slot, entity, score, state, slots in told
    ]
    alerts = list({one.id: one for one in alerts}.values())
    once, many = fresh(), fresh()
    for place in (once, many):
        place.answers.rule(Rulebook.model_validate(rules), "anna", "", since=at(0))
        if calm:
            place.answers.put(ONCE, "anna")
    once.keep(*alerts)
    once.triage.all()
    chance.shuffle(alerts)
    for alert in alerts:
        many.keep(alert)
        if chance.random() < 0.5:
            many.triage.all(at_once=chance.choice([1, 2, 100]))
    many.triage.all()
    assert many.decided(*alerts) == once.decided(*alerts)
    for place in (once, many):
        place.database.close()
