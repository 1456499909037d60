"""`tsad rekey` and `tsad produce`: topics of Kafka are filled."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from storage.types import LIVE
from streaming.broker.settings import BrokerSettings
from streaming.types import Topic
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.terminal import INTERRUPTED, configuration, known_stream, note, opened, show
from tsad.config import StreamConfig
from tsad.console import Bars, interruptible
from tsad.datasets import DataSet, bundled, data_set
from tsad.producing import Lane, Pace, produce, speed_of

NewPartitions = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Make the topic, with so many partitions, if it is not there.")
]


@app.command()
def rekey(
    source: Annotated[str, typer.Argument(help="The topic to copy.")],
    target: Annotated[str, typer.Argument(help="The topic that gets the copies, keyed by entity.")],
    entity: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The field of JSON that names the entity (a.b: b within a).")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Entities, or sessions, as this stream reads them: any format, its mapping.")
    ] = None,
    partitions: NewPartitions = None,
    config: ConfigPath = CONFIG,
    json: AsJson = False,
) -> None:
    """Copy a Kafka topic into another one, keyed by entity, so that each entity lies on one partition.

    Values, headers and timestamps stay as they are. Run again, it goes on where it was and adds what came since.
    """
    from streaming.broker.entities import DecodedEntities, FieldEntities
    from streaming.broker.rekey import rekey as copy
    from streaming.columns import Columns
    from streaming.decoders import decoder_of

    if (entity is None) == (stream is None):
        raise typer.BadParameter("say either --entity FIELD or --stream NAME: what names the entity of a message")
    read = configuration(config, None, needed=True)
    if stream is None:
        entities: FieldEntities | DecodedEntities = FieldEntities(entity or "")
    else:
        of = read.of(stream)
        format, most = of.format_of(_topic(of, source)), of.max_features
        by_session = of.sessions is not None and of.sessions.keyed_by == "session"
        keys = of.sessions.keys(()) if of.sessions is not None and by_session else None
        entities = DecodedEntities(lambda: decoder_of(format, Columns(max_features=max(most, 4096))), keys)
    with Bars() as bars, interruptible() as stopping:
        copied = copy(
            read.kafka.settings(), source, target, entities, partitions, stopping, bars.part(f"copy to {target}")
        )
        stopped = stopping()
    show({"source": source, "target": target, **asdict(copied), "ended": not stopped}, _table(asdict(copied)), json)
    if copied.several:
        note(
            f"{copied.several} messages hold several entities, and went by the key that they had, so that an entity "
            "may lie on several partitions: let the exporter send a message for each entity (the Collector's: "
            "partition_metrics_by_resource_attributes, partition_logs_by_resource_attributes)"
        )
    if copied.unreadable:
        note(f"{copied.unreadable} messages name no entity that can be read, and went by the key that they had")
    if stopped:
        note("interrupted; run it again, and it goes on from here")
        raise typer.Exit(INTERRUPTED)


@app.command()
def rehome(
    stream: Annotated[str, typer.Argument(help="The stream, as configured.")],
    entity: Annotated[str, typer.Argument(help="The entity.")],
    partition: Annotated[int | None, typer.Option(min=0, help="Where it belongs; else where it came too.")] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Give an entity of a stream from Kafka to another partition: the one where its first record came was wrong.

    Stop the stream's workers before (SIGTERM), and start them again behind it.
    """
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, LIVE)
        before, now = opened_app.homes.move(stream, entity, partition)
    found = {"stream": stream, "entity": entity, "partition": now, "before": before}
    table = Table("Entity", "Partition", "Before")
    table.add_row(entity, str(now), str(before))
    show(found, table, json)


def _topic(of: StreamConfig, topic: str) -> Topic:
    """What is in `topic`: the logs where it is theirs, or all there is."""
    return "logs" if of.logs is not None and (of.telemetry is None or of.logs.topic == topic) else "telemetry"


def _table(figures: dict[str, int]) -> Table:
    table = Table("Messages", "Count")
    for name, count in figures.items():
        table.add_row({"messages": "copied", "keyed": "keyed by entity"}.get(name, name), str(count))
    return table


class Stamp(StrEnum):
    """The time that Kafka is told of a message."""

    NOW = "now"
    EVENT = "event"


