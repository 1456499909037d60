"""What is pushed to the API: taken in every encoding, on disk before it is answered, refused within bounds."""

import gzip
import json
import shutil
import signal
import socket
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cramjam
import pytest
import uvicorn
from httpx import Response
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from storage.engine import Database, open_database
from storage.served import tokens
from streaming.journal import Journal, bases_in, place_of
from streaming.journalreader import JournalReader
from streaming.json_records import RecordError
from streaming.unpacking import check_snappy, gunzipped
from tests.tsad.asking import Asking
from tests.tsad.command_line import CONFIGURATION, finished, fresh_home, serving, started, tsad
from tests.tsad.pushes import by_slot, lines, otlp, otlp_json, remote_write
from tests.tsad.streams import FIT_SLOTS, STREAM, cells_with_anomalies, differences, final_rows
from tsad.app import App
from tsad.config import load_config, parse_config
from tsad.pushing import Pushes

MIB = 1 << 20
PROTOBUF, JSON = "application/x-protobuf", "application/json"
WRITE = "/api/v1/write"
CELLS = {key: cell for key, cell in cells_with_anomalies().items() if key[1] >= FIT_SLOTS}
SLOTS = by_slot(CELLS)
MESSAGE, AS_JSON, PACKED = (make(CELLS, SLOTS[0]) for make in (otlp, otlp_json, remote_write))
LINES = lines("a", 1, "ready", "steady")


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def pushes(folder: Path) -> Iterator[Pushes]:
    """One stream for lines, two for metrics."""
    journals: Any = {
        "telemetry": {name: Journal(folder / name, 64 * MIB) for name in ("web", "shop/eu")},
        "logs": {"web": Journal(folder / "logs", 64 * MIB)},
    }
    made = Pushes(journals, most=100_000)
    yield made
    made.close()


@pytest.fixture
def asking(sqlite_database: Database, pushes: Pushes) -> Iterator[Asking]:
    found = Asking(sqlite_database, pushes=pushes, max_push=100_000)
    with found.client:
        yield found


def held(folder: Path) -> list[tuple[str, bytes]]:
    return [(entry.format, entry.payload) for entry in JournalReader(folder).read(1000)]


def post(asking: Asking, path: str, content: bytes, kind: str = PROTOBUF, **headers: str) -> Response:
    return asking.post(path, content, kind, X_Tsad_Stream="web", **headers)


@pytest.mark.parametrize("packed", [False, True])
def test_otlp_is_answered_in_its_own_encoding_and_is_on_disk(asking: Asking, folder: Path, packed: bool) -> None:
    told = {"Content_Encoding": "gzip"} if packed else {}
    pack: Callable[[bytes], bytes] = gzip.compress if packed else bytes
    answer = post(asking, "/v1/metrics", pack(MESSAGE), **told)
    assert (answer.status_code, answer.headers["content-type"]) == (200, PROTOBUF)
    assert ExportMetricsServiceResponse.FromString(answer.content) == ExportMetricsServiceResponse()
    answer = post(asking, "/v1/metrics", pack(AS_JSON), f"{JSON}; charset=utf-8", **told)
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, JSON, {})
    answer = post(asking, "/v1/logs", pack(LINES), **told)
    assert ExportLogsServiceResponse.FromString(answer.content) == ExportLogsServiceResponse()
    assert held(folder / "web") == [("otlp", MESSAGE), ("otlp-json", AS_JSON)]
    assert held(folder / "logs") == [("otlp", LINES)]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", [PROTOBUF, f"{PROTOBUF}; proto=prometheus.WriteRequest"])
def test_remote_write_is_kept_as_it_was_packed(asking: Asking, folder: Path, kind: str) -> None:
    answer = post(asking, WRITE, PACKED, kind, Content_Encoding="snappy")
    assert (answer.status_code, answer.content) == (204, b"")
    assert held(folder / "web") == [("remote-write", PACKED)]


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [("/v1/metrics", PROTOBUF, b""), ("/v1/logs", JSON, b"{}"), ("/v1/logs", JSON, b'{"resourceLogs": []}'),
     ("/v1/metrics", JSON, b'{"other": 1}'), (WRITE, PROTOBUF, b"\x00"), (WRITE, PROTOBUF, b"")],
)  # fmt: skip
def test_what_says_nothing_is_taken_and_not_kept(
    asking: Asking, folder: Path, path: str, kind: str, body: bytes
) -> None:
    assert post(asking, path, body, kind).status_code in (200, 204)
    assert not folder.exists()


