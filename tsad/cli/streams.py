"""`tsad fit`, `tsad run`, `tsad try` and `tsad demo`."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import structlog
import typer
from tenacity import RetryCallState

from streaming.types import Topic
from tsad.app import App
from tsad.aside import Aside, GivenUpError, patiently
from tsad.cli.commands import CONFIG, AsJson, ConfigPath, DatabaseUrl, app
from tsad.cli.registers import model_row
from tsad.cli.terminal import INTERRUPTED, note, opened, print_line, show
from tsad.console import Bars, interruptible
from tsad.delivery.messages import telling
from tsad.following import follower
from tsad.logs import configure
from tsad.polling import SERVER, poller
from tsad.progress import Progress
from tsad.report import as_json, model_table, run_table
from tsad.retraining import learnable
from tsad.serving import noting, serving
from tsad.spreading import spreading
from tsad.triage.following import triage_of
from tsad.worker import Worker, attempts, tell_outage

Made = TypeVar("Made")


def _paths(telemetry: str | None, logs: str | None) -> dict[Topic, str]:
    given: dict[Topic, str] = {}
    if telemetry is not None:
        given["telemetry"] = telemetry
    if logs is not None:
        given["logs"] = logs
    return given


@app.command()
def fit(
    stream: Annotated[str, typer.Argument(help="The stream, as configured.")],
    source: Annotated[str | None, typer.Option("--from", help="History: a file or a folder.")] = None,
    logs: Annotated[str | None, typer.Option(help="History of the logs.")] = None,
    candidate: Annotated[bool, typer.Option("--candidate", help="Do not activate it.")] = False,
    engine: Annotated[
        str | None, typer.Option(help="Fit detectors in parallel: local (this machine's cores) or ray.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Of the engine, so many at a time.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster that runs, such as ray://head:10001.")] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Fit a model version on history, and make it the active one. Alerts and maintenance windows are left out."""
    from tsad.background import stretches_of

    if engine is None and (workers or address):
        raise typer.BadParameter("--workers and --address are an engine's: say --engine local or --engine ray")
    with opened(config, database, needed=True, create=True) as opened_app, Bars() as bars, ExitStack() as held:
        spread = None
        if engine is not None:
            spread = held.enter_context(spreading(opened_app.config, stream, engine, workers, address))
        collected = opened_app.collect(stream, _paths(source, logs), tell=bars.count(f"read {stream}"))
        rows, left_out = learnable(collected.rows, stretches_of(opened_app, stream))
        row = opened_app.fit(stream, replace(collected, rows=rows), bars.stages(f"fit {stream}"), left_out, spread)
        if not candidate:
            row = opened_app.models.promote(stream, row.version)
        bars.done()
    aside = f" ({left_out} more, of alerts and maintenance windows, were left out)" if left_out else ""
    said = "fitted on {rows} rows of {entities} entities{0}: on {windows} windows of them, spread evenly, per {scope}"
    note(said.format(aside, **row.meta["fit"]))
    show([model_row(row)], model_table([model_row(row)]), json)


class Form(Enum):
    """How standard error is written."""

    CONSOLE = "console"
    JSON = "json"


@app.command()
def run(
    stream: Annotated[str, typer.Argument(help="The stream, as configured.")],
    source: Annotated[
        str | None, typer.Option(help="Telemetry: a file, a folder, - for standard input, kafka, push, or prometheus.")
    ] = None,
    logs: Annotated[str | None, typer.Option(help="Logs: likewise, but not prometheus.")] = None,
    until_end: Annotated[
        bool,
        typer.Option(
            "--until-end", help="Kafka, push, prometheus: stop where they end now, and close every open slot."
        ),
    ] = False,
    http: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Answer for health and metrics there.")] = None,
    log_format: Annotated[
        Form | None,
        typer.Option(help="Of standard error: for people, or a JSON object a line.", envvar="TSAD_LOG_FORMAT"),
    ] = None,
    config: ConfigPath = CONFIG,
    database: DatabaseUrl = None,
    json: AsJson = False,
) -> None:
    """Watch a stream until its source ends (or Ctrl-C); the next run goes on where this one stopped."""
    configure(log_format.value if log_format else "console", stream=stream)
    with opened(config, database, needed=True, create=True) as opened_app, opened_app.claim():
        log = opened_app.config.log
        configure(log_format.value if log_format else log.format, log.level, stream=stream)
        inputs, given = opened_app.inputs(stream), _paths(source, logs)
        for endless, watch_it in ((inputs.on_kafka, _work), (inputs.on_push, _follow), (inputs.on_prometheus, _ask)):
            if endless(given):
                watch_it(opened_app, stream, until_end, http, json)
                return
        with interruptible() as stopping, patiently(opened_app, stopping), serving(opened_app, stream, http) as watch:
            runner = opened_app.runner(stream, given)
            missing = runner.director.missing_slots(runner.partition.windower.closed_through)
            if runner.director.newest is None:
                _note_cold(missing)
            with Bars() as bars:
                ended = runner.run(stopping, noting(watch, lambda: {0: runner}, bars.standing(stream)))
                if ended:
                    bars.done()
        standing = runner.progress
        told = telling(opened_app.config.delivery)
        triage_of(opened_app.database, opened_app.config.triage, opened_app.now, told).all()
    _summary(stream, standing, runner.counts, ended, json)
    if not ended:
        note("interrupted; the next run goes on from here")
        raise typer.Exit(INTERRUPTED)
    if not standing.rows:
        note("nothing new: what the source holds was read before")


