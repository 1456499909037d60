"""Labelled logs on disk: lines of a file or of an archive, and a table that says what in them is an anomaly.

`<name>.log`, `<name>.log.gz` or `<name>.tar.gz` and beside it `<name>.labels.csv` (or `.csv.gz`) with a column `label`.
Its first column is `LineId` (a row for each line, which is then judged by itself), or the key of a session: what stands
in each of its lines, or the first folder of its files in the archive (each file is then a session, and a key's score is
the largest of its files').
"""

import csv
import gzip
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streaming.settings import SECOND
from streaming.severities import sniff_severity
from streaming.types import Ints
from tsad.evaluation.extents import Bools

LABELS = re.compile(r"(?P<name>.+)\.labels\.csv(?:\.gz)?")
LINES = (".log", ".log.gz", ".tar.gz")
BY_LINE = "LineId"
HEADERS = (
    re.compile(r"(?P<short>\d{6} \d{6}) \d+ (?P<level>[A-Z]+) \S+: (?P<message>.*)"),
    re.compile(r"\S+ (?P<epoch>\d{10}) \S+ (?P<entity>\S+) \S+ \S+ \S+ \S+ (?P<level>[A-Z]+) ?(?P<message>.*)"),
    re.compile(r"(?P<iso>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)\S* (?P<level>[A-Z]+) (?P<message>.*)"),
)
"""What lines begin with: HDFS, BlueGene/L, log4j. One that begins otherwise belongs to the record before it."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log data set on disk; `name` is unique in its `folder`."""

    folder: str
    name: str
    lines: Path
    labels: Path


@dataclass(frozen=True, slots=True)
class LogSet:
    """N lines, by time, of S sessions that belong to the G things that are judged.

    `owners` (N): the session of each line; `judged` (S): what each session belongs to; `names`, `entities` ("" where
    lines name none) and `labels` (all G) of what is judged. `times` are ns since the epoch. `by_line`: each line is a
    session.
    """

    file: LogFile
    messages: list[str]
    times: Ints
    severities: NDArray[np.int8]
    owners: Ints
    judged: Ints
    names: list[str]
    entities: list[str]
    labels: Bools
    by_line: bool


def find_logs(path: Path) -> list[LogFile]:
    """The log data sets of a folder and of the folders in it, or the one whose lines `path` is; none where there are
    labelled series."""
    if path.is_file():
        near = path.parent.iterdir() if path.name.endswith(LINES) else ()
        found = [_beside(one) for one in near if LABELS.fullmatch(one.name)]
        return [one for one in found if one is not None and one.lines == path]
    if not path.is_dir() or any(path.glob("**/*.parquet")):
        return []
    found = [_beside(one) for one in sorted(path.glob("**/*.labels.csv*")) if LABELS.fullmatch(one.name)]
    return [one for one in found if one is not None]


def _beside(labels: Path) -> LogFile | None:
    match = LABELS.fullmatch(labels.name)
    name = match["name"] if match else ""
    there = [place for end in LINES if (place := labels.with_name(name + end)).exists()]
    return LogFile(labels.parent.resolve().name, name, there[0], labels) if there else None


def read_logs(file: LogFile) -> LogSet:
    """The lines and what is known of them; ValueError naming the file where they are not in a known form."""
    key, told = _labels(file.labels)
    if file.lines.name.endswith(".tar.gz"):
        return _of_archive(file, told)
    with _opened(file.lines) as lines:
        read = _Reading.of(lines)
    if not len(read.messages):
        raise ValueError(f"{file.lines}: no line begins as a known log does")
    if key == BY_LINE:
        labels = np.array([told.get(str(number + 1), False) for number in read.numbers])
        names = [str(number + 1) for number in read.numbers]
        own = np.arange(len(names))
        return read.put(file, own, own, names, labels, by_line=True)
    return _of_sessions(file, read, told)


