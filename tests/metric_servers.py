"""Servers that speak Prometheus' HTTP API: a real Prometheus, a VictoriaMetrics, and one that can be made to fail."""

import gzip
import json
import math
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from servers import NoServerError, free_port

UNPACKED = Path(__file__).parents[1] / "build/metrics/usr/bin"
READY_SECONDS = 60
MOST_POINTS = 11_000
Labels = Mapping[str, str]


def program(name: str) -> str:
    """The path of a server; NoServerError where there is none."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED))
    if found is None:
        raise NoServerError(f"the server {name} is not installed (tests/metrics.sh)")
    return found


@dataclass
class MetricServer:
    """A server that takes remote-write and answers queries."""

    url: str
    flushes: bool = False

    def write(self, message: bytes) -> None:
        """A snappy WriteRequest; it can be asked for when this returns."""
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/api/v1/write", message, headers), timeout=30).close()
        if self.flushes:
            urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=30).close()


@contextmanager
def _serving(command: Sequence[str], url: str, folder: Path, flushes: bool = False) -> Iterator[MetricServer]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > until:
                    raise NoServerError(f"{command[0]}: {(folder / 'log').read_text()[-300:]}") from error
                time.sleep(0.05)
        yield MetricServer(url, flushes)
    finally:
        process.kill()
        process.wait()


@contextmanager
def prometheus() -> Iterator[MetricServer]:
    """A Prometheus of our own that scrapes nothing."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tsad-prom-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        (folder / "prometheus.yml").write_text("")
        command = [
            program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
            "--storage.tsdb.retention.time=100y", "--query.max-samples=2000000",
        ]  # fmt: skip
        with _serving(command, f"http://127.0.0.1:{port}", folder) as server:
            yield server


@contextmanager
def victoria() -> Iterator[MetricServer]:
    """A VictoriaMetrics of our own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tsad-vm-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        command = [
            program("victoria-metrics"), f"-storageDataPath={folder}/data", f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y", "-memory.allowedBytes=256MB",
        ]  # fmt: skip
        with _serving(command, f"http://127.0.0.1:{port}", folder, flushes=True) as server:
            yield server


COUNTED = re.compile(r"count_over_time\(\((?P<query>.*)\)\[(?P<span>\d+)ms:(?P<step>\d+)ms\]\)")


@dataclass
class Scripted:
    """Answers `query_range`, and counts of it, from `series`: by query, pairs of labels and a function of the time (s;
    None: no point).

    `fails`: what is answered next instead (a status and a body; 0: the connection is cut). `refuse`: a status for some
    (query, times). `asked`: the forms that came, `heads` their headers.
    """

    series: dict[str, list[tuple[Labels, Callable[[float], float | None]]]] = field(default_factory=dict)
    fails: list[tuple[int, bytes]] = field(default_factory=list)
    refuse: Callable[[str, Sequence[float]], int | None] = lambda query, times: None
    asked: list[dict[str, str]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    gzip: bool = True
    url: str = ""

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        """As Prometheus answers: status and JSON."""
        if self.fails:
            return self.fails.pop(0)
        if counted := COUNTED.fullmatch(form["query"]):
            return self._counts(counted["query"], int(counted["span"]), int(counted["step"]), float(form["time"]))
        start, end, step = (float(form[name]) for name in ("start", "end", "step"))
        times = [start + step * number for number in range(round((end - start) / step) + 1)]
        if len(times) > MOST_POINTS:
            return 400, error("bad_data", "exceeded maximum resolution of 11,000 points per timeseries")
        if form["query"] not in self.series:
            return 400, error("bad_data", 'invalid parameter "query": 1:1: parse error: unexpected <eof>')
        if status := self.refuse(form["query"], times):
            return status, error("execution", "query processing would load too many samples into memory")
        result = []
        for labels, value in self.series[form["query"]]:
            values = [[at, written(found)] for at in times if (found := value(at)) is not None]
            if values:
                result.append({"metric": labels, "values": values})
        return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()

    def _counts(self, query: str, span: int, step: int, at: float) -> tuple[int, bytes]:
        """How many points each series has at the multiples of `step` in the `span` (ms) up to `at` (s)."""
        last = round(at * 1000)
        times = [ms / 1000 for ms in range(-(-(last - span + 1) // step) * step, last + 1, step)]
        counts = [(labels, sum(value(t) is not None for t in times)) for labels, value in self.series[query]]
        result = [{"metric": labels, "value": [at, str(count)]} for labels, count in counts if count]
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def written(value: float) -> str:
    """A value as Prometheus writes it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def error(kind: str, said: str) -> bytes:
    """A refusal as Prometheus writes it."""
    return json.dumps({"status": "error", "errorType": kind, "error": said}).encode()


@contextmanager
def scripted(tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """A server that answers what it is told."""
    told = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body at once: else each answer waits for an acknowledgement

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            told.asked.append(form | {"path": self.path})
            told.heads.append({name.lower(): value for name, value in self.headers.items()})
            status, answer = told.answer(form)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            if told.gzip and "gzip" in self.headers.get("Accept-Encoding", ""):
                answer = gzip.compress(answer, 1)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        told.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield told
        server.shutdown()
        thread.join()
