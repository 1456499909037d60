"""The HTTP API under load, over a million alerts in PostgreSQL (`make bench-api`).

Alerts are as the demo's: eight channels of 64 slots beside what was expected, a share for each of 24 channels, eight
explanation rows, a decision, an incident of four; 1,000 entities of four streams, an alert each ten seconds, the last
50 open. `tsad serve` answers, in a process for each core (`--processes`); another one asks at a fixed rate, whatever
the answers take, so that a latency counts from when its request was due. Lists are first pages of alerts and incidents
by several filters and orders, and pages behind them; details are alerts with their explanation, their channels, and
incidents.
`first_page_ms` is the median of the first page while nothing else is asked, by how many alerts there are.
`ingest_rows_per_s` is of `ingest.py`. Prints a table and writes benchmarks/out/api.json.
"""

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import psycopg  # noqa: E402
from msgspec import to_builtins  # noqa: E402
from servers import free_port, postgresql  # noqa: E402

from benchmarks.ingest import ingest_rows_per_s  # noqa: E402
from storage.engine import open_database  # noqa: E402
from storage.tokens import Tokens  # noqa: E402
from storage.types import alert_id  # noqa: E402
from tsad.triage.digests import CURVE_SLOTS, Channel, Digest  # noqa: E402
from tsad.triage.ranking import Suspect  # noqa: E402

ROWS, RATE, SECONDS, ASKING = 1_000_000, 200, 60, 48
PROCESSES = min(os.cpu_count() or 1, 4)
"""Of `tsad serve`: one for each core, as many as four."""
EVIDENCE, CURVES, SLOTS, EXPLAINED, MEMBERS, OPEN = 16, 8, 64, 8, 4, 50
"""Sorts of evidence, channels and slots of each, explanation rows of an alert, alerts of an incident, those open."""
SEED = 17
PLACES = f"""
  SELECT i, left(encode(sha256(convert_to(
      '4:live7:fleet-' || i %% 4 || length('web-' || i %% 1000) || ':web-' || i %% 1000 || length(i::text) || ':' || i,
      'UTF8')), 'hex'), 32) id, 'fleet-' || i %% 4 stream, 'web-' || i %% 1000 entity,
    md5('i' || i / {MEMBERS}) incident,
    CASE WHEN i > %(last)s - {OPEN} THEN 'open' ELSE 'resolved' END state, 1 + random() * 2 score,
    (ARRAY['info','warning','critical'])[1 + i %% 3] severity, timestamptz '2026-07-01' + i * interval '10 s' begun
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) i
"""
FILLED = (
    f"""INSERT INTO alerts (id, run, stream, partition, entity, opened_slot, first_slot, last_slot, peak_slot,
      first_time, last_time, peak_time, state, severity, score, p, confidence, model_version, detected_at, amended_at,
      votes, attribution, explanation, explained_by, sentence, evidence, reason, explained_by_event, saved_at)
    SELECT id, 'live', stream, 0, entity, i, i, i, i, begun, begun, begun, state, severity, score, .001, .9, 'v1',
      begun, begun, e.votes, e.attribution, 'done', 'shap', entity || ': cpu rises to 3 times what was expected',
      e.evidence, 'score', '{{}}', begun FROM ({PLACES}) made
    JOIN bench_evidence e ON e.number = made.i %% {EVIDENCE}""",
    f"""INSERT INTO explanations
    SELECT id, i, 'score', 'channel-' || part, 1, 1.0 / (part + 2), .1, score, 0, .9, 'shap'
    FROM ({PLACES}) made, generate_series(1, {EXPLAINED}) part""",
    f"""INSERT INTO decisions SELECT id, 'notify', severity, 'is_told', '', id, 1, begun FROM ({PLACES}) made""",
    f"""INSERT INTO incidents (id, run, number, stream, state, severity, severity_score, score, first_time, last_time,
      entity, feature, title, alerts, entities, suspects, signature, type, likeness, opened_at, saved_at)
    SELECT incident, 'live', i / {MEMBERS}, stream, state, severity, score, score, begun, begun + interval '1 min',
      entity, 'channel-1', entity || ': channel-1 rises', {MEMBERS}, {MEMBERS}, e.suspects,
      '{{"fleet|channel-1|up": 1.0}}', md5('i' || i / {MEMBERS} %% 200), 1, begun, begun
    FROM ({PLACES}) made JOIN bench_evidence e ON e.number = made.i %% {EVIDENCE} WHERE i %% {MEMBERS} = 0""",
    f"""INSERT INTO incident_alerts
    SELECT id, 'live', incident, begun, begun, begun, e.digest, begun
    FROM ({PLACES}) made JOIN bench_evidence e ON e.number = made.i %% {EVIDENCE}""",
    "ANALYZE",
)


