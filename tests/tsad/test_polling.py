"""A stream of queries: the rows of the same samples pushed, whatever is killed or does not answer meanwhile."""

import itertools
import json
import re
import shutil
import signal
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_servers import Scripted, error

from storage.backfills import Backfills
from storage.read import AlertFilter
from streaming.broker.settings import OutageError
from streaming.decoders import decoder_of
from streaming.prometheus.settings import QueryError
from streaming.settings import SECOND
from tests.tsad.command_line import finished, running_until, started, tsad
from tests.tsad.histories import assert_same, backfilled, planned
from tests.tsad.pushes import by_slot, remote_write
from tests.tsad.streams import (
    FEATURES,
    FIT_SLOTS,
    SLOTS,
    START,
    STREAM,
    ListApp,
    ListSource,
    cells_with_anomalies,
    configuration,
    differences,
    final_rows,
    run_through,
)
from tsad.app import App
from tsad.backfill.driving import config_of
from tsad.backfill.spec import Wanted
from tsad.checks import check_all
from tsad.config import ConfigError, parse_config, validated
from tsad.polling import Poller, poller
from tsad.prometheus import PrometheusConfig
from tsad.refit import request_of
from tsad.runner import Limits
from tsad.watch import Watch

CELLS = {key: cell for key, cell in cells_with_anomalies().items() if key[1] >= FIT_SLOTS}
MAPPING = {"entity": ["instance"]}
DELAY = 30
END = START + 60 * (SLOTS - 1) + DELAY
"""The clock (s) at which the last slot may be asked."""
CALM = Limits(poll=7, snapshot_every=25)


def serve(server: Scripted, cells: Any = CELLS) -> Scripted:
    """Each feature is a query; its series are the entities."""

    def at(entity: str, column: int) -> Callable[[float], float | None]:
        def value(seconds: float) -> float | None:
            cell = cells.get((entity, round((seconds - START) / 60)))
            return None if cell is None else float(np.float32(cell[column]))

        return value

    entities = sorted({entity for entity, _ in cells})
    server.series = {
        f"avg({name})": [({"__name__": name, "instance": entity}, at(entity, column)) for entity in entities]
        for column, name in enumerate(FEATURES)
    }
    return server


