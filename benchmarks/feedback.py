"""One answer, and what it takes along: false alerts of a series that recur (`make bench-feedback`).

Each series is fitted on its train part and run to its end, through the application, with `profile` (fast). An alert is
true where its slots meet a labelled stretch, or lie within `settle` slots behind one. The first false alert that any
later one is alike is marked false, as somebody would who saw them in order; printed are the alerts that are told of
behind it before and after, what `replay` of the proposed rule had said, and whether undoing brings all of them back.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from storage.read import AlertFilter  # noqa: E402
from storage.types import Alert  # noqa: E402
from tsad.app import App  # noqa: E402
from tsad.config import Config, parse_config  # noqa: E402
from tsad.evaluation.series import Series, TrainPart, find_series, read_series  # noqa: E402
from tsad.triage.answers import Answers  # noqa: E402
from tsad.triage.facts import Facts  # noqa: E402
from tsad.triage.feedback import proposals, replay  # noqa: E402
from tsad.triage.likeness import alike, likeness  # noqa: E402

MINUTE = 60_000_000_000
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SERIES = ("aiops_kpi", "nab", "ms_cloud", "asd")
ENTITY = "one"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one answer on a series: alerts that people were told of behind the marked one, `false` and `true`,
    before and after it; `replayed`: those that the proposed rule was said to make vanish; whether it was `undone`."""

    series: str
    alerts: int
    false: int
    marked: str
    false_before: int
    false_after: int
    true_before: int
    true_after: int
    replayed: int
    undone: bool


def configured(folder: Path, profile: str) -> Config:
    """One stream, `s`, of one wide table of minutes."""
    telemetry = {"layout": "wide", "entity": False, "default_entity": ENTITY}
    return parse_config({
        "database": f"sqlite:///{folder / 'tsad.db'}", "models": str(folder / "models"),
        "history": str(folder / "history"),
        "stream": {"s": {"telemetry": telemetry, "profile": profile, "history_days": 0}},
    })  # fmt: skip


def write(series: Series, folder: Path) -> tuple[Path, Path]:
    """Both parts as tables, a minute a row."""
    found = []
    for name, values, first in (("fit", series.train, 0), ("run", series.test, len(series.train))):
        moments = np.datetime64(BEGIN.replace(tzinfo=None), "ms") + (first + np.arange(len(values))) * np.timedelta64(
            1, "m"
        )
        columns = {"time": pa.array(moments.astype("datetime64[ms]"), pa.timestamp("ms", "UTC"))}
        columns |= {channel: pa.array(values[:, place]) for place, channel in enumerate(series.channels)}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        found.append(folder / f"{name}.parquet")
    return found[0], found[1]


def watched(series: Series, folder: Path, profile: str) -> App:
    """The application that has run the series."""
    fit, run = write(series, folder)
    app = App.open(configured(folder, profile), create=True)
    with app.claim():
        row = app.fit("s", app.collect("s", {"telemetry": str(fit)}))
        app.models.promote("s", row.version)
        app.runner("s", {"telemetry": str(run)}).run(lambda: False)
    return app


def is_true(alert: Alert, series: Series, settle: int) -> bool:
    """Whether an alert meets a labelled stretch, or what comes right behind one."""
    zero = int(BEGIN.timestamp()) // 60 + len(series.train)
    first, last = alert.first_slot - zero, alert.last_slot - zero
    labels = series.labels if series.labels is not None else np.zeros(len(series.test), np.bool_)
    return bool(labels[max(first - settle, 0) : last + 1].any())


def first_that_recurs(alerts: Sequence[Alert]) -> Alert | None:
    """The first alert that any later one is alike."""
    known = [likeness(Facts.of(alert)) for alert in alerts]
    for place, one in enumerate(known):
        if any(alike(one, other) for other in known[place + 1 :]):
            return alerts[place]
    return None


def measured(series: Series, profile: str) -> Result | None:
    """What one answer does; None where no false alert recurs."""
    with TemporaryDirectory() as place:
        app = watched(series, Path(place), profile)
        try:
            return _answered(app, series)
        finally:
            app.close()


def _answered(app: App, series: Series) -> Result | None:
    standings = (answers := Answers.of(app.database, app.now)).standings
    standings.again()
    every = AlertFilter(limit=None)
    alerts = sorted((one for one in app.reader.alerts(every) if one.state != "retracted"), key=lambda a: a.first_slot)
    settle = app.config.of("s").settle
    true = {one.id for one in alerts if is_true(one, series, settle)}
    marked = first_that_recurs([one for one in alerts if one.id not in true])
    if marked is None:
        return None
    behind = [one.id for one in alerts if one.first_slot > marked.first_slot]

    def told() -> tuple[int, int]:
        rows = standings.rulings.decisions(behind)
        notified = [name for name in behind if rows[name].standing == "notify"]
        return sum(name not in true for name in notified), sum(name in true for name in notified)

    before = told()
    mark = answers.say(marked, "feedback", "bench", answer="false")
    after = told()
    answers.unsay(mark.id, "bench")
    undone = told() == before
    again = answers.say(marked, "feedback", "bench", answer="false")
    [proposal] = proposals(standings.marks.answers(), app.reader.alerts(every))
    answers.unsay(again.id, "bench")
    foreseen = replay(standings, standings.with_rule(proposal.rule), every)
    vanish = [one for one in foreseen.vanish if one.alert.id in behind]
    return Result(
        f"{series.file.folder}/{series.file.name}", len(alerts), len(alerts) - len(true), marked.id[:12],
        before[0], after[0], before[1], after[1], len(vanish), undone,
    )  # fmt: skip


def main() -> None:
    """Print the table, and write it."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--series", nargs="*", default=list(SERIES), help="Folders, or series of them (folder/name).")
    parser.add_argument("--profile", default="fast")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "feedback.json")
    told = parser.parse_args()
    results = []
    for wanted in told.series:
        folder, _, name = wanted.partition("/")
        for file in find_series(told.data / folder):
            if name and file.name != name:
                continue
            result = measured(read_series(file, TrainPart()), told.profile)
            label = f"{file.folder}/{file.name}"
            if result is None:
                print(f"{label:60} no false alert recurs")
                continue
            results.append(result)
            print(
                f"{label:60} {result.false} of {result.alerts} false; behind the marked one: "
                f"false {result.false_before} -> {result.false_after}, "
                f"true {result.true_before} -> {result.true_after}; replay {result.replayed}, "
                f"undone {result.undone}", flush=True,
            )  # fmt: skip
    told.out.parent.mkdir(exist_ok=True)
    told.out.write_text(json.dumps([asdict(one) for one in results], indent=1))


if __name__ == "__main__":
    main()
