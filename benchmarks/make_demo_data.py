"""Makes `tsad/demo_data` from the shared data sets: python benchmarks/make_demo_data.py SHARED_DIR [OUT_DIR].

SHARED_DIR holds `smd/`, `nezha_trainticket_2023-01-29/` and `LICENSES/`. Everything is chosen by rules written here
before anything was scored; the same input gives the same bytes.

SMD. Of the machines there, the one with the most labelled events wholly inside the first `TEST_ROWS` rows of its test
file (of equals the first by name), those rows to test on, and the last `TRAIN_ROWS` rows of its training file, which
the test file continues. There are no real times: rows get one-minute steps from 2020-01-01T00:00:00Z, the test stretch
right behind the training stretch. Labels are not in the tables but in `smd-events.json` (ends exclusive).

Nezha. The pods into which a fault was injected, and as healthy company the `HEALTHY` pods without a fault that log in
the most minutes (of equals the ones with the fewest lines, then by name); every line of a chosen pod stays. A line's
time of day (UTC+8), level, trace and span id are taken out of its message (random ids would be most of the bytes);
messages are cut at `MESSAGE_CHARACTERS`. Where `time_unix_nano` is garbage (negative, 45 rows) the time is the one the
message states. A line of another shape is left out and counted.
"""

import gzip
import json
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TRAIN_ROWS, TEST_ROWS = 8_000, 7_000
SMD_START = datetime(2020, 1, 1, tzinfo=UTC)
NEZHA = "nezha_trainticket_2023-01-29"
NEZHA_MIDNIGHT = datetime(2023, 1, 28, 16, tzinfo=UTC)
"""Midnight of the day in the messages' own time zone, UTC+8."""
HEALTHY = 3
MESSAGE_CHARACTERS = 500
LEVELS = {"WARN": "warning"}
LICENCES = ("NetManAIOps__OmniAnomaly", "zhhlee__InterFusion", "IntelligentDDS__Nezha")
LIMIT = 4 * 2**20

LINE = re.compile(
    r"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)\.(?P<ms>\d{3}) +(?P<level>[A-Z]+) +(?P<logger>\S+)"
    r" +TraceID: *\S* +SpanID: *\S* ?(?P<text>.*)"
)


@dataclass(frozen=True, slots=True)
class Line:
    time: datetime
    pod: str
    message: str
    severity: str


def main(shared: Path, out: Path) -> None:
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    machine = make_smd(shared / "smd", out)
    make_nezha(shared / NEZHA, out)
    for name in LICENCES:
        text = (shared / "LICENSES" / f"{name}__LICENSE").read_text()
        (out / f"LICENSE-{name.split('__')[1]}.txt").write_text(text)
    (out / "README.md").write_text(README.replace("MACHINE", machine))
    report(out)


def make_smd(folder: Path, out: Path) -> str:
    inside = {path.name.split(".")[0]: events_inside(path) for path in sorted(folder.glob("*.json"))}
    machine = min(inside, key=lambda name: (-len(inside[name]), name))
    train = pq.read_table(folder / f"{machine}.train.parquet")
    test = pq.read_table(folder / f"{machine}.test.parquet").drop_columns(["label"])
    test_start = SMD_START + timedelta(minutes=TRAIN_ROWS)
    write(timed(train.slice(train.num_rows - TRAIN_ROWS), SMD_START), out / "smd-train.parquet")
    write(timed(test.slice(0, TEST_ROWS), test_start), out / "smd-test.parquet")
    events = [
        {
            "start": iso(test_start + timedelta(minutes=event["start"])),
            "end": iso(test_start + timedelta(minutes=event["end"])),
            "channels": event["channels"],
        }
        for event in inside[machine]
    ]
    write_json(events, out / "smd-events.json")
    print(f"smd: {machine}, {TRAIN_ROWS} + {TEST_ROWS} rows, {len(events)} events")
    return machine


def events_inside(labels: Path) -> list[dict[str, Any]]:
    events = json.loads(labels.read_text())["events"]
    return sorted((event for event in events if event["end"] <= TEST_ROWS), key=lambda event: event["start"])


def timed(table: pa.Table, start: datetime) -> pa.Table:
    """The channels of `table` behind a `time` column of one-minute steps."""
    channels = table.drop_columns(["timestamp"])
    times = [start + timedelta(minutes=row) for row in range(table.num_rows)]
    return channels.add_column(0, "time", pa.array(times, pa.timestamp("ms", tz="UTC")))


def make_nezha(folder: Path, out: Path) -> None:
    faults = json.loads((folder / "faults.json").read_text())["faults"]
    by_pod, left_out, recovered = read_lines(folder / "logs.tsv.gz")
    injected = sorted({fault["pod"] for fault in faults})
    pods = injected + healthy_pods(by_pod, injected)
    write(pa.concat_tables(pod_metrics(folder, pod) for pod in pods), out / "nezha-metrics.parquet")
    chosen = [line for pod in pods for line in by_pod[pod]]
    lines = sorted(chosen, key=lambda line: (line.time, line.pod))
    write_lines(lines, out / "nezha-logs.jsonl.gz")
    write_json(
        [
            {
                "start": iso(datetime.fromtimestamp(fault["t0"], UTC)),
                "end": iso(datetime.fromtimestamp(fault["t1"], UTC)),
                "entity": fault["pod"],
                "type": fault["type"],
            }
            for fault in faults
        ],
        out / "nezha-faults.json",
    )
    total = sum(map(len, by_pod.values()))
    print(f"nezha: {len(injected)} injected and {len(pods) - len(injected)} healthy pods, {len(faults)} faults")
    print(f"nezha: {len(lines)} of {total} lines ({left_out} of another shape left out, {recovered} times recovered)")