class Clock:
    """The wall clock, set by hand (s)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> int:
        return int(self.seconds * SECOND)


@pytest.fixture
def make_polled(
    tmp_path: Path, fitted: Any, sqlite_template: Path, scripted_server: Scripted
) -> Iterator[Callable[..., App]]:
    """Makes applications on a stream of queries that begins with the first cells, with the fitted model active."""
    made: list[App] = []

    def make(clock: float = END, begin: int = SLOTS - FIT_SLOTS - 1, server: Any = None, **stream: Any) -> App:
        folder = tmp_path / f"polled{len(made)}"
        (folder / "models").mkdir(parents=True)
        shutil.copy(sqlite_template, folder / "tsad.db")
        (folder / "models" / "models").symlink_to(fitted[0] / "models")
        asked = {
            "url": serve(scripted_server).url, "queries": {name: f"avg({name})" for name in FEATURES},
            "begin": f"{begin}m", "delay": f"{DELAY}s", **(server or {}),
        }  # fmt: skip
        telemetry = {"source": "prometheus", "prometheus": asked, "mapping": MAPPING}
        config = configuration(folder, f"sqlite:///{folder}/tsad.db", telemetry=telemetry, **stream)
        app = App.open(config, Clock(clock))
        app.models.add(fitted[1])
        app.models.promote(STREAM, fitted[1].version)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def undisturbed(make_app: Callable[..., Any], once: Any) -> dict[str, list[Any]]:
    """What the same samples make that come as remote-write messages from a list."""

    def run() -> dict[str, list[Any]]:
        told = [remote_write(CELLS, keys) for keys in by_slot(CELLS)]
        app: ListApp = make_app({"telemetry": told}, telemetry={"format": "remote-write", "mapping": MAPPING})
        config = app.config.of(STREAM)

        def sources(logs: Any, columns: Any) -> Any:
            decoder: Any = decoder_of(config.format_of("telemetry"), columns)
            return {"telemetry": ListSource("telemetry", told, decoder)}

        app._sources = sources  # type: ignore[method-assign]
        run_through(app, Limits())
        rows = final_rows(app)
        assert len(rows["alerts"]) > 3
        return rows

    found: dict[str, list[Any]] = once("polled", run)
    return found


def polled(app: App, limits: Limits = CALM) -> Poller:
    found = poller(app, STREAM, limits=limits)
    found.doze = lambda _: None
    return found


def test_queries_give_the_rows_of_the_same_samples_pushed(
    make_polled: Callable[..., App], undisturbed: dict[str, list[Any]]
) -> None:
    app = make_polled()
    assert polled(app, Limits()).run(until_end=True)
    assert differences(final_rows(app), undisturbed) == []


@pytest.mark.parametrize("seed", range(2))
def test_killed_anywhere_it_leaves_the_rows_of_an_undisturbed_run(
    make_polled: Callable[..., App], undisturbed: dict[str, list[Any]], scripted_server: Scripted, seed: int
) -> None:
    """Time goes on by bits. Each process makes some polls; it dies between them, in one that met no answer, between a
    poll and its save, or is stopped."""
    rng = np.random.default_rng(seed)
    app = make_polled(clock=START + 60 * (FIT_SLOTS + 2) + DELAY, begin=2)
    while app.clock() < END * SECOND:
        asking = polled(app, Limits(poll=int(rng.integers(1, 9)), snapshot_every=int(rng.integers(5, 30))))
        for _ in range(int(rng.integers(2, 8))):
            app.clock.seconds = min(app.clock.seconds + 60 * float(rng.uniform(0, 8)), END)  # type: ignore[attr-defined]
            asking.step()
        death = rng.integers(0, 4)
        if death == 0 and asking.runner.waiting:
            scripted_server.fails = [(503, b""), (500, b""), (0, b""), (429, b"")]
            asking.patience = 0
            with pytest.raises(OutageError, match=r"answers|does not answer"):
                asking.step()
            scripted_server.fails = []
        elif death == 1:
            batch = asking.runner.sources["telemetry"].poll(5)
            assert batch is not None
            asking.runner.take("telemetry", batch)
        elif death == 2:
            asking.run(stop=lambda a=asking: not a.runner.waiting)  # type: ignore[misc]
        asking.sources["telemetry"].close()  # type: ignore[attr-defined]
    assert polled(app).run(until_end=True)
    assert differences(final_rows(app), undisturbed) == []


def test_it_begins_where_it_is_told_and_stops_where_the_clock_is(make_polled: Callable[..., App]) -> None:
    app = make_polled(begin=10)
    asking = polled(app)
    assert asking.run(until_end=True)
    position = asking.runner.positions["telemetry"]
    first = START // 60 + SLOTS - 1 - 10
    assert (position["topic"], position["first"], position["row"]) == ("prometheus:s.telemetry", first, first + 11)
    assert asking.runner.progress.rows == 33
    again = polled(app)
    assert not again.runner.waiting
    assert again.run(until_end=True)
    assert again.runner.progress.rows == 0


def test_an_outage_is_borne_told_and_over(
    make_polled: Callable[..., App], scripted_server: Scripted, undisturbed: dict[str, list[Any]]
) -> None:
    app = make_polled()
    asking, seconds = polled(app, Limits()), itertools.count()
    watch = Watch(STREAM, app.database, app.clock, lambda: float(next(seconds)))
    watch.poller = asking
    watch.note({0: asking.runner})
    assert watch.standing is not None
    assert watch.standing.partitions[0].lags == {"prometheus:s.telemetry": SLOTS - FIT_SLOTS}
    told: list[Any] = []

    def look(query: str, times: Sequence[float]) -> None:
        told.append([(trouble.what, trouble.detail) for trouble in watch.troubles()])

    scripted_server.refuse = look  # type: ignore[assignment]
    scripted_server.fails = [(503, error("timeout", "query timed out")), (200, b"<html>")]
    assert asking.run(until_end=True)
    assert asking.retries in (1, 2)
    assert [what for what, _ in next(one for one in told if one)] == ["server"]
    assert watch.troubles() == []
    watch.note({0: asking.runner})
    assert watch.standing.retries["server"] == asking.retries
    assert differences(final_rows(app), undisturbed) == []


def test_patience_ends(make_polled: Callable[..., App], scripted_server: Scripted) -> None:
    app = make_polled()
    asking = polled(app)
    scripted_server.fails = [(502, b"bad gateway")] * 50
    asking.patience = 0
    with pytest.raises(OutageError, match=r"query '\w+': http://\S+ answers 502: bad gateway"):
        asking.run()
    scripted_server.fails = [(401, b"who are you?")] * 50
    with pytest.raises(QueryError, match="answers 401: who are you"):
        asking.run()
    assert asking.runner.progress.rows == 0
    scripted_server.fails = []
    assert polled(app).run(until_end=True)


def test_a_stop_ends_the_wait_for_a_server(make_polled: Callable[..., App], scripted_server: Scripted) -> None:
    asking = polled(make_polled())
    scripted_server.fails = [(503, b"")] * 500
    assert not asking.run(stop=lambda: asking.retries > 0)
    assert asking.fault is not None
    assert asking.runner.progress.rows == 0


def test_a_server_that_answers_and_has_nothing_is_an_absence(
    make_polled: Callable[..., App], scripted_server: Scripted
) -> None:
    app = make_polled(begin=5, no_data_after="10m")
    asking = polled(app)
    asking.step()
    for series in scripted_server.series.values():
        series.clear()

    def states() -> list[str]:
        return [row.state for _, _, row in app.reader.no_data(AlertFilter(states=("open", "resolved")))]

    for minutes in range(1, 30):
        app.clock.seconds = END + 60 * minutes  # type: ignore[attr-defined]
        asking.step()
        asking.step()
        assert states() == (["open"] if minutes >= 10 else []), minutes
    serve(scripted_server, {("a", SLOTS + 30): np.ones(4)})
    app.clock.seconds = END + 60 * 31  # type: ignore[attr-defined]
    asking.step()
    asking.step()
    assert states() == ["resolved"]


def test_a_fit_reads_the_past(make_polled: Callable[..., App], scripted_server: Scripted) -> None:
    app = make_polled(server={"past": "5h"})
    serve(scripted_server, cells_with_anomalies())
    collected = app.collect(STREAM, {})
    assert (collected.rows.names, list(collected.rows.features)) == (["a", "b", "c"], list(FEATURES))
    assert len(collected.rows.codes) == 3 * 300
    assert collected.labels["a"] == {"instance": "a"}


def test_any_range_of_the_past_has_the_rows_that_the_stream_had(make_polled: Callable[..., App]) -> None:
    """What a backfill reads: as far as the clock is, of all entities or of some."""
    app = make_polled()
    inputs = app.inputs(STREAM)
    since, until = (START + 60 * (FIT_SLOTS + 10)) * SECOND, (START + 60 * (SLOTS + 500)) * SECOND
    source, wide = inputs.past(inputs.columns(), since, until, {"b", "c"}), inputs.columns()
    found = {}
    while (batch := source.poll(50)) is not None:
        for code, at, row in zip(batch.codes.tolist(), batch.times.tolist(), batch.values, strict=True):
            found[batch.names[code], (at // SECOND - START) // 60] = row
    asked = {key for key in CELLS if key[0] != "a" and key[1] >= FIT_SLOTS + 10}
    assert found.keys() == asked
    assert all((found[key] == CELLS[key].astype(np.float32)).all() for key in asked)
    assert source.position(source.at())["row"] == START // 60 + SLOTS
    whole = inputs.past(wide, since, since + 600 * SECOND)
    batch = whole.poll()
    assert batch is not None
    assert (batch.names, len(batch.codes), whole.poll()) == (["a", "b", "c"], 30, None)


def test_a_refit_is_told_no_secret(make_polled: Callable[..., App]) -> None:
    """Its process validates the configuration anew, and asks nobody."""
    secrets = {"token": "hush", "headers": {"X-Scope-OrgID": "hush"}}
    app = make_polled(server=secrets)
    request = request_of(app.config, STREAM, app.clock(), "fit", {})
    assert "hush" not in json.dumps(request)
    again = validated(request["config"], "refit").of(STREAM)
    assert again.model_dump(exclude={"telemetry"}) == app.config.of(STREAM).model_dump(exclude={"telemetry"})
    assert again.telemetry is not None
    assert again.telemetry.prometheus is not None
    assert again.telemetry.prometheus.queries == {name: f"avg({name})" for name in FEATURES}


def test_a_check_asks_the_queries(make_polled: Callable[..., App], scripted_server: Scripted) -> None:
    app = make_polled()

    def row() -> tuple[bool, str]:
        (found,) = [row for row in check_all(app.config) if row["check"] == "s telemetry"]
        return found["ok"], found["detail"]

    # what it asks for is by the machine's clock
    for name in FEATURES:
        scripted_server.series[f"avg({name})"] = [({"instance": entity}, lambda at: 1.0) for entity in "ab"]
    url = scripted_server.url
    assert row() == (True, f"{url}: at the newest 10 steps 2 entities, 4 features")
    scripted_server.series["avg(net)"] = []
    assert row() == (True, f"{url}: at the newest 10 steps 2 entities, 3 features; nothing of 'net'")
    scripted_server.series["avg(net)"] = [({"pod": "x"}, lambda at: 1.0)]
    ok, said = row()
    assert not ok
    assert said.startswith(f"{url}: query 'net': a series without labels")
    del scripted_server.series["avg(net)"]
    ok, said = row()
    assert not ok
    assert "query 'net'" in said
    assert "parse error" in said
    scripted_server.series = {f"avg({name})": [] for name in FEATURES}
    assert row() == (False, f"{url}: at the newest 10 steps no query has a value")
    scripted_server.fails = [(503, b"")] * 4
    assert row()[0] is False


ASKED = {"url": "http://prometheus:9090", "queries": {"cpu": "up"}}


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"telemetry": {"source": "prometheus"}}, "needs the table telemetry.prometheus: url and queries"),
        ({"telemetry": {"prometheus": {"queries": {"cpu": "up"}}}}, "prometheus.url: Field required"),
        ({"telemetry": {"prometheus": ASKED | {"queries": {}}}}, "queries: at least one is needed"),
        ({"telemetry": {"prometheus": ASKED | {"queries": {"": "up"}}}}, "a name of 1 to 240 characters is needed"),
        ({"telemetry": {"prometheus": ASKED | {"queries": {"cpu": " "}}}}, "feature 'cpu' has no query"),
        ({"telemetry": {"prometheus": ASKED | {"querys": {}}}}, "querys is unknown; allowed here: url, queries, token"),
        ({"telemetry": {"prometheus": ASKED | {"url": "prometheus:9090"}}}, "begins with http:// or https://"),
        ({"telemetry": {"prometheus": ASKED | {"token": "x", "username": "u", "password": "p"}}}, "token excludes"),
        ({"telemetry": {"prometheus": ASKED | {"username": "u"}}}, "username and password go together"),
        ({"telemetry": {"prometheus": ASKED | {"token": "a\nb"}}}, "token must be printable ASCII"),
        ({"telemetry": {"prometheus": ASKED | {"headers": {"X Y": "1"}}}}, "'X Y' is no name of a header"),
        ({"telemetry": {"prometheus": ASKED | {"headers": {"X": "a\r\nb"}}}}, "header X must be printable ASCII"),
        ({"telemetry": {"prometheus": ASKED | {"timeout": "0s"}}}, "a timeout of at most 10m, and more than 0s"),
        ({"telemetry": {"prometheus": ASKED}, "step": 0.0005}, "needs a step of whole milliseconds"),
        (
            {"telemetry": {"source": "prometheus", "prometheus": ASKED, "mapping": {"features": []}}},
            "prometheus.queries name the features",
        ),
        (
            {"telemetry": {"source": "prometheus", "prometheus": ASKED}, "logs": {"source": "a.jsonl"}},
            "is of telemetry alone: give the logs a stream of their own",
        ),
    ],
)
def test_what_a_stream_of_queries_may_not_say(stream: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as met:
        parse_config({"stream": {"s": stream}})
    assert said in str(met.value)


@pytest.mark.parametrize("wrong", [{"token": ["hush"]}, {"password": ["hush"]}, {"headers": {"X": ["hush"]}},
                                   {"url": "http://me:hush@prometheus"}])  # fmt: skip
def test_a_fault_does_not_repeat_a_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as met:
        parse_config({"stream": {"prometheus": {"telemetry": {"prometheus": ASKED | wrong}}}})
    assert "hush" not in str(met.value)


def test_who_asks_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROM_TOKEN", "t0k3n")

    def headers(**more: Any) -> Any:
        config = parse_config({"stream": {"s": {"telemetry": {"prometheus": ASKED | more}}}})
        assert "t0k3n" not in repr(config)
        return config.of("s").telemetry.prometheus.server().headers  # type: ignore[union-attr]

    assert headers(token="${PROM_TOKEN}") == {"Authorization": "Bearer t0k3n"}
    assert headers(username="me", password="${PROM_TOKEN}") == {"Authorization": "Basic bWU6dDBrM24="}
    assert headers(headers={"X-Scope-OrgID": "team-a"}) == {"X-Scope-OrgID": "team-a"}


def test_where_the_source_is_named(make_polled: Callable[..., App]) -> None:
    app = make_polled()
    assert app.inputs(STREAM).on_prometheus({})
    assert not app.inputs(STREAM).on_prometheus({"telemetry": "a.jsonl"})
    plain = parse_config({"stream": {"s": {"telemetry": {"source": "a.jsonl"}}}})
    with pytest.raises(ConfigError, match=r"with a table stream\.s\.telemetry.prometheus that says url and queries"):
        _ = App(plain, app.database).inputs("s").prometheus


HOME = """
[stream.s]
detectors = ["subspace", "vote"]
window = 16
settle = 5
quiet = 8
late_horizon = 8
max_windows = 1000

