"""`tsad rekey`: topics of Kafka."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from tsad.cli.commands import CONFIG, AsJson, ConfigPath, app
from tsad.cli.terminal import INTERRUPTED, configuration, note, show
from tsad.config import Config, LogConfig, TelemetryConfig
from tsad.console import Bars, interruptible

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
        str | None, typer.Option(help="Entities as this stream reads them: any format, its mapping.")
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
        format, most = _section(read, stream, source).settings(), read.of(stream).max_features
        entities = DecodedEntities(lambda: decoder_of(format, Columns(max_features=max(most, 4096))))
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


def _section(config: Config, stream: str, topic: str) -> TelemetryConfig | LogConfig:
    """The part of the stream that says what is in `topic`: that of the logs where it is theirs, or all there is."""
    of = config.of(stream)
    if of.logs is not None and (of.telemetry is None or of.logs.topic == topic):
        return of.logs
    return of.telemetry or TelemetryConfig()


def _table(figures: dict[str, int]) -> Table:
    table = Table("Messages", "Count")
    for name, count in figures.items():
        table.add_row({"messages": "copied", "keyed": "keyed by entity"}.get(name, name), str(count))
    return table
