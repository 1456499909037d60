"""Long series in stretches of time: where one may be cut, into what, and how one of the stretches is done."""

from collections.abc import Sequence
from itertools import pairwise

from msgspec import structs

from detectors.ensemble import Ensemble
from tsad.app import App
from tsad.backfill.beginning import events_of
from tsad.backfill.spec import Stretch, Unit
from tsad.config import StreamConfig
from tsad.history import HOUR
from tsad.overlap import Core, Overlap

STRETCH_ROWS = 250_000
"""Rows of a stretch at least: a row group of Parquet, which may have a million, is read by each that it meets."""
WORTH = 8
"""A stretch is at least so many times as long as what it reads around it."""
WIDER = 4
"""So much more is read around a stretch where that was too little."""


def may_cut(app: App, stream: str, ensembles: Sequence[Ensemble]) -> bool:
    """Whether series of the stream may be cut at all. What follows a context event is judged by what has followed
    others before it, and lines are mined in order."""
    learns_nothing = app.config.of(stream).logs is None and all(one.memoryless for one in ensembles)
    return learns_nothing and not events_of(app, stream)


def cut(first: int, last: int, rows: int, target: int, config: StreamConfig) -> list[Stretch]:
    """The stretches of a series from slot `first` to `last`, each of about `target` of its `rows`; [] where it is too
    short. They meet where hours do: an hour's roll-up is of one of them."""
    before, after = _lead(config) + 2 * config.quiet, config.settle + config.late_horizon + config.quiet
    count = min(rows // target, (last - first + 1) // (WORTH * (before + after)))
    if count < 2:
        return []
    length = (last - first + 1) / count
    hours = (round((first + number * length) * config.step / HOUR) for number in range(1, count))
    edges = sorted({-(-hour * HOUR // config.step) for hour in hours})
    bounds: list[int | None] = [None, *(edge for edge in edges if first < edge <= last), None]
    around = after + round(length / WORTH)
    return [Stretch(begin, end, before, around, first, last) for begin, end in pairwise(bounds)]


def around(unit: Unit, config: StreamConfig) -> tuple[Unit, Overlap | None]:
    """The unit with the bounds of what it reads, and what it keeps of that: of a stretch its own."""
    part, step = unit.stretch, config.step
    if part is None:
        return unit, None
    overlap = Overlap(Core(part.begin, part.end), config.quiet)
    if part.begin is not None and part.begin - part.before > part.first:
        overlap.whole = part.begin - part.before + _lead(config)
        unit = structs.replace(unit, since=(part.begin - part.before) * step)
    if part.end is not None and part.end + part.after <= part.last:
        overlap.more, end = True, part.end + part.after
        unit = structs.replace(unit, until=end * step, through=end - 1)
    return unit, overlap


def wider(unit: Unit, before: bool) -> Unit:
    """The unit with more around its stretch: in front of it, or behind."""
    part = unit.stretch
    if part is None:
        raise ValueError("a unit without a stretch reads all there is")
    more = {"before": WIDER * part.before} if before else {"after": WIDER * part.after}
    return structs.replace(unit, stretch=structs.replace(part, **more))


def _lead(config: StreamConfig) -> int:
    """Slots before a window that may tell in it: its own, before them those that a counter or a carried value looks
    back to, or in which an entity was last seen that is silent since."""
    silent = config.timing().forget_after if config.on_silence == "alert" else 0
    return config.window + max(config.window, silent)
