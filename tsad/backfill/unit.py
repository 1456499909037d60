"""One unit of a run over history, done by the process that reads it: the stream's own path, from its first record on.

A unit that was broken off is read again from its beginning, and what it had saved is left as it is: no memory is kept
in between, since a unit is a matter of seconds or minutes. Of a stretch of time, what was saved goes: how much it reads
around its own slots may be another the next time. A call is JSON, and so is what comes of it.
"""

import gc
import time
from functools import cache, partial

import msgspec

from storage.deletion import forget_part
from tsad.app import App
from tsad.backfill.reading import sources_of
from tsad.backfill.slots import as_closed
from tsad.backfill.spec import Done, Request, Rows, Series, Slots, Tables, Unit
from tsad.backfill.stretching import around, wider
from tsad.config import validated
from tsad.console import peak_memory
from tsad.era import BLOCK
from tsad.models import ModelShelf
from tsad.overlap import Overlap, TooShortError
from tsad.progress import Historic, Limits, Progress, frozen_heap
from tsad.runner import Runner

POLL = 50_000
"""Records of a poll: nobody waits for an alert, and a save costs the same for many."""
EXPLAINED = 10_000
"""Alerts of a poll that are explained at once."""


def answer(request: str) -> str:
    """Do the unit of `request` (a `Request`); `Done`, both as JSON."""
    asked = msgspec.json.decode(request, type=Request)
    closed = any(isinstance(read, Slots) for read in asked.unit.reads.values())
    app, shelf = _opened(msgspec.json.encode(asked.config), asked.stream, closed)
    with frozen_heap():
        done = do(app, shelf, asked)
        # a runner is a circle, which the next unit's `frozen_heap` would keep for good; it is sought among what the
        # unit made, since a look at all that the libraries hold takes a fifth of a second
        gc.collect()
    return msgspec.json.encode(done).decode()


def do(app: App, shelf: ModelShelf, asked: Request) -> Done:
    """Judge what the unit reads, to its end."""
    began, unit = time.monotonic(), asked.unit
    while True:
        try:
            progress = _once(app, shelf, asked, *around(unit, app.config.of(asked.stream)))
        except TooShortError as error:
            unit = wider(unit, error.before)
        else:
            return Done(progress.rows, progress.windows, time.monotonic() - began, peak_memory())


def _once(app: App, shelf: ModelShelf, asked: Request, unit: Unit, overlap: Overlap | None) -> Progress:
    """Judge the unit with so much around it. TooShortError where that does not tell all of it."""
    if overlap is not None:
        forget_part(app.database, asked.run, asked.stream, asked.number)
    historic = Historic(asked.version, unit.through, unit.span, asked.bands, overlap, _lead(unit))
    runner = app.partition_runner(
        asked.stream, asked.number, partial(sources_of, app, asked.stream, asked.number, unit), asked.run,
        Limits(POLL, EXPLAINED, None), historic, shelf,
    )  # fmt: skip
    try:
        _run(runner, overlap)
    finally:
        for source in runner.sources.values():
            source.close()
    return runner.progress


def _lead(unit: Unit) -> int:
    """How many slots a unit may close at a time: of few entities many, so that their windows are judged together."""
    known = [read.entities for read in unit.reads.values() if isinstance(read, Tables | Rows | Series)]
    if len(known) < len(unit.reads) or None in known:
        return 1
    return BLOCK // max(1, max(map(len, filter(None, known)), default=1))


def _run(runner: Runner, overlap: Overlap | None) -> None:
    """Read to the end, of a stretch as far as it needs, where every slot is final."""
    judge = runner.partition.judge
    while runner.step():
        if overlap is not None and overlap.over(judge):
            break
    else:
        if overlap is not None:
            overlap.check_end(judge)
    while runner.explanations.of_waiting():
        pass
    runner.partition.conclude()
    runner.save()
    runner.snapshot()


@cache
def _opened(config: bytes, stream: str, closed: bool) -> tuple[App, ModelShelf]:
    """The application and the stream's models, kept from unit to unit of a process; `closed`: slots are read that were
    closed once already."""
    told = validated(msgspec.json.decode(config), "configuration")
    app = App.open(as_closed(told, stream) if closed else told, create=False)
    return app, app.shelf(stream)
