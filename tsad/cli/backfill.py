"""`tsad backfill`."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from storage.backfills import BackfillRow, Backfills, checked
from storage.types import ModelRow
from tsad.app import App
from tsad.backfill.beginning import same, spec_of
from tsad.backfill.driving import Driver, Standing, begin, config_of, run_name, version_of
from tsad.backfill.estimating import estimated
from tsad.backfill.planning import Planned, plan
from tsad.backfill.spec import Wanted
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.terminal import FAILED, INTERRUPTED, note, opened, show, show_rows
from tsad.config import ConfigError
from tsad.console import Bars, interruptible
from tsad.detection import ensemble_settings
from tsad.engines import open_engine
from tsad.engines.tasks import Engine
from tsad.report import facts_table
from tsad.rows import utc
from tsad.runs.comparing import compare as compared_runs
from tsad.runs.tables import comparison_tables
from tsad.spreading import gpus
from tsad.wording import counted

SHOWN = 50
"""Units of a plan that are shown."""


class EngineName(Enum):
    """Where the units are done."""

    LOCAL = "local"
    RAY = "ray"


def moment(said: str) -> datetime:
    """A moment as people write it, in UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(f"{said!r} is no time; 2026-01-31 or 2026-01-31T12:00:00+01:00 is one") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        help="Telemetry: a file, a folder, a URL (s3://...), kafka, prometheus, history (the slots that the stream has "
        "kept), or with --query a database.",
    ),
]
From = Annotated[datetime | None, typer.Option("--from", parser=moment, metavar="TIME", help="First event time (UTC).")]
To = Annotated[
    datetime | None, typer.Option("--to", parser=moment, metavar="TIME", help="First one that is too late (UTC).")
]


