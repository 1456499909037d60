"""The terminal of a run: progress bars, Ctrl-C, and what a summary looks like."""

import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from tsad.logs import say, structured
from tsad.progress import Progress as Standing
from tsad.wording import counted


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While the block runs, the first Ctrl-C (or SIGTERM) asks to stop between two polls; a second one is final.

    The handler itself says nothing: it may have come in the middle of a line that is being written, whose lock is held.
    """
    asked = False
    words: SimpleQueue[str] = SimpleQueue()
    speaker = Thread(target=_speak, args=(words,), daemon=True)
    speaker.start()

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        words.put("stopping after this step, so that nothing is lost; Ctrl-C again stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    except KeyboardInterrupt:
        say("interrupted; what was saved is kept")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        words.put("")
        speaker.join()


def _speak(words: SimpleQueue[str]) -> None:
    for text in iter(words.get, ""):
        say(text)


def heeding(tell: Callable[[str, int, int], None], stopping: Callable[[], bool]) -> Callable[[str, int, int], None]:
    """`tell` of the stages of a fit, which ends the fit where `stopping` answers True: nothing of it is kept."""

    def heed(stage: str, done: int, total: int) -> None:
        if stopping():
            raise KeyboardInterrupt
        tell(stage, done, total)

    return heed


class Bars:
    """Progress bars on standard error, so that standard output stays what was asked for; none where lines are JSON."""

    def __init__(self, quiet: bool = False) -> None:
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        )  # fmt: skip
        self._bars = Progress(*columns, console=Console(stderr=True), disable=quiet or structured())

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def stages(self, title: str) -> Callable[[str, int, int], None]:
        """A bar over the named stages of a fit."""
        task = self._next(title, None)

        def tell(stage: str, done: int, total: int) -> None:
            self._bars.update(task, description=f"{title}: {stage}", completed=done, total=total)

        return tell

    def count(self, title: str, total: int | None = None) -> Callable[[int], None]:
        """A bar over a number of records."""
        task = self._next(title, total)
        return lambda done: self._bars.update(task, completed=done)

    def part(self, title: str) -> Callable[[int, int], None]:
        """A bar over a number of records, of which is said how many there are."""
        task = self._next(title, None)
        return lambda done, total: self._bars.update(task, completed=done, total=total)

    def standing(self, title: str, total: int | None = None) -> Callable[[Standing], None]:
        """A bar over the records of a run, with its alerts and what a cold start still misses."""
        task = self._next(title, total)

        def tell(standing: Standing) -> None:
            cold = f", {standing.missing_slots} slots to the first model" if standing.missing_slots else ""
            said = f"{title}: {counted(standing.alerts, 'alert')}{cold}"
            self._bars.update(task, description=said, completed=standing.rows)

        return tell

    def rated(self, title: str) -> Callable[[str, int, int], None]:
        """A bar over a number of records with what else is to be said, and how long the rest may take."""
        task = self._next(title, None)

        def tell(said: str, done: int, total: int) -> None:
            self._bars.update(task, description=f"{title}: {said}", completed=done, total=total)

        return tell

    def _next(self, title: str, total: int | None) -> TaskID:
        """A bar after those before it, which have come to their end."""
        self.done()
        return self._bars.add_task(title, total=total)

    def done(self) -> None:
        """Fill every bar: what was to be read was read."""
        for task in self._bars.tasks:
            self._bars.update(task.id, total=task.completed)


def peak_memory() -> int:
    """The most memory that this process has held, in bytes. Linux's `ru_maxrss` begins with what its parent held."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
