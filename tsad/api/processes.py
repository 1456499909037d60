"""Several processes that answer on one port, since one computes in Python on one core at a time.

Each has a socket of its own on the port, among which the kernel shares out connections. The process that was started
holds all of these sockets: where another one dies, its connections wait for the one that takes its place.
"""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from socket import socket
from threading import Event, Thread
from typing import Self

import structlog

Answer = Callable[[socket], None]
PAUSE, PATIENCE = 1.0, 15.0
"""Seconds until one that died is started again, and until one that was asked to end is made to."""


@dataclass
class Others:
    """A process for each of `sockets`, which does `work` (a function that another process can import) with it, while
    the block runs."""

    work: Answer
    sockets: Sequence[socket]
    pause: float = PAUSE
    held: list[SpawnProcess] = field(default_factory=list)
    _ending: Event = field(default_factory=Event)
    _watching: Thread | None = None

    def __enter__(self) -> Self:
        self.held += [self._started(one) for one in self.sockets]
        if self.sockets:
            self._watching = Thread(target=self._watch, name="processes", daemon=True)
            self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.wait()

    def end(self) -> None:
        """Ask them to end: they answer what they have begun."""
        self._ending.set()
        if self._watching is not None:
            self._watching.join()
        for one in self.sockets:
            one.close()
        for process in self.held:
            process.terminate()

    def wait(self) -> None:
        """Until they have ended."""
        for process in self.held:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()

    def _started(self, heard: socket) -> SpawnProcess:
        process = get_context("spawn").Process(target=_lives, args=(self.work, heard), daemon=True)
        process.start()
        return process

    def _watch(self) -> None:
        """Start again what has died."""
        while not self._ending.is_set():
            connection.wait([process.sentinel for process in self.held], self.pause)
            for place, process in enumerate(self.held):
                if process.exitcode is not None and not self._ending.wait(self.pause):
                    log = structlog.get_logger()
                    log.error("a process that answers has ended; another one takes its place", code=process.exitcode)
                    self.held[place] = self._started(self.sockets[place])


def _lives(work: Answer, heard: socket) -> None:
    """In the other process: `work`, until its parent is gone, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is said to all of a terminal: the parent tells when to end
    Thread(target=_orphaned, name="parent", daemon=True).start()
    work(heard)


def _orphaned() -> None:
    parent = parent_process()
    if parent is not None:
        with suppress(OSError):
            connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
