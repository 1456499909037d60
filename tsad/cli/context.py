"""`tsad context`: what happens around a stream."""

from datetime import datetime
from typing import Annotated

import typer

from storage.events import ContextEvent
from storage.types import LIVE
from tsad.cli.alerts import moment
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app, person
from tsad.cli.terminal import fail, known_stream, note, opened, show
from tsad.report import context_table

context = typer.Typer(
    help="Events that explain alerts away (deploys, backups): tell of one, list.", no_args_is_help=True
)
app.add_typer(context, name="context")

Moment = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="RFC 3339, a date, or epoch seconds.")
]


@context.command()
def add(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    kind: Annotated[str, typer.Argument(help="What it is: deploy, backup, ...")],
    entity: Annotated[str | None, typer.Option(help="Name or glob pattern; else every entity.")] = None,
    start: Moment = None,
    end: Moment = None,
    title: Annotated[str, typer.Option(help="In words.")] = "",
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Tell of an event, now or at --start; a running stream takes it up within seconds."""
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, LIVE)
        event = ContextEvent(kind, start or opened_app.now(), entity, end, title, source="tsad context add")
        if event.end is not None and event.end < event.start:
            fail(f"--end {event.end.isoformat()} lies before --start {event.start.isoformat()}", 2)
        opened_app.context_events.add(stream, [event], by=person())
    note(f"{event.id[:12]}: {kind} at {event.start.isoformat()}")


@context.command("list")
def list_events(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    since: Moment = None,
    run: Annotated[str, typer.Option(help="The run that was told.")] = LIVE,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """List the stream's events, newest first."""
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, run)
        rows = [
            {
                "id": one.id, "kind": one.kind, "entity": one.entity, "start": one.start, "end": one.end,
                "title": one.title, "detail": one.detail, "source": one.source,
            }
            for one in opened_app.context_events.listing(stream, run, since, limit)
        ]  # fmt: skip
    show(rows, context_table(rows), json)
