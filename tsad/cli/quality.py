"""`tsad evaluate`."""

import os
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group

from streaming.settings import SECOND
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, app
from tsad.cli.terminal import INTERRUPTED, note, show
from tsad.config import ConfigError, load_config
from tsad.console import Bars, interruptible
from tsad.wording import utc_text

if TYPE_CHECKING:
    from tsad.evaluation.harness import Plan


class ModelScope(StrEnum):
    """What a model is fitted for."""

    ENTITY = "entity"
    STREAM = "stream"


SeriesPath = Annotated[
    Path | None,
    typer.Argument(
        help="A folder of labelled series, a folder of such folders, or one series; with --stream any file that the "
        "stream can read (else the configured one)."
    ),
]
Train = Annotated[
    str, typer.Option(help="The train part of files that have none: rows, or a percentage and its limit (15%,750).")
]
Scope = Annotated[ModelScope, typer.Option(help="A model for each series, or one for those of a folder.")]
Budget = Annotated[
    float | None, typer.Option(min=0, help="False alarms a day that each series may cost; 1 if nothing says so.")
]
Profile = Annotated[
    str | None, typer.Option(help="default, few (what default is on few channels), or fast (no networks).")
]
Scores = Annotated[
    Path | None,
    typer.Option(help="Where scores go, a file a series, with series.csv and report.html; what is there is kept."),
]
Peers = Annotated[list[str] | None, typer.Option(help="A peer to stand beside, such as k-means; may be repeated.")]
Report = Annotated[Path | None, typer.Option(help="The HTML report, with a picture of each series.")]
AsStream = Annotated[
    str | None, typer.Option(help="Read the series as this stream of the configuration: one for each entity.")
]
Label = Annotated[
    str, typer.Option(help="With --stream: the column that is not 0 where a row is anomalous, if there is one.")
]

Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
CORES = os.cpu_count() or 1


@app.command()
def evaluate(
    path: SeriesPath = None,
    train: Train = "25%",
    scope: Scope = ModelScope.ENTITY,
    budget: Budget = None,
    profile: Profile = None,
    scores: Scores = None,
    baseline: Peers = None,
    report: Report = None,
    stream: AsStream = None,
    label: Label = "label",
    config: ConfigPath = CONFIG,
    workers: Workers = CORES,
    json: AsJson = False,
) -> None:
    """Measure detection on labelled series, causally, through the path of live data."""
    from tsad.evaluation.comparison import Contest
    from tsad.evaluation.configured import configured_series
    from tsad.evaluation.harness import Plan, evaluate_all
    from tsad.evaluation.page import write_page
    from tsad.evaluation.series import TrainPart, find_series
    from tsad.evaluation.summary import side_table, summary_table

    page = report if report is not None or scores is None else scores / "report.html"
    peers = list(dict.fromkeys(baseline or ()))
    with TemporaryDirectory() as folder, Bars() as bars, interruptible() as stopping:
        told = None
        if stream is not None:
            given = configured_series(load_config(config), stream, path, label, Path(folder), budget, profile)
            told, path = given.config(scope.value), Path(folder) / given.name
        elif path is None:
            raise ConfigError("evaluate needs a folder of series, or --stream NAME")
        files = find_series(path)
        plan = Plan(
            TrainPart.parse(train), scope.value, 1.0 if budget is None else budget, profile or "default", scores,
            stream=told, pictures=page is not None,
        )  # fmt: skip
        plans = [plan, *(plan.of_baseline(name) for name in peers)]
        found, *others = evaluate_all(files, plans, workers, bars.count("evaluate", len(files) * len(plans)), stopping)
    contest = Contest(found, dict(zip(peers, others, strict=True)))
    if page is not None:
        write_page(page, f"Detection on {path.resolve().name}", _facts(plan, train, len(files)), found, contest.sides)
        note(f"report: {page}")
    tables = (side_table(figure, side) for figure, side in contest.sides.items())
    show(contest.figures(), Group(summary_table(found), *tables), json)
    if not contest.ended:
        note("interrupted: not every series was evaluated")
        raise typer.Exit(INTERRUPTED)


def _facts(plan: "Plan", train: str, series: int) -> dict[str, str]:
    """How an evaluation was made, for its report."""
    config, now = plan.config(SECOND), datetime.now(UTC)
    return {
        "tsad": version("tsad"), "profile": config.profile, "scope": config.scope, "series": f"{series:,}",
        "budget": f"{config.alert_budget:g} false alarms a day", "train part where a file has none": train,
        "made": f"{utc_text(now)} UTC",
    }  # fmt: skip
