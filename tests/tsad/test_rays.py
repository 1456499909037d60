"""Tasks on a real Ray cluster: one that runs, and one of this machine for as long as it is needed."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.tsad import pieces
from tests.tsad.pieces import done, gone
from tsad.engines import open_engine
from tsad.engines.rays import RayEngine
from tsad.engines.tasks import CALLS, EngineError, Outcome, Task

DRIVER = """
import json, sys
from tests.tsad import pieces
from tsad.engines import open_engine
from tsad.engines.tasks import CALLS, Task
CALLS.update(pieces.CALLS)
address, *asked = json.loads(sys.argv[1])
answers = sys.stdout
with open_engine("ray", 1, address) as engine:
    for outcome in engine.run(Task(number, *each) for number, each in enumerate(asked)):
        print(json.dumps(outcome), flush=True, file=answers)
"""


@pytest.fixture(scope="module")
def named() -> Iterator[None]:
    """The tests' calls have names, and nodes find them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(pieces.ROOT))
        for name, place in pieces.CALLS.items():
            patched.setitem(CALLS, name, place)
        yield


@pytest.fixture(scope="module")
def two(named: None, ray_cluster: str) -> Iterator[Any]:
    with open_engine("ray", 2, ray_cluster) as engine:
        yield engine


def test_every_task_has_its_answer(two: RayEngine) -> None:
    found = done(two, *(("greet", json.dumps(name)) for name in "abcdefg"))
    assert found == [Outcome(n, f'"hello {name}"', None, False) for n, name in enumerate("abcdefg")]


def test_processes_stay_and_have_a_thread_each(two: RayEngine) -> None:
    found = [json.loads(each.answer or "") for each in done(two, *[("who", "")] * 8)]
    assert len({process for process, _ in found}) <= 2
    assert os.getpid() not in {process for process, _ in found}
    assert {threads for _, threads in found} == {"1"}


def test_a_task_that_raises_or_dies_costs_itself_alone(two: RayEngine) -> None:
    failed, died, left, nowhere, fine = done(
        two, ("fail", "7"), ("die", ""), ("leave", "3"), ("nowhere", ""), ("greet", "1")
    )
    assert failed == Outcome(0, None, "ValueError: bad request 7", False)
    for each in (died, left):
        assert each.crashed
        assert str(each.reason).startswith("WorkerCrashedError: The worker died unexpectedly")
        assert "\n" not in str(each.reason)
    assert str(nowhere.reason).startswith("ModuleNotFoundError: ")
    assert fine.answer == '"hello 1"'


def test_a_task_without_memory_fails_alone(two: RayEngine) -> None:
    greedy, fine = done(two, ("greedy", ""), ("greet", "1"))
    assert (str(greedy.reason).partition(":")[0], greedy.crashed) == ("MemoryError", True)
    assert fine.answer == '"hello 1"'


def test_what_is_killed_from_outside_is_not_run_again_by_ray(two: RayEngine, tmp_path: Path) -> None:
    path = tmp_path / "worker"
    waiting = [Task(0, "wait", str(path)), Task(1, "until", str(path))]
    found = []
    for outcome in two.run(waiting):
        found.append(outcome)
        if outcome.number == 1:
            os.kill(int(outcome.answer or 0), signal.SIGKILL)
    assert [(each.number, each.crashed) for each in found] == [(1, False), (0, True)]


def test_endless_tasks_are_taken_as_there_is_room(two: RayEngine) -> None:
    taken: list[int] = []
    running = two.run(Task(number, "greet", "1") for number in pieces.counted(count(), taken))
    for had in range(1, 6):
        next(running)
        assert had + 2 >= len(taken)
    running.close()
    assert [each.answer for each in done(two, ("greet", "2"))] == ['"hello 2"']


def test_a_call_that_nobody_knows_is_refused_by_name(two: RayEngine) -> None:
    with pytest.raises(ValueError, match=r"unknown call 'dance'; there are: .*greet"):
        done(two, ("dance", ""))


@pytest.mark.parametrize(("asked", "seen"), [(0.5, "0"), (2, "")])
def test_a_gpu_is_asked_for_where_the_cluster_offers_one(
    two: RayEngine, monkeypatch: pytest.MonkeyPatch, asked: float, seen: str
) -> None:
    monkeypatch.setattr(two, "_gpus", asked)
    first, second = (json.loads(each.answer or "") for each in done(two, ("device", ""), ("device", "")))
    assert {first, second} == {seen}


def test_what_ray_says_is_no_output_of_the_driver(named: None, ray_cluster: str) -> None:
    asked = [ray_cluster, ["greet", "1"], ["die", ""], ["chatty", ""], ["fail", "2"]]
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(asked)], capture_output=True, text=True, check=True, timeout=120
    )
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [each[:2] for each in found] == [[0, '"hello 1"'], [1, None], [2, "answer"], [3, None]]
    assert [each[3] for each in found] == [False, True, False, False]
    assert found[3][2] == "ValueError: bad request 2"


def test_a_cluster_of_this_machine_goes_with_its_driver(named: None, tmp_path: Path) -> None:
    path = tmp_path / "worker"
    asked = json.dumps([None, ["greet", "1"], ["wait", str(path)]])
    files = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # what is killed leaves them, and paths are short
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, asked],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": files.name},
    )
    try:
        assert driver.stdout is not None
        assert json.loads(driver.stdout.readline()) == [0, '"hello 1"', None, False]
        while not (path.exists() and path.read_text()):
            assert driver.poll() is None
            select.select([], [], [], 0.02)
    finally:
        driver.kill()
        driver.communicate()
    assert gone(int(path.read_text()))
    files.cleanup()


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_at_which_nobody_listens_is_not_waited_for(named: None, address: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = address.format(free.getsockname()[1])
    with pytest.raises(EngineError, match=r"cannot be used: .*refused"), open_engine("ray", 1, place):
        pass


def test_a_cluster_that_is_none_is_told(named: None) -> None:
    with (
        pytest.raises(EngineError, match=r"Ray at no-such-scheme://x cannot be used: "),
        RayEngine(1, "no-such-scheme://x"),
    ):
        pass


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"install tsad\[ray\]"), open_engine("ray"):
        pass
