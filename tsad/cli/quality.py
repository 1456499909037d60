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
from tsad.cli.logquality import LogWords, logs_evaluated
from tsad.cli.terminal import INTERRUPTED, note, show
from tsad.config import ConfigError, load_config
from tsad.console import Bars, interruptible
from tsad.wording import utc_text

if TYPE_CHECKING:
    from tsad.evaluation.comparison import Contest
    from tsad.evaluation.harness import Plan


class ModelScope(StrEnum):
    """What a model is fitted for."""

    ENTITY = "entity"
    STREAM = "stream"


SeriesPath = Annotated[
    Path | None,
    typer.Argument(
        help="A folder of labelled series or logs, a folder of such folders, or one of them; with --stream any file "
        "that the stream can read (else the configured one)."
    ),
]
TRAIN, LOG_TRAIN = "25%", "50%"
Train = Annotated[
    str, typer.Option(help="The train part of files that have none: rows, or a percentage and its limit (15%,750).")
]
Part = Annotated[
    str | None,
    typer.Option(
        help="The train part of files that have none: rows, or a percentage and its limit (15%,750); 25%, of logs 50%."
    ),
]
Clean = Annotated[bool, typer.Option(help="Of logs: fit without the anomalies of the train part.")]
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
    train: Part = None,
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
    clean: Clean = False,
    json: AsJson = False,
) -> None:
    """Measure detection on labelled series, causally, through the path of live data; or on labelled logs."""
    from tsad.evaluation.comparison import Contest
    from tsad.evaluation.configured import configured_series
    from tsad.evaluation.harness import Plan, evaluate_all
    from tsad.evaluation.series import TrainPart, find_series

    page = report if report is not None or scores is None else scores / "report.html"
    peers = list(dict.fromkeys(baseline or ()))
    words = LogWords(train or LOG_TRAIN, clean, budget, scores)
    if logs_evaluated(path if stream is None else None, words, peers, page, json):
        return
    part, told = TrainPart.parse(train or TRAIN), None
    with TemporaryDirectory() as folder, Bars() as bars, interruptible() as stopping:
        if stream is not None:
            given = configured_series(load_config(config), stream, path, label, Path(folder), budget, profile)
            told, path = given.config(scope.value), Path(folder) / given.name
        elif path is None:
            raise ConfigError("evaluate needs a folder of series, or --stream NAME")
        files = find_series(path)
        plan = Plan(
            part, scope.value, 1.0 if budget is None else budget, profile or "default", scores,
            stream=told, pictures=page is not None,
        )  # fmt: skip
        plans = [plan, *(plan.of_baseline(name) for name in peers)]
        found, *others = evaluate_all(files, plans, workers, bars.count("evaluate", len(files) * len(plans)), stopping)
    facts = {"series": f"{len(files):,}", "train part where a file has none": train or TRAIN}
    _tell(Contest(found, dict(zip(peers, others, strict=True))), path, _facts(plan) | facts, page, json)


def _tell(contest: "Contest", path: Path, facts: dict[str, str], page: Path | None, json: bool) -> None:
    """Print, and write the report where there is to be one."""
    from tsad.evaluation.page import write_page
    from tsad.evaluation.summary import side_table, summary_table

    if page is not None:
        write_page(page, f"Detection on {path.resolve().name}", facts, contest.ours, contest.sides)
        note(f"report: {page}")
    tables = (side_table(figure, side) for figure, side in contest.sides.items())
    show(contest.figures(), Group(summary_table(contest.ours), *tables), json)
    if not contest.ended:
        note("interrupted: not every series was evaluated")
        raise typer.Exit(INTERRUPTED)


def _facts(plan: "Plan") -> dict[str, str]:
    """How an evaluation was made, for its report."""
    config, now = plan.config(SECOND), datetime.now(UTC)
    return {
        "tsad": version("tsad"), "profile": config.profile, "scope": config.scope,
        "budget": f"{config.alert_budget:g} false alarms a day", "made": f"{utc_text(now)} UTC",
    }  # fmt: skip
