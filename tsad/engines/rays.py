"""Tasks on a Ray cluster: one that runs already, or one of this machine for as long as the work takes.

Ray's own tasks, without its data sets: what travels is a name and a request. Code and packages are taken to be
installed on every node, and paths to be the same from each.
"""

import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from types import TracebackType
from typing import Any

from tsad.engines.local import cores
from tsad.engines.tasks import ASKED, EngineError, Outcome, Task, log_form, perform, place_of
from tsad.logs import configure
from tsad.operating import LogFormat

OBJECT_STORE = 80 << 20
"""Bytes for what travels, of a cluster of our own: strings. Ray wants no less."""
_LONGEST = 300
KNOCKING = 20.0
"""Seconds in which a cluster's port must answer."""


class RayEngine:
    """At most `workers` tasks at work (None: a task for each CPU of the cluster) at `address`, as `ray.init` takes it
    ("ray://host:10001" from outside, "host:6379" from one of its nodes; None: a cluster of this machine is started and
    ended). A task asks for `gpus` where the cluster has so many. While it is open, what is printed goes to standard
    error, where Ray has something to say, too."""

    def __init__(self, workers: int | None = None, address: str | None = None, gpus: float = 0) -> None:
        self._workers, self._address, self._gpus = workers, address, gpus
        self._held = ExitStack()

    def __enter__(self) -> "RayEngine":
        _settle(own=self._address is None)
        try:
            import ray
        except ImportError as error:
            raise EngineError("the engine 'ray' needs Ray: install tsad[ray]") from error
        self._ray: Any = ray
        with ExitStack() as opening:
            options = {"address": self._address} if self._address else self._own(opening)
            opening.enter_context(redirect_stdout(sys.stderr))  # Ray tells there of processes that died
            opening.callback(ray.shutdown)
            try:
                _knock(self._address)
                with _own_signals():
                    ray.init(**options, configure_logging=False)
                self._offered = ray.cluster_resources()
            except Exception as error:  # Ray has no class of its own for it
                raise EngineError(f"Ray {self._where} cannot be used: {_line(error)}") from error
            self._held = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """See `Engine`. A task whose process dies is not run again by Ray."""
        # with a GPU, Ray would start a process for each task
        remote = self._ray.remote(num_cpus=1, num_gpus=self._share, max_retries=0, max_calls=0)(_performed)
        most, coming = self._workers or max(1, int(self._offered.get("CPU", 1))), iter(tasks)
        busy: dict[Any, int] = {}
        try:
            self._fill(busy, coming, most, remote)
            while busy:
                for ended in self._ray.wait(list(busy), num_returns=1, timeout=ASKED)[0]:
                    outcome = self._outcome(busy.pop(ended), ended)
                    self._fill(busy, coming, most, remote)  # they work on while the outcome is looked at
                    yield outcome
                self._fill(busy, coming, most, remote)
        finally:
            for reference in busy:
                self._ray.cancel(reference, force=True)

    @property
    def _where(self) -> str:
        return f"at {self._address}" if self._address else "on this machine"

    @property
    def _share(self) -> float:
        return self._gpus if self._offered.get("GPU", 0) >= self._gpus else 0

    def _own(self, opening: ExitStack) -> dict[str, Any]:
        """A cluster of this machine, and of nobody else's."""
        folder = opening.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        return {
            "address": "local", "num_cpus": self._workers or cores(), "include_dashboard": False,
            "object_store_memory": OBJECT_STORE, "_temp_dir": folder,
        }  # fmt: skip

    def _fill(self, busy: dict[Any, int], coming: Iterator[Task], most: int, remote: Any) -> None:
        while len(busy) < most:
            task = next(coming, None)
            if task is None:
                return
            busy[remote.remote(place_of(task), task.request, log_form())] = task.number

    def _outcome(self, number: int, reference: Any) -> Outcome:
        failures = self._ray.exceptions
        try:
            said = self._ray.get(reference)
        except failures.RayTaskError as error:  # our own code is not there, or not the same
            return Outcome(number, None, _line(error), crashed=False)
        except (failures.WorkerCrashedError, failures.OutOfMemoryError, failures.NodeDiedError) as error:
            return Outcome(number, None, _line(error), crashed=True)
        except failures.RayError as error:
            raise EngineError(f"Ray {self._where} has failed: {_line(error)}") from error
        return Outcome(number, *said)


def _knock(address: str | None) -> None:
    """OSError where nobody listens at an address of a host and a port: Ray itself would ask on for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCKING).close()


def _settle(own: bool) -> None:
    """What Ray reads from the environment, where nobody has said otherwise: it reports to nobody, and a cluster of our
    `own`, which listens on the network, is for those who know its word."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if own and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; what it means is the caller's to say."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _performed(place: str, request: str, form: LogFormat) -> tuple[str | None, str | None, bool]:
    """`perform` on a node; standard output is the driver's alone, and Ray passes on what is written here."""
    configure(form)
    with redirect_stdout(sys.stderr):
        return perform(place, request)


def _line(error: Exception) -> str:
    """What it says, in one line that is not too long."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
