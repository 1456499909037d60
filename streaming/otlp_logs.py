"""OTLP logs (ExportLogsServiceRequest) in protobuf or JSON into `Lines`; topics of these and of JSON lines."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from streaming.columns import MAX_NAME, legal_name
from streaming.deadletters import DeadReason
from streaming.decode import MAX_AHEAD, Decoder, LineDecoder, severity_of
from streaming.formats import format_of
from streaming.intake import Intake, encode
from streaming.json_records import RecordError
from streaming.mapping import SeriesMapping
from streaming.messages import runs
from streaming.otlp import attributes_of
from streaming.otlp_json import logs_of_json
from streaming.points import readable_times
from streaming.related import Related
from streaming.remotewrite import MAX_MESSAGE_BYTES
from streaming.settings import LogFormat, Mapping
from streaming.timestamps import OK, REASON_OF_FAULT, EventTimes
from streaming.types import SEVERITIES, Ints, Lines

TEMPLATE = "log.record.template"
"""Attribute that holds the template of a line, so that it need not be mined."""
LEVELS = 4
"""Severity numbers of each name: 1 to 4 are TRACE."""


def logs_of_protobuf(payload: bytes) -> Any:
    """The message in `payload`; RecordError where it is none."""
    try:
        return ExportLogsServiceRequest.FromString(payload)
    except DecodeError as error:
        raise RecordError("broken_message", f"{error}; an OTLP ExportLogsServiceRequest is expected") from error


@dataclass(slots=True)
class _Gathered:
    """The lines of a poll: the message (its number in the poll) and what it says of each."""

    messages: list[int] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    severities: list[int] = field(default_factory=list)
    templates: list[str | None] = field(default_factory=list)
    related: list[list[Any]] = field(default_factory=list)
    names: tuple[str, ...] = ()

    def add(self, message: int, request: Any, mapping: SeriesMapping) -> None:
        """Add the lines of `request`."""
        for part in request.resource_logs:
            labels = attributes_of(part.resource.attributes)
            entity, settled = mapping.entity(labels), mapping.settles(labels)
            for scope in part.scope_logs:
                for line in scope.log_records:
                    own = attributes_of(line.attributes)
                    template = own.get(TEMPLATE)
                    self.messages.append(message)
                    self.entities.append(entity if settled else mapping.entity(own | labels))
                    self.times.append(line.time_unix_nano or line.observed_time_unix_nano)
                    self.texts.append(_text(line.body) or line.event_name or template or "")
                    self.severities.append(_severity(line.severity_number, line.severity_text))
                    self.templates.append(template and _clean(template))
                    if self.names:
                        said = {"entity": self.entities[-1], "severity": line.severity_text} | labels | own
                        self.related.append([said.get(name) for name in self.names])


class OtlpLineDecoder(Decoder):
    """OTLP logs into `Lines`: each line at its message's position.

    A message whose lines are partly bad gives the good ones, and is a dead letter too.
    """

    def __init__(self, format: LogFormat, *, max_ahead: int = MAX_AHEAD) -> None:
        super().__init__(EventTimes("ns", max_ahead), format.default_entity, MAX_MESSAGE_BYTES)
        self.format = format
        self._mapping = SeriesMapping(Mapping(format.entity), self.default_entity)

    def begin(self, file: str, position: int) -> None:
        """As any decoder's."""
        super().begin(file, position)
        self._mapping.default = self.default_entity

    def decode(
        self, payloads: Sequence[bytes], positions: Ints, ingested: Ints, next_position: int, partition: int = 0
    ) -> Lines:
        """N payloads with their positions (N, rising) and ingest timestamps (N, ns); no bytes make it raise."""
        intake, lines = Intake(payloads), _Gathered(names=self.format.relations)
        for message, payload in enumerate(payloads):
            try:
                self._gather(payload, message, lines)
            except RecordError as error:
                intake.refuse(message, error)
        numbers = np.array(lines.messages, np.int64)
        times, good = self._judge(lines, numbers, intake, ingested)
        intake.bury(self.dead, positions)
        dead, counts = self.dead.take()
        kept = np.flatnonzero(good).tolist()
        names, codes = encode([lines.entities[k] for k in kept])
        return Lines(
            names=names,
            codes=codes,
            times=times[good],
            messages=[_clean(lines.texts[k]) for k in kept],
            severities=np.array(lines.severities, np.int8)[good],
            positions=positions[numbers[good]],
            ingested=ingested[numbers[good]],
            next_position=next_position,
            dead=dead,
            dead_counts=counts,
            partition=partition,
            templates=[lines.templates[k] for k in kept] if any(lines.templates) else (),
            related=Related.of(lines.names, [lines.related[k] for k in kept]) if lines.names else None,
        )

    def _gather(self, payload: bytes, message: int, lines: _Gathered) -> None:
        if not payload:
            raise RecordError("empty", "the message is empty")
        if len(payload) > self._max_record_bytes:
            raise RecordError("too_long", f"longer than {self._max_record_bytes} bytes, the most that is allowed")
        before = len(lines.messages)
        kind = format_of(payload) if self.format.format == "auto" else self.format.format
        lines.add(message, logs_of_json(payload) if kind == "otlp-json" else logs_of_protobuf(payload), self._mapping)
        if len(lines.messages) == before:
            raise RecordError("missing_values", "no line in it; are these logs?")

    def _judge(self, lines: _Gathered, numbers: Ints, intake: Intake, ingested: Ints) -> tuple[Ints, Any]:
        """The lines' times (ns), and which lines are good; one dead letter for a message with others."""
        times, faults = readable_times(lines.times, self.times, ingested[numbers])
        unnamed = np.array([not legal_name(name) for name in lines.entities], np.bool_)
        wordless = np.array([not text for text in lines.texts], np.bool_)
        bad = (faults != OK) | unnamed | wordless
        places, totals = np.flatnonzero(bad), np.bincount(numbers, minlength=1)
        told, first, counts = np.unique(numbers[places], return_index=True, return_counts=True)
        for number, place, count in zip(told.tolist(), places[first].tolist(), counts.tolist(), strict=True):
            reason: DeadReason
            if unnamed[place]:
                name = lines.entities[place]
                reason = "bad_entity" if name else "missing_entity"
                said = f"entity: {name!r:.80}; attributes whose values make 1 to {MAX_NAME} characters are expected"
            elif faults[place] != OK:
                fault = int(faults[place])
                reason = REASON_OF_FAULT[fault]
                said = self.times.explain(fault, lines.times[place], int(ingested[number]))
            else:
                reason, said = "missing_values", "body: missing"
            intake.refuse(number, RecordError(reason, f"{count} of {totals[number]} lines, the first: {said}"))
        return times, ~bad