@app.command()
def backfill(
    stream: Annotated[str, typer.Argument(help="The stream, as configured.")],
    source: Input = None,
    query: Annotated[str | None, typer.Option(help="SELECT statement for the database at --input.")] = None,
    logs: Annotated[str | None, typer.Option(help="Logs: a file or a folder.")] = None,
    since: From = None,
    until: To = None,
    model: Annotated[str | None, typer.Option(help="The version that judges; the active one if none is named.")] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Judge with this version too, and say what differs.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="A name for the run; else it follows from what is asked.")] = None,
    engine: Annotated[EngineName, typer.Option(help="Processes of this machine, or a Ray cluster.")] = EngineName.LOCAL,
    address: Annotated[str | None, typer.Option(help="A Ray cluster that runs already: ray://HOST:PORT.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many units are done at a time.")] = None,
    unit_rows: Annotated[int | None, typer.Option(min=1, help="About so many rows make a unit.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was found as a page there (HTML).")
    ] = None,
    bands: Annotated[bool, typer.Option(help="Keep expected bands as Parquet, too, beside the scores.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what it may cost.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what has failed before.")] = False,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Judge history as the stream would have: alerts and scores under a run of their own, which is never delivered.

    The same command again goes on with what is left.
    """
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter(f"--from {since.isoformat()} does not lie before --to {until.isoformat()}")
    if engine is EngineName.LOCAL and address is not None:
        raise typer.BadParameter(f"--address {address} is that of a Ray cluster: say --engine ray")
    if report is not None and report.is_dir():
        raise typer.BadParameter(f"--report {report} is a folder; name a file")
    wanted = Wanted(source, logs, query, _ns(since), _ns(until), unit_rows, bands)
    with opened(config, database, needed=True, create=True) as opened_app, opened_app.claim():
        _check(opened_app, stream, run, address)
        versions = _versions(opened_app, stream, model, compare)
        if dry_run:
            _tell_plan(opened_app, stream, _planned(opened_app, stream, wanted, versions), versions[0], workers, json)
            return
        rows = _runs(opened_app, stream, wanted, versions, run)
        share = gpus(ensemble_settings(opened_app.config.of(stream)).detectors)
        with open_engine(engine.value, workers, address, share) as opened_engine:
            drivers = _drive(opened_app, rows, opened_engine, retry)
        _summary(opened_app, drivers, json)
        if report is not None:
            _report(opened_app, drivers, report)
    states = {driver.state for driver in drivers}
    if states != {"finished"}:
        raise typer.Exit(INTERRUPTED if "running" in states else FAILED)


def _check(opened_app: App, stream: str, run: str | None, address: str | None) -> None:
    """ConfigError for a stream that is not configured, and where other machines would have to write to a file here;
    StoreError for a name that no run can have."""
    opened_app.config.of(stream)
    if run is not None:
        checked(run)
    if address is not None and opened_app.database.dialect.name == "sqlite":
        raise ConfigError(
            f"{opened_app.database.name}: a cluster's machines cannot write to a SQLite file; use PostgreSQL"
        )


def _versions(opened_app: App, stream: str, model: str | None, compare: str | None) -> list[ModelRow]:
    """The version that judges, and the one beside it."""
    versions = [version_of(opened_app, stream, one) for one in (model, *([compare] if compare else []))]
    if len({version.version for version in versions}) < len(versions):
        raise ConfigError(f"--compare {compare} is the version that judges already; name another one")
    return versions


def _drive(opened_app: App, rows: Sequence[BackfillRow], engine: Engine, retry: bool) -> list[Driver]:
    """One run after the other. OSError where what comes of them cannot be written."""
    for row in rows:
        opened_app.history_folder(row.stream, row.run).mkdir(parents=True, exist_ok=True)
    with interruptible() as stopping, Bars() as bars:
        drivers = [Driver(opened_app, row, engine, retry, _bar(bars, row.run), stopping) for row in rows]
        for driver in drivers:
            driver.drive()
    return drivers


def _runs(
    opened_app: App, stream: str, wanted: Wanted, versions: Sequence[ModelRow], name: str | None
) -> list[BackfillRow]:
    """The runs that are meant, one for each version: those that are there already, and new ones, planned once."""
    backfills = Backfills(opened_app.database, opened_app.now)
    first = name or run_name(stream, versions[0].version, wanted, config_of(opened_app)["stream"][stream])
    units: list[Planned] = []
    found = []
    for version in versions:
        run = first if version is versions[0] else f"{first}.{version.version}"
        row = backfills.row(run)
        if row is None:
            units = units or _planned(opened_app, stream, wanted, versions)
            row = begin(opened_app, run, stream, version.version, wanted, units)
        found.append(same(row, stream, version.version, spec_of(opened_app.config.of(stream), wanted)))
    return found


def _ns(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1e6) * 1000


def _planned(opened_app: App, stream: str, wanted: Wanted, versions: Sequence[ModelRow]) -> list[Planned]:
    shelf = opened_app.shelf(stream)
    return plan(opened_app, stream, wanted, [shelf.read(version).ensemble for version in versions])


def _bar(bars: Bars, name: str) -> Any:
    tell = bars.rated(name)

    def say(standing: Standing) -> None:
        failed = f", {standing.failed} failed" if standing.failed else ""
        rate = f", {standing.rate:,.0f} rows/s" if standing.rate else ""
        met = f"{standing.entities_done} entities, {counted(standing.alerts, 'alert')}"
        said = f"{standing.done} of {counted(standing.units, 'unit')}{failed}, {met}{rate}"
        tell(said, standing.rows_done, max(standing.rows, standing.rows_done, 1))

    return say


def _tell_plan(
    opened_app: App, stream: str, units: list[Planned], version: ModelRow, workers: int | None, json: bool
) -> None:
    found = estimated(opened_app, stream, units, version, workers)
    step = opened_app.config.of(stream).step
    rows = [
        {"unit": number, "entities": one.entities, "rows": one.rows, **_bounds(one, step), "fault": one.fault}
        for number, one in enumerate(units)
    ]
    cut = "from to " if any(one.unit.stretch for one in units) else ""
    if json:
        show(found | {"plan": rows}, "", True)
        return
    show_rows(f"Plan of {stream}", f"unit entities rows {cut}fault", rows[:SHOWN], "nothing to do", False)
    show(found, facts_table(f"{stream}: what it may cost", found), False)
    if not found["rows"]:
        note("how many rows there are is not known before they are read")


def _bounds(planned: Planned, step: int) -> dict[str, datetime | None]:
    """Of a stretch of time, where it begins and ends; None: where the series does."""
    part = planned.unit.stretch
    edges = (None, None) if part is None else (part.begin, part.end)
    return {name: None if edge is None else utc(edge * step) for name, edge in zip(("from", "to"), edges, strict=True)}


def _report(opened_app: App, drivers: Sequence[Driver], path: Path) -> None:
    """The first run as a page, beside the second where there is one."""
    from tsad.runs.page import write_report

    names = [driver.row.run for driver in drivers]
    write_report(opened_app.database, names[0], path, names[1] if names[1:] else None)
    note(f"wrote {path}")


def _refused(opened_app: App, row: BackfillRow) -> Counter[str]:
    """How many records were refused, by reason."""
    found = Counter[str]()
    for place in opened_app.reader.health(row.stream, row.run)["partitions"].values():
        for name, count in place["counts"].items():
            if name.startswith("dead:"):
                found[name.removeprefix("dead:")] += count
    return found


def _summary(opened_app: App, drivers: Sequence[Driver], json: bool) -> None:
    """How each run has ended, and with two of them, both finished, how their alerts differ."""
    told: list[dict[str, Any]] = []
    tables: list[RenderableType] = []
    for driver in drivers:
        row, standing = driver.row, driver.standing
        refused = _refused(opened_app, row)
        if refused:
            said = ", ".join(f"{reason} {count:,}" for reason, count in sorted(refused.items()))
            note(f"{row.run}: records were refused ({said}); tsad dead-letters {row.stream} --run {row.run} shows some")
        found: dict[str, Any] = {
            "run": row.run, "stream": row.stream, "model": row.model_version, "state": driver.state,
            "units": standing.units, "failed": standing.failed, "entities": standing.entities_done,
            "rows": standing.rows_done, "alerts": standing.alerts, "dead_letters": sum(refused.values()),
        }  # fmt: skip
        told.append(found)
        tables.append(facts_table(f"Backfill of {row.stream}", found))
    states = {driver.state for driver in drivers}
    if states == {"finished"} and len(drivers) > 1:
        compared = compared_runs(opened_app.database, drivers[0].row.run, drivers[1].row.run, SHOWN)
        told[0]["compared"] = compared.figures()
        tables.append(comparison_tables(compared, SHOWN))
    show(told if len(told) > 1 else told[0], Group(*tables), json)
    for driver in drivers:
        for unit in driver.failed:
            note(f"{unit.run}: unit {unit.unit} failed: {unit.reason}")
    if "running" in states:
        note("interrupted; the same command goes on from here")