# --- what is there


def prepare(line: psycopg.Connection) -> None:
    """The streams, the sorts of evidence, and that triage has seen everything."""
    columns = {"votes": _votes, "attribution": _attribution, "evidence": _evidence, "digest": _digest}
    columns |= {"suspects": _suspects}
    line.execute(f"CREATE TEMP TABLE bench_evidence (number int, {', '.join(f'{name} json' for name in columns)})")
    for number in range(EVIDENCE):
        row = [number, *(json.dumps(make(number)) for make in columns.values())]
        line.execute(f"INSERT INTO bench_evidence VALUES ({', '.join(['%s'] * len(row))})", row)
    for number in range(4):
        line.execute("INSERT INTO streams VALUES ('live', %s, 60000000000, '{}', now())", [f"fleet-{number}"])
    line.execute("INSERT INTO triage VALUES ('live', 1, now(), %s, now())", [10 * ROWS])


def fill(line: psycopg.Connection, first: int, last: int) -> None:
    """The alerts from number `first` to `last`, and what hangs on them."""
    for statement in FILLED:
        line.execute(statement, {"first": first, "last": last} if "%" in statement else None)


def _votes(seed: int) -> dict[str, dict[str, Any]]:
    names = (
        "reconstruction",
        "forecast",
        "linear",
        "neighbours",
        "neighbours-long",
        "subspace",
        "subspace-long",
        "vote",
    )
    chances = np.random.default_rng(seed).random(len(names)).tolist()
    return {name: {"p": p, "voted": p < 0.01} for name, p in zip(names, chances, strict=True)}


def _attribution(seed: int) -> dict[str, float]:
    shares = np.sort(np.random.default_rng(seed).dirichlet(np.full(24, 0.3)))[::-1]
    return {f"channel-{number}": round(float(share), 4) for number, share in enumerate(shares)}


def _evidence(seed: int) -> dict[str, Any]:
    curves = np.random.default_rng(seed).normal(50, 10, (CURVES, SLOTS)).round(2)
    return {
        "slot": seed + 1, "features": [f"channel-{number}" for number in range(CURVES)], "observed": curves.tolist(),
        "lower": (curves.min(axis=1) / 2).tolist(), "upper": curves.max(axis=1).tolist(), "lines": [], "said": {},
        "texts": {},
    }  # fmt: skip


def _digest(seed: int) -> Any:
    """Not of the alert itself: only as large."""
    names = [f"channel-{number}" for number in range(CURVES)]
    curves = {name: (seed, list(map(float, range(CURVE_SLOTS)))) for name in names[:2]}
    channels = tuple(Channel(name, 0.1, 1, 1.8e9 + seed) for name in names)
    now = datetime(2026, 7, 1, tzinfo=UTC)
    return to_builtins(Digest(
        stream=f"fleet-{seed % 4}", entity=f"web-{seed}", step=60, state="resolved", severity="warning", score=2,
        weight=1, level=1, detected_at=now, channels=channels, curves=curves,
    ))  # fmt: skip


