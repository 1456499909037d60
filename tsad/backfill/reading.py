"""The sources of a unit."""

from functools import partial

from storage.querying import Query
from streaming.bounded import Bounded
from streaming.broker.part import PartSource
from streaming.columns import Columns
from streaming.datasets import open_batches, open_dataset, table_format
from streaming.files import open_source
from streaming.selection import Span
from streaming.settings import TelemetryFormat
from streaming.types import Source, Topic
from tsad.app import App
from tsad.archive import Archive
from tsad.backfill.slots import SlotSource
from tsad.backfill.spec import File, Part, Reading, Rows, Series, Slots, Tables, Unit
from tsad.config import ConfigError, resolved
from tsad.inputs import Inputs
from tsad.rereading import belonging_of

SORTED_BYTES = 32 << 20
"""Rows of a unit that are sorted in memory; more is spilled to disk, so that memory does not grow with the history."""


def sources_of(app: App, stream: str, number: int, unit: Unit, columns: Columns) -> dict[Topic, Source]:
    """Opens what `unit` reads of the stream, within its bounds. SourceChanged where it is not what was planned."""
    return {topic: _opened(app, stream, number, topic, read, unit, columns) for topic, read in unit.reads.items()}


def _of_topic(app: App, stream: str, topic: Topic, part: Part, number: int, unit: Unit, columns: Columns) -> Source:
    """What belongs to the stream's partition `number` in its part of a topic."""
    place = (part.topic, part.partition)
    settings, decoder = app.config.kafka.settings(), app.inputs(stream).decoder(topic, columns)
    source = PartSource(topic, settings, place, part.first, part.end, decoder, belonging_of(app, stream, number))
    return Bounded(source, unit.since, unit.until)


def query_of(inputs: Inputs, url: str, statement: str) -> Query:
    """A database's answer as telemetry of the stream. ConfigError where no time is named, StoreError likewise."""
    form = table_format(inputs.config.format_of("telemetry"))  # type: ignore[arg-type]
    if form.time is None:
        raise ConfigError(f"stream.{inputs.name}.telemetry.time is not set; a query's rows need one")
    return Query(resolved(url), statement, form.entity, form.time, form.unit, form.default_entity)


def told_of(unit: Unit, inputs: Inputs) -> Span:
    """The event times of which the unit tells what is wrong: those of its own slots."""
    part, step = unit.stretch, inputs.config.step
    if part is None:
        return None, None
    return (None if part.begin is None else part.begin * step, None if part.end is None else part.end * step)


def _of_query(inputs: Inputs, read: Rows, unit: Unit, form: TelemetryFormat, columns: Columns) -> Source:
    query, wanted = query_of(inputs, read.url, read.statement), table_format(form)
    asked = None if columns.open else [wanted.entity, wanted.time, *columns.names]
    names = None if asked is None or wanted.layout == "long" else [n for n in query.columns if n in asked]
    batches = partial(query.batches, names, read.entities, unit.since, unit.until)
    return open_batches(
        query.name, batches, form, columns, read.entities, unit.since, unit.until, told_ns=told_of(unit, inputs),
        ingested_ns=read.planned, max_ahead=inputs.config.max_ahead, memory_bytes=SORTED_BYTES,
    )  # fmt: skip


def _opened(app: App, stream: str, number: int, topic: Topic, read: Reading, unit: Unit, columns: Columns) -> Source:
    inputs = app.inputs(stream)
    form, ahead = inputs.config.format_of(topic), inputs.config.max_ahead
    if isinstance(read, Part):
        return _of_topic(app, stream, topic, read, number, unit, columns)
    if isinstance(read, File):
        source = open_source(read.path, form, columns, max_ahead=ahead, clock=inputs.clock, memory_bytes=SORTED_BYTES)
        return Bounded(source, unit.since, unit.until)
    if isinstance(read, Tables) and read.entities == []:
        named = ", ".join(file.path for file in read.files)
        raise ValueError(f"{named}: could not be read when the run was planned; mend it, delete the run, begin anew")
    if isinstance(read, Tables) and isinstance(form, TelemetryFormat):
        return open_dataset(
            read.url, read.files, form, columns, read.entities, unit.since, unit.until,
            told_ns=told_of(unit, inputs), max_ahead=ahead, memory_bytes=SORTED_BYTES,
        )  # fmt: skip
    if isinstance(read, Slots):
        archive = Archive(app.history_folder(stream), inputs.config.step)
        return SlotSource(archive, read.partition, read.first, read.last, columns)
    if isinstance(read, Series):
        return inputs.past(columns, unit.since or 0, unit.until or 0, read.entities)
    if isinstance(read, Rows) and isinstance(form, TelemetryFormat):
        return _of_query(inputs, read, unit, form, columns)
    raise ValueError(f"{topic}: cannot be read from {type(read).__name__}")
