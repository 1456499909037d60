"""`tsad try`: any file of one's own, without a configuration, through the same path as a stream."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from detectors.channels import timing
from storage.read import AlertFilter
from streaming.settings import SECOND
from streaming.sniff import Sniffed, sniff
from tsad.app import App
from tsad.config import Config, ConfigError, validated
from tsad.console import Bars, heeding
from tsad.detection import ensemble_settings
from tsad.pictures import draw, strongest
from tsad.report import alert_row, alert_table
from tsad.texts import template_texts
from tsad.wording import counted, one_line

STREAM = "try"
FIT_SHARE = 0.5
LEAST_ROWS = 50
PICTURES = 3
DAY = 86_400 * SECOND


class TrialReport:
    """What was found in a file: sample, alerts, pictures."""

    def __init__(
        self, file: Path, rows: list[dict[str, object]], pictures: list[Path], facts: dict[str, object], ended: bool
    ) -> None:
        self.file = file
        self.rows = rows
        self.pictures = pictures
        self.facts = facts
        self.interrupted = not ended

    def figures(self) -> dict[str, object]:
        """Everything, as plain values."""
        return self.facts | {"alerts": self.rows, "pictures": [str(path) for path in self.pictures]}

    def print(self) -> None:
        """The report, on standard output."""
        console = Console(highlight=False)
        console.print(alert_table(self.rows))
        facts, retracted = self.facts, sum(row["state"] == "retracted" for row in self.rows)
        console.print(
            f"{facts['rows']} rows of {counted(facts['entities'], 'entity')} in slots of {facts['step']}; "  # type: ignore[arg-type]
            f"fitted on the first {facts['fitted_rows']}, watched the rest: "
            f"{counted(len(self.rows) - retracted, 'alert')}, {retracted} more that were retracted."
        )
        console.print(f"read as: {one_line('; '.join(facts['notes']), 600)}", markup=False)  # type: ignore[arg-type]
        for path in self.pictures:
            console.print(f"picture: {path}")
        console.print(
            f"next: tsad alerts --database {facts['database']}\nnext: tsad init --from {self.file}", soft_wrap=True
        )


def try_out(
    file: Path, folder: Path, budget: float, profile: str, bars: Bars, stopping: Callable[[], bool]
) -> TrialReport:
    """Fit on the first half of `file`, watch the rest. ConfigError or ValueError where it cannot be used."""
    if not file.exists():
        raise ConfigError(f"{file}: there is no such file")
    found = sniff(str(file))
    if found.rows < LEAST_ROWS:
        raise ValueError(f"{file}: {found.rows} rows are too few to fit and to watch; at least {LEAST_ROWS} are needed")
    config = _config(file, folder, budget, profile, found)
    ensemble_settings(config.of(STREAM))  # before anything is emptied
    _fresh(folder, file)
    app = App.open(config)
    try:
        rows, ended = _run(app, int(found.rows * FIT_SHARE), found.rows, bars, stopping)
        alerts = app.reader.alerts(AlertFilter(stream=STREAM, limit=None))
        shown = [alert_row(*app.reader.alert(alert.id), template_texts(alert)) for alert in alerts]
        best = strongest(alerts, PICTURES)
        pictures = [draw(a, found.step_ns, folder / f"alert-{n}.png") for n, a in enumerate(best, 1)]
    finally:
        app.close()
    if found.end_ns < 365 * DAY:
        found.notes.append("all times lie in 1970: if they are row numbers, --budget counts days of such seconds")
    facts = {
        "file": str(file), "rows": found.rows, "fitted_rows": rows, "entities": found.entities,
        "step": f"{found.step_ns / 1e9:g}s", "notes": found.notes, "database": config.database,
    }  # fmt: skip
    return TrialReport(file, shown, pictures, facts, ended)


def _config(file: Path, folder: Path, budget: float, profile: str, found: Sniffed) -> Config:
    telemetry = {
        name: False if value is None and name in ("entity", "time") else value
        for name, value in asdict(found.format).items()
    } | {"source": str(file), "order": "time"}  # fmt: skip
    stream = {"telemetry": telemetry, "step": found.step_ns / SECOND, "alert_budget": budget, "profile": profile}
    stream |= timing(found.continuous)
    return validated(
        {
            "database": f"sqlite:///{folder / 'tsad.db'}", "models": str(folder / "models"),
            "history": str(folder / "history"), "stream": {STREAM: stream},
        },
        "tsad try",
    )  # fmt: skip


def _fresh(folder: Path, file: Path) -> None:
    """An empty folder; only one that a trial made, and that does not hold `file`, is emptied."""
    mark = folder / ".tsad-try"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --out")
    if file.resolve().is_relative_to(folder.resolve()) and mark.exists():
        raise ConfigError(f"{folder} holds {file} and would be emptied; name another folder with --out")
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise ConfigError(f"{folder} holds something else; name another folder with --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def _run(app: App, fitted: int, total: int, bars: Bars, stopping: Callable[[], bool]) -> tuple[int, bool]:
    """The rows that were fitted on, and whether the rest was watched to its end."""
    collected = app.collect(STREAM, {}, until=fitted, tell=bars.count("read", fitted))
    row = app.fit(STREAM, collected, heeding(bars.stages("fit"), stopping))
    app.models.promote(STREAM, row.version)
    runner = app.runner(STREAM, {})
    # the same source goes on where the fit stopped
    for topic, position in collected.positions.items():
        runner.sources[topic].seek(position)  # type: ignore[index]
    ended = runner.run(stopping, bars.standing("watch", total))
    if ended:
        bars.done()
    return len(collected.rows.codes), ended
