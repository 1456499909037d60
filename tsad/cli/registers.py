"""`tsad models`, `tsad detectors`, `tsad dead-letters` and `tsad db`."""

from pathlib import Path
from typing import Annotated

import typer

from detectors.registry import available
from storage.backfills import Backfills
from storage.migrate import upgrade
from storage.prune import prune
from storage.read import Reader
from storage.types import LIVE, ModelRow
from tsad.app import App
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app, person
from tsad.cli.terminal import agreed, configuration, known_stream, note, opened, print_line, show, tell
from tsad.report import as_json, dead_letter_table, detector_table, letter_line, model_table
from tsad.wording import counted

models = typer.Typer(help="Model versions: list, promote, roll back.", invoke_without_command=True)
db = typer.Typer(help="The database: upgrade its schema, prune old rows.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(db, name="db")
SHOWN = 10
"""Alerts of each kind of difference that are shown before a promotion."""


@models.callback()
def list_models(
    context: typer.Context,
    stream: Annotated[str | None, typer.Option(help="Only this stream.")] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """List model versions, oldest first."""
    if context.invoked_subcommand is not None:
        return
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, LIVE)
        rows = [model_row(row) for row in opened_app.models.listing(stream)]
    show(rows, model_table(rows), json)


@models.command()
def promote(
    stream: str,
    version: str,
    after_compare: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Only where RUN and another finished run compare it with the active one."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="After a comparison: do it without asking.")] = False,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Make a version the active one; a running stream takes it up within seconds."""
    with opened(config, database) as opened_app:
        if after_compare is not None:
            row = promoted_after(opened_app, stream, version, after_compare, yes)
        else:
            row = opened_app.models.promote(stream, version, person())
    rows = [model_row(row)]
    show(rows, model_table(rows), json)


def promoted_after(opened_app: App, stream: str, version: str, run: str, yes: bool) -> ModelRow:
    """Say what would change, ask, and promote."""
    from tsad.runs.comparing import compare
    from tsad.runs.promoting import compared
    from tsad.runs.tables import comparison_tables

    backfills = Backfills(opened_app.database)
    before, after = compared(backfills, opened_app.models, stream, version, run)
    found = compare(opened_app.database, before, after)
    tell(comparison_tables(found, SHOWN))
    asked = f"{found.kinds['appears']:,} appear, {found.kinds['vanishes']:,} vanish, {found.kinds['changed']:,} change."
    agreed(f"{asked} Promote {version!r}?", yes)
    detail = {"compared": [before, after], "counts": dict(found.kinds)}
    row = backfills.row(before)
    return opened_app.models.promote(stream, version, person(), detail, None if row is None else row.model_version)


@models.command()
def rollback(stream: str, config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """Go back to the version that was active before."""
    with opened(config, database) as opened_app:
        rows = [model_row(opened_app.models.rollback(stream))]
    show(rows, model_table(rows), json)


def model_row(row: ModelRow) -> dict[str, object]:
    """A version as a row of the report."""
    names = ("stream", "version", "state", "created_at", "activated_at", "file", "checksum", "meta")
    return {name: getattr(row, name) for name in names}


@app.command()
def detectors(json: AsJson = False) -> None:
    """List the detectors that a profile may name."""
    rows = [{"name": d.name, "memory": d.memory, "summary": d.summary, "target": d.target} for d in available()]
    show(rows, detector_table(rows), json)


@app.command("dead-letters")
def dead_letters(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    run: Annotated[str, typer.Option(help="The run that met them.")] = LIVE,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all of them to this file, as JSON Lines.")
    ] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """List rejected records, with their place, their reason and what they said."""
    with opened(config, database) as opened_app:
        known_stream(opened_app, stream, run)
        if export is not None:
            written = write_letters(opened_app.reader, export, stream, run, reason)
            note(f"wrote {counted(written, 'dead letter')} to {export}")
            if json:
                print_line(as_json({"file": export, "written": written}))
            return
        rows = opened_app.reader.dead_letters(stream, run=run, reason=reason, limit=limit)
        found = counts(opened_app.reader, stream, run)
    show({"counts": found, "rows": rows} if json else rows, dead_letter_table(rows), json)
    if not json:
        note("in all: " + (", ".join(f"{name} {count}" for name, count in sorted(found.items())) or "none"))


def write_letters(reader: Reader, file: Path, stream: str, run: str, reason: str | None) -> int:
    """Every dead letter to `file`, one a line; how many there were."""
    places = reader.health(stream, run)["partitions"]
    written = 0
    with file.open("w", encoding="utf-8") as lines:
        for row in reader.every_dead_letter(stream, run, reason):
            position = places.get(row["partition"], {"positions": {}})["positions"].get(row["topic"]) or {}
            lines.write(
                letter_line(row, (position["topic"], position["partition"]) if "topic" in position else None) + "\n"
            )
            written += 1
    return written


def counts(reader: Reader, stream: str, run: str) -> dict[str, int]:
    """How many records each reason rejected, the ones without a row too."""
    whole: dict[str, int] = {}
    for place in reader.health(stream, run)["partitions"].values():
        for name, count in place["counts"].items():
            if name.startswith("dead:"):
                whole[name.removeprefix("dead:")] = whole.get(name.removeprefix("dead:"), 0) + count
    return whole


@db.command("upgrade")
def db_upgrade(config: ConfigPath = CONFIG, database: DatabaseUrl = None) -> None:
    """Bring the database's schema up to this version's."""
    url = configuration(config, database).database
    upgrade(url)
    note("the schema is up to date")


@db.command("prune")
def db_prune(config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """Delete rows older than `retention_days` says, table by table."""
    from datetime import UTC, datetime

    from rich.table import Table

    with opened(config, database) as opened_app:
        gone = prune(opened_app.database, opened_app.config.retention_days, datetime.now(UTC))
    table = Table("Table", "Rows deleted")
    for name, count in gone.items():
        table.add_row(name, str(count))
    show(gone, table, json)
