"""Push ingestion: rows a second that one client gets acknowledged by a real server (uvicorn), each on disk by then.

A row is a sample of a series. Remote-write messages of 500 series (a hundred hosts of five metrics) of ten samples, one
after the other over one connection. `ingest_rows_per_s` is for `make bench-api`; alone: `python benchmarks/ingest.py`.
"""

import http.client
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cramjam  # noqa: E402
import numpy as np  # noqa: E402
import uvicorn  # noqa: E402

from storage.engine import open_database  # noqa: E402
from storage.tokens import Tokens  # noqa: E402
from streaming.journal import Journal  # noqa: E402
from tsad.api.application import api  # noqa: E402
from tsad.api.desk import Beside  # noqa: E402
from tsad.operating import ApiConfig  # noqa: E402
from tsad.pushing import Pushes  # noqa: E402

HOSTS, METRICS, SAMPLES = 100, ("cpu", "memory", "disk", "sent_total", "received_total"), 10
ROWS = HOSTS * len(METRICS) * SAMPLES
"""Of one message."""
START = 1_767_571_200_000
HEADERS = {
    "Content-Type": "application/x-protobuf;proto=prometheus.WriteRequest", "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}  # fmt: skip
JOURNAL = 8 << 30


def message(number: int) -> bytes:
    """The `number`-th WriteRequest, packed: the next ten minutes of every series."""
    values = np.random.default_rng(number).normal(50, 10, (HOSTS, len(METRICS), SAMPLES)).tolist()
    times = [START + 60_000 * (number * SAMPLES + sample) for sample in range(SAMPLES)]
    series = (
        _labels({"__name__": metric, "instance": f"host-{host}:9100", "job": "node"})
        + b"".join(
            _field(2, b"\x09" + struct.pack("<d", v) + b"\x10" + _varint(t)) for v, t in zip(row, times, strict=True)
        )
        for host, each in enumerate(values)
        for metric, row in zip(METRICS, each, strict=True)
    )
    return bytes(cramjam.snappy.compress_raw(b"".join(_field(1, one) for one in series)))


def ingest_rows_per_s(folder: Path, messages: int = 200) -> float:
    """Rows acknowledged a second, of so many messages. The journal and a database are made in `folder`."""
    bodies = [message(number) for number in range(messages)]
    with _serving(folder) as (port, token):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = HEADERS | {"Authorization": f"Bearer {token}"}
        begun = time.perf_counter()
        for body in bodies:
            line.request("POST", "/api/v1/write", body, headers)
            answer = line.getresponse()
            said = answer.read()
            if answer.status != 204:
                raise RuntimeError(f"{answer.status}: {said[:200]!r}")
        taken = time.perf_counter() - begun
        line.close()
    return messages * ROWS / taken


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[int, str]]:
    """A server in this process, and a token for it."""
    database = open_database(f"sqlite:///{folder}/ingest.db", create=True)
    pushes = Pushes({"telemetry": {"bench": Journal(folder / "journal", JOURNAL)}})
    made = api(database, ApiConfig(requests_per_second=1e6), beside=Beside(pushes=pushes))
    with socket.create_server(("127.0.0.1", 0)) as heard:
        server: Any = uvicorn.Server(uvicorn.Config(made, log_config=None, access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([heard],))
        thread.start()
        try:
            yield heard.getsockname()[1], Tokens(database).add("bench", "ingest")
        finally:
            server.should_exit = True
            thread.join()
            pushes.close()
            database.close()


def _labels(labels: dict[str, str]) -> bytes:
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in labels.items())


def _sample(value: float, at: int) -> bytes:
    return _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(at))


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        print(f"ingest_rows_per_s: {ingest_rows_per_s(Path(place)):,.0f}")