[stream.s.telemetry]
source = "prometheus"
mapping = { entity = ["instance"] }

[stream.s.telemetry.prometheus]
url = "URL"
queries = { cpu = "cpu", mem = "mem" }
past = "5h"
"""


@pytest.fixture
def home(tmp_path: Path, scripted_server: Scripted, sqlite_template: Path) -> Path:
    """A folder with a configuration, and a server whose values are of any time."""
    (tmp_path / "tsad.toml").write_text(HOME.replace("URL", scripted_server.url))
    shutil.copy(sqlite_template, tmp_path / "tsad.db")
    for number, name in enumerate(("cpu", "mem")):
        scripted_server.series[name] = [
            ({"instance": entity}, lambda at, level=number: level + at % 1000 / 1000) for entity in "ab"
        ]
    return tmp_path


def test_the_commands(home: Path, scripted_server: Scripted) -> None:
    """From nothing but a server: checked, fitted on its past, and watched."""
    checked = {row["check"]: row for row in tsad(home, "check", "--json").json}
    assert checked["s telemetry"]["ok"], checked
    fitted = tsad(home, "fit", "s", "--json")
    assert fitted.code == 0, fitted.err
    run = tsad(home, "run", "s", "--until-end", "--json")
    assert run.code == 0, run.err
    assert run.json["ended"]
    assert run.json["rows"] in (122, 124)
    again = tsad(home, "run", "s", "--until-end", "--json")
    assert again.json["rows"] in (0, 2, 4)
    scripted_server.series.clear()
    scripted_server.fails = [(401, b"no token")] * 9
    (home / "tsad.toml").write_text(
        HOME.replace("URL", scripted_server.url).replace("[stream.s]", "[stream.s]\nseed=8")
    )
    refused = tsad(home, "fit", "s")
    assert refused.code == 1
    assert refused.error.endswith("answers 401: no token")
    assert refused.error.startswith("query '")


def test_a_process_that_meets_no_answer_ends_by_sigterm_in_order(home: Path, scripted_server: Scripted) -> None:
    scripted_server.fails = [(503, b"")] * 1000
    process = started(home, "run", "s")
    running_until(process, lambda: len(scripted_server.asked) > 2)
    process.send_signal(signal.SIGTERM)
    said = finished(process)
    assert said.code == 0, said.err
    assert "the server does not answer" in said.err
    assert "answers 503" in said.err


def test_the_document_shows_a_configuration() -> None:
    text = (Path(__file__).parents[2] / "docs/prometheus.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    told = tomllib.loads(block.replace("${PROMETHEUS_TOKEN}", "t"))
    stream = parse_config(told).of("shop")
    assert stream.telemetry is not None
    asked = stream.telemetry.prometheus
    assert asked is not None
    assert list(asked.queries) == ["cpu", "memory", "errors"]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE))))
    assert named == set(PrometheusConfig.model_fields)


@pytest.mark.parametrize("unit_rows", [1, None])
def test_a_run_over_the_past_gives_the_rows_of_the_stream(
    make_polled: Callable[..., App], unit_rows: int | None
) -> None:
    """By units of an entity each, or as one; the server's word goes to the processes that ask it."""
    app = make_polled(server={"token": "s3cret"})
    assert polled(app, Limits()).run(until_end=True)
    whole = Wanted(since=(START + 60 * FIT_SLOTS) * SECOND, until=(START + 60 * SLOTS) * SECOND, unit_rows=unit_rows)
    assert len(planned(app, whole)) == (1 if unit_rows is None else 3)
    assert backfilled(app, "june", whole) == "finished"
    assert_same(app, "june")
    assert "s3cret" not in str(Backfills(app.database).units("june"))
    assert config_of(app)["stream"][STREAM]["telemetry"]["prometheus"]["token"] == "s3cret"


def test_a_past_that_holds_nothing_is_no_run(make_polled: Callable[..., App]) -> None:
    with pytest.raises(ConfigError, match="no record of it lies in the asked range"):
        planned(make_polled(), Wanted(since=0, until=60 * SECOND))
