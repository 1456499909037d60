"""The local engine: real processes, and every way in which they end."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.tsad import pieces
from tests.tsad.pieces import done, gone
from tsad.engines import open_engine
from tsad.engines.local import LocalEngine, cores
from tsad.engines.tasks import CALLS, EngineError, Outcome, Task

DRIVER = """
import sys
from tests.tsad import pieces
from tests.tsad.pieces import done, gone
from tsad.engines.local import LocalEngine
from tsad.engines.tasks import CALLS, Task
CALLS.update(pieces.CALLS)
with LocalEngine(2) as engine:
    list(engine.run(Task(number, "wait", path) for number, path in enumerate(sys.argv[1:])))
"""


@pytest.fixture(scope="module")
def named() -> Iterator[None]:
    """The tests' calls have names, and workers find them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(pieces.ROOT))
        for name, place in pieces.CALLS.items():
            patched.setitem(CALLS, name, place)
        yield


@pytest.fixture(scope="module")
def two(named: None) -> Iterator[LocalEngine]:
    """One engine for most tests: its workers stay."""
    with LocalEngine(2) as engine:
        yield engine


def test_every_task_has_its_answer(two: LocalEngine) -> None:
    found = done(two, *(("greet", json.dumps(name)) for name in "abcdefg"))
    assert found == [Outcome(n, f'"hello {name}"', None, False) for n, name in enumerate("abcdefg")]


def test_workers_stay_and_have_a_thread_each(two: LocalEngine) -> None:
    first, again = ([json.loads(each.answer or "") for each in done(two, *[("who", "")] * 6)] for _ in range(2))
    processes = {process for process, _ in first + again}
    assert len(processes) <= 2
    assert os.getpid() not in processes
    assert {threads for _, threads in first} == {"1"}


def test_a_task_that_raises_says_why_and_the_others_go_on(two: LocalEngine) -> None:
    failed, fine = done(two, ("fail", "7"), ("greet", "1"))
    assert failed == Outcome(0, None, "ValueError: bad request 7", False)
    assert fine.answer == '"hello 1"'


@pytest.mark.parametrize(("call", "reason"), [("nowhere", "ModuleNotFoundError"), ("missing", "AttributeError")])
def test_a_call_whose_code_is_not_there_is_a_reason(two: LocalEngine, call: str, reason: str) -> None:
    (found,) = done(two, (call, ""))
    assert str(found.reason).startswith(f"{reason}: ")
    assert not found.crashed


def test_a_call_that_nobody_knows_is_refused_by_name(two: LocalEngine) -> None:
    with pytest.raises(ValueError, match=r"unknown call 'dance'; there are: .*greet"):
        done(two, ("dance", ""))


def test_a_task_without_memory_fails_alone(two: LocalEngine) -> None:
    greedy, fine = done(two, ("greedy", ""), ("greet", "1"))
    assert str(greedy.reason).startswith("MemoryError")
    assert greedy.crashed  # another process may have enough
    assert fine.answer == '"hello 1"'


def test_a_worker_that_is_killed_costs_its_task_alone(two: LocalEngine) -> None:
    found = done(two, ("greet", "1"), ("die", ""), ("greet", "2"), ("die", ""), ("greet", "3"))
    dead = "its process was killed by SIGKILL: out of memory?"
    assert [each.reason for each in found] == [None, dead, None, dead, None]
    assert [each.crashed for each in found] == [False, True, False, True, False]
    assert [found[n].answer for n in (0, 2, 4)] == [f'"hello {n}"' for n in (1, 2, 3)]


def test_a_worker_that_leaves_tells_its_code(two: LocalEngine) -> None:
    left, fine = done(two, ("leave", "3"), ("greet", "1"))
    assert left == Outcome(0, None, "its process ended with 3", True)
    assert fine.answer == '"hello 1"'


