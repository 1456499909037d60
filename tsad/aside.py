"""Long work on a thread of its own, so that whoever waits for it can go on with what must not wait."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypeVar

from storage.engine import at_once
from streaming.settings import SECOND
from tsad.app import App

Result = TypeVar("Result")

EVERY = 0.5
"""Seconds between two looks at what must not wait."""
HANGING = 60.0
"""Seconds that one try of a transaction may take beyond the patience with those that fail."""
GRACE = 6.0
"""Seconds that work may go on when the process was asked to stop: supervisors kill after ten."""


class GivenUpError(TimeoutError):
    """Work was left behind, and the process has to end: its thread may still be at it."""


class Aside:
    """Runs what its owner (the thread that enters it) gives it, one after the other, while the owner waits and does
    `meanwhile` every `every` seconds. What other threads give, this one's own among them, runs where it is given.

    When `stopping` has answered True for `grace` seconds, what still runs is given up: GivenUpError.
    """

    def __init__(
        self,
        stopping: Callable[[], bool] = lambda: False,
        grace: float = GRACE,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.meanwhile: Callable[[], None] = lambda: None
        self._stopping, self._grace, self._every, self._clock = stopping, grace, every, clock
        self._asked: float | None = None
        self._owner: int | None = None
        self._given: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)

    def __enter__(self) -> Self:
        self._owner = threading.get_ident()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._owner = None
        self._given.put(None)

    def __call__(self, work: Callable[[], Result]) -> Result:
        """What `work` gives or raises, however long that takes."""
        return self.within(None, work)

    def within(self, seconds: float | None, work: Callable[[], Result], grace: float | None = None) -> Result:
        """Likewise; GivenUpError when it takes longer than `seconds`, or than another `grace` from a stop on."""
        if threading.get_ident() != self._owner:
            return work()
        task: Future[Result] = Future()
        began = self._clock()
        self._given.put((task, work))
        while True:
            try:
                return task.result(self._every)
            except TimeoutError:
                if task.done():
                    raise  # its own
            self.meanwhile()
            self._check(began, seconds, self._grace if grace is None else grace)

    def _check(self, began: float, seconds: float | None, grace: float) -> None:
        now = self._clock()
        if self._asked is None and self._stopping():
            self._asked = now
        if self._asked is not None and now - self._asked >= grace:
            raise GivenUpError(
                f"stopped, {now - began:.0f} s after it was begun; what was not saved is read again by the next run"
            )
        if seconds is not None and now - began >= seconds:
            raise GivenUpError(f"no answer in {seconds:.0f} s")

    def _run(self) -> None:
        while (given := self._given.get()) is not None:
            task, work = given
            try:
                task.set_result(work())
            except BaseException as error:  # noqa: BLE001 -- whoever waits gets it
                task.set_exception(error)


@contextmanager
def patiently(app: App, stopping: Callable[[], bool], grace: float = GRACE) -> Iterator[Aside]:
    """While the block runs, its thread waits for long work and for the database without being stuck in them: until
    `stopping` answers True, or the configured patience is over. Make runners and workers inside."""
    patience = app.config.patience / SECOND
    database = app.database
    with Aside(stopping, grace) as aside:
        app.aside, database.patience, database.carry = aside, patience, partial(aside.within, patience + HANGING)
        try:
            yield aside
        finally:
            app.aside = database.carry = at_once
