"""Tasks for the tests of the engines: every way in which a task can end."""

import json
import os
import resource
import select
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tsad.engines.tasks import Outcome, Task

ROOT = Path(__file__).resolve().parents[2]
DOOMED = "TSAD_TESTS_DOOMED"
CALLS = {
    name: f"tests.tsad.pieces:{name}"
    for name in (
        "greet",
        "fail",
        "greedy",
        "die",
        "leave",
        "wait",
        "until",
        "who",
        "device",
        "chatty",
        "large",
        "missing",
    )
} | {"nowhere": "tests.tsad.no_such_module:f"}


def greet(request: str) -> str:
    return json.dumps(f"hello {json.loads(request)}")


def fail(request: str) -> str:
    raise ValueError(f"bad\nrequest {request}")


def greedy(request: str) -> str:
    """More memory than it may have."""
    most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, most[1]))
    try:
        return str(len(bytearray(16 << 30)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, most)


def die(request: str) -> str:
    """As the kernel ends a process where memory is short; with a path, the first time only."""
    if request:
        path = Path(request)
        if path.exists():
            return "alive"
        path.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "unreachable"


def leave(request: str) -> str:
    os._exit(int(request))


def wait(request: str) -> str:
    """Say who works, in a file, and never end."""
    Path(request).write_text(str(os.getpid()))
    threading.Event().wait()
    return "unreachable"


def until(request: str) -> str:
    """Who it is that waits."""
    path = Path(request)
    while not (path.exists() and path.read_text()):
        select.select([], [], [], 0.02)
    return path.read_text()


def device(request: str) -> str:
    return json.dumps(os.environ.get("CUDA_VISIBLE_DEVICES", ""))


def who(request: str) -> str:
    return json.dumps([os.getpid(), os.environ["OMP_NUM_THREADS"]])


def chatty(request: str) -> str:
    """What is printed is no answer."""
    print("ready\n[1, 2]")
    os.write(1, b'["no", null]\n')
    return "answer"


def large(request: str) -> str:
    return request + "ü\n"


def counted(numbers: Iterable[int], taken: list[int]) -> Iterator[int]:
    """`numbers`, noted as they are taken."""
    for number in numbers:
        taken.append(number)
        yield number


def done(engine: Any, *asked: tuple[str, str]) -> list[Outcome]:
    """Outcomes in the order of the tasks."""
    return sorted(engine.run(Task(number, call, request) for number, (call, request) in enumerate(asked)))


def gone(process: int) -> bool:
    """Whether a process has ended, or does within half a minute."""
    try:
        watched = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    with os.fdopen(watched):
        return bool(select.select([watched], [], [], 30)[0])


def short_then_judge(request: str) -> str:
    """The first unit has not enough memory, then its process is killed; all goes well from then on."""
    from tsad.backfill.unit import answer

    folder = Path(json.loads(request)["config"]["models"]).parent
    if not (folder / "greedy").exists():
        (folder / "greedy").touch()
        greedy("")
    die(str(folder / "died"))
    return answer(request)


def fated(request: str) -> str:
    """A unit of a run on nodes of which the environment dooms one: there the first wants ever more memory, and the
    second has no end. The other nodes wait for that one, if not for ever."""
    folder = Path(json.loads(request)["config"]["models"]).parent
    if os.environ.get(DOOMED):
        if not (folder / "starved").exists():
            (folder / "starved").touch()
            held = [bytearray(64 << 20) for _ in range(60)]
            return str(len(held))
        wait(str(folder / "waits"))
    for _ in range(15_000):
        if (folder / "waits").exists():
            break
        select.select([], [], [], 0.02)
    from tsad.backfill.unit import answer

    return answer(request)


def die_then_fit(request: str) -> str:
    """Killed the first time that anything is fitted."""
    from tsad.spreading import fitted

    die(str(Path(json.loads(request)["folder"]) / "died"))
    return fitted(request)


def die_always(request: str) -> str:
    return die("")
