"""`tsad alerts` and `tsad explain`."""

import re
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from storage.read import AlertFilter, Reader
from storage.types import LIVE, Alert
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.terminal import known_stream, note, opened, show
from tsad.pictures import draw
from tsad.report import alert_row, alert_table, explanation_table, no_data_row
from tsad.rows import utc
from tsad.texts import template_texts


class State(Enum):
    """The states of an alert."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    RETRACTED = "retracted"
    RESOLVED = "resolved"


class Level(Enum):
    """The severities of an alert."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


def moment(said: str) -> datetime:
    """A time as typed: RFC 3339 or its date alone, UTC unless it says otherwise, or epoch seconds (1e8 and more, since
    a smaller number is a slip: a year, for instance). BadParameter names what is allowed."""
    try:
        if re.fullmatch(r"\d{9,12}(\.\d+)?", said):
            return datetime.fromtimestamp(float(said), UTC)
        found = datetime.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(
            f"{said!r} is no time; write a date (2026-01-05), a time (2026-01-05T14:00, perhaps with +01:00), or "
            "seconds since 1970 of nine digits and more"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@app.command()
def alerts(
    stream: Annotated[str | None, typer.Option(help="Only this stream.")] = None,
    entity: Annotated[str | None, typer.Option(help="Only this entity.")] = None,
    state: Annotated[list[State] | None, typer.Option(help="Only these states.")] = None,
    severity: Annotated[list[Level] | None, typer.Option(help="Only these severities.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Only alerts that lasted until then or longer (UTC)."),
    ] = None,
    run: Annotated[str, typer.Option(help="The run that found them.")] = LIVE,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """List alerts, newest first; producers that have gone quiet too (severity warning, no entity)."""
    which = AlertFilter(
        run=run, stream=stream, entity=entity, states=[one.value for one in state or ()],
        severities=[one.value for one in severity or ()], limit=limit, since=since,
    )  # fmt: skip
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, run)
        rows = [row_of(opened_app.reader, alert) for alert in opened_app.reader.alerts(which)]
        if entity is None and (not severity or Level.WARNING in severity):
            rows += [no_data_row(*told) for told in opened_app.reader.no_data(which)]
    rows = sorted(rows, key=lambda row: row["event_time"], reverse=True)[:limit]
    show(rows, alert_table(rows), json)


def row_of(reader: Reader, alert: Alert) -> dict[str, Any]:
    """An alert as a row of the report, with its explanations and the texts of its log templates."""
    return alert_row(*reader.alert(alert.id), template_texts(alert))


@app.command()
def explain(
    alert: Annotated[str, typer.Argument(help="The alert's id, or its first characters.")],
    png: Annotated[Path | None, typer.Option("--png", help="Draw it to this file.")] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Say why an alert was raised, and draw it."""
    with opened(config, database) as opened_app:
        found, parts = opened_app.reader.alert(alert)
        steps = {row.stream: row.step_ns for row in opened_app.reader.streams(found.run)}
        rows = [
            {
                "target": part.target, "slot": part.slot, "time": utc(part.slot * steps[found.stream]),
                "feature": part.feature, "value": part.value,
                "share": part.share, "base": part.base, "score": part.score, "residual": part.residual,
                "explained_by": part.explained_by, "fidelity": part.fidelity,
            }
            for part in parts
        ]  # fmt: skip
        whole = alert_row(found, parts, template_texts(found))
        show(whole | {"evidence": found.evidence, "explanations": rows}, explanation_table(whole, rows), json)
        if png is not None:
            note(f"wrote {draw(found, steps[found.stream], png)}")
