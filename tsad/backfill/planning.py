"""A run over history, cut into units: entities of tables, or stretches of their time, partitions, else whole files."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import structlog
from msgspec import structs

from detectors.ensemble import Ensemble
from storage.types import LIVE, StreamRow
from streaming.broker.part import extents
from streaming.columns import Columns
from streaming.datasets import DataFile, held, list_files
from streaming.files import KIND_OF_SUFFIX, is_known, kind_of
from streaming.holdings import Held
from streaming.selection import NOBODY
from streaming.settings import TelemetryFormat
from streaming.stores import Store
from streaming.types import Topic
from tsad.app import App
from tsad.archive import Archive
from tsad.backfill.reading import query_of
from tsad.backfill.spec import File, Part, Reading, Rows, Series, Slots, Stretch, Tables, Unit, Wanted
from tsad.backfill.stretching import STRETCH_ROWS, cut, may_cut
from tsad.config import ConfigError
from tsad.history import HOUR
from tsad.incoming import PUSH
from tsad.layout import topics_found

UNIT_ROWS = 1_000_000
"""Rows of a unit at most: some ten seconds to a minute of one core. Each slot costs something, however few entities it
has, so that fewer units are cheaper."""
LEAST_ROWS = 20_000
"""Fewer are not worth a unit of their own."""
PARTS = 12
"""Into about so many units a smaller job is cut, so that a few workers have something to do to the end."""
FILE_VALUES = 4_000_000
"""Values of a file of results: a unit holds them in memory until it is written."""
WEEK = 24 * 7
HISTORY = "history"
"""The input that is what the stream itself has kept."""
EMPTY = "no record of it lies in the asked range"
READERS = 8
"""Files that are looked into at a time."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_DATABASE = re.compile(r"(sqlite|postgres(ql)?|mysql|mariadb|oracle|mssql|duckdb)(\+\w+)?://")


@dataclass(frozen=True, slots=True)
class Planned:
    """A unit with what is known of its input; `fault` says why it cannot be done."""

    unit: Unit
    entities: int = 0
    rows: int = 0
    fault: str = ""


@dataclass(slots=True)
class _Entity:
    """What a data set holds of an entity, and in which files (by number)."""

    name: str
    first: int
    last: int
    rows: int = 0
    files: list[int] = field(default_factory=list)

    def add(self, held: Held, file: int) -> None:
        """More of it is in a file."""
        self.first, self.last = min(self.first, held.first_ns), max(self.last, held.last_ns)
        self.rows += held.rows
        self.files.append(file)


def plan(app: App, stream: str, wanted: Wanted, ensembles: Sequence[Ensemble]) -> list[Planned]:
    """The units of what is `wanted` of the stream, for one or several models. The same input gives the same units.
    ConfigError, ValueError or OSError where nothing of it can be read."""
    given: dict[Topic, str | None] = {"telemetry": wanted.input, "logs": wanted.logs}
    said = {topic: path for topic, path in given.items() if path}
    inputs = app.inputs(stream)
    if inputs.on_kafka(said):
        return _of_topics(app, stream, wanted)
    for meant, units in (
        (wanted.input == HISTORY, _of_history),
        (wanted.query is not None, _of_query),
        (inputs.on_prometheus(said), _of_series),
    ):
        if meant:
            return units(app, stream, wanted, ensembles)
    paths = {topic: _absolute(_readable(path)) for topic, path in inputs.paths(said).items()}
    form = inputs.config.format_of("telemetry") if "telemetry" in paths else None
    if not isinstance(form, TelemetryFormat) or not _holds_tables(paths["telemetry"], stream):
        reads: dict[Topic, Reading] = {topic: File(path) for topic, path in paths.items()}
        return [Planned(Unit(reads, wanted.since, wanted.until))]
    files = list_files(paths["telemetry"], form)
    if "logs" in paths:  # lines are mined by partition, so that what stands beside them is one
        reads = {"telemetry": Tables(paths["telemetry"], list(files)), "logs": File(paths["logs"])}
        return [Planned(Unit(reads, wanted.since, wanted.until))]
    return _of_tables(paths["telemetry"], files, form, wanted, _Groups(app, stream, wanted, ensembles))


def _of_topics(app: App, stream: str, wanted: Wanted) -> list[Planned]:
    """A unit for each partition of the stream: what its topics hold by now. Messages with an event time from `since` on
    were not written before that, but for clocks that go ahead."""
    config = app.config.of(stream)
    found = topics_found(app.config, stream)
    every = [(name, number) for name, count in found.items() for number in range(count)]
    since = None if wanted.since is None else wanted.since - config.max_ahead
    held = extents(app.config.kafka.settings(), every, since)
    if config.topic_pattern is None:
        names = {topic: section.topic or "" for topic, section in config.sections.items()}
        places = {n: {topic: (name, n) for topic, name in names.items()} for n in range(max(found.values()))}
    else:
        app.store.put_stream(StreamRow(LIVE, stream, config.step, {"profile": config.profile}))
        numbered = app.places.numbers(stream, every)
        places = {number: {config.topics[0]: place} for place, number in sorted(numbered.items(), key=itemgetter(1))}
    return [
        Planned(Unit({topic: Part(*place, *held[place]) for topic, place in of.items()}, wanted.since, wanted.until))
        for _, of in sorted(places.items())
    ]


