"""`tsad runs`: what runs over history found, how two differ, and away with one."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from storage.backfills import Backfills
from storage.deletion import delete_run
from storage.files import folder_of
from storage.runs import Runs
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app, person
from tsad.cli.terminal import agreed, note, opened, print_line, show
from tsad.report import as_json
from tsad.runs.comparing import compare
from tsad.runs.inputs import same_input
from tsad.runs.tables import comparison_tables, run_tables, runs_table
from tsad.runs.telling import listing, summary, whole
from tsad.wording import counted

runs = typer.Typer(help="Runs over history: list, show, report, compare, delete.", no_args_is_help=True)
app.add_typer(runs, name="runs")
Run = Annotated[str, typer.Argument(help="The run.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@runs.command("list")
def list_runs(config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """List the runs over history, by name."""
    with opened(config, database) as opened_app:
        rows = listing(opened_app.database)
    show(rows, runs_table(rows), json)


@runs.command("show")
def show_run(run: Run, config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False) -> None:
    """Show what a run found: units, failures, alerts by severity, busiest entities, leading channels."""
    with opened(config, database) as opened_app:
        found = whole(opened_app.database, run)
    show(found, run_tables(found), json)


@runs.command("delete")
def delete(
    run: Run, yes: Yes = False, config: ConfigPath = CONFIG, database: DatabaseUrl = None, json: AsJson = False
) -> None:
    """Delete a run: its rows in every table, its history and its snapshots."""
    with opened(config, database) as opened_app:
        found = summary(opened_app.database, Runs(opened_app.database).known(run))
        going = " It goes on: whoever drives it will be refused." if found["state"] == "running" else ""
        agreed(f"Delete the run {run!r} with {counted(found['alerts'], 'alert')}?{going}", yes)
        folder = Path(opened_app.config.history) / folder_of(run)
        gone = delete_run(
            opened_app.database, run, opened_app.config.models, lambda: shutil.rmtree(folder, ignore_errors=True),
            person(), opened_app.now(),
        )  # fmt: skip
    if json:
        print_line(as_json(gone))
    note(f"the run {run!r} is deleted: {counted(sum(gone.values()), 'row')}")


@runs.command("compare")
def compare_runs(
    before: Annotated[str, typer.Argument(help="A run.")],
    after: Annotated[str, typer.Argument(help="Another one over the same input.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each kind, strongest first.")] = 20,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Which alerts appear in AFTER, vanish from BEFORE, or change: severity, score, leading channel."""
    with opened(config, database) as opened_app:
        found = compare(opened_app.database, before, after, limit)
        backfills = Backfills(opened_app.database)
        one, other = backfills.row(before), backfills.row(after)
        same = one is not None and other is not None and same_input(backfills, one, other)
    show(found.figures(), comparison_tables(found, limit), json)
    if not same:
        note("nothing says that both runs read the same input")


@runs.command("report")
def report(
    run: Run,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Write the page there (HTML).")],
    compare_with: Annotated[
        str | None, typer.Option("--compare", metavar="RUN", help="With what this run over the same input says.")
    ] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
) -> None:
    """Write a run as a page: alerts over time, entities, channels, scores, the strongest alerts, failures."""
    from tsad.runs.page import write_report

    with opened(config, database) as opened_app:
        write_report(opened_app.database, run, out, compare_with)
    note(f"wrote {out}")
