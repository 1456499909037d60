"""`tsad demo`: bundled real data through the same path as a live stream, and a report of what was found.

Two streams: `smd` (one server, 38 metrics) and `trainticket` (pods with metrics and logs, injected faults). Both are
fitted on the first stretch and watched on the second.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

from storage.read import AlertFilter
from storage.tokens import Tokens
from storage.types import Alert
from streaming.settings import SECOND
from streaming.types import Topic
from tsad.app import App
from tsad.config import Config, parse_config
from tsad.console import Bars, heeding, peak_memory
from tsad.fitting import Collected
from tsad.operating import ApiConfig
from tsad.outcomes import Event, Outcomes, outcomes
from tsad.pictures import draw, strongest
from tsad.report import alert_row, alert_table
from tsad.texts import template_texts
from tsad.triage.following import triage_of

SMD, TRAINTICKET = "smd", "trainticket"
PICTURES = 3
READER = "demo"
"""How the names of the demo's tokens begin."""
SPLIT = datetime.fromisoformat("2023-01-29T12:30:00+00:00")
"""Nezha's faults come in two campaigns, 08:43 to 11:40 and 13:31 to 15:46: fit before, watch after."""


@dataclass(slots=True)
class DemoReport:
    """What the demo found."""

    smd: Outcomes
    trainticket: Outcomes
    rows: list[dict[str, object]]
    pictures: list[Path]
    seconds: float
    interrupted: bool = False
    pending: int = 0
    database: str = ""
    token: str = ""

    def figures(self) -> dict[str, object]:
        """The figures of the SMD stretch, which was chosen before anything was scored on it."""
        return {
            "events": self.smd.events,
            "events_found": self.smd.found,
            "false_episodes": self.smd.false,
            "alerts": self.smd.alerts,
            "median_delay_seconds": self.smd.median_delay,
            "seconds": round(self.seconds, 1),
            "peak_rss_bytes": peak_memory(),
            "trainticket": self.trainticket.figures(),
            "pictures": [str(path) for path in self.pictures],
        }

    def print(self) -> None:
        """The report, on standard output."""
        console = Console(highlight=False)
        console.print(alert_table(self.rows))
        for name, found in ((SMD, self.smd), (TRAINTICKET, self.trainticket)):
            console.print(f"{name}: {found.sentence()}")
        for path in self.pictures:
            console.print(f"picture: {path}")
        console.print(
            f"{self.seconds:.0f} s, at most {peak_memory() / 2**20:.0f} MiB of memory; kept in {self.database}"
        )
        console.print(
            "next: tsad alerts --state confirmed\nnext: tsad incidents list --sort worst\n"
            "next: tsad explain ID --png why.png\nnext: tsad try YOUR.csv"
        )
        address = f"http://{ApiConfig().bind}/#token={self.token}"
        console.print(f"next: tsad serve, and open {address}", soft_wrap=True)


def run_demo(
    folder: Path, bars: Bars, stopping: Callable[[], bool], other: Path | None = None, profile: str = "default"
) -> DemoReport:
    """Fit, watch and report, in `folder`; what an earlier run did is skipped. `other` is input like the bundled."""
    begun = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("tsad") / "demo_data") if other is None else nullcontext(other) as data:
        work = folder / "tsad-models" / "demo-input"
        app = App.open(_config(folder, profile))
        try:
            with app.claim():
                _prepare(data, work)
                ended = _watch_smd(app, data, bars, stopping) and _watch_trainticket(app, data, work, bars, stopping)
                triage_of(app.database, app.config.triage, app.now).all()
                if ended:
                    bars.done()
            return _report(app, data, folder, begun, not ended)
        finally:
            app.close()


def _config(folder: Path, profile: str) -> Config:
    machine = {"layout": "wide", "entity": False, "default_entity": "machine-1-6"}
    # Nezha's publishers say that a fault lasts about four minutes: by then an alert is settled
    pods = {"telemetry": {"layout": "wide"}, "logs": {}, "window": 16, "settle": 4, "quiet": 20, "lateness": "60s"}
    chosen = {"profile": profile}
    return parse_config(
        {
            "database": f"sqlite:///{folder / 'tsad.db'}",
            "models": str(folder / "tsad-models"),
            "history": str(folder / "tsad-history"),
            "stream": {SMD: {"telemetry": machine} | chosen, TRAINTICKET: pods | chosen},
        },
        "the demo's configuration",
    )


def _prepare(data: Path, work: Path) -> None:
    """Cut Nezha's tables and lines at `SPLIT`, once."""
    if (work / "done").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    table = pq.read_table(data / "nezha-metrics.parquet")
    before = pc.less(table["time"], pa.scalar(SPLIT, table["time"].type))
    pq.write_table(table.filter(before), work / "fit.parquet")
    pq.write_table(table.filter(pc.invert(before)), work / "watch.parquet")
    _split_lines(data / "nezha-logs.jsonl.gz", work)
    (work / "done").touch()