BOMB = gzip.compress(bytes(10 * MIB))
REFUSED: list[tuple[str, bytes, str, dict[str, str], int, str]] = [
    ("/v1/metrics", b"\x0a\x7f", PROTOBUF, {}, 400, "an OTLP ExportMetricsServiceRequest is expected"),
    ("/v1/logs", b"\xff", PROTOBUF, {}, 400, "an OTLP ExportLogsServiceRequest is expected"),
    ("/v1/metrics", b"{", JSON, {}, 400, "Input data was truncated"),
    ("/v1/metrics", b"[" * 90_000, JSON, {}, 400, ""),
    ("/v1/metrics", b'{"resourceMetrics": 5}', JSON, {}, 400, "OTLP's JSON is expected"),
    ("/v1/metrics", MESSAGE, "text/plain", {}, 415, f"header.content-type: {PROTOBUF} or {JSON} is taken"),
    ("/v1/metrics", MESSAGE, "", {}, 415, "got ''"),
    ("/v1/metrics", MESSAGE, PROTOBUF, {"Content_Encoding": "br"}, 415, "gzip or identity is taken, got 'br'"),
    ("/v1/metrics", MESSAGE, PROTOBUF, {"Content_Encoding": "gzip"}, 400, "gzip is expected"),
    ("/v1/metrics", gzip.compress(MESSAGE)[:-9], PROTOBUF, {"Content_Encoding": "gzip"}, 400, "cut off"),
    ("/v1/metrics", BOMB, PROTOBUF, {"Content_Encoding": "gzip"}, 413, "more than 100000 bytes unpacked"),
    ("/v1/metrics", bytes(100_001), PROTOBUF, {}, 413, "a request may have 100000 bytes"),
    (WRITE, b"no snappy", PROTOBUF, {}, 400, "a snappy block is expected"),
    (WRITE, bytes(cramjam.snappy.compress_raw(bytes(MIB))), PROTOBUF, {}, 413, f"{MIB} bytes unpacked"),
    (WRITE, b"\x80\x80\x04\x00a", PROTOBUF, {}, 400, "5 bytes cannot hold 65536"),
    (WRITE, b"\xff\xff\xff\xff\x0f\x00a", PROTOBUF, {}, 413, "4294967295 bytes unpacked, 100000 are allowed"),
    (WRITE, bytes(cramjam.snappy.compress_raw(b"\x0a\x7f")), PROTOBUF, {}, 400, "WriteRequest is expected"),
    (WRITE, bytes(cramjam.snappy.compress_raw(b"\x22\x00")), PROTOBUF, {}, 415, "a remote-write 2.0 request"),
    (WRITE, PACKED, f"{PROTOBUF};proto=io.prometheus.write.v2.Request", {}, 415, "proto=prometheus.WriteRequest is"),
    (WRITE, PACKED, JSON, {}, 415, "header.content-type"),
    (WRITE, PACKED, PROTOBUF, {"Content_Encoding": "gzip"}, 415, "snappy is taken, got 'gzip'"),
]


