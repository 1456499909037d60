"""`tsad evaluate` of labelled logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Group

from tsad.cli.terminal import INTERRUPTED, note, show
from tsad.config import ConfigError
from tsad.console import Bars, interruptible
from tsad.wording import utc_text

if TYPE_CHECKING:
    from tsad.evaluation.logruns import LogPlan
    from tsad.evaluation.logsets import LogFile


@dataclass(frozen=True, slots=True)
class LogWords:
    """What the command line says of how to evaluate logs."""

    train: str
    clean: bool
    budget: float | None
    scores: Path | None

    def plan(self) -> "LogPlan":
        """As a plan; ValueError naming what is wrong."""
        from tsad.evaluation.logruns import LogPlan, percentage

        budget = 1.0 if self.budget is None else self.budget
        return LogPlan(percentage(self.train) / 100, self.clean, budget, self.scores)


def logs_evaluated(path: Path | None, words: LogWords, peers: Sequence[str], page: Path | None, json: bool) -> bool:
    """Evaluate the labelled logs of `path`, if that is what it holds. ConfigError where `words` are of logs alone and
    it holds none."""
    from tsad.evaluation.logsets import find_logs

    files = find_logs(path) if path is not None else []
    if files:
        _evaluate(files, words.plan(), peers, page, json)
    elif words.clean:
        raise ConfigError("--clean is for labelled logs: of series, all of the train part is fitted on")
    return bool(files)


def _evaluate(files: "Sequence[LogFile]", plan: "LogPlan", peers: Sequence[str], page: Path | None, json: bool) -> None:
    """Evaluate, print, and write the report where there is to be one."""
    from tsad.evaluation.comparison import Contest
    from tsad.evaluation.logbaselines import log_peers
    from tsad.evaluation.logruns import judge_logs
    from tsad.evaluation.page import OF_LOGS, write_page
    from tsad.evaluation.summary import log_tables, side_table

    plans = [plan, *(plan.of_peer(name, judge) for name, judge in log_peers(peers).items())]
    with Bars() as bars, interruptible() as stopping:
        tell = bars.count("evaluate", len(files) * len(plans))
        found, *others = judge_logs(files, plans, tell, stopping)
    contest = Contest(found, dict(zip(peers, others, strict=True)))
    if page is not None:
        write_page(page, "Detection on logs", _facts(plan, len(files)), found, contest.sides, OF_LOGS)
        note(f"report: {page}")
    tables = (side_table(figure, side) for figure, side in contest.sides.items())
    show(contest.figures(), Group(log_tables(found), *tables), json)
    if not contest.ended:
        note("interrupted: not every data set was evaluated")
        raise typer.Exit(INTERRUPTED)


def _facts(plan: "LogPlan", sets: int) -> dict[str, str]:
    """How an evaluation was made, for its report."""
    return {
        "tsad": version("tsad"), "data sets": f"{sets:,}", "fitted on": f"the first {plan.share:.0%} by time",
        "anomalies": "left out of the fit" if plan.clean else "in the fit, unlabelled",
        "budget": f"{plan.budget:g} false alarms a day", "made": f"{utc_text(datetime.now(UTC))} UTC",
    }  # fmt: skip
