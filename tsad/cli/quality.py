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
    cold_start: Annotated[
        str | None, typer.Option(help="A curve over the rows known of an entity: 0,50,200,1000,all.")
    ] = None,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="With --cold-start: a new entity of the fleet that the other series are.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Measure detection on labelled series, causally, through the path of live data."""
    from tsad.evaluation.coldstart import ColdStart
    from tsad.evaluation.harness import Plan, cold_start_curve, evaluate
    from tsad.evaluation.series import TrainPart, find_series
    from tsad.evaluation.summary import curve_table, summary_table

    plan = Plan(TrainPart.parse(train), scope.value, budget, profile, scores)
    points = ColdStart.parse(cold_start, "fleet" if fleet else "first") if cold_start is not None else []
    if fleet and not points:
        raise ValueError("--fleet goes with --cold-start, such as --cold-start 0,50,200,1000,all")
    with Bars() as bars, interruptible() as stopping:
        tell = bars.count("evaluate", len(find_series(path)) * max(len(points), 1))
        if points:
            curve = cold_start_curve(path, plan, points, workers, tell, stopping)
            show({label: one.figures() for label, one in curve.items()}, curve_table(curve), json)
            ended = all(one.ended for one in curve.values())
        else:
            found = evaluate(path, plan, workers, tell, stopping)
            show(found.figures(), summary_table(found), json)
            ended = found.ended
    if not ended:
        note("interrupted: not every series was evaluated")
        raise typer.Exit(INTERRUPTED)
