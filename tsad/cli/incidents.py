"""`tsad incidents` and `tsad triage`."""

from datetime import datetime
from enum import Enum
from threading import Event
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from storage.incidents import IncidentFilter, Incidents
from storage.pages import IncidentSort, Pages
from storage.types import LIVE
from streaming.settings import SECOND
from tsad.cli.alerts import Level, moment, row_of
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.terminal import known_stream, note, opened, show
from tsad.console import interruptible
from tsad.delivery.messages import telling
from tsad.report import alert_table
from tsad.triage.following import follow, triage_of
from tsad.triage.passes import member_in
from tsad.triage.telling import MONTH, incident_row, incident_table, suspect_table, timeline
from tsad.wording import counted

incidents = typer.Typer(help="Incidents, alerts that belong together: list, show one.", no_args_is_help=True)
app.add_typer(incidents, name="incidents")
SHOWN = 200


class Standing(Enum):
    """The states of an incident."""

    OPEN = "open"
    RESOLVED = "resolved"
    RETRACTED = "retracted"


class Order(Enum):
    """By what incidents are listed."""

    NEWEST = "newest"
    WORST = "worst"


Run = Annotated[str, typer.Option(help="The run that found the alerts.")]


@incidents.command("list")
def list_incidents(
    stream: Annotated[str | None, typer.Option(help="Only those that began in this stream.")] = None,
    entity: Annotated[str | None, typer.Option(help="Only those in which this entity moved first.")] = None,
    state: Annotated[list[Standing] | None, typer.Option(help="Only these states.")] = None,
    severity: Annotated[list[Level] | None, typer.Option(help="Only these severities.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Only those that lasted until then or longer (UTC)."),
    ] = None,
    sort: Annotated[Order, typer.Option(help="Which come first.")] = Order.NEWEST,
    run: Run = LIVE,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """List incidents."""
    which = IncidentFilter(
        run=run, stream=stream, entity=entity, since=since, states=[one.value for one in state or ()],
        severities=[one.value for one in severity or ()],
    )  # fmt: skip
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, run)
        order: IncidentSort = "-first_time" if sort is Order.NEWEST else "-severity_score"
        page = Pages(opened_app.database).incidents(which, order, None, limit)
        store = Incidents(opened_app.database)
        whole = store.incidents([row["id"] for row in page.rows])
        found = [whole[row["id"]] for row in page.rows]
        kinds = store.named(row.type for row in found if row.type is not None)
    rows = [incident_row(row, kinds) for row in found]
    show(rows, incident_table(rows), json)


@incidents.command("show")
def show_incident(
    incident: Annotated[str, typer.Argument(help="Its number (12, INC-12), its id, or the first characters of that.")],
    run: Run = LIVE,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Say who moved first, who is suspected, and which alerts it is made of."""
    with opened(config, database) as opened_app:
        store = Incidents(opened_app.database)
        found = store.find(incident, run)
        kinds = store.named([found.type] if found.type is not None else [])
        times = store.times(found.type, found.first_time - MONTH, found.first_time) if found.type is not None else 0
        moments = timeline([member_in(one) for one in store.members([found.id])])
        alerts = [row_of(opened_app.reader, one) for one in store.alerts(found.id, SHOWN)]
        similar = [incident_row(one, kinds) for one in store.alike(found)]
    row = incident_row(found, kinds, times)
    whole = row | {
        "suspects": found.suspects, "timeline": [one._asdict() for one in moments], "members": alerts,
        "similar": similar,
    }  # fmt: skip
    parts: list[RenderableType] = [incident_table([row]), suspect_table(found.suspects), alert_table(alerts)]
    if similar:
        parts.append(Text(f"of its type too: {', '.join(one['number'] for one in similar)}"))
    show(whole, Group(*parts), json)


@app.command()
def triage(
    once: Annotated[bool, typer.Option("--once", help="End when nothing is new.")] = False,
    run: Run = LIVE,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Make incidents of alerts as they come, until it is interrupted; `tsad serve` does so too."""
    with opened(config, database) as opened_app, interruptible() as stopping:
        settings = opened_app.config.triage
        made = triage_of(opened_app.database, settings, opened_app.now, telling(opened_app.config.delivery))
        every = settings.every / SECOND
        done = made.all(run, stopping=stopping) if once else follow(made, every, stopping, Event().wait, run)
    note(f"{counted(done.alerts, 'alert')} taken up, {counted(done.incidents, 'incident')} written")
