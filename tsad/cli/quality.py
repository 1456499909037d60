"""`tsad evaluate`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tsad.cli.commands import AsJson, app
from tsad.cli.terminal import INTERRUPTED, note, show
from tsad.console import Bars, interruptible


class ModelScope(StrEnum):
    """What a model is fitted for."""

    ENTITY = "entity"
    STREAM = "stream"


@app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(help="A folder of labelled series, a folder of such folders, or one series.")],
    train: Annotated[
        str, typer.Option(help="The train part of files that have none: rows, or a percentage and its limit (15%,750).")
    ] = "25%",
    scope: Annotated[
        ModelScope, typer.Option(help="A model for each series, or one for those of a folder.")
    ] = ModelScope.ENTITY,
    budget: Annotated[float, typer.Option(min=0, help="False alarms a day that each series may cost.")] = 1.0,
    profile: Annotated[str, typer.Option(help="default, or fast (no networks).")] = "default",
    scores: Annotated[
        Path | None, typer.Option(help="Where scores go, a file a series; those that are there are not made again.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    json: AsJson = False,
) -> None:
    """Measure detection on labelled series, causally, through the path of live data."""
    from tsad.evaluation.harness import Plan, evaluate
    from tsad.evaluation.series import TrainPart, find_series
    from tsad.evaluation.summary import summary_table

    plan = Plan(TrainPart.parse(train), scope.value, budget, profile, scores)
    with Bars() as bars, interruptible() as stopping:
        found = evaluate(path, plan, workers, bars.count("evaluate", len(find_series(path))), stopping)
    show(found.figures(), summary_table(found), json)
    if not found.ended:
        note("interrupted: not every series was evaluated")
        raise typer.Exit(INTERRUPTED)