def _split_lines(source: Path, work: Path) -> None:
    import gzip

    limit = SPLIT.strftime("%Y-%m-%dT%H:%M:%S")
    time_of = msgspec.json.Decoder(_Timed)
    with (
        gzip.open(source, "rb") as lines,
        (work / "fit.jsonl").open("wb") as first,
        (work / "watch.jsonl").open("wb") as second,
    ):
        for line in lines:
            (first if time_of.decode(line).time < limit else second).write(line)


class _Timed(msgspec.Struct):
    """A log line's time."""

    time: str


def _watch_smd(app: App, data: Path, bars: Bars, stopping: Callable[[], bool]) -> bool:
    history: dict[Topic, str] = {"telemetry": str(data / "smd-train.parquet")}
    _fit_once(app, SMD, history, bars, stopping, lambda collected: collected)
    runner = app.runner(SMD, {"telemetry": str(data / "smd-test.parquet")})
    return runner.run(stopping, bars.standing(SMD, 7000))


def _watch_trainticket(app: App, data: Path, work: Path, bars: Bars, stopping: Callable[[], bool]) -> bool:
    faults = _events(data / "nezha-faults.json")
    paths: dict[Topic, str] = {"telemetry": str(work / "fit.parquet"), "logs": str(work / "fit.jsonl")}
    _fit_once(app, TRAINTICKET, paths, bars, stopping, lambda collected: _without_fault_logs(collected, faults))
    paths = {"telemetry": str(work / "watch.parquet"), "logs": str(work / "watch.jsonl")}
    return app.runner(TRAINTICKET, paths).run(stopping, bars.standing(TRAINTICKET))


def _fit_once(
    app: App, stream: str, paths: dict[Topic, str], bars: Bars, stopping: Callable[[], bool],
    prepare: Callable[[Collected], Collected],
) -> None:  # fmt: skip
    if app.models.active(stream) is None:
        collected = prepare(app.collect(stream, paths, tell=bars.count(f"read {stream}")))
        row = app.fit(stream, collected, heeding(bars.stages(f"fit {stream}"), stopping))
        app.models.promote(stream, row.version)


def _without_fault_logs(collected: Collected, faults: Sequence[Event]) -> Collected:
    """Log features are fitted on covered minutes before faults: those of a fault and after it are missing."""
    rows, step = collected.rows, 60
    logs = [place for place, name in enumerate(rows.features) if name.startswith("log.")]
    values = rows.values.copy()
    for fault in faults:
        first, last = int(fault.start.timestamp()) // step, int(fault.end.timestamp()) // step
        inside = np.flatnonzero((rows.slots >= first) & (rows.slots <= last))
        values[np.ix_(inside, np.array(logs, np.int64))] = np.nan
    return replace(collected, rows=replace(rows, values=values))


def _report(app: App, data: Path, folder: Path, begun: float, interrupted: bool) -> DemoReport:
    found: dict[str, list[Alert]] = {
        stream: app.reader.alerts(AlertFilter(stream=stream, limit=None)) for stream in (SMD, TRAINTICKET)
    }
    every = [alert for alerts in found.values() for alert in alerts]
    standing = sorted((alert for alert in every if alert.state != "retracted"), key=lambda a: (a.stream, a.first_time))
    rows = [alert_row(*app.reader.alert(alert.id), template_texts(alert)) for alert in standing]
    best = strongest(every, PICTURES)
    pictures = [draw(alert, 60 * SECOND, folder / f"tsad-alert-{n}.png") for n, alert in enumerate(best, 1)]
    return DemoReport(
        outcomes(found[SMD], _events(data / "smd-events.json")),
        outcomes(found[TRAINTICKET], [e for e in _events(data / "nezha-faults.json") if e.start >= SPLIT]),
        rows,
        pictures,
        time.perf_counter() - begun,
        interrupted,
        len(app.reader.pending(SMD)) + len(app.reader.pending(TRAINTICKET)),
        str(folder / "tsad.db"),
        _token(Tokens(app.database)),
    )


def _token(tokens: Tokens) -> str:
    """One that opens the dashboard, to look only, for a month; those of earlier demos end."""
    for token in tokens.listing():
        if token.name.startswith(READER) and token.revoked_at is None:
            tokens.revoke(token.name)
    now = datetime.now(UTC)
    return tokens.add(f"{READER} {now.isoformat()}", "viewer", now + timedelta(days=30))


def _events(path: Path) -> list[Event]:
    return msgspec.json.decode(path.read_bytes(), type=list[Event])