@pytest.mark.parametrize(("path", "body", "kind", "headers", "status", "said"), REFUSED)
def test_what_cannot_be_read_is_a_problem_and_not_kept(
    asking: Asking, folder: Path, path: str, body: bytes, kind: str, headers: dict[str, str], status: int, said: str
) -> None:
    answer = post(asking, path, body, kind, **headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert not folder.exists()


def test_points_that_are_wrong_are_for_the_reader_to_tell(asking: Asking, folder: Path) -> None:
    """A message that can be read is kept whole: it gives what is good of it, and a dead letter, as from a topic."""
    told = json.loads(AS_JSON)
    del told["resourceMetrics"][0]["resource"]
    body = json.dumps(told).encode()
    assert post(asking, "/v1/metrics", body, JSON).status_code == 200
    assert held(folder / "web") == [("otlp-json", body)]


def test_who_sends_says_which_stream_where_several_take_it(asking: Asking, folder: Path) -> None:
    answer = asking.post("/v1/metrics", MESSAGE, PROTOBUF)
    assert answer.status_code == 422
    assert answer.json()["detail"] == ("query.stream: several streams take pushed telemetry; name one of: shop/eu, web")
    answer = asking.post("/v1/metrics?stream=nobody", MESSAGE, PROTOBUF)
    assert (answer.status_code, answer.json()["detail"]) == (
        404, "no stream 'nobody' takes pushed telemetry (source = \"push\"); there are: shop/eu, web",
    )  # fmt: skip
    assert asking.post("/v1/metrics?stream=shop/eu", MESSAGE, PROTOBUF).status_code == 200
    assert asking.post(f"{WRITE}?stream=shop/eu", PACKED, PROTOBUF).status_code == 204
    assert asking.post("/v1/logs", LINES, PROTOBUF).status_code == 200, "the only one"
    assert [form for form, _ in held(folder / "shop/eu")] == ["otlp", "remote-write"]
    assert asking.post("/v1/logs?streem=web", LINES, PROTOBUF).status_code == 422


def test_none_takes_pushes_unless_it_is_configured(sqlite_database: Database) -> None:
    answer = Asking(sqlite_database).post("/v1/logs", LINES, PROTOBUF)
    assert (answer.status_code, answer.json()["detail"]) == (
        404, 'no stream takes pushed logs (source = "push"); there are: none',
    )  # fmt: skip


def test_a_full_journal_says_when_to_come_again(sqlite_database: Database, folder: Path) -> None:
    journals: Any = {"telemetry": {"web": Journal(folder, 10_000)}}
    asking = Asking(sqlite_database, pushes=Pushes(journals))
    answers = [asking.post("/v1/metrics", MESSAGE, PROTOBUF) for _ in range(30)]
    codes = [answer.status_code for answer in answers]
    assert codes == sorted(codes)
    assert {*codes} == {200, 429}
    assert answers[-1].headers["retry-after"] == "60"
    assert "the run of the stream is behind, or does not run" in answers[-1].json()["detail"]
    assert len(held(folder)) == codes.count(200)


def test_a_journal_that_another_process_writes_is_not_written(asking: Asking, folder: Path) -> None:
    other = Journal(folder / "logs", MIB)
    other.put("otlp", LINES)
    answer = post(asking, "/v1/logs", LINES)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert str(folder) not in answer.text
    other.close()
    assert post(asking, "/v1/logs", LINES).status_code == 200


def test_lines_that_are_sent_again_are_kept_once_also_after_a_restart(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """As an exporter does whose answer was lost: packed or not, the same bytes; other lines are others."""
    config = parse_config({
        "journal": str(tmp_path / "journal"),
        "stream": {"web": {"telemetry": {"source": "push"}, "logs": {"source": "push"}}},
    })  # fmt: skip
    for _ in range(2):
        pushes = Pushes.of(config)
        asking = Asking(sqlite_database, pushes=pushes)
        with asking.client:
            for _ in range(2):
                assert post(asking, "/v1/logs", LINES).status_code == 200
                assert post(asking, "/v1/logs", gzip.compress(LINES), Content_Encoding="gzip").status_code == 200
                assert post(asking, "/v1/metrics", MESSAGE).status_code == 200
        pushes.close()
        sqlite_database.write(lambda connection: connection.execute(tokens.delete()).rowcount)
    assert held(tmp_path / "journal" / "web" / "logs") == [("otlp", LINES)]
    assert held(tmp_path / "journal" / "web" / "telemetry") == [("otlp", MESSAGE)] * 4


def test_bodies_are_held_within_bounds(asking: Asking) -> None:
    asking.made.state.door.room = 50
    answer = post(asking, "/v1/metrics", MESSAGE)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    asking.made.state.door.room = 10_000
    assert post(asking, "/v1/metrics", MESSAGE).status_code == 200
    assert asking.made.state.door.held == 0


def test_gzip_of_many_members_is_one_message_and_its_bound_holds_for_all() -> None:
    two = gzip.compress(b"a" * 60) + gzip.compress(b"b" * 40)
    assert gunzipped(two, 100) == b"a" * 60 + b"b" * 40
    for packed, reason in (
        (two, "too_long"),
        (two + b"more", "broken_message"),
        (zlib.compress(b"a"), "broken_message"),
    ):
        with pytest.raises(RecordError) as found:
            gunzipped(packed, 99 if reason == "too_long" else 1000)
        assert found.value.reason == reason


@pytest.mark.parametrize("data", [b"", b"a", bytes(3 * MIB), bytes(range(256)) * 99])
def test_no_snappy_block_that_is_true_is_taken_for_a_lie(data: bytes) -> None:
    check_snappy(bytes(cramjam.snappy.compress_raw(data)), 4 * MIB)


@pytest.fixture
def listening(asking: Asking) -> Iterator[int]:
    """The port of a server on `asking`'s application."""
    with socket.create_server(("127.0.0.1", 0)) as heard:
        server = uvicorn.Server(uvicorn.Config(asking.made, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([heard],))
        thread.start()
        yield heard.getsockname()[1]
        server.should_exit = True
        thread.join()


def test_a_slow_client_holds_nobody_up_and_is_sent_away(asking: Asking, listening: int, folder: Path) -> None:
    """More of them than there are threads: they wait for their bodies, and everybody else is answered."""
    asking.made.state.door.patience = 1.0
    token = asking.bearer("ingest")["Authorization"]
    head = f"Authorization: {token}\r\nContent-Type: {PROTOBUF}\r\nX-Tsad-Stream: web\r\nHost: here\r\n"
    slow = [socket.create_connection(("127.0.0.1", listening), timeout=60) for _ in range(50)]
    for line in slow:
        line.sendall(f"POST /v1/metrics HTTP/1.1\r\n{head}Content-Length: 500\r\n\r\n\x0a".encode())
    with socket.create_connection(("127.0.0.1", listening), timeout=60) as quick:
        quick.sendall(f"POST /v1/metrics HTTP/1.1\r\n{head}Content-Length: {len(MESSAGE)}\r\n\r\n".encode() + MESSAGE)
        assert quick.recv(12) == b"HTTP/1.1 200"
    for line in slow:
        assert line.recv(12) == b"HTTP/1.1 408"
        line.close()
    assert held(folder / "web") == [("otlp", MESSAGE)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A fitted stream that takes pushes."""
    pushed = f'[api]\nrequests_per_second = 10000\n{CONFIGURATION}\n[stream.s.telemetry]\nsource = "push"\n'
    home = fresh_home(tmp_path / "home", pushed)
    said = tsad(home, "fit", STREAM, "--from", "history.jsonl")
    assert said.code == 0, said.err
    return home


def send(port: int, token: str, body: bytes) -> bool:
    """Whether it was acknowledged."""
    told = {"Authorization": f"Bearer {token}", "Content-Type": PROTOBUF}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/metrics", body, told)
    with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(asked, timeout=60) as answer:
        return bool(answer.status == 200)
    return False


def read_out(home: Path) -> Any:
    said = tsad(home, "run", STREAM, "--until-end", "--json")
    assert said.code == 0, said.err
    return said.json


def rows_of(home: Path) -> dict[str, list[Any]]:
    app = App.open(load_config(home / "tsad.toml").model_copy(update={"database": f"sqlite:///{home}/tsad.db"}))
    try:
        return final_rows(app)
    finally:
        app.close()


def test_kills_of_server_and_run_lose_and_double_nothing(home: Path, tmp_path: Path) -> None:
    """Three clients push slots; the server is killed under them, and then the run that follows it. Each client sends
    again what was not acknowledged, as exporters do."""
    token = tsad(home, "tokens", "add", "exporter", "--role", "ingest").out.strip()
    bodies = [otlp(CELLS, keys) for keys in SLOTS[:90]]
    acknowledged: list[bytes] = []
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(home, undisturbed)
    run = started(home, "run", STREAM)
    for enough in (40, len(bodies)):
        process, port = serving(home)

        def push(share: Sequence[bytes], port: int = port, process: Any = process, enough: int = enough) -> None:
            for body in share:
                if not send(port, token, body):
                    return
                acknowledged.append(body)
                if len(acknowledged) == enough < len(bodies):
                    process.send_signal(signal.SIGKILL)

        left = [body for body in bodies if body not in acknowledged]
        clients = [threading.Thread(target=push, args=(left[k::3],)) for k in range(3)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        if enough < len(bodies):
            run.send_signal(signal.SIGKILL)
            assert finished(run).code == -signal.SIGKILL
            run = started(home, "run", STREAM)
        process.send_signal(signal.SIGTERM)
        finished(process)
    run.send_signal(signal.SIGTERM)
    finished(run)
    assert sorted(acknowledged) == sorted(bodies)
    kept = [entry.payload for entry in JournalReader(home / "tsad-journal" / STREAM / "telemetry").read(10_000)]
    assert sorted({*kept}) == sorted(bodies)
    assert 0 <= len(kept) - len(bodies) <= 3, "what was written, but not answered before the kill, was sent again"
    read_out(home)
    journal = Journal(undisturbed / "tsad-journal" / STREAM / "telemetry", 64 * MIB)
    for body in kept:
        journal.put("otlp", body)
    journal.close()
    assert read_out(undisturbed)["rows"] == 3 * len(kept)
    assert differences(rows_of(home), rows_of(undisturbed)) == []
    assert rows_of(home)["alerts"]


def test_a_run_says_what_it_follows(home: Path) -> None:
    said = tsad(home, "check")
    assert "holds 0.0 of 4096 MiB" in said.out
    assert read_out(home)["rows"] == 0
    journal = Journal(home / "tsad-journal" / STREAM / "telemetry", 64 * MIB)
    for keys in SLOTS[:20]:
        journal.put("otlp", otlp(CELLS, keys))
    journal.close()
    assert read_out(home)["rows"] == 60
    assert read_out(home)["rows"] == 0
    folder = home / "tsad-journal" / STREAM / "telemetry"
    assert place_of(folder, bases_in(folder)[0]).stat().st_mode & 0o077 == 0, "nobody else reads it"
    said = tsad(home, "run", STREAM, "--source", "live.jsonl")
    assert said.error == "live.jsonl: the stream was read from push:s.telemetry before, and goes on there only"