def _suspects(seed: int) -> list[dict[str, Any]]:
    channels = (("fleet-0", f"web-{seed}", f"channel-{number}", "", 1, 0.2, 60.0 * number, 0.2) for number in range(5))
    return [Suspect(*channel).told() for channel in channels]


# --- who answers and who asks


@contextmanager
def serving(url: str, place: Path, processes: int = PROCESSES) -> Iterator[tuple[int, str]]:
    """`tsad serve` on the database, in so many processes: its port, and a viewer's token."""
    database = open_database(url)
    token = Tokens(database).add("bench", "viewer")
    database.close()
    port, said = free_port(), place / "serve.log"
    (place / "tsad.toml").write_text(
        f'database = "{url}"\n[api]\nbind = "127.0.0.1:{port}"\nrequests_per_second = 100000\n'
        f"processes = {processes}\n"
        '[stream.fleet-0]\nstep = "1m"\n[stream.fleet-0.telemetry]\nsource = "-"\n'
    )
    with said.open("w") as log:
        command = [sys.executable, "-m", "tsad", "serve"]
        process = subprocess.Popen(
            command, cwd=place, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
    try:
        _until_ready(port, process, said)
        yield port, token
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _until_ready(port: int, process: subprocess.Popen[bytes], said: Path, patience: float = 120) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            line.request("GET", "/health/ready")
            if line.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"tsad serve does not answer: {said.read_text()[-2000:]}")


@dataclass
class Client:
    """One connection, kept alive."""

    port: int
    token: str
    line: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def get(self, path: str) -> bytes:
        """What is at `path`; RuntimeError where the answer is another."""
        try:
            self.line.request("GET", f"/api/v1{path}", headers={"Authorization": f"Bearer {self.token}"})
            answer = self.line.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self.line.close()
            raise
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}: {said[:300]!r}")
        return said


@dataclass(frozen=True)
class Request:
    """What is asked: `kind` is "list" or "detail"."""

    kind: str
    path: str


def first_pages() -> list[str]:
    """Lists as people and dashboards ask for them."""
    alerts = ["", "sort=-score", "state=open", "severity=critical", "stream=fleet-1", "entity=web-77&stream=fleet-1"]
    alerts += ["entity=web-78", "entity=no-such"]
    alerts += ["standing=notify", "since=2026-08-01T00:00:00Z&until=2026-08-02T00:00:00Z", "limit=200"]
    incidents = ["", "sort=-severity_score", "state=open", "entity=web-76"]
    return [f"/alerts?{each}" for each in alerts] + [f"/incidents?{each}" for each in incidents]


def requests(client: Client, number: int, rows: int) -> list[Request]:
    """So many requests, in an order from a seed: half of them lists, of which a quarter goes on behind a page."""
    chance, firsts, behind = random.Random(SEED), first_pages(), list[str]()
    for path in firsts:
        cursor = json.loads(client.get(path))["next_cursor"]
        if cursor is not None:
            behind.append(f"{path}&cursor={quote(cursor)}")
    made = []
    for _ in range(number):
        one = chance.randrange(1, rows + 1)
        alert = id_of(one)
        details = [f"/alerts/{alert}", f"/alerts/{alert}/series", f"/incidents/INC-{max(one // MEMBERS, 1)}"]
        lists = firsts if chance.random() < 0.75 else behind
        made.append(
            Request("list", chance.choice(lists))
            if chance.random() < 0.5
            else Request("detail", chance.choice(details))
        )
    return made


def id_of(number: int) -> str:
    """The id of the alert of a number."""
    return alert_id("live", f"fleet-{number % 4}", f"web-{number % 1000}", number)


