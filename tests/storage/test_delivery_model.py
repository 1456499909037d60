"""Deliveries against a plain model: whatever is told, taken, refused and lost, every receiver ends with the truth."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_samples import Clock

from storage.deliveries import CLAIM, GIVEN_UP, LONGEST, SEVERITIES, Deliveries, Delivery, Telling, enqueue
from storage.engine import Database, open_database

ROUTES = ("ops", "mail")
ALERTS = ("a", "b", "c", "d")
GROUPS = {"a": "g", "b": "g", "c": "c", "d": "d"}
"""Where routes group: two of one incident, two alone."""
Step = tuple[str, int, int, int]


@pytest.fixture(scope="module")
def template(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all examples: each has routes of its own."""
    path = tmp_path_factory.mktemp("deliveries") / "tsad.db"
    shutil.copy(sqlite_template, path)
    opened = open_database(f"sqlite:///{path}")
    yield opened
    opened.close()


numbers = iter(range(10**9))


@dataclass
class Receiver:
    """Who is told on the routes, and what it heard, by route and key, in order."""

    heard: dict[tuple[str, str], list[tuple[int, str, str, str]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, one: Delivery) -> None:
        self.heard[one.route, one.key].append((one.sequence, one.alert_id, one.status, one.severity))


class World:
    """Deliveries, the model of what was told, and who may die between taking and saying so."""

    def __init__(self, database: Database, grouped: bool) -> None:
        number = next(numbers)
        self.routes = tuple(f"{route}{number}" for route in ROUTES)
        self.database, self.grouped, self.clock = database, grouped, Clock()
        self.deliveries, self.receiver = Deliveries(database, self.clock), Receiver()
        self.last: dict[tuple[str, str], tuple[str, str]] = {}
        self.held: list[Delivery] = []
        self.disturbed = False

    def tell(self, route: int, alert: int, status: str, severity: str) -> None:
        name, which = self.routes[route], ALERTS[alert]
        key = GROUPS[which] if self.grouped else which
        said: Any = {"route": name, "key": key, "alert_id": which, "status": status, "severity": severity}
        self.database.write(lambda c: enqueue(c, [Telling(**said, body={})], self.clock()))
        known = self.last.get((name, which))
        if status == "firing" or (known is None and status == "resolved") or (known and known[0] == "firing"):
            self.last[name, which] = status, severity

    def step(self, step: Step) -> None:
        what, one, two, three = step
        if what == "tell":
            status = ("firing", "firing", "resolved", "withdrawn")[three % 4]
            self.tell(one % 2, two % 4, status, SEVERITIES[three % 3])
        elif what == "claim":
            self.held += self.deliveries.claim(1 + one % 5, self.routes)
        elif what == "wait":
            self.clock.now += timedelta(seconds=(1, 5, 30, 600)[one % 4])
            self.held = [] if one % 4 == 3 else self.held  # who took longer than a claim holds has died
            self.disturbed |= one % 4 == 3
        elif self.held:
            mine = self.held.pop(one % len(self.held))
            if what == "failed":
                assert not self.deliveries.failed(mine, "no")
                self.disturbed = True
                return
            self.receiver.take(mine)
            if what == "sent":
                self.deliveries.sent(mine)
            else:
                self.disturbed = True  # it was taken, and who sent it died before it could say so

    def finish(self) -> None:
        """Everybody works, until nothing waits."""
        self.held = []
        for _ in range(200):
            self.clock.now += max(CLAIM, LONGEST) + timedelta(seconds=1)
            taken = self.deliveries.claim(50, self.routes)
            if not taken:
                return
            for one in taken:
                self.receiver.take(one)
                self.deliveries.sent(one)
        raise AssertionError("it never ends")

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in reversed(self.deliveries.listing(10**6)) if row["route"] in self.routes]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["tell", "tell", "claim", "claim", "sent", "sent", "failed", "died", "wait"]),
        st.integers(0, 19), st.integers(0, 19), st.integers(0, 11),
    ),
    max_size=40,
)  # fmt: skip
examples = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@examples
@given(STEPS)
def test_every_receiver_ends_with_the_last_word_on_each_alert(template: Database, steps: list[Step]) -> None:
    world = World(template, grouped=False)
    for step in steps:
        world.step(step)
    world.finish()
    found = {(route, said[-1][1]): said[-1][2:] for (route, _), said in world.receiver.heard.items()}
    expected = {
        key: (status, severity) for key, (status, severity) in world.last.items()
    }  # fmt: skip
    assert found == expected
    assert {row["state"] for row in world.rows()} <= {"sent"}


