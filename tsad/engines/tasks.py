"""Pieces of work for other processes: the name of a call and its request, and what came of it. Only strings travel."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import NamedTuple, Protocol

import structlog

from detectors.shortage import short_of_memory
from tsad.logs import structured
from tsad.operating import LogFormat

CALLS = {"unit": "tsad.backfill.unit:answer", "fit": "tsad.spreading:fitted"}
"""What can be asked for, by name: "module:function" of str -> str."""

ASKED = 1.0
"""Seconds between two questions whether there is something more to do, where a worker has nothing."""

LOG_FORM = "TSAD_LOG_FORMAT"
"""The variable that says how processes write to standard error."""

OURS = {"detectors", "storage", "streaming", "tsad"}
"""Whose errors need no traceback."""


class EngineError(Exception):
    """The engine cannot work: no process can be started, or the cluster does not answer."""


class Task(NamedTuple):
    """One piece of work: a key of `CALLS` and its request, JSON."""

    number: int
    call: str
    request: str


class Outcome(NamedTuple):
    """What came of a task: its answer (JSON), or the reason why there is none. `crashed`: the process that ran it is
    gone, or had no memory left, and the task may do no better or may, elsewhere."""

    number: int
    answer: str | None
    reason: str | None
    crashed: bool


class Engine(Protocol):
    """Runs tasks in processes of their own."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order. A task is taken when there is a worker for it, so that `tasks` may be
        endless, and is never run again. An iterator that had nothing left is asked once more after each outcome, and
        every `ASKED` seconds: what has crashed may be put back. EngineError where there is no going on."""
        ...


def place_of(task: Task) -> str:
    """The "module:function" that a task asks for; ValueError names those there are."""
    if task.call not in CALLS:
        raise ValueError(f"unknown call {task.call!r}; there are: {', '.join(CALLS) or 'none'}")
    return CALLS[task.call]


def log_form() -> LogFormat:
    """How workers say what they say: as their driver."""
    return "json" if structured() else "console"


def perform(place: str, request: str) -> tuple[str | None, str | None, bool]:
    """What a worker does: the function's answer, or in one line why it has none, and whether that was want of memory;
    the traceback of what nobody has thought of goes to the log."""
    module, _, name = place.partition(":")
    try:
        answer: str = getattr(import_module(module), name)(request)
        return answer, None, False
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this task's, and the others go on
        structlog.get_logger(call=place).warning("a task failed", exc_info=not _is_told(error))
        return None, " ".join(f"{type(error).__name__}: {error}".split()), short_of_memory(error)


def _is_told(error: Exception) -> bool:
    """Whether it says by itself what is wrong: a fault of the system, one of our own, or one that was met and named."""
    named = isinstance(error, ValueError) and error.__cause__ is not None
    return isinstance(error, OSError) or named or type(error).__module__.partition(".")[0] in OURS
