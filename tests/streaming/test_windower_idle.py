"""Idle topics: what one of two topics leaves to the other, and that knowing when is enough to do it again."""

from random import Random

import pytest
from windower_drive import Drive, batch, line, merged, telemetry
from windower_oracle import Record

from streaming.settings import FeatureRules, Timing
from streaming.types import Topic
from streaming.windower import Windower

TIMING = Timing(step=10, window=4, late_horizon=3, max_lead=5, forget_after=2, lateness=10)
FEATURES = ("x", "log.lines")


def windower(**timing: int) -> Windower:
    return Windower(
        Timing(step=10, window=4, late_horizon=3, max_lead=5, forget_after=50, **timing), FeatureRules(),
        lambda *_: None, topics=("telemetry", "logs"), features=FEATURES,
    )  # fmt: skip


def feed(target: Windower, topic: Topic, *records: Record, first: int = 0) -> None:
    list(target.process(topic, batch(records, first, FEATURES, topic)))


def metrics(*slots: int) -> list[Record]:
    return [telemetry("a", 10 * slot, x=slot) for slot in slots]


def lines(*slots: int) -> list[Record]:
    return [line("a", 10 * slot) for slot in slots]


def test_an_idle_topic_holds_nothing_back_until_its_next_record():
    w = windower()
    feed(w, "logs", *lines(1, 2))
    feed(w, "telemetry", *metrics(1, 2, 3, 4))
    assert (w.closed_through, w.held_back("logs"), w.held_back("telemetry")) == (1, 2, None)
    list(w.idle("logs"))
    assert (w.closed_through, w.held_back("logs")) == (3, None)
    feed(w, "telemetry", *metrics(5, 6), first=4)
    assert (w.closed_through, w.is_idle("logs")) == (5, True)
    feed(w, "logs", *lines(6), first=2)
    assert not w.is_idle("logs")
    feed(w, "telemetry", *metrics(7, 8), first=6)
    assert (w.closed_through, w.held_back("logs")) == (5, 6)


def test_a_state_taken_while_a_topic_was_idle_goes_on_to_where_it_came_back():
    """Whatever is read first: the slots from there on wait for both topics."""
    w = windower()
    feed(w, "logs", *lines(1, 2))
    feed(w, "telemetry", *metrics(1, 2, 3, 4))
    list(w.idle("logs"))
    again = windower()
    again.restore(w.state())
    assert again.is_idle("logs")
    again.lift("logs", position=batch(lines(9), 2, FEATURES, "logs").positions[0], slot=6)
    feed(again, "telemetry", *metrics(5, 6, 7, 8), first=4)
    assert again.closed_through == 5
    feed(again, "logs", *lines(9), first=2)
    assert again.closed_through == 7


def test_a_topic_without_any_record_can_be_idle():
    w = windower()
    feed(w, "telemetry", *metrics(1, 2))
    assert (w.closed_through, w.held_back("logs")) == (None, 1)
    list(w.idle("logs"))
    assert w.closed_through == 1


def test_what_still_waits_to_be_fed_is_not_silence():
    w = windower()
    feed(w, "telemetry", *metrics(1))
    feed(w, "logs", *lines(1, *range(2, 40)))
    assert w.paused("logs")
    assert (w.held_back("telemetry"), w.held_back("logs")) == (1, None)


def test_records_behind_a_lift_find_the_slots_below_it_passed():
    """One that lies below it is late, whatever its own topic had said before."""
    w = windower()
    feed(w, "telemetry", *metrics(1, 2, 3, 4, 5, 6, 7))
    w.lift("logs", position=batch(lines(1, 1), 0, FEATURES, "logs").next_position, slot=6)
    feed(w, "logs", *lines(1, 2, 4, 6, 9))
    assert w.late == 1


class Silences(Drive):
    """A drive in which topics fall silent at random; `lifts` are those of a first run, for a second one."""

    def __init__(self, streams: dict[Topic, list[Record]], lifts: list[tuple[Topic, int, int]] | None = None) -> None:
        super().__init__(TIMING, FeatureRules(), streams, declared=FEATURES, features=FEATURES)
        self.known, self.lifts = lifts is not None, list(lifts or ())
        self._obey()

    def _obey(self) -> None:
        for lift in self.lifts if self.known else ():
            self.windower.lift(*lift)

    def restart(self) -> None:
        super().restart()
        self._obey()

    def run(self, random: Random, largest: int, restart: float = 0.0) -> "Silences":
        done = dict.fromkeys(self.streams, 0)
        while open_topics := [topic for topic in self.streams if done[topic] < len(self.streams[topic])]:
            if random.random() < restart:
                self.restart()
            ready = [topic for topic in open_topics if not self.windower.paused(topic)]
            held = [topic for topic in open_topics if self.windower.held_back(topic) is not None]
            if not self.known and held and (not ready or random.random() < 0.3):
                self.take(self.windower.idle(held[0]))
                continue
            topic = random.choice(ready)
            records = self.streams[topic][done[topic] :][: random.randint(1, largest)]
            self._feed(topic, done[topic], records)
            done[topic] += len(records)
            if done[topic] == len(self.streams[topic]):
                self.take(self.windower.end(topic))
        return self

    def _feed(self, topic: Topic, start: int, records: list[Record]) -> None:
        found = batch(records, start, self.features, topic)
        if self.windower.is_idle(topic):
            lift = (topic, int(found.positions[0]), self.windower.closed_through + 1)
            self.lifts.append(lift)
            self.windower.lift(*lift)
        self.take(self.windower.process(topic, found))


def stream(random: Random, topic: Topic) -> list[Record]:
    """Bursts of records, some late, with gaps between them."""
    made: list[Record] = []
    slot = random.randint(1, 5)
    for _ in range(random.randint(2, 5)):
        for _ in range(random.randint(1, 12)):
            slot += random.randint(0, 1)
            at = 10 * max(slot - random.choice([0, 0, 0, 1, 2, 5]), 0) + random.randint(0, 9)
            name = random.choice("ab")
            made.append(line(name, at) if topic == "logs" else telemetry(name, at, x=random.randint(0, 9)))
        slot += random.choice([2, 9, 30])
    return made


@pytest.mark.parametrize("seed", range(40))
def test_a_replay_that_knows_the_lifts_does_the_same_however_it_reads(seed: int) -> None:
    random = Random(seed)
    streams = {topic: stream(random, topic) for topic in ("telemetry", "logs")}
    first = Silences(streams).run(random, largest=4, restart=0.2)
    assert first.lifts or seed not in LIFTED
    for restart in (0.0, 0.3):
        again = Silences(streams, first.lifts).run(random, largest=9, restart=restart)
        assert merged(again.events) == merged(first.events)
        assert again.rejected == first.rejected


LIFTED = range(10)
"""Seeds in which a topic falls silent."""