@examples
@given(STEPS, st.booleans())
def test_nothing_is_lost_swapped_or_doubled(template: Database, steps: list[Step], grouped: bool) -> None:
    """What was to be told is heard in its order under each key; only after a fault is something heard again, and then
    before anything that comes behind it."""
    world = World(template, grouped)
    for step in steps:
        world.step(step)
    world.finish()
    told = defaultdict(list)
    for row in world.rows():
        if row["state"] != "grouped":
            told[row["route"], row["key"]].append(row["sequence"])
    heard = {key: [sequence for sequence, *_ in said] for key, said in world.receiver.heard.items()}
    for key, sequences in heard.items():
        assert sequences == sorted(sequences), "in order"
        assert sorted(set(sequences)) == told[key], "nothing is lost"
        assert world.disturbed or len(sequences) == len(set(sequences)), "nothing is doubled"
    assert set(heard) == set(told)


@examples
@given(STEPS)
def test_a_group_is_firing_for_its_receiver_while_any_of_its_alerts_is(template: Database, steps: list[Step]) -> None:
    """And is told of the worst that burns, as long as nothing that was worse has ended meanwhile."""
    world = World(template, grouped=True)
    for step in steps:
        if step[0] == "tell":
            world.step(step)
    world.finish()
    for route in world.routes:
        for key in set(GROUPS.values()):
            members = [world.last[route, one] for one in ALERTS if GROUPS[one] == key and (route, one) in world.last]
            said = world.receiver.heard.get((route, key), [])
            firing = [SEVERITIES.index(severity) for status, severity in members if status == "firing"]  # type: ignore[arg-type]
            assert bool(said) == bool(members)
            if said:
                assert (said[-1][2] == "firing") == bool(firing)
            if firing:
                begun = max(place for place, one in enumerate(said) if place == 0 or said[place - 1][2] != "firing")
                worst = max(SEVERITIES.index(severity) for *_, severity in said[begun:])  # type: ignore[arg-type]
                assert worst >= max(firing)


@examples
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["firing", "resolved", "withdrawn"])), max_size=12))
def test_telling_the_same_again_tells_nothing(template: Database, said: list[tuple[int, str]]) -> None:
    """A pass that was cut off, and is made again, doubles nothing, and neither do two passes in one transaction."""
    once, twice = World(template, grouped=True), World(template, grouped=True)
    for alert, status in said:
        once.tell(0, alert, status, "warning")
        for _ in range(2):
            twice.tell(0, alert, status, "warning")
    plain = [[(row["alert_id"], row["status"], row["state"]) for row in world.rows()] for world in (once, twice)]
    assert plain[0] == plain[1]
    together = World(template, grouped=True)
    messages: Any = [
        Telling(together.routes[0], GROUPS[ALERTS[alert]], ALERTS[alert], status, "warning", {})  # type: ignore[arg-type]
        for alert, status in said
    ]
    template.write(lambda c: enqueue(c, messages, together.clock()))
    assert [(row["alert_id"], row["status"], row["state"]) for row in together.rows()] == plain[0]


@settings(examples, max_examples=6)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 12))
def test_those_who_deliver_together_never_hold_the_same(template: Database, limits: list[int], keys: int) -> None:
    world = World(template, grouped=False)
    for number in range(keys):
        said: Any = {"route": world.routes[0], "key": f"k{number}", "alert_id": f"k{number}", "severity": "info"}
        for status in ("firing", "resolved"):
            told = Telling(**said, status=status, body={"n": number})  # type: ignore[arg-type]
            template.write(lambda c, told=told: enqueue(c, [told], world.clock()))  # type: ignore[misc]
    found = [one for limit in limits for one in world.deliveries.claim(limit, world.routes)]
    assert len({one.key for one in found}) == len(found) == min(sum(limits), keys)
    assert {one.status for one in found} == {"firing"}
    assert all(one.body == {"n": int(one.key[1:])} for one in found)


@pytest.mark.parametrize("refusals", [0, 1, 6, 12])
def test_what_a_receiver_refuses_for_days_is_given_up_and_no_sooner(template: Database, refusals: int) -> None:
    world = World(template, grouped=False)
    world.tell(0, 0, "firing", "warning")
    begun, given_up = world.clock.now, False
    for _ in range(refusals):
        taken = world.deliveries.claim(1, world.routes)
        if not taken:
            break
        given_up = world.deliveries.failed(taken[0], "no")
        assert given_up == (world.clock.now - begun > GIVEN_UP)
        world.clock.now += GIVEN_UP / 5
    [row] = world.rows()
    assert row["state"] == ("failed" if given_up else "pending")
    assert given_up == (refusals == 12)
    assert row["attempts"] == min(refusals, 7)