def _of_history(app: App, stream: str, wanted: Wanted, ensembles: Sequence[Ensemble]) -> list[Planned]:
    """A unit for each partition of the slots that the stream has kept. ConfigError where it has kept none, or reads
    logs: their lines are not kept."""
    config = app.config.of(stream)
    if config.logs is not None:
        raise ConfigError(f"stream {stream!r} reads logs, whose lines its history does not hold; name the logs' source")
    archive, step = Archive(app.history_folder(stream), config.step), config.step
    newest = archive.newest()
    first = 0 if wanted.since is None else -(-wanted.since // step)
    last = newest if newest is None or wanted.until is None else min(newest, (wanted.until - 1) // step)
    counts = archive.counts(first, last) if last is not None else []
    if last is None or not counts:
        raise ConfigError(f"{archive.folder}: {EMPTY}")
    partitions = archive.partitions()
    span = _span(max(count for _, count in counts) * step // HOUR + 1, ensembles, step)
    rows = sum(count for _, count in counts) // len(partitions)
    return [
        Planned(Unit({"telemetry": Slots(number, first, last)}, through=last, span=span), rows=rows)
        for number in partitions
    ]


def _readable(path: str) -> str:
    """`path`, where another process can read it again and again; ConfigError where it cannot."""
    if path == "-":
        raise ConfigError("standard input cannot be read by the processes that do the work; name a file")
    if path == PUSH:
        raise ConfigError("what was pushed is kept as closed slots alone: --input history, or name a file")
    return path


def _absolute(path: str) -> str:
    """For processes that stand elsewhere."""
    return path if _URL.match(path) else str(Path(path).absolute())


def _holds_tables(path: str, stream: str) -> bool:
    """Whether there are tables at `path`: what is no file or folder of this machine is for the data set to say. Lines
    that lie beside tables are told of. ConfigError for a folder of nothing that can be read, ValueError for such a
    file."""
    place = Path(path)
    if _DATABASE.match(path):
        raise ConfigError(
            f"{path.split('://', maxsplit=1)[0]}://... is a database: say with --query what is to be read of it"
        )
    if _URL.match(path) or not place.exists():
        return True
    if not place.is_dir():
        return kind_of(place) != "lines"
    kinds = {file.path: kind_of(file) for file in Store(path).listing() if is_known(file)}
    if not kinds:
        raise ConfigError(f"{path}: this folder holds no file that can be read; {', '.join(KIND_OF_SUFFIX)} can be")
    lines = [file for file, kind in kinds.items() if kind == "lines"]
    if lines and len(lines) < len(kinds):
        structlog.get_logger(stream=stream).warning(
            "files of lines beside tables are left aside", files=len(lines), first=lines[0]
        )
    return len(lines) < len(kinds)


def _of_tables(
    url: str, files: Sequence[DataFile], form: TelemetryFormat, wanted: Wanted, groups: "_Groups"
) -> list[Planned]:
    """Units of some entities each."""
    found: dict[str, _Entity] = {}
    faults = []
    for number, (file, parts) in enumerate(_surveyed(url, files, form, wanted, groups.columns)):
        if isinstance(parts, str):
            faults.append(Planned(Unit({"telemetry": Tables(url, [file], [])}), fault=parts))
            continue
        for part in parts:
            found.setdefault(part.entity, _Entity(part.entity, part.first_ns, part.last_ns)).add(part, number)
    if not found:
        raise ConfigError(faults[0].fault if faults else f"{url}: {EMPTY}")

    def read(group: Sequence[_Entity]) -> Tables:
        numbers = sorted({number for entity in group for number in entity.files})
        return Tables(url, [files[number] for number in numbers], [entity.name for entity in group])

    # a file of another kind, or without times, is read from its beginning by whoever wants some of it
    in_time = form.time is not None and all(kind_of(Path(file.path)) == "parquet" for file in files)
    return groups.units(found, read, in_time) + faults


def _of_query(app: App, stream: str, wanted: Wanted, ensembles: Sequence[Ensemble]) -> list[Planned]:
    """Units of some entities each, whose rows the database chooses."""
    if wanted.input is None:
        raise ConfigError("--query needs a database: --input URL")
    if app.config.of(stream).logs is not None:
        raise ConfigError(f"stream {stream!r} reads logs too, which a query does not give; name files of both")
    url, statement = wanted.input, wanted.query or ""
    query = query_of(app.inputs(stream), url, statement)
    found: dict[str, _Entity] = {}
    try:
        for one in query.held(wanted.since, wanted.until):
            found.setdefault(one[0], _Entity(one[0], one[2], one[3])).add(Held(*one), 0)
        exact = query.exact
    finally:
        query.close()
    if not found:
        raise ConfigError(f"{query.name}: {EMPTY}")

    def read(group: Sequence[_Entity]) -> Rows:
        return Rows(url, statement, app.clock(), [entity.name for entity in group])

    return _Groups(app, stream, wanted, ensembles).units(found, read, exact)


def _of_series(app: App, stream: str, wanted: Wanted, ensembles: Sequence[Ensemble]) -> list[Planned]:
    """Units of some entities each. Each asks for all, and leaves the others out, so that there are few of them."""
    inputs, now = app.inputs(stream), app.clock()
    asked = inputs.prometheus
    until = now - asked.delay if wanted.until is None else wanted.until
    since = until - asked.past if wanted.since is None else wanted.since
    bounds = structs.replace(wanted, since=since, until=until, unit_rows=wanted.unit_rows or UNIT_ROWS)
    found: dict[str, _Entity] = {}
    for one in inputs.held(since, until):
        bound = Held(*one[:3], min(one[3], until - 1))
        found.setdefault(bound.entity, _Entity(bound.entity, bound.first_ns, bound.last_ns)).add(bound, 0)
    if not found:
        raise ConfigError(f"{asked.url}: {EMPTY}")
    groups = _Groups(app, stream, bounds, ensembles)
    return groups.units(found, lambda group: Series([one.name for one in group]), False)


class _Groups:
    """Cuts what was found into units for `ensembles`."""

    def __init__(self, app: App, stream: str, wanted: Wanted, ensembles: Sequence[Ensemble]) -> None:
        self._wanted, self._config, self._ensembles = wanted, app.config.of(stream), ensembles
        self.columns = Columns(dict.fromkeys(name for one in ensembles for name in one.features), open=False)
        self._may_cut = may_cut(app, stream, ensembles)

    def units(
        self, found: Mapping[str, _Entity], read: Callable[[Sequence[_Entity]], Reading], in_time: bool
    ) -> list[Planned]:
        """The units of all that was found: of each group what `read` says. `in_time`: reading a stretch of time costs
        as much as that has rows."""
        everyone = sorted(found.values(), key=lambda entity: (entity.files[0], entity.name))
        rows, asked = sum(entity.rows for entity in everyone), self._wanted.unit_rows
        target = asked or min(UNIT_ROWS, max(LEAST_ROWS, rows // PARTS))
        through = max(entity.last for entity in everyone) // self._config.step
        units = []
        for group in _groups(everyone, target):
            span = _span(len(group), self._ensembles, self._config.step)
            unit = Unit({"telemetry": read(group)}, self._wanted.since, self._wanted.until, through, span)
            parts = self._stretches(group, asked or max(target, STRETCH_ROWS)) if in_time else []
            held = sum(entity.rows for entity in group)
            units += [
                Planned(
                    structs.replace(unit, stretch=part), 0 if number else len(group), _share(held, number, len(parts))
                )
                for number, part in enumerate(parts)
            ] or [Planned(unit, len(group), held)]
        return units

    def _stretches(self, group: Sequence[_Entity], target: int) -> list[Stretch]:
        """The stretches of a group's series; [] where it is one unit."""
        if not self._may_cut or not all(
            entity.name == NOBODY or one.frozen(entity.name) for one in self._ensembles for entity in group
        ):
            return []
        first, last = min(entity.first for entity in group), max(entity.last for entity in group)
        rows, step = sum(entity.rows for entity in group), self._config.step
        return cut(first // step, last // step, rows, target, self._config)


def _surveyed(
    url: str, files: Sequence[DataFile], form: TelemetryFormat, wanted: Wanted, columns: Columns
) -> Iterator[tuple[DataFile, list[Held] | str]]:
    """What each file holds in the range, or what is wrong with it."""

    def look(file: DataFile) -> list[Held] | str:
        try:
            return held(url, file, form, wanted.since, wanted.until, columns)
        except (ValueError, OSError) as error:
            return " ".join(str(error).split())

    with ThreadPoolExecutor(READERS) as pool:
        yield from zip(files, pool.map(look, files), strict=True)


def _groups(everyone: Sequence[_Entity], target: int) -> Iterator[list[_Entity]]:
    """Neighbours of about `target` rows together: whose files are the same lie beside each other."""
    group, rows = list[_Entity](), 0
    for entity in everyone:
        group.append(entity)
        rows += entity.rows
        if rows >= target:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _share(rows: int, number: int, parts: int) -> int:
    """Of `rows`, in `parts` about as long as each other, those of one; together they are all."""
    return rows * (number + 1) // parts - rows * number // parts


def _span(entities: int, ensembles: Sequence[Ensemble], step: int) -> int:
    """Hours of a file of results, so that a unit can hold it."""
    features = max(len(one.features) for one in ensembles)
    an_hour = max(entities * features * HOUR // step, 1)
    return min(max(FILE_VALUES // an_hour, 1), WEEK)