@dataclass
class Load:
    """Requests at a `rate`, by `ASKING` connections; what each took (seconds from when it was due), and errors."""

    requests: Sequence[Request]
    rate: float
    took: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: {"list": [], "detail": []})
    errors: list[str] = field(default_factory=list)
    taken: float = 0.0

    def play(self, port: int, token: str) -> None:
        """Ask all of them."""
        turns, begun = count(), time.monotonic() + 0.5
        threads = [threading.Thread(target=self._ask, args=(Client(port, token), turns, begun)) for _ in range(ASKING)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.taken = time.monotonic() - begun

    def _ask(self, client: Client, turns: Iterator[int], begun: float) -> None:
        for turn in turns:
            if turn >= len(self.requests):
                return
            one, due = self.requests[turn], begun + turn / self.rate
            time.sleep(max(due - time.monotonic(), 0))
            try:
                client.get(one.path)
                self.took[one.kind].append((time.monotonic() - due, one.path))
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                self.errors.append(f"{one.path}: {error}")


# --- figures


def first_page(client: Client, times: int = 40) -> float:
    """Median of the first page of alerts, ms."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        client.get("/alerts")
        took.append(1e3 * (time.perf_counter() - begun))
    return median(took)


def slowest(load: Load, most: int = 5) -> list[tuple[str, float]]:
    """The sorts of requests with the largest medians, ms."""
    by: dict[str, list[float]] = {}
    for took in load.took.values():
        for seconds, path in took:
            by.setdefault(_sort(path), []).append(1e3 * seconds)
    return sorted(((path, median(took)) for path, took in by.items()), key=lambda pair: -pair[1])[:most]


def _sort(path: str) -> str:
    first, *behind = path.split("&cursor=")
    parts = ["ID" if place == 2 else part for place, part in enumerate(first.split("/"))]
    return "/".join(parts) + (" (behind)" if behind else "")


def measure(rows: int, rate: float, seconds: float, processes: int) -> dict[str, Any]:
    """Everything, on a server of its own."""
    firsts: dict[str, float] = {}
    with TemporaryDirectory() as folder, postgresql() as url:
        open_database(url, create=True).close()
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as line:
            prepare(line)
            filled = 0
            with serving(url, Path(folder), processes) as (port, token):
                for size in sorted({max(rows // 100, 1), max(rows // 10, 1), rows}):
                    fill(line, filled + 1, size)
                    filled, firsts[str(size)] = size, first_page(Client(port, token))
                    print(f"{size:,} alerts: first page {firsts[str(size)]:.1f} ms", flush=True)
                load = Load(requests(Client(port, token), int(rate * seconds), rows), rate)
                Load(load.requests[: int(rate)], rate / 4).play(port, token)  # connections, plans and caches
                load.play(port, token)
        ingested = round(ingest_rows_per_s(Path(folder)))
        return figures(load, rows, firsts) | {"processes": processes, "ingest_rows_per_s": ingested}


def figures(load: Load, rows: int, firsts: dict[str, float]) -> dict[str, Any]:
    """What a load gave."""
    found: dict[str, Any] = {}
    for kind, took in load.took.items():
        seconds = [each for each, _ in took] or [float("nan")]
        for name, share in (("p50", 50), ("p99", 99)):
            found[f"{kind}_{name}_ms"] = round(1e3 * float(np.percentile(seconds, share)), 1)
    asked = sum(map(len, load.took.values()))
    return found | {
        "rows": rows, "requests": asked, "requests_per_s": round(asked / load.taken, 1), "errors": len(load.errors),
        "said": load.errors[:5], "first_page_ms": {size: round(took, 1) for size, took in firsts.items()},
        "slowest_p50_ms": [[path, round(took, 1)] for path, took in slowest(load)],
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--processes", type=int, default=PROCESSES, help="of tsad serve")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "api.json")
    said = parser.parse_args()
    found = measure(said.rows, said.rate, said.seconds, said.processes)
    for name, value in found.items():
        print(f"{name:<20} {value}")
    said.out.parent.mkdir(parents=True, exist_ok=True)
    said.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