def _work(opened_app: App, stream: str, until_end: bool, http: str | None, json: bool) -> None:
    """Be a member of the stream's group until SIGTERM, Ctrl-C, or the end that was asked for."""
    if opened_app.models.active(stream) is None:
        _note_cold(None)
    with (
        interruptible() as stopping,
        patiently(opened_app, stopping) as aside,
        serving(opened_app, stream, http) as watch,
        Bars() as bars,
    ):
        watch.worker = worker = joined(opened_app, stream, stopping, aside)
        if worker is None:  # stopped before the cluster has answered: nothing was read
            _summary(stream, Progress(), {}, False, json)
            return
        aside.meanwhile = worker.meanwhile
        tell = noting(watch, lambda: worker.runners, bars.standing(stream))
        if until_end:
            worker.read_out(stopping, tell)
        else:
            worker.run(stopping, tell)
    _summary(stream, worker.progress, worker.counts, until_end and not stopping(), json)


def _follow(opened_app: App, stream: str, until_end: bool, http: str | None, json: bool) -> None:
    """Follow what is pushed until SIGTERM, Ctrl-C, or the end that was asked for."""
    with (
        interruptible() as stopping,
        patiently(opened_app, stopping),
        serving(opened_app, stream, http) as watch,
        Bars() as bars,
    ):
        following = follower(opened_app, stream)
        runner = following.runner
        if runner.director.newest is None:
            _note_cold(runner.director.missing_slots(runner.partition.windower.closed_through))
        ended = following.run(stopping, noting(watch, lambda: {0: runner}, bars.standing(stream)), until_end)
    _summary(stream, runner.progress, runner.counts, ended, json)


def _ask(opened_app: App, stream: str, until_end: bool, http: str | None, json: bool) -> None:
    """Ask the server of a stream at every step until SIGTERM, Ctrl-C, or the end that was asked for."""
    with (
        interruptible() as stopping,
        patiently(opened_app, stopping),
        serving(opened_app, stream, http) as watch,
        Bars() as bars,
    ):
        asking = patient(opened_app, stopping, stream, lambda: poller(opened_app, stream), SERVER)
        if asking is None:  # stopped before the server has answered
            _summary(stream, Progress(), {}, False, json)
            return
        watch.poller, runner = asking, asking.runner
        if runner.director.newest is None:
            _note_cold(runner.director.missing_slots(runner.partition.windower.closed_through))
        ended = asking.run(stopping, noting(watch, lambda: {0: runner}, bars.standing(stream)), until_end)
    _summary(stream, runner.progress, runner.counts, ended, json)


def joined(opened_app: App, stream: str, stopping: Callable[[], bool], aside: Aside) -> Worker | None:
    """A member of the stream's group once the cluster answers, or nothing where `stopping` says so before."""
    with suppress(GivenUpError):
        joining = partial(aside.within, None, lambda: opened_app.worker(stream), grace=0)
        return patient(opened_app, stopping, stream, joining)
    return None


def patient(
    opened_app: App, stopping: Callable[[], bool], stream: str, work: Callable[[], Made], of: str = "the cluster"
) -> Made | None:
    """What `work` makes once it meets no outage `of` that, within the configured patience; nothing where `stopping`
    says so."""
    log = structlog.get_logger(stream=stream)

    def again(state: RetryCallState) -> None:
        tell_outage(state, log, of)

    for attempt in attempts(opened_app.config.patience, stopping, again):
        if stopping():
            return None
        with attempt:
            return work()
    return None


def _note_cold(missing: int | None) -> None:
    fitted = "" if missing is None else f"; {missing} slots are missing until a model is fitted"
    note(f"no model yet: `vote` watches alone, with low confidence{fitted}")


def _summary(stream: str, standing: Progress, counts: Mapping[str, int], ended: bool, json: bool) -> None:
    found = {
        "stream": stream, "rows": standing.rows, "windows": standing.windows, "alerts": standing.alerts,
        "slots_to_first_model": standing.missing_slots, "dead_letters": sum(
            count for name, count in counts.items() if name.startswith("dead:")
        ), "unknown_features": {
            name.removeprefix("unknown:"): count for name, count in counts.items() if "unknown:" in name
        }, "ended": ended,
    }  # fmt: skip
    show(found, run_table(found), json)


@app.command("try")
def try_file(
    file: Annotated[Path, typer.Argument(help="Any CSV, Parquet or JSON Lines file of one's own.")],
    budget: Annotated[float, typer.Option(min=0, help="False alarms a day that are acceptable.")] = 1.0,
    profile: Annotated[str, typer.Option(help="default, or fast (no networks).")] = "default",
    folder: Annotated[Path, typer.Option("--out", help="Where database and pictures go.")] = Path("tsad-try"),
    json: AsJson = False,
) -> None:
    """Fit on the first half of a file and watch the rest: no configuration."""
    from tsad.trial import try_out

    with Bars() as bars, interruptible() as stopping:
        report = try_out(file, folder, budget, profile, bars, stopping)
    if json:
        print_line(as_json(report.figures()))
    else:
        report.print()
    if report.interrupted:
        note("interrupted: the rest of the file was not watched")
        raise typer.Exit(INTERRUPTED)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where database and pictures go.")] = Path(),
    json: AsJson = False,
) -> None:
    """Real telemetry and logs, bundled: fit on the first stretch, watch the second, show what was found and why."""
    from tsad.demo import run_demo

    with Bars() as bars, interruptible() as stopping:
        report = run_demo(folder, bars, stopping)
    if json:
        print_line(as_json(report.figures()))
    else:
        report.print()
    if report.interrupted:
        note("interrupted; run it again to go on")
        raise typer.Exit(INTERRUPTED)
