"""Processes of this machine that stay: imports and loaded models are paid for once."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType

from tsad.engines.tasks import ASKED, LOG_FORM, EngineError, Outcome, Task, log_form, place_of
from tsad.engines.worker import READY

THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""There is a worker for each core."""
_PART = 1 << 16


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalEngine:
    """A process for each of `workers` (None: for each core). One that dies is replaced by the next task."""

    def __init__(self, workers: int | None = None) -> None:
        self._most = workers or cores()
        self._idle: list[_Worker] = []

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._idle:
            worker.end()
        self._idle.clear()

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """See `Engine`. EngineError where a process cannot be started."""
        coming = iter(tasks)
        with selectors.DefaultSelector() as busy:
            try:
                self._fill(busy, coming)
                while busy.get_map():
                    for key, _ in busy.select(ASKED):
                        worker: _Worker = key.data
                        outcome = worker.hear()
                        if outcome is not None:
                            busy.unregister(worker.answers)
                            self._free(worker, outcome)
                            self._fill(busy, coming)  # it works on while the outcome is looked at
                            yield outcome
                    self._fill(busy, coming)
            finally:
                for key in list(busy.get_map().values()):
                    key.data.end()

    def _fill(self, busy: selectors.BaseSelector, coming: Iterator[Task]) -> None:
        while len(busy.get_map()) < self._most:
            task = next(coming, None)
            if task is None:
                return
            worker = self._given(task)
            busy.register(worker.answers, selectors.EVENT_READ, worker)

    def _given(self, task: Task) -> "_Worker":
        """A worker that has the task: one that is idle and alive, else a new one."""
        request = json.dumps([place_of(task), task.request])
        while self._idle:
            worker = self._idle.pop()
            if worker.give(task, request):
                return worker
            worker.end()
        worker = _Worker()
        worker.give(task, request)
        return worker

    def _free(self, worker: "_Worker", outcome: Outcome) -> None:
        if outcome.crashed:
            worker.end()
        else:
            self._idle.append(worker)


class _Worker:
    """One process, as its parent sees it. It has at most one task."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tsad.engines.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=THREADS | os.environ | {LOG_FORM: log_form()},
            )  # fmt: skip
        except OSError as error:
            raise EngineError(f"no process could be started: {error}") from error
        if self._process.stdin is None or self._process.stdout is None:
            raise EngineError("a process was started without pipes")
        self._tasks, self.answers = self._process.stdin, self._process.stdout
        self._said, self._ready, self._number = bytearray(), False, 0

    def give(self, task: Task, request: str) -> bool:
        """Hand it a task; False where it has died before."""
        self._number = task.number
        if self._process.poll() is not None:
            return False
        with suppress(BrokenPipeError):  # it died just now, and its outcome says so
            self._tasks.write(request.encode() + b"\n")
            self._tasks.flush()
        return True

    def hear(self) -> Outcome | None:
        """What came of its task; None as long as that is open."""
        part = os.read(self.answers.fileno(), _PART)
        if not part:
            return Outcome(self._number, None, self._death(), crashed=True)
        self._said += part
        if not part.endswith(b"\n"):
            return None
        last, self._ready = self._said.splitlines()[-1], True
        self._said.clear()
        if last == READY.encode():
            return None
        return Outcome(self._number, *json.loads(last))

    def end(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._process.wait()
        self.answers.close()
        with suppress(BrokenPipeError):  # of what it was given and never took
            self._tasks.close()

    def _death(self) -> str:
        """How it ended. EngineError where it could not even start: no other one could."""
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            return f"its process was killed by {name}" + (": out of memory?" if name == "SIGKILL" else "")
        if not self._ready:
            raise EngineError(f"a worker could not be started: its process ended with {code}")
        return f"its process ended with {code}"