class AnyLineDecoder(Decoder):
    """Log messages of any format: each as its bytes say, OTLP by `OtlpLineDecoder` and the rest by `LineDecoder`."""

    def __init__(self, format: LogFormat, *, max_ahead: int = MAX_AHEAD, max_record_bytes: int) -> None:
        self.single = LineDecoder(format, max_ahead=max_ahead, max_record_bytes=max_record_bytes)
        self.messages = OtlpLineDecoder(format, max_ahead=max_ahead)
        super().__init__(self.single.times, format.default_entity, max_record_bytes)
        self.single.dead = self.messages.dead = self.dead

    def begin(self, file: str, position: int) -> None:
        """As any decoder's."""
        self.single.begin(file, position)
        self.messages.begin(file, position)

    def decode(
        self, payloads: Sequence[bytes], positions: Ints, ingested: Ints, next_position: int, partition: int = 0
    ) -> Lines:
        """N payloads with their positions (N, rising) and ingest timestamps (N, ns); no bytes make it raise."""
        is_otlp = [format_of(payload) in ("otlp", "otlp-json") for payload in payloads]
        parts = [
            (self.messages if is_otlp[start] else self.single).decode(
                payloads[start:stop], positions[start:stop], ingested[start:stop], next_position, partition
            )
            for start, stop in runs(is_otlp)
        ]
        return joined_lines(parts) if parts else self.single.decode([], positions, ingested, next_position, partition)


def joined_lines(parts: Sequence[Lines]) -> Lines:
    """Lines of one poll one after another."""
    if len(parts) == 1:
        return parts[0]
    names: dict[str, int] = {}
    numbers = [np.array([names.setdefault(name, len(names)) for name in part.names], np.int32) for part in parts]
    dead_counts: dict[str, int] = {}
    for part in parts:
        for reason, count in part.dead_counts.items():
            dead_counts[reason] = dead_counts.get(reason, 0) + count
    arrays: dict[Literal["times", "severities", "positions", "ingested"], Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("times", "severities", "positions", "ingested")
    }
    given = any(part.templates for part in parts)
    related = [Related.none(len(part.codes)) if part.related is None else part.related for part in parts]
    return replace(
        parts[-1],
        names=list(names),
        codes=np.concatenate([own[part.codes] for own, part in zip(numbers, parts, strict=True)]),
        messages=[text for part in parts for text in part.messages],
        templates=[one for part in parts for one in part.templates or [None] * len(part.codes)] if given else (),
        dead=[letter for part in parts for letter in part.dead],
        dead_counts=dead_counts,
        related=Related.joined(related) if any(one.names for one in related) else None,
        **arrays,
    )


def _severity(number: int | str, text: str) -> int:
    if isinstance(number, str):  # the name of the enumeration's value, as protobuf's own JSON has it
        return severity_of(number.removeprefix("SEVERITY_NUMBER_").rstrip("234"))
    known = 1 <= number <= LEVELS * len(SEVERITIES)
    return (number - 1) // LEVELS if known else severity_of(text)


def _text(value: Any) -> str:
    plain = _plain(value)
    if plain is None or isinstance(plain, str):
        return plain or ""
    return msgspec.json.encode(plain).decode()


def _plain(value: Any) -> Any:
    """An AnyValue as Python has it; bytes are left out."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    return None if kind is None or kind == "bytes_value" else getattr(value, kind)


def _clean(text: str) -> str:
    return text if "\0" not in text else text.replace("\0", "\ufffd")
