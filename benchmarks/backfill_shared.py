"""`tsad backfill` over all multivariate series of the shared data: fitted on each set's train parts (the first half
where there are none), judged on its test parts, a run and a report for each set.

Prints a line a set and writes benchmarks/out/backfill-shared/SET.html. Labels are ignored: docs/quality.md measures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
LABELS = ("label", "changepoint", "label_system")
SECONDS = {"asd": 300, "jumpstarter_d2": 300, "smd": 60}
"""Between two rows where their numbers stand for times."""


def sets(data: Path, most: int | None) -> dict[str, list[str]]:
    """The names of the series with more than one channel, by set."""
    found: dict[str, list[str]] = {}
    for path in sorted(data.glob("*/*.test.parquet")):
        if len([name for name in pq.read_schema(path).names if name not in {"timestamp", *LABELS}]) > 1:
            found.setdefault(path.parent.name, []).append(path.name.removesuffix(".test.parquet"))
    return {name: series[:most] for name, series in found.items()}


def lay_out(home: Path, data: Path, found: dict[str, list[str]]) -> None:
    """A configuration with a stream a set, and its files by part, each named as its series."""
    lines = []
    for name, series in found.items():
        for one in series:
            part_out(home, data / name, one)
        step = f"{seconds_between(home / 'test' / name / f'{series[0]}.parquet')}s"
        lines += [
            f'[stream."{name}"]', f'step = "{step}"',
            'max_ahead = "3650d"',  # some have times of a year to come
            f'[stream."{name}".telemetry]', 'layout = "wide"', "entity = false", 'time = "timestamp"',
            'default_entity = "{file}"', f"ignore = {list(LABELS)}",
        ]  # fmt: skip
    (home / "tsad.toml").write_text("\n".join(lines) + "\n")


def seconds_between(path: Path) -> int:
    """Of two rows, usually."""
    times = pq.read_table(path, columns=["timestamp"])["timestamp"].to_numpy()
    seconds = times.astype("datetime64[s]").astype(np.int64) if times.dtype.kind == "M" else times
    return int(np.median(np.diff(seconds)))


def part_out(home: Path, folder: Path, series: str) -> None:
    """The files of a series, each named as it is."""
    paths = {part: folder / f"{series}.{part}.parquet" for part in ("train", "test")}
    whole = pq.read_table(paths["test"])
    half = len(whole) // 2
    halves = {"train": whole[:half], "test": whole[half:]}
    for part, path in paths.items():
        rows = pq.read_table(path) if paths["train"].exists() else halves[part]
        if folder.name in SECONDS:
            at = rows.column_names.index("timestamp")
            rows = rows.set_column(at, "timestamp", pc.multiply(rows["timestamp"], SECONDS[folder.name]))
        place = home / part / folder.name / path.name.replace(f".{part}", "")
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, place)


def said(home: Path, *arguments: str) -> str:
    """What a command prints. SystemExit, with what it says, where it fails."""
    ended = subprocess.run(
        [sys.executable, "-m", "tsad", *arguments], cwd=home, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"tsad {' '.join(arguments)}: {ended.stderr}")
    return ended.stdout


def main() -> None:
    """Fit, judge and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", default=str(os.cpu_count() or 1))
    parser.add_argument("--series", type=int, help="at most so many a set")
    given = parser.parse_args()
    out = ROOT / "benchmarks" / "out" / "backfill-shared"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        found = sets(given.data.resolve(), given.series)
        lay_out(home, given.data.resolve(), found)
        print(f"{'set':36} series     rows  alerts  fit s  judge s  state")
        for stream in found:
            began = time.monotonic()
            said(home, "fit", stream, "--from", f"train/{stream}")
            fitted = time.monotonic()
            page = str(out / f"{stream}.html")
            asked = ["--input", f"test/{stream}", "--run", stream, "--workers", given.workers, "--report", page]
            told = json.loads(said(home, "backfill", stream, *asked, "--json"))
            print(
                f"{stream:36} {told['entities']:6} {told['rows']:8,} {told['alerts']:7} {fitted - began:6.1f} "
                f"{time.monotonic() - fitted:8.1f}  {told['state']}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
