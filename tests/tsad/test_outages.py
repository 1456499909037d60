"""Databases and brokers that stop answering: membership is kept, nothing is lost, and the end is bounded and clear."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from brokers import Node, cluster, java
from kafka import KafkaAdminClient
from servers import NoServerError

from tests.tsad.command_line import finished, running_until, started
from tests.tsad.kafka_streams import KafkaStream, read_out
from tests.tsad.streams import FIT_SLOTS, STREAM, cells_with_anomalies, differences, final_rows, payloads

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
HALF = len(LIVE) // 2
CLIENTS = pytest.mark.parametrize("client", ["kafka-python", "confluent"])
POLL_INTERVAL, FROZEN = 4, 10
"""Seconds: the longest pause between two polls that the group bears, and how long a server stands still."""


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, partitions=2)
    made.fill({"telemetry": LIVE[:HALF]})
    yield made
    made.close()


def home(app: Any, stream: KafkaStream, folder: Path, patience: str = "60s", client: str = "kafka-python") -> Path:
    """A folder with the application's configuration as a file."""
    of = app.config.of(STREAM)
    keys = ("window", "late_horizon", "settle", "quiet", "max_lead", "forget_after", "max_windows")
    folder.mkdir()
    (folder / "tsad.toml").write_text(
        "\n".join(
            [
                *(f"{name} = {getattr(app.config, name)!r}" for name in ("database", "models", "history")),
                f"patience = {patience!r}",
                f"[kafka]\nbootstrap = {stream.address!r}\ngroup = {app.config.kafka.group!r}",
                f"client = {client!r}\nsession_timeout = '3s'\nmax_poll_interval = '{POLL_INTERVAL}s'",
                f"[stream.{STREAM}]\ndetectors = ['subspace', 'vote']\nalert_budget = 3.0\nsnapshot_every = 20",
                *(f"{name} = {getattr(of, name)}" for name in keys),
                f"[stream.{STREAM}.telemetry]\nsource = 'kafka'\ntopic = {stream.topics['telemetry']!r}",
            ]
        )
    )
    return folder


def saved(app: Any) -> int:
    """Rows that are read and saved."""
    points = [app.store.restore("live", STREAM, number).checkpoint for number in (0, 1)]
    places = [place for one in points if one is not None for place in one.positions.values()]
    return sum(place["row"] for place in places if isinstance(place, dict))


def family(server: str) -> list[int]:
    """The processes of a PostgreSQL server."""
    with psycopg.connect(f"{server}postgres") as connection:
        ((folder,),) = connection.execute("SHOW data_directory").fetchall()
    first = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [first, *map(int, children)]


