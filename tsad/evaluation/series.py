"""Labelled series on disk: the shared Parquet layout and the file layout of TSB-AD.

Parquet: `<name>.test.parquet` and, where there is one, `<name>.train.parquet`, with a `timestamp`, one column a channel
and perhaps a `label` and a `level` of severity; beside them `<name>.interpretation_label.json`. TSB-AD:
`NNN_set_id_..._tr_N_1st_M.csv`, whose first N rows are the train part.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from streaming.settings import SECOND
from streaming.types import Floats, Ints
from tsad.evaluation.extents import Bools, Doubles, Extents

TEST, TRAIN = ".test.parquet", ".train.parquet"
TSB = re.compile(r"\d+_.+_tr_(\d+)_1st_\d+\.csv")
NOT_CHANNELS = ("timestamp", "label", "label_system", "changepoint", "Label")
LEVEL = "level"
STEP = 60 * SECOND
"""The step of a series whose timestamps are row numbers and of which no manifest speaks."""
EPOCH = 100_000_000
"""Integers from here on (1973) are seconds since the epoch, smaller ones are row numbers."""


@dataclass(frozen=True, slots=True)
class TrainPart:
    """How much of the start of a file without a train part is one: `rows`, or `percent` of it up to `most` rows."""

    rows: int | None = None
    percent: float = 25.0
    most: int | None = None

    @classmethod
    def parse(cls, text: str) -> "TrainPart":
        """ "400", "25%" or "15%,750"; ValueError otherwise."""
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%(?:,(\d+))?", text.strip())
        if match is None or (match[2] is not None and not 0 < float(match[2]) < 100):
            raise ValueError(f"--train needs rows or a percentage such as 400, 25% or 15%,750, got {text!r}")
        if match[1] is not None:
            return cls(rows=int(match[1]))
        return cls(percent=float(match[2]), most=int(match[3]) if match[3] else None)

    def of(self, rows: int) -> int:
        """Rows of the train part of a file of `rows`."""
        if self.rows is not None:
            return self.rows
        share = int(rows * self.percent / 100)
        return share if self.most is None else min(share, self.most)


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """Where a series lies: its name, the name of its folder, and its files."""

    folder: str
    name: str
    test: Path
    train: Path | None

    @property
    def files(self) -> list[Path]:
        """The files that its scores are a function of."""
        return [self.test] if self.train is None else [self.train, self.test]


@dataclass(frozen=True, slots=True)
class Cause:
    """Rows `start` to `stop` (exclusive) of the test file, and the channels that experts named."""

    start: int
    stop: int
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Series:
    """A series to be fitted on `train` (N x F) and streamed through `test` (M x F).

    Row 0 of `test` is row `first` of the test file. `labels` (M) is None where the file has none. `causes` name rows of
    the file. `step` is in ns. `times` (N + M) are the event times of the rows of both, in ns; None where timestamps are
    row numbers. `levels` (M) are severities, 0 where a row is normal, None where the file has none.
    """

    file: SeriesFile
    channels: list[str]
    train: Floats
    test: Floats
    first: int
    labels: Bools | None
    causes: list[Cause]
    step: int
    times: Ints | None
    levels: Doubles | None = None

    def knowing(self, rows: int) -> "Series":
        """The same with the last `rows` of the train part only."""
        dropped = max(len(self.train) - rows, 0)
        times = None if self.times is None else self.times[dropped:]
        return replace(self, train=self.train[dropped:], times=times)


def find_series(path: Path) -> list[SeriesFile]:
    """The series of `path`: one file, a folder of series, or one of such folders. ValueError where there is none."""
    if path.is_file():
        found = _in_folder(path.parent, [path])
    else:
        folders = [path, *sorted(child for child in path.iterdir() if child.is_dir())] if path.is_dir() else []
        found = [series for folder in folders for series in _in_folder(folder, sorted(folder.iterdir()))]
    if not found:
        raise ValueError(f"{path} holds no series: *{TEST}, or TSB-AD's *_tr_N_1st_M.csv")
    return found


def _in_folder(folder: Path, paths: Sequence[Path]) -> list[SeriesFile]:
    found, label = [], folder.resolve().name
    for path in paths:
        if path.name.endswith(TEST):
            name = path.name.removesuffix(TEST)
            train = path.with_name(name + TRAIN)
            found.append(SeriesFile(label, name, path, train if train.exists() else None))
        elif TSB.fullmatch(path.name):
            found.append(SeriesFile(label, path.stem, path, None))
    return found


def read_series(file: SeriesFile, part: TrainPart) -> Series:
    """Read it and cut it. ValueError where nothing is left to fit on or to score."""
    table = _table(file.test)
    levels = _levels(table)
    left_out = NOT_CHANNELS if levels is None else (*NOT_CHANNELS, LEVEL)
    channels = [name for name in table.column_names if name not in left_out and _numeric(table.schema.field(name))]
    values, rows = _values(table, channels), table.num_rows
    match = TSB.fullmatch(file.test.name)
    if file.train is not None:
        first, train = 0, _values(_table(file.train), channels)
    else:
        first = int(match[1]) if match else part.of(rows)
        train = values[:first]
    if not channels or not len(train) or first >= rows:
        raise ValueError(f"{file.test}: {len(train)} rows to fit on and {max(rows - first, 0)} to score are too few")
    label = next((table[name].to_numpy() for name in ("label", "Label") if name in table.column_names), None)
    labels = None if label is None else label[first:] != 0
    step, times = _time(file, table)
    if times is not None and file.train is not None:
        times = _both(_times(_table(file.train)), times)
    levels = None if levels is None else levels[first:]
    return Series(file, channels, train, values[first:], first, labels, _causes(file, table), step, times, levels)


def _levels(table: pa.Table) -> Doubles | None:
    """The column `level`, where it is positive in labelled rows and 0 in all others: else it is a channel."""
    if not {LEVEL, "label"} <= set(table.column_names) or not _numeric(table.schema.field(LEVEL)):
        return None
    levels = table[LEVEL].cast(pa.float64()).to_numpy()
    labelled = table["label"].to_numpy() != 0
    return levels if (np.where(labelled, levels > 0, levels == 0)).all() and labelled.any() else None


def _table(path: Path) -> pa.Table:
    return pa.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)


def _numeric(field: Any) -> bool:
    return bool(pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_boolean(field.type))


def _values(table: pa.Table, channels: Sequence[str]) -> Floats:
    """Rows x channels; one that the table has not is missing."""
    values = np.full((table.num_rows, len(channels)), np.nan, np.float32)
    for place, name in enumerate(channels):
        if name in table.column_names:
            values[:, place] = table[name].cast(pa.float32(), safe=False).to_numpy()
    values[~np.isfinite(values)] = np.nan
    return values


def _time(file: SeriesFile, table: pa.Table) -> tuple[int, Ints | None]:
    """Step and event times of the rows: real timestamps say both, row numbers neither."""
    times = _times(table)
    if times is None:
        return _told_step(file), None
    steps = np.diff(times)
    return max(int(np.median(steps[steps > 0])), 1) if (steps > 0).any() else STEP, times


def _times(table: pa.Table) -> Ints | None:
    """Event times (ns) of the rows of a table; None where it has row numbers, or no timestamp at all."""
    if "timestamp" not in table.column_names:
        return None
    times = table["timestamp"]
    if pa.types.is_timestamp(times.type):
        nanoseconds = times.cast(pa.timestamp("ns", tz=times.type.tz), safe=False).cast(pa.int64()).to_numpy()
    else:
        nanoseconds = times.cast(pa.int64(), safe=False).to_numpy() * SECOND
    return None if nanoseconds[0] < EPOCH * SECOND else nanoseconds


def _both(train: Ints | None, test: Ints) -> Ints | None:
    return None if train is None else np.concatenate([train, test])


def _told_step(file: SeriesFile) -> int:
    """The interval that the manifest of the folder, or of the one above, gives ("300 s"); a minute where none does."""
    for folder in (file.test.parent, file.test.parent.parent):
        path = folder / "manifest.json"
        if path.exists():
            for entry in msgspec.json.decode(path.read_bytes()).get("series", ()):
                match = re.match(r"(\d+) s", str(entry.get("interval")))
                if (entry.get("dataset"), entry.get("series")) == (file.folder, file.name) and match:
                    return int(match[1]) * SECOND
    return STEP


def _causes(file: SeriesFile, table: pa.Table) -> list[Cause]:
    """Events of the interpretation labels. Whether their ends are exclusive (SMD) or inclusive (ASD) is read off the
    labels: that which more rows agree with."""
    path = file.test.with_name(f"{file.name}.interpretation_label.json")
    if not path.exists() or "label" not in table.column_names:
        return []
    events = msgspec.json.decode(path.read_bytes())["events"]
    readings = [
        [Cause(event["start"], event["end"] + more, frozenset(event["channels"])) for event in events]
        for more in (0, 1)
    ]
    labels = table["label"].to_numpy() != 0
    return min(readings, key=lambda causes: _disagreement(causes, labels))


def _disagreement(causes: Sequence[Cause], labels: Bools) -> int:
    claimed = np.zeros(len(labels), np.bool_)
    for cause in causes:
        claimed[cause.start : cause.stop] = True
    return int((claimed != labels).sum())


def extents_of(causes: Sequence[Cause], series: Series) -> list[tuple[Cause, Extents]]:
    """Each cause as rows of `series.test`, where it lies in it."""
    rows = len(series.test)
    spans = [(max(cause.start - series.first, 0), min(cause.stop - series.first, rows)) for cause in causes]
    return [
        (cause, Extents(np.array([start]), np.array([stop]), rows))
        for cause, (start, stop) in zip(causes, spans, strict=True)
        if start < stop
    ]
