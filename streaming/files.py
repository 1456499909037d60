"""Finite sources: JSON Lines, CSV and Parquet files, folders of them, and standard input."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from streaming.checksum import Checksum, Identity, PrefixChecksum
from streaming.columns import Columns
from streaming.decode import MAX_AHEAD, MAX_RECORD_BYTES, Decoder
from streaming.decoders import PayloadDecoder, decoder_of
from streaming.escapes import unescaped
from streaming.linereader import LineReader
from streaming.multiline import RecordReader
from streaming.remotewrite import MAX_MESSAGE_BYTES
from streaming.rowtables import empty_batch
from streaming.settings import LogFormat, TelemetryFormat
from streaming.sorted_source import MEMORY_BYTES, SortedSource
from streaming.tabledecode import TableDecoder
from streaming.tables import CsvFeed, Feed, File, ParquetFeed, open_bytes
from streaming.types import Batch, Source, SourceChanged, Topic

Kind = Literal["lines", "csv", "parquet"]
Begins = Callable[[bytes], bool] | None
KIND_OF_SUFFIX: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "lines",
    ".log": "lines",
    ".txt": "lines",
}
_SKIP_ROWS = 8192


class LinesFeed:
    """JSON Lines or raw text. `ingested`: the ingest timestamp (ns) of what is read now."""

    def __init__(self, reader: LineReader | RecordReader, decoder: PayloadDecoder, ingested: Callable[[], int]) -> None:
        self._reader = reader
        self._decoder = decoder
        self._ingested = ingested
        self._wait = True

    @classmethod
    def of_file(cls, path: Path, decoder: PayloadDecoder, begins: Begins, max_record_bytes: int) -> "LinesFeed":
        """The records of a file, ingested at its modification time; `begins` tells their first lines (None: all)."""
        modified = path.stat().st_mtime_ns
        lines = LineReader(open_bytes(path), str(path), max_record_bytes)
        return cls(RecordReader(lines, begins) if begins else lines, decoder, lambda: modified)

    @classmethod
    def of_stdin(
        cls, decoder: PayloadDecoder, begins: Begins, max_record_bytes: int, clock: Callable[[], int]
    ) -> "LinesFeed":
        """Standard input, ingested when it is read; a read gives what has come and waits for the first record only."""
        lines = LineReader(sys.stdin.buffer, "standard input", max_record_bytes)
        feed = cls(RecordReader(lines, begins) if begins else lines, decoder, clock)
        feed._wait = False
        return feed

    def read(self, max_records: int) -> list[bytes]:
        """Up to `max_records` lines."""
        return self._reader.read(max_records, wait=self._wait)

    def decode(self, raw: list[bytes], position: int) -> Batch:
        """`raw` as a batch that begins at `position`."""
        positions = np.arange(position, position + len(raw), dtype=np.int64)
        ingested = np.full(len(raw), self._ingested(), dtype=np.int64)
        return self._decoder.decode(raw, positions, ingested, position + len(raw))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class ArrivalSource:
    """Files one after another, each in the order of its rows. A position's row counts raw rows, bad ones too.

    A source without any row gives one batch with the dead letter `empty`, then ends. `paths` are what `open_feed`
    opens, `checksum` tells whether they are still the same. Standard input (`paths` empty) has no position: to seek
    in it does nothing.
    """

    def __init__(
        self,
        name: str,
        topic: Topic,
        paths: Sequence[Any],
        decoder: Decoder,
        open_feed: Callable[[Any], Feed],
        checksum: Identity,
    ) -> None:
        self.topic: Topic = topic
        self.waiting = True
        self.truncated: tuple[int, int] | None = None
        self.decoder = decoder
        self._name = name
        self._paths = list(paths)
        self._open_feed = open_feed
        self._checksum = checksum
        self._seen = 0
        self._told_empty = False
        self._feeds = self._open_all()
        self._feed = next(self._feeds, None)

    def poll(self, max_records: int = 5000) -> Batch | None:
        """Up to `max_records` raw rows, fewer at the end of a file; None at the end."""
        raw = self._read(max_records)
        if raw is not None and self._feed is not None:
            batch = self._feed.decode(raw, self._seen)
            self._seen += len(raw)
            return batch
        if self._seen == 0 and not self._told_empty:
            self._told_empty = True
            return self._empty()
        return None

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: path, checksum, row, and what the decoder must remember there."""
        if not self._paths:
            return {"path": self._name, "row": next_position}
        state = self.decoder.state(next_position)
        return {"path": self._name, "checksum": self._checksum.text(), "row": next_position, "decoder": state}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`; SourceChanged if the files are no longer those that it belongs to.

        Standard input cannot go back: what comes is new, and its rows are numbered on.
        """
        if not self._paths:
            self._seen = position["row"]
            return
        self._check(position)
        self.close()
        self._seen = 0
        self._told_empty = False
        self._feeds = self._open_all()
        self._feed = next(self._feeds, None)
        wanted = position.get("row", 0)
        while self._seen < wanted:
            raw = self._read(min(_SKIP_ROWS, wanted - self._seen))
            if raw is None:
                raise SourceChanged(f"{self._name}: has only {self._seen} rows, {wanted} had been read")
            self._seen += len(raw)
        if "decoder" in position:
            self.decoder.restore(position["decoder"])

    def _check(self, position: dict[str, Any]) -> None:
        if "checksum" not in position:
            before = position.get("topic") or "standard input"
            raise SourceChanged(f"{self._name}: the stream was read from {before} before, and goes on there only")
        try:
            self._checksum.check(position["checksum"])
        except SourceChanged as error:
            if position["path"] == self._name:
                raise
            raise SourceChanged(
                f"{self._name}: the stream was read from {position['path']} before, and this is another file; "
                "feed it other records through standard input"
            ) from error

    def close(self) -> None:
        """Close the file that is open."""
        if self._feed is not None:
            self._feed.close()

    def _open_all(self) -> Iterator[Feed]:
        for path in self._paths or [Path("-")]:
            self.decoder.begin(path.name, self._seen)
            yield self._open_feed(path)

    def _read(self, max_records: int) -> Any:
        """The next raw rows, of the next file that has some; None at the end."""
        while self._feed is not None:
            raw = self._feed.read(max_records)
            if raw is not None and len(raw):
                return raw
            self._feed.close()
            self._feed = next(self._feeds, None)
        return None

    def _empty(self) -> Batch:
        self.decoder.dead.add(0, "empty", f"{self._name}: there is no record in it", None)
        dead, counts = self.decoder.dead.take()
        return replace(empty_batch(self.topic, 0), dead=dead, dead_counts=counts)


def open_source(
    path: str,
    format: TelemetryFormat | LogFormat,
    columns: Columns | None = None,
    *,
    clock: Callable[[], int] = time.time_ns,
    max_ahead: int = MAX_AHEAD,
    max_record_bytes: int = MAX_RECORD_BYTES,
    memory_bytes: int = MEMORY_BYTES,
) -> Source:
    """The finite source at `path`: a file (its suffix tells what it is), a folder of them, or "-", standard input.

    The format tells the topic; `columns` are the stream's features (new ones if None). Tables and folders are read in
    the order of event time, one file of lines and standard input as they come, unless `format.order` says otherwise.
    `clock` stamps standard input, in ns. ValueError says what cannot be read.
    """
    columns = Columns() if columns is None else columns
    line_bytes = max_record_bytes if format.format == "json" else MAX_MESSAGE_BYTES
    paths = _paths(path, format)
    kinds = {kind_of(file) for file in paths} or {"lines"}
    decoder: PayloadDecoder | TableDecoder
    if kinds == {"lines"} or isinstance(format, LogFormat):
        if format.format in ("otlp", "remote-write"):
            raise ValueError(f"{path}: messages of format {format.format!r} are no lines; a topic holds them")
        decoder = decoder_of(format, columns, max_ahead=max_ahead, max_record_bytes=max_record_bytes)
    else:
        decoder = TableDecoder(format, columns, max_ahead=max_ahead)

    begins = first_line(format)

    def open_feed(file: Path) -> Feed:
        if isinstance(decoder, TableDecoder):
            return (
                ParquetFeed(file, decoder) if kind_of(file) == "parquet" else CsvFeed(file, decoder, max_record_bytes)
            )
        if not paths:
            return LinesFeed.of_stdin(decoder, begins, line_bytes, clock)
        return LinesFeed.of_file(file, decoder, begins, line_bytes)

    arrival = "arrival" if kinds == {"lines"} and not Path(path).is_dir() else "time"
    in_order = (format.order or arrival) == "time"
    topic: Topic = "logs" if isinstance(format, LogFormat) else "telemetry"
    may_grow = kinds == {"lines"} and len(paths) == 1 and not in_order
    checksum = PrefixChecksum(paths[0]) if may_grow else Checksum(paths)
    source = ArrivalSource(path, topic, paths, decoder, open_feed, checksum)
    if not in_order:
        return source
    long = isinstance(format, TelemetryFormat) and format.layout == "long"
    return SortedSource(source, columns, long, memory_bytes)


def first_line(format: TelemetryFormat | LogFormat) -> Begins:
    """What tells the first line of a record of raw text (a time with a digit); None where every line is a record."""
    if not isinstance(format, LogFormat) or format.layout != "text" or not format.join_lines or not format.pattern:
        return None
    pattern = re.compile(format.pattern)

    def begins(line: bytes) -> bool:
        match = pattern.match(unescaped(line.decode("utf-8", "replace")))
        return match is not None and any(letter.isdigit() for letter in match["time"] or "")

    return begins


def kind_of(path: File) -> Kind:
    """What the file's suffix (before .gz) says; ValueError names those that are known."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in KIND_OF_SUFFIX:
        raise ValueError(f"{path}: unknown suffix {suffix!r}; {', '.join(KIND_OF_SUFFIX)} (.gz behind) can be read")
    return KIND_OF_SUFFIX[suffix]


def _paths(path: str, format: TelemetryFormat | LogFormat) -> list[Path]:
    """The files at `path` by name: of a folder the tables if the layout is one of tables and there are some, else the
    files of lines. None for standard input."""
    if path == "-":
        return []
    place = Path(path)
    if not place.is_dir():
        if not place.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        if isinstance(format, LogFormat) and kind_of(place) != "lines":
            raise ValueError(f"{path}: logs are read from files of lines; a table is not one")
        return [place]
    known = [file for file in sorted(place.iterdir()) if file.is_file() and is_known(file)]
    tables = [file for file in known if kind_of(file) != "lines"]
    wants_tables = isinstance(format, TelemetryFormat) and format.layout != "json"
    files = tables if tables and wants_tables else [file for file in known if file not in tables]
    if not files:
        raise ValueError(
            f"{path}: this folder has no file for layout {format.layout!r}; {', '.join(KIND_OF_SUFFIX)} can be read"
        )
    return files


def is_known(file: File) -> bool:
    """Whether the file's name tells what it is, and does not begin with a dot."""
    try:
        return not file.name.startswith(".") and bool(kind_of(file))
    except ValueError:
        return False