@app.command("produce")
def produce_topics(
    path: Annotated[str | None, typer.Argument(help="Telemetry: a file, a folder, or - for standard input.")] = None,
    topic: Annotated[str | None, typer.Option(help="The topic that gets it.")] = None,
    logs: Annotated[str | None, typer.Option(metavar="PATH", help="Logs: likewise.")] = None,
    logs_topic: Annotated[str | None, typer.Option(help="The topic that gets them.")] = None,
    speed: Annotated[str, typer.Option(help="A multiple of event time's pace, such as 60x, or max.")] = "max",
    stream: Annotated[str | None, typer.Option(help="Read files as this stream does; else as they look.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The bundled data: a server; with --logs-topic a shop.")] = False,
    stamp: Annotated[Stamp, typer.Option(help="Kafka's time of a message: now, or its event time.")] = Stamp.NOW,
    partitions: NewPartitions = None,
    config: ConfigPath = CONFIG,
    json: AsJson = False,
) -> None:
    """Replay a data set into Kafka topics, as JSON records keyed by entity."""
    try:
        pace = Pace(speed_of(speed))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    into: dict[Topic, str | None] = {"telemetry": topic, "logs": logs_topic}
    read = configuration(config, None)
    with ExitStack() as stack:
        if demo:
            if path or logs:
                raise typer.BadParameter("--demo brings its own data; leave PATH and --logs out")
            sets = stack.enter_context(bundled(shop=logs_topic is not None))
        else:
            paths: dict[Topic, str | None] = {"telemetry": path, "logs": logs}
            sets = {kind: data_set(kind, where, read, stream) for kind, where in paths.items() if where}
        lanes = [
            stack.enter_context(_lane(read.kafka.settings(), into, s, partitions, stamp)) for s in _wanted(sets, into)
        ]
        with Bars() as bars, interruptible() as stopping:
            ended = produce(lanes, pace, stopping, bars.count(f"produce {', '.join(lane.topic for lane in lanes)}"))
    _report(lanes, ended, json)


def _wanted(sets: dict[Topic, DataSet], into: dict[Topic, str | None]) -> list[DataSet]:
    """The data sets that have a topic; BadParameter where there are none, or one of those named has none."""
    options: dict[Topic, str] = {"telemetry": "--topic", "logs": "--logs-topic"}
    if not sets:
        raise typer.BadParameter("name a data set: PATH, --logs PATH, or --demo")
    for kind, option in options.items():
        if kind in sets and not sets[kind].optional and not into[kind]:
            raise typer.BadParameter(f"name the topic that gets the {kind}: {option} TOPIC")
        if kind not in sets and into[kind]:
            raise typer.BadParameter(f"{option} {into[kind]}: there are no {kind} to produce")
    wanted = [found for kind, found in sets.items() if into[kind]]
    if not wanted:
        raise typer.BadParameter("name the topic that gets the data: --topic TOPIC")
    return wanted


@contextmanager
def _lane(
    settings: BrokerSettings, into: dict[Topic, str | None], found: DataSet, partitions: int | None, stamp: Stamp
) -> Iterator[Lane]:
    """The way of a data set into its topic."""
    from streaming.broker.raw import Writer
    from streaming.broker.topics import topics

    topic = str(into[found.kind])
    with topics(settings) as look:
        count = look.need(topic, partitions)
    with closing(Writer(settings, topic)) as writer, ExitStack() as stack:
        sources = [stack.enter_context(closing(source)) for source in found.open()]
        yield Lane(topic, sources, writer, count, stamp is Stamp.EVENT)


def _report(lanes: list[Lane], ended: bool, json: bool) -> None:
    rows = [{"topic": lane.topic, "messages": lane.written, "left_out": dict(lane.left_out)} for lane in lanes]
    if ended and not any(lane.written for lane in lanes):
        raise ValueError(f"nothing could be read: {_counted(lanes)}")
    table = Table("Topic", "Messages")
    for lane in lanes:
        table.add_row(lane.topic, str(lane.written))
    show({"topics": rows, "ended": ended}, table, json)
    if any(lane.left_out for lane in lanes):
        note(f"left out, since it cannot be read: {_counted(lanes)}")
    if not ended:
        note("interrupted; what was due by then is written, and another run begins again at the start")
        raise typer.Exit(INTERRUPTED)


def _counted(lanes: list[Lane]) -> str:
    found = [f"{reason} {count}" for lane in lanes for reason, count in sorted(lane.left_out.items())]
    return ", ".join(found) or "the data are empty"
