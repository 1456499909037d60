"""Bytes into records: typed JSON telemetry and log lines. The only per-record Python of the stream."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from streaming.assembly import Assembly
from streaming.columns import Columns
from streaming.deadletters import DeadLetters
from streaming.escapes import unescaped
from streaming.intake import Intake, encode
from streaming.json_records import LogRow, RecordError, Row, flat_row, log_row, log_shape, nested_row, related_of
from streaming.related import Related
from streaming.settings import SECOND, LogFormat, TelemetryFormat
from streaming.timestamps import EventTimes
from streaming.types import SEVERITIES, Ints, Lines, Records

MAX_AHEAD = 3600 * SECOND
MAX_RECORD_BYTES = 1 << 20

_SYNONYMS = {
    "trace": "trace verbose finest finer",
    "debug": "debug fine",
    "info": "info information informational notice",
    "warning": "warning warn",
    "error": "error err severe",
    "fatal": "fatal critical crit alert emerg emergency panic",
}
SEVERITY_OF = {word: i for i, name in enumerate(SEVERITIES) for word in _SYNONYMS[name].split()}
"""What loggers call the severities, in lower case, to the index in `SEVERITIES`."""


class Decoder:
    """What decoders of both topics do: parse a poll, judge entities and times, remember."""

    def __init__(self, times: EventTimes, default_entity: str, max_record_bytes: int = MAX_RECORD_BYTES) -> None:
        self.times = times
        self.dead = DeadLetters()
        self.row_base = 0
        self._default_entity_pattern = self._default_entity = default_entity
        self._max_record_bytes = max_record_bytes

    @property
    def default_entity(self) -> str:
        """Whose the records are that name no entity."""
        return self._default_entity

    def begin(self, file: str, position: int) -> None:
        """A file begins at `position`: its name (up to the first dot) replaces `{file}` in the default entity."""
        self._default_entity = self._default_entity_pattern.replace("{file}", file.partition(".")[0])
        self.row_base = position

    def state(self, before: int | None = None) -> dict[str, Any]:
        """JSON: the unit of time and the kept dead letters (of positions below `before`), for `restore`."""
        return {"time_unit": self.times.state(), "dead": self.dead.state(before)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.times.restore(state["time_unit"])
        self.dead.restore(state["dead"])

    def _rows(
        self,
        payloads: Sequence[bytes],
        ingested: Ints,
        fast: Callable[[bytes], Any],
        careful: Callable[[bytes], Any],
    ) -> tuple[Intake, list[Any], Ints]:
        """The rows (M) that parse, with their event times (M); the intake says which of them are good."""
        intake = Intake(payloads, self._max_record_bytes)
        rows = intake.parse(fast, careful)
        intake.judge_entities([row.entity for row in rows])
        times = intake.judge_times(self.times, [row.time for row in rows], ingested[intake.place])
        return intake, rows, times

    def _common(
        self, intake: Intake, good: Sequence[Any], times: Ints, positions: Ints, ingested: Ints
    ) -> dict[str, Any]:
        """The fields that `Records` and `Lines` share, of the good rows; buries the others."""
        names, codes = encode([row.entity for row in good])
        intake.bury(self.dead, positions)
        dead, counts = self.dead.take()
        place = intake.place[intake.good]
        return {
            "names": names,
            "codes": codes,
            "times": times[intake.good],
            "positions": positions[place],
            "ingested": ingested[place],
            "dead": dead,
            "dead_counts": counts,
        }


class TelemetryDecoder(Decoder):
    """JSON telemetry into `Records`: nested (`values` or `v`), or flat objects of layout "wide" and "long".

    Good records come out the same whatever lies between them; each other one is a dead letter with a reason.
    In flat layouts without a time column a record's time is its row in its file, a second a row.
    """

    def __init__(
        self,
        format: TelemetryFormat,
        columns: Columns,
        *,
        max_ahead: int = MAX_AHEAD,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        if format.features is not None and len(set(format.features)) != len(format.features):
            raise ValueError(f"features must differ: {format.features}")
        times = EventTimes(format.unit if format.time is not None else "s", max_ahead)
        super().__init__(times, format.default_entity, max_record_bytes)
        self.format = format
        self.columns = columns
        self._assembly = Assembly(columns, format.features)
        self._nested = msgspec.json.Decoder(Row)

    def decode(
        self, payloads: Sequence[bytes], positions: Ints, ingested: Ints, next_position: int, partition: int = 0
    ) -> Records:
        """N payloads with their positions (N, rising) and ingest timestamps (N, ns); no bytes make it raise."""
        intake, rows, times = self._rows(payloads, ingested, *self._parsers())
        if self.format.time is None and self.format.layout != "json":
            times = (positions[intake.place] - self.row_base) * SECOND
        matrix, unknown = self._assembly.values(rows, intake)
        good = intake.take(rows)
        return Records(
            **self._common(intake, good, times, positions, ingested),
            values=matrix if len(good) == len(matrix) else matrix[intake.good],
            features=self.columns.names,
            next_position=next_position,
            labels={row.entity: _clean(row.labels) for row in good if row.labels is not None},
            unknown=unknown,
            partition=partition,
        )

    def _parsers(self) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any]]:
        """The fast parser, and the one for features that it does not know yet and for a look at what is wrong."""

        def flat(payload: bytes) -> Any:
            return flat_row(payload, self.format, self.default_entity)

        def again(payload: bytes) -> Any:
            try:
                return pack(self._nested.decode(payload))
            except (ValueError, RecursionError):
                return pack(nested_row(payload))

        if self.format.layout != "json":
            return flat, flat
        fast, pack = self._assembly.parser()
        return fast, again


class LineDecoder(Decoder):
    """Log lines into `Lines`: JSON objects, or raw text by a pattern with named groups."""

    def __init__(
        self, format: LogFormat, *, max_ahead: int = MAX_AHEAD, max_record_bytes: int = MAX_RECORD_BYTES
    ) -> None:
        text = format.layout == "text"
        times = EventTimes(format.unit, max_ahead, format.time_format if text else None)
        super().__init__(times, format.default_entity, max_record_bytes)
        self.format = format
        self._shape = log_shape(format.relations) if format.relations else LogRow
        self._related = related_of(format.relations) if format.relations else None
        self._fast = self._text_parser(format) if text else msgspec.json.Decoder(self._shape).decode

    def decode(
        self, payloads: Sequence[bytes], positions: Ints, ingested: Ints, next_position: int, partition: int = 0
    ) -> Lines:
        """N payloads with their positions (N, rising) and ingest timestamps (N, ns); no bytes make it raise."""
        intake, rows, times = self._rows(payloads, ingested, self._fast, partial(log_row, shape=self._shape))
        good = intake.take(rows)
        names = self.format.relations
        return Lines(
            **self._common(intake, good, times, positions, ingested),
            messages=[row.message if "\0" not in row.message else row.message.replace("\0", "\ufffd") for row in good],
            severities=np.fromiter([severity_of(row.severity) for row in good], np.int8, len(good)),
            next_position=next_position,
            partition=partition,
            related=None if self._related is None else Related.of(names, [self._related(row) for row in good]),
        )

    def _text_parser(self, format: LogFormat) -> Callable[[bytes], LogRow]:
        """A parser of raw records, whose first line `format.pattern` reads and whose others belong to the message;
        ValueError when the pattern lacks the groups time and message."""
        if format.pattern is None:
            raise ValueError("text logs need a pattern with the named groups time and message")
        pattern = re.compile(format.pattern)
        lacking = {"time", "message"} - set(pattern.groupindex)
        if lacking:
            raise ValueError(f"pattern {format.pattern!r} lacks the named groups {sorted(lacking)}")

        def parse(payload: bytes) -> LogRow:
            try:
                first, *more = unescaped(payload.decode()).split("\n", 1)
            except UnicodeDecodeError as error:
                raise RecordError(
                    "bad_encoding", f"not UTF-8 at byte {error.start}; text in UTF-8 is expected"
                ) from error
            match = pattern.match(first)
            if match is None:
                said = f"does not match the pattern {pattern.pattern!r:.300}"
                raise RecordError("no_match" if payload.strip() else "empty", said)
            groups = match.groupdict()
            if not groups["time"]:
                raise RecordError("missing_time", "time: the pattern found none in this line")
            entity = groups.get("entity") or self.default_entity
            message = "\n".join([groups["message"] or "", *more])
            row = self._shape(entity, groups["time"], message, groups.get("severity"))
            for place, name in enumerate(format.relations):
                if name not in ("entity", "severity"):
                    setattr(row, f"related_{place}", groups.get(name))
            return row

        return parse


def severity_of(word: str | int | None) -> int:
    """The index in `SEVERITIES` of what a logger calls a severity, -1 if it is none (numbers are none)."""
    return SEVERITY_OF.get(word.strip().lower(), -1) if isinstance(word, str) else -1


def _clean(labels: dict[str, str]) -> dict[str, str]:
    return {key.replace("\0", ""): value.replace("\0", "") for key, value in labels.items()}
