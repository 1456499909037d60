"""A worker that starts before its cluster answers: it waits, says so, and a stop meanwhile is an orderly end."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from servers import free_port

from tests.tsad.command_line import CONFIGURATION, finished, started

CLIENTS = pytest.mark.parametrize("client", ["kafka-python", "confluent"])
OUTAGE = b"the cluster does not answer"


def home(folder: Path, port: int, client: str, patience: str = "1h") -> Path:
    """A folder with a configuration that reads a topic at `port`."""
    folder.mkdir()
    (folder / "tsad.toml").write_text(
        f"patience = {patience!r}\n[kafka]\nbootstrap = '127.0.0.1:{port}'\nclient = {client!r}\n"
        f"{CONFIGURATION}[stream.s.telemetry]\nsource = 'kafka'\ntopic = 'm'\n"
    )
    return folder


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Somebody who takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server


def read_until(process: Any, wanted: bytes) -> bytes:
    """The line on standard error that says what is `wanted`."""
    for line in process.stderr:
        if wanted in line:
            return bytes(line)
    raise AssertionError(f"it has ended, with {process.wait()}")


@CLIENTS
def test_sigterm_before_the_first_answer_is_an_orderly_end(silent: socket.socket, tmp_path: Path, client: str) -> None:
    process = started(home(tmp_path / "home", silent.getsockname()[1], client), "run", "s", "--json")
    connection, _ = silent.accept()
    process.send_signal(signal.SIGTERM)
    process.wait(20)  # ten seconds at most; the rest is for a machine that is busy
    said = finished(process)
    connection.close()
    assert (said.code, said.json["ended"], said.json["rows"]) == (0, False, 0), said.err
    assert "Traceback" not in said.err


def test_sigterm_between_two_attempts_is_an_orderly_end(tmp_path: Path) -> None:
    process = started(home(tmp_path / "home", free_port(), "confluent"), "run", "s", "--json")
    assert b"ECONNREFUSED" in read_until(process, OUTAGE)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    said = finished(process)
    assert (said.code, said.json["ended"]) == (0, False), said.err


def test_the_cluster_is_waited_for_as_long_as_patience_lasts(tmp_path: Path) -> None:
    process = started(home(tmp_path / "home", free_port(), "kafka-python", "1s"), "run", "s")
    process.wait(60)
    said = finished(process)
    assert said.code == 1
    assert "no answer" in said.error
    assert "ECONNREFUSED" in said.error


def passed_on(server: socket.socket, address: str) -> None:
    """Whoever connects speaks to `address`."""
    host, port = address.rsplit(":", 1)
    while True:
        try:
            one, _ = server.accept()
        except OSError:  # closed
            return
        two = socket.create_connection((host, int(port)))
        for source, target in ((one, two), (two, one)):
            threading.Thread(target=copy, args=(source, target), daemon=True).start()


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_cluster_that_comes_late_is_used(kafka_server: str, tmp_path: Path) -> None:
    """At its address nobody listens at first."""
    port = free_port()
    process = started(home(tmp_path / "home", port, "kafka-python"), "run", "s")
    read_until(process, OUTAGE)
    with closing(socket.create_server(("127.0.0.1", port))) as server:
        threading.Thread(target=passed_on, args=(server, kafka_server), daemon=True).start()
        process.wait(60)
    said = finished(process)
    assert (said.code, said.error) == (1, "topic 'm' does not exist"), said.err