def test_what_has_crashed_may_be_put_back(two: LocalEngine, tmp_path: Path) -> None:
    class Waiting:
        """Tasks that wait; it may have some again after it had none."""

        def __init__(self) -> None:
            self.tasks = [Task(0, "die", str(tmp_path / "died")), Task(1, "greet", "1")]

        def __iter__(self) -> "Waiting":
            return self

        def __next__(self) -> Task:
            if not self.tasks:
                raise StopIteration
            return self.tasks.pop(0)

    waiting, found = Waiting(), []
    for outcome in two.run(waiting):
        found.append(outcome)
        if outcome.crashed:
            waiting.tasks.append(Task(2, "die", str(tmp_path / "died")))
    assert {(each.number, each.answer, each.crashed) for each in found} == {
        (0, None, True), (1, '"hello 1"', False), (2, "alive", False),
    }  # fmt: skip


def test_an_idle_worker_that_died_is_replaced(two: LocalEngine) -> None:
    for each in done(two, ("who", ""), ("who", "")):
        process = json.loads(each.answer or "")[0]
        os.kill(process, signal.SIGKILL)
        assert gone(process)
    assert [each.answer for each in done(two, ("greet", "1"), ("greet", "2"))] == ['"hello 1"', '"hello 2"']


def test_what_a_task_prints_is_no_answer(two: LocalEngine) -> None:
    assert [each.answer for each in done(two, *[("chatty", "")] * 3)] == ["answer"] * 3


def test_requests_and_answers_may_be_larger_than_a_pipe(two: LocalEngine) -> None:
    text = "täglich\n" * 100_000
    assert [each.answer for each in done(two, *[("large", text)] * 3)] == [text + "ü\n"] * 3


def test_endless_tasks_are_taken_as_there_are_workers(two: LocalEngine) -> None:
    taken: list[int] = []
    tasks = (Task(number, "greet", "1") for number in pieces.counted(count(), taken))
    running = two.run(tasks)
    for had in range(1, 6):
        next(running)
        assert had + 2 >= len(taken)
    running.close()  # what was at work is broken off
    assert [each.answer for each in done(two, ("greet", "2"))] == ['"hello 2"']


def test_nothing_to_do_is_done(two: LocalEngine) -> None:
    assert list(two.run([])) == []


def test_an_engine_that_closes_leaves_no_process(named: None) -> None:
    with LocalEngine(2) as engine:
        processes = {json.loads(each.answer or "")[0] for each in done(engine, *[("who", "")] * 4)}
    assert all(map(gone, processes))


def test_workers_go_when_the_driver_is_killed(named: None, tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, paths)], env=os.environ)
    try:
        while not all(path.exists() and path.read_text() for path in paths):
            assert driver.poll() is None
            select.select([], [], [], 0.02)
    finally:
        driver.kill()
        driver.wait()
    workers = [int(path.read_text()) for path in paths]
    assert len(set(workers)) == 2
    assert all(map(gone, workers))


def test_a_machine_that_starts_no_process_is_told(named: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with LocalEngine(1) as engine, pytest.raises(EngineError, match=r"no process could be started: .*nowhere"):
        done(engine, ("greet", "1"))


def test_a_worker_that_cannot_start_is_told(named: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "structlog.py").write_text("raise ImportError('broken')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{pieces.ROOT}")
    with LocalEngine(2) as engine, pytest.raises(EngineError, match="could not be started: its process ended with 1"):
        done(engine, ("greet", "1"), ("greet", "2"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("local", 0, None), "workers must be at least 1, got 0"),
        (("local", 1, "ray://x:1"), "an address is one of a Ray cluster, and the engine is 'local'"),
        (("spark", 1, None), "unknown engine 'spark'; there are: local, ray"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(asked: tuple[str, int, str | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_engine(*asked)


def test_without_a_number_there_is_a_worker_for_each_core(named: None) -> None:
    with open_engine("local") as engine:
        assert [each.answer for each in done(engine, ("greet", "1"))] == ['"hello 1"']
    assert cores() == len(os.sched_getaffinity(0))
