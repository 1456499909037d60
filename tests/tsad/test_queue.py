"""What an engine has left to do: what crashes comes back, behind a pause."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tsad.engines.queue import Queue
from tsad.engines.tasks import Outcome, Task


@dataclass
class Clock:
    """Time that passes only where somebody waits."""

    time: float = 0.0
    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


@dataclass
class Frail:
    """An engine of one worker, whose process is gone the first so many times that it is given a task; a task takes
    `seconds` otherwise."""

    clock: Clock
    crashes: dict[int, int]
    seconds: float = 0.0
    begun: list[tuple[int, float]] = field(default_factory=list)

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        for task in tasks:
            self.begun.append((task.number, self.clock.time))
            crashed = self.crashes.get(task.number, 0) > 0
            if crashed:
                self.crashes[task.number] -= 1
            else:
                self.clock.time += self.seconds
            yield Outcome(task.number, None if crashed else "done", None, crashed)


def task(number: int) -> Task:
    return Task(number, "unit", "{}")


def run(queue: Queue, engine: Frail) -> tuple[list[int], list[int]]:
    """What was done, and what was given up."""
    done, lost = [], []
    for outcome in queue.run(engine, task):
        if not outcome.crashed:
            done.append(outcome.number)
        elif not queue.again(outcome.number):
            lost.append(outcome.number)
    return done, lost


def test_what_has_crashed_is_begun_again_behind_growing_pauses() -> None:
    clock = Clock()
    engine = Frail(clock, {1: 3})
    assert run(Queue(range(3), clock.now, clock.wait), engine) == ([0, 2, 1], [])
    assert [when for number, when in engine.begun if number == 1] == [0, 1, 16, 76]
    assert max(clock.waits) <= 1  # it is seen soon that one should stop


def test_what_always_crashes_is_given_up() -> None:
    clock = Clock()
    engine = Frail(clock, {0: 99})
    assert run(Queue(range(2), clock.now, clock.wait), engine) == ([1], [0])
    assert len(engine.begun) == len(Queue.pauses) + 2


def test_others_are_done_during_a_pause() -> None:
    clock = Clock()
    engine = Frail(clock, {0: 2}, seconds=5)
    assert run(Queue(range(6), clock.now, clock.wait), engine) == ([1, 2, 3, 4, 5, 0], [])
    assert [when for number, when in engine.begun if number == 0] == [0, 25, 40]


def test_a_pause_that_ends_in_time_is_not_waited_for() -> None:
    clock = Clock()
    engine = Frail(clock, {0: 1}, seconds=5)
    assert run(Queue(range(2), clock.now, clock.wait), engine) == ([1, 0], [])
    assert clock.waits == []


def test_nothing_is_begun_or_waited_for_by_one_who_stops() -> None:
    clock = Clock()
    queue, engine = Queue(range(3), clock.now, clock.wait), Frail(clock, {0: 1})
    seen = []
    for outcome in queue.run(engine, task, stopping=lambda: bool(seen)):
        seen.append(outcome.number)
        assert queue.again(outcome.number)
    assert (seen, clock.waits) == ([0], [])


@given(st.dictionaries(st.integers(0, 7), st.integers(0, 5)), st.floats(0, 30))
def test_each_is_done_or_given_up_once(crashes: dict[int, int], seconds: float) -> None:
    clock = Clock()
    done, lost = run(Queue(range(8), clock.now, clock.wait), Frail(clock, dict(crashes), seconds))
    assert sorted(done + lost) == list(range(8))
    assert set(lost) == {number for number, times in crashes.items() if times > len(Queue.pauses)}
