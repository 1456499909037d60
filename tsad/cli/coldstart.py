"""`tsad cold-start`."""

from pathlib import Path
from typing import Annotated

import typer

from tsad.cli.commands import AsJson, app
from tsad.cli.quality import CORES, Profile, Scores, Train, Workers
from tsad.cli.terminal import INTERRUPTED, note, show
from tsad.console import Bars, interruptible


@app.command("cold-start")
def cold_start(
    path: Annotated[Path, typer.Argument(help="A folder of labelled series, a folder of such folders, or one series.")],
    rows: Annotated[str, typer.Option(help="Rows that are known of an entity.")] = "0,50,200,1000,all",
    fleet: Annotated[
        bool, typer.Option("--fleet", help="A new entity of the fleet that the other series of its folder are.")
    ] = False,
    train: Train = "25%",
    profile: Profile = None,
    scores: Scores = None,
    workers: Workers = CORES,
    json: AsJson = False,
) -> None:
    """Measure what detection is worth while little is known of an entity."""
    from tsad.evaluation.coldstart import ColdStart
    from tsad.evaluation.harness import Plan, cold_start_curve
    from tsad.evaluation.series import TrainPart, find_series
    from tsad.evaluation.summary import curve_table

    points = ColdStart.parse(rows, "fleet" if fleet else "first")
    plan = Plan(TrainPart.parse(train), profile=profile or "default", scores=scores)
    with Bars() as bars, interruptible() as stopping:
        tell = bars.count("cold start", len(find_series(path)) * len(points))
        curve = cold_start_curve(path, plan, points, workers, tell, stopping)
    show({label: one.figures() for label, one in curve.items()}, curve_table(curve), json)
    if not all(one.ended for one in curve.values()):
        note("interrupted: not every series was evaluated")
        raise typer.Exit(INTERRUPTED)