def _labels(path: Path) -> tuple[str, dict[str, bool]]:
    """The name of the key, and whether each is an anomaly."""
    with _opened(path) as file:
        rows = csv.DictReader(file)
        names = rows.fieldnames or [""]
        if "label" not in names[1:]:
            raise ValueError(f"{path}: a key and then a column label are needed, found {', '.join(names)}")
        return names[0], {row[names[0]]: row["label"].strip() not in ("", "0", "0.0") for row in rows}


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
        yield io.TextIOWrapper(opened, encoding="utf-8", errors="replace", newline="\n")


@dataclass(slots=True)
class _Reading:
    """Lines that a header was found in, in order; `numbers` are those of the lines in their file."""

    messages: list[str]
    times: list[int]
    severities: list[int]
    entities: list[str]
    numbers: list[int]

    @classmethod
    def of(cls, lines: Iterator[str] | io.TextIOWrapper) -> "_Reading":
        """All lines of one file, which has one form."""
        read, header = cls([], [], [], [], []), None
        for number, line in enumerate(lines):
            text = line.rstrip("\r\n")
            match = header.match(text) if header else next((m for one in HEADERS if (m := one.match(text))), None)
            if match is not None:
                header = match.re
                read._add(match, number)
        return read

    def _add(self, match: re.Match[str], number: int) -> None:
        parts = match.groupdict()
        self.messages.append(parts["message"])
        self.times.append(_time(parts))
        self.severities.append(sniff_severity(f"{parts['level']}:"))
        self.entities.append(parts.get("entity") or "")
        self.numbers.append(number)

    def extend(self, other: "_Reading") -> None:
        """Its lines behind these."""
        for name in ("messages", "times", "severities", "entities", "numbers"):
            getattr(self, name).extend(getattr(other, name))

    def put(
        self, file: LogFile, owners: Ints, judged: Ints, names: list[str], labels: Bools, by_line: bool = False
    ) -> LogSet:
        """As a data set; lines of no session (-1) are left out, the rest is ordered by time."""
        times = np.array(self.times, np.int64)
        order = np.argsort(times, kind="stable")
        order = order[owners[order] >= 0]
        entities = [self.entities[place] for place in order.tolist()] if by_line else [""] * len(names)
        return LogSet(
            file, [self.messages[place] for place in order.tolist()], times[order],
            np.array(self.severities, np.int8)[order], owners[order], judged, names, entities, labels, by_line,
        )  # fmt: skip


def _time(parts: dict[str, str | None]) -> int:
    """Of a header, in ns since the epoch; UTC."""
    if parts.get("epoch"):
        return int(parts["epoch"] or 0) * SECOND
    form, text = ("%y%m%d %H%M%S", parts["short"]) if parts.get("short") else ("%Y-%m-%d %H:%M:%S", parts["iso"])
    moment = datetime.strptime((text or "").replace("T", " "), form).replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND


def _of_sessions(file: LogFile, read: _Reading, told: dict[str, bool]) -> LogSet:
    """Each line belongs to the first key in it that has a label."""
    least, most = min(told), max(told)  # what begins both begins all that lie between
    shared = next((n for n, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
    form = re.compile(re.escape(re.sub(r"-?\d*$", "", least[:shared])) + r"[-\w]+")
    place = {name: number for number, name in enumerate(told)}
    owners = np.array([_first(form.findall(message), place) for message in read.messages], np.int64)
    return read.put(file, owners, np.arange(len(told)), list(told), np.array(list(told.values())))


def _first(found: Sequence[str], place: dict[str, int]) -> int:
    return next((place[name] for name in found if name in place), -1)


def _of_archive(file: LogFile, told: dict[str, bool]) -> LogSet:
    """Each file is a session of the key that its first folder is."""
    read, owners, judged = _Reading([], [], [], [], []), list[int](), list[int]()
    place = {name: number for number, name in enumerate(told)}
    with tarfile.open(file.lines) as archive:
        for member in archive:
            key = member.name.removeprefix("./").partition("/")[0]
            opened = archive.extractfile(member) if member.isfile() and key in place else None
            if opened is not None:
                part = _Reading.of(io.TextIOWrapper(opened, encoding="utf-8", errors="replace"))
                owners += [len(judged)] * len(part.messages)
                judged.append(place[key])
                read.extend(part)
    return read.put(file, np.array(owners, np.int64), np.array(judged), list(told), np.array(list(told.values())))