@contextmanager
def frozen(processes: Sequence[int]) -> Iterator[None]:
    """They stand still while the block runs: connections stay, nothing answers."""
    signalled(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        signalled(processes, signal.SIGCONT)


def signalled(processes: Sequence[int], sign: signal.Signals) -> None:
    """All that are there; a server's child may have come to its own end meanwhile."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, sign)


def members(stream: KafkaStream, app: Any) -> set[str]:
    """Who is in the group, by the ids that the broker has given."""
    admin = KafkaAdminClient(bootstrap_servers=stream.address)
    group = f"{app.config.kafka.group}.{STREAM}"
    told = admin.describe_groups([group])
    admin.close()
    return {str(part) for part in _found(told, "member_id")}


def _found(told: Any, name: str) -> list[Any]:
    """Every value of `name` in what the library gives, whatever its form."""
    if isinstance(told, dict):
        own = [told[name]] if name in told else []
        return own + [one for part in told.values() for one in _found(part, name)]
    if isinstance(told, list | tuple):
        return [one for part in told for one in _found(part, name)]
    return [getattr(told, name)] if hasattr(told, name) else []


def wait(seconds: float, process: Any, hold: Callable[[], bool] = lambda: True) -> None:
    """Real time passes; the process must not end, and `hold` must hold all along."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, finished(process).err
        assert hold()
        time.sleep(0.2)


def stopped(process: Any) -> Any:
    """SIGTERM; how it ended, which takes ten seconds at most (the rest is for a machine that is busy)."""
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    return finished(process)


def the_error(said: Any) -> str:
    (line,) = [line for line in said.err.splitlines() if line.startswith("tsad: ")]
    assert "Traceback" not in said.err
    return str(line)


def check(app: Any, stream: KafkaStream) -> None:
    """What is in the database once somebody has read the rest is what an undisturbed worker makes."""
    calm = stream.app()
    read_out(calm)
    read_out(app)
    assert differences(final_rows(app), final_rows(calm)) == []
    assert len(final_rows(calm)["alerts"]) > 3


@CLIENTS
def test_a_database_that_stands_still_slows_polling_and_costs_no_membership(
    stream: KafkaStream, postgresql_server: str, postgresql_url: str, tmp_path: Path, client: str
) -> None:
    app = stream.app(postgresql_url)
    process = started(home(app, stream, tmp_path / "home", client=client), "run", STREAM, "--json")
    running_until(process, lambda: saved(app) == HALF)
    before, epochs = members(stream, app), app.leases.epochs(STREAM)
    assert len(before) == 1
    with frozen(family(postgresql_server)):
        stream.fill({"telemetry": LIVE[HALF:]})
        wait(FROZEN, process, lambda: members(stream, app) == before)
    running_until(process, lambda: saved(app) == len(LIVE))
    assert app.leases.epochs(STREAM) == epochs, "nobody took the partitions up anew"
    assert members(stream, app) == before
    assert stopped(process).code == 0
    assert members(stream, app) == set()
    check(stream.again(app), stream)


def test_sigterm_while_the_database_stands_still_ends_in_time_and_says_why(
    stream: KafkaStream, postgresql_server: str, postgresql_url: str, tmp_path: Path
) -> None:
    app = stream.app(postgresql_url)
    process = started(home(app, stream, tmp_path / "home"), "run", STREAM)
    running_until(process, lambda: saved(app) == HALF)
    with frozen(family(postgresql_server)):
        stream.fill({"telemetry": LIVE[HALF:]})
        wait(2, process)
        said = stopped(process)
        assert members(stream, app) == set(), "it has left, for others to go on at once"
    assert said.code == 1
    assert "what was not saved is read again by the next run" in the_error(said)
    assert "postgresql" in the_error(said)
    check(stream.again(app), stream)


def test_a_database_that_refuses_is_outlasted(
    stream: KafkaStream, postgresql_server: str, postgresql_url: str, tmp_path: Path
) -> None:
    """As in a restart: sessions end, and new ones are refused for some time (longer than a few attempts take)."""
    app = stream.app(postgresql_url)
    process = started(home(app, stream, tmp_path / "home"), "run", STREAM)
    running_until(process, lambda: saved(app) == HALF)
    app.close()
    with shut(postgresql_server, postgresql_url):
        stream.fill({"telemetry": LIVE[HALF:]})
        wait(FROZEN, process)
    again = stream.again(app)
    running_until(process, lambda: saved(again) == len(LIVE))
    said = stopped(process)
    assert (said.code, "the database is held up" in said.err) == (0, True)
    check(again, stream)


@contextmanager
def shut(server: str, url: str) -> Iterator[None]:
    name = url.rsplit("/", 1)[1]
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_a_database_that_goes_on_refusing_ends_the_run_with_one_line(
    stream: KafkaStream, postgresql_server: str, postgresql_url: str, tmp_path: Path
) -> None:
    app = stream.app(postgresql_url)
    process = started(home(app, stream, tmp_path / "home", patience="3s"), "run", STREAM)
    running_until(process, lambda: saved(app) == HALF)
    app.close()
    with shut(postgresql_server, postgresql_url):
        stream.fill({"telemetry": LIVE[HALF:]})
        process.wait(60)
        said = finished(process)
    assert said.code == 1
    assert "not currently accepting connections" in the_error(said)
    assert "attempts)" in the_error(said)
    check(stream.again(app), stream)


# --- the broker, one of our own


@pytest.fixture(scope="module")
def own_node() -> Iterator[Node]:
    try:
        java()
    except NoServerError as error:
        pytest.skip(str(error))
    with cluster() as (node,):
        yield node


@pytest.fixture
def elsewhere(own_node: Node, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    """The stream on a broker that may be hurt."""
    made = KafkaStream(own_node.address, tmp_path / "own", fitted, partitions=2)
    made.fill({"telemetry": LIVE[:HALF]})
    yield made
    made.close()


@CLIENTS
def test_sigterm_while_the_broker_stands_still_saves_and_ends(
    own_node: Node, elsewhere: KafkaStream, tmp_path: Path, client: str
) -> None:
    app = elsewhere.app()
    process = started(home(app, elsewhere, tmp_path / "home", client=client), "run", STREAM, "--json")
    running_until(process, lambda: saved(app) == HALF)
    assert own_node.process is not None
    with frozen([own_node.process.pid]):
        wait(6, process)  # longer than the session
        said = stopped(process)
    assert said.code == 0, said.err
    assert json.loads(said.out)["rows"] == HALF
    assert any(app.store.restore("live", STREAM, number).snapshots for number in (0, 1))
    elsewhere.fill({"telemetry": LIVE[HALF:]})
    check(elsewhere.again(app), elsewhere)


@CLIENTS
def test_a_broker_that_restarts_is_waited_for(
    own_node: Node, elsewhere: KafkaStream, tmp_path: Path, client: str
) -> None:
    app = elsewhere.app()
    process = started(home(app, elsewhere, tmp_path / "home", client=client), "run", STREAM)
    running_until(process, lambda: saved(app) == HALF)
    own_node.kill()
    wait(5, process)
    own_node.start()
    own_node.ready()
    elsewhere.fill({"telemetry": LIVE[HALF:]})
    running_until(process, lambda: saved(app) == len(LIVE))
    assert stopped(process).code == 0
    check(elsewhere.again(app), elsewhere)


@CLIENTS
def test_a_broker_that_stays_away_ends_the_run_with_one_line(
    own_node: Node, elsewhere: KafkaStream, tmp_path: Path, client: str
) -> None:
    app = elsewhere.app()
    process = started(home(app, elsewhere, tmp_path / "home", "5s", client), "run", STREAM)
    running_until(process, lambda: saved(app) == HALF)
    own_node.kill()
    try:
        process.wait(60)
        said = finished(process)
    finally:
        own_node.start()
        own_node.ready()
    assert said.code == 1
    assert "kafka: the group has had no coordinator for 5 s" in the_error(said)
    elsewhere.fill({"telemetry": LIVE[HALF:]})
    check(elsewhere.again(app), elsewhere)
