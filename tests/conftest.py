"""Fixtures that several test files share: a migrated database of each kind."""

import gc
import os

gc.disable()  # until everything is imported, and frozen below

# Read when the libraries are first imported: on a busy machine, waiting threads cost more than they give.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from clusters import RAY, Head, ray_cluster

os.environ.update(RAY)

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.fs as pafs
import pytest
from brokers import broker
from lanes import FilesAndLanes, place
from metric_servers import MetricServer, Scripted, prometheus, scripted, victoria
from secured import Secured, secured
from servers import NoServerError, postgresql

from storage.engine import Database, open_database
from storage.migrate import upgrade


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndLanes | None:
    """Who of several processes does what, with `--dist loadfile`."""
    return FilesAndLanes(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first."""
    items.sort(key=lambda item: place(item.path.stem))


def pytest_collection_finish() -> None:
    """What is imported by now stays: a look through all of it, at a second each, finds nothing to collect."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _frozen_behind_a_file() -> Iterator[None]:
    """What a file has imported besides, and what lasts longer than it, stays as well."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "tsad.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a running PostgreSQL, up to and with the last slash; `template_tsad` in it is migrated."""
    try:
        with postgresql() as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE template_tsad")
            server = url.removesuffix("postgres")
            upgrade(f"{server}template_tsad")
            yield server
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[str]:
    """The address of a running Kafka broker; skipped, saying why, where there is none."""
    try:
        with broker() as address:
            yield address
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=[prometheus, victoria], ids=["prometheus", "victoria"])
def metric_server(request: pytest.FixtureRequest) -> Iterator[MetricServer]:
    """A running Prometheus, and a VictoriaMetrics; skipped, saying why, where there is none."""
    try:
        with request.param() as found:
            yield found
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture
def scripted_server() -> Iterator[Scripted]:
    """A server that answers queries as it is told."""
    with scripted() as told:
        yield told


@pytest.fixture(scope="session")
def secured_kafka() -> Iterator[Secured]:
    """A broker that encrypts and asks who is there; skipped, saying why, where there is none."""
    try:
        with secured() as found:
            yield found
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def ray_head() -> Iterator[Head]:
    """A Ray cluster that runs; skipped, saying why, where there is none."""
    try:
        with ray_cluster() as head:
            yield head
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", name="ray_cluster")
def _ray_cluster(ray_head: Head) -> str:
    """Its address for a process on one of its nodes."""
    return ray_head.address


@pytest.fixture(scope="session")
def serial() -> Iterator[int]:
    """Numbers for names of databases."""
    return count()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite file."""
    path = tmp_path / "tsad.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: str, serial: Iterator[int]) -> str:
    """The URL of a fresh, migrated PostgreSQL database; skipped, saying why, where there is no server."""
    return fresh_database(postgresql_server, serial)


@pytest.fixture(scope="module")
def shared_postgresql_url(postgresql_server: str, serial: Iterator[int]) -> str:
    """That of one which the tests of a module share."""
    return fresh_database(postgresql_server, serial)


def fresh_database(postgresql_server: str, serial: Iterator[int]) -> str:
    name = f"test_{next(serial)}"
    with psycopg.connect(f"{postgresql_server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_tsad")
    # Not dropped: that would cost a checkpoint, and the server's folder goes with the session.
    return f"{postgresql_server}{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database: SQLite, then PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated, open database of each kind."""
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3-compatible server."""
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    yield "{}:{}".format(*started.get_host_and_port())
    started.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `history`, and the environment that leads there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3_server}")
    store = pafs.S3FileSystem(
        endpoint_override=s3_server,
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )
    store.create_dir("history")
    yield store
    store.delete_dir("history")