def read_lines(path: Path) -> tuple[dict[str, list[Line]], int, int]:
    """Lines by pod, how many had another shape, and how many times were taken from the message."""
    by_pod: dict[str, list[Line]] = defaultdict(list)
    left_out = recovered = 0
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        next(file)
        for row in file:
            stamp, pod, message = row.rstrip("\n").split("\t", 2)
            found = LINE.fullmatch(message)
            if not found:
                left_out += 1
                continue
            recovered += int(stamp) < 0
            by_pod[pod].append(parse(int(stamp), pod, found))
    return by_pod, left_out, recovered


def parse(nanoseconds: int, pod: str, found: re.Match[str]) -> Line:
    stated = timedelta(
        hours=int(found["h"]), minutes=int(found["m"]), seconds=int(found["s"]), milliseconds=int(found["ms"])
    )
    time = datetime.fromtimestamp(nanoseconds // 10**6 / 1000, UTC) if nanoseconds > 0 else NEZHA_MIDNIGHT + stated
    message = f"{found['logger']} {found['text']}".rstrip().replace("\\n", "\n")
    return Line(time, pod, message[:MESSAGE_CHARACTERS], LEVELS.get(found["level"], found["level"].lower()))


def healthy_pods(by_pod: dict[str, list[Line]], injected: list[str]) -> list[str]:
    def rank(pod: str) -> tuple[int, int, str]:
        minutes = {line.time.replace(second=0, microsecond=0) for line in by_pod[pod]}
        return -len(minutes), len(by_pod[pod]), pod

    return sorted((pod for pod in by_pod if pod not in injected), key=rank)[:HEALTHY]


def pod_metrics(folder: Path, pod: str) -> pa.Table:
    table = pq.read_table(folder / f"{pod}.test.parquet")
    times = pc.cast(pc.multiply(table["timestamp"], 1000), pa.timestamp("ms", tz="UTC"))
    columns = {name: table[name].cast(pa.float32()) for name in table.column_names if name not in NOT_METRICS}
    return pa.table({"entity": [pod] * table.num_rows, "time": times, **columns})


NOT_METRICS = {"timestamp", "label", "label_system"}


def write(table: pa.Table, path: Path) -> None:
    pq.write_table(table.replace_schema_metadata(None), path, compression="zstd", compression_level=19)


def write_json(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def write_lines(lines: Iterable[Line], path: Path) -> None:
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.writelines(encoded(lines))


def encoded(lines: Iterable[Line]) -> Iterator[bytes]:
    for line in lines:
        record = {"entity": line.pod, "time": iso(line.time), "message": line.message, "severity": line.severity}
        yield json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds" if time.microsecond else "seconds").replace("+00:00", "Z")


def report(out: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    for name, size in sizes.items():
        print(f"{size:>9,} {name}")
    print(f"{sum(sizes.values()):>9,} bytes in all, at most {LIMIT:,}")
    if sum(sizes.values()) > LIMIT:
        raise SystemExit("too large for the repository")


README = f"""# Bundled demo data

Made by `benchmarks/make_demo_data.py` (the rules of choice are written there); do not edit by hand.

- `smd-train.parquet`, `smd-test.parquet`: MACHINE of the Server Machine Dataset, {TRAIN_ROWS:,} and {TEST_ROWS:,}
  minutes of 38 server metrics, scaled to 0..1 by their publishers. Times are made up: one-minute steps from 2020-01-01.
- `smd-events.json`: its labelled events inside the test stretch: start, end (exclusive), channels.
- `nezha-metrics.parquet`: Nezha, TrainTicket on 2023-01-29: 19 metrics a minute of the pods with injected faults and
  of {HEALTHY} healthy ones.
- `nezha-logs.jsonl.gz`: every application log line of those pods that the data set has, which is about three minutes
  around each fault. Time of day, level, trace and span id are taken out of the message, which is cut at
  {MESSAGE_CHARACTERS} characters.
- `nezha-faults.json`: the injected faults. The interval [injection, +240 s) is a choice, not the publishers'.

Minutes without any log line are not quiet: they were not recorded.

Sources, all under the MIT licence (texts beside this file):

- Server Machine Dataset: Su et al., *Robust Anomaly Detection for Multivariate Time Series through Stochastic Recurrent
  Neural Network*, KDD 2019, https://github.com/NetManAIOps/OmniAnomaly (labels); the series as kept by
  https://github.com/zhhlee/InterFusion (Li et al., KDD 2021).
- Nezha: Yu et al., *Nezha: Interpretable Fine-Grained Root Causes Analysis for Microservices on Multi-modal
  Observability Data*, ESEC/FSE 2023, https://github.com/IntelligentDDS/Nezha.
"""

if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    default = Path(__file__).resolve().parent.parent / "tsad" / "demo_data"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else default)
