"""Messages of many points into `Records`: OTLP and remote-write; and topics whose messages are of several formats."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from streaming.columns import Columns
from streaming.decode import MAX_AHEAD, Decoder, TelemetryDecoder
from streaming.formats import format_of
from streaming.intake import Intake
from streaming.json_records import RecordError
from streaming.mapping import SeriesMapping
from streaming.otlp import MetricReader, metrics_of_protobuf
from streaming.otlp_json import metrics_of_json
from streaming.points import Points
from streaming.remotewrite import MAX_MESSAGE_BYTES, read_series, write_request
from streaming.settings import TelemetryFormat
from streaming.timestamps import EventTimes
from streaming.types import Ints, Records


class MetricDecoder(Decoder):
    """OTLP and remote-write messages into `Records`: a row for each entity and time of a message, at its position.

    A message whose points are partly bad gives the good ones, and is a dead letter too.
    """

    def __init__(self, format: TelemetryFormat, columns: Columns, *, max_ahead: int = MAX_AHEAD) -> None:
        super().__init__(EventTimes("ns", max_ahead), format.default_entity, MAX_MESSAGE_BYTES)
        self.format = format
        self.columns = columns
        self._mapping = SeriesMapping(format.mapping, self.default_entity)
        self._metrics = MetricReader(self._mapping)

    def decode(
        self, payloads: Sequence[bytes], positions: Ints, ingested: Ints, next_position: int, partition: int = 0
    ) -> Records:
        """N payloads with their positions (N, rising) and ingest timestamps (N, ns); no bytes make it raise."""
        intake, points = Intake(payloads), Points()
        self._metrics.cumulative.begin()
        for message, (payload, position) in enumerate(zip(payloads, positions.tolist(), strict=True)):
            try:
                self._gather(payload, message, position, points)
            except RecordError as error:
                intake.refuse(message, error)
        rows = points.rows(intake, self.times, ingested, self.columns)
        intake.bury(self.dead, positions)
        dead, counts = self.dead.take()
        return Records(
            names=rows.names,
            codes=rows.codes,
            times=rows.times,
            values=rows.values,
            positions=positions[rows.messages],
            ingested=ingested[rows.messages],
            features=self.columns.names,
            next_position=next_position,
            labels={name: points.labels[name] for name in rows.names if points.labels.get(name)},
            dead=dead,
            dead_counts=counts,
            unknown=rows.unknown,
            partition=partition,
        )

    def begin(self, file: str, position: int) -> None:
        """As any decoder's."""
        super().begin(file, position)
        self._mapping.default = self.default_entity

    def state(self, before: int | None = None) -> dict[str, Any]:
        """As any decoder's, with the last counts of cumulative histograms."""
        return super().state(before) | {"cumulative": self._metrics.cumulative.state(before)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        super().restore(state)
        self._metrics.cumulative.restore(state.get("cumulative", []))

    def _gather(self, payload: bytes, message: int, position: int, points: Points) -> None:
        if not payload:
            raise RecordError("empty", "the message is empty")
        if len(payload) > self._max_record_bytes:
            raise RecordError("too_long", f"longer than {self._max_record_bytes} bytes, the most that is allowed")
        before = points.count
        match format_of(payload) if self.format.format == "auto" else self.format.format:
            case "remote-write":
                read_series(write_request(payload), message, self._mapping, points)
            case "otlp":
                self._metrics.read(metrics_of_protobuf(payload), message, position, points)
            case _:
                self._metrics.read(metrics_of_json(payload), message, position, points)
        if points.count == before:
            raise RecordError("missing_values", "no point in it; are these metrics?")


class AnyDecoder(Decoder):
    """Messages of any format: each as its bytes say, JSON by `TelemetryDecoder` and the rest by `MetricDecoder`."""

    def __init__(
        self, format: TelemetryFormat, columns: Columns, *, max_ahead: int = MAX_AHEAD, max_record_bytes: int
    ) -> None:
        self.json = TelemetryDecoder(format, columns, max_ahead=max_ahead, max_record_bytes=max_record_bytes)
        self.messages = MetricDecoder(format, columns, max_ahead=max_ahead)
        super().__init__(self.json.times, format.default_entity, max_record_bytes)
        self.json.dead = self.messages.dead = self.dead

    def begin(self, file: str, position: int) -> None:
        """As any decoder's."""
        self.json.begin(file, position)
        self.messages.begin(file, position)

    def state(self, before: int | None = None) -> dict[str, Any]:
        """Of both."""
        return self.messages.state(before) | self.json.state(before)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.messages.restore(state)
        self.json.restore(state)

    def decode(
        self, payloads: Sequence[bytes], positions: Ints, ingested: Ints, next_position: int, partition: int = 0
    ) -> Records:
        """N payloads with their positions (N, rising) and ingest timestamps (N, ns); no bytes make it raise."""
        is_json = [format_of(payload) == "json" for payload in payloads]
        parts = [
            (self.json if is_json[start] else self.messages).decode(
                payloads[start:stop], positions[start:stop], ingested[start:stop], next_position, partition
            )
            for start, stop in runs(is_json)
        ]
        return joined(parts) if parts else self.json.decode([], positions, ingested, next_position, partition)


def runs(kinds: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Stretches of equal values: they are decoded in their order, since what is learnt depends on it."""
    edges = [0, *(k for k in range(1, len(kinds)) if kinds[k] != kinds[k - 1]), len(kinds)]
    return ((start, stop) for start, stop in pairwise(edges) if start < stop)


def joined(parts: Sequence[Records]) -> Records:
    """Records of one poll one after another; the last one has the most columns."""
    if len(parts) == 1:
        return parts[0]
    names: dict[str, int] = {}
    numbers = [np.array([names.setdefault(name, len(names)) for name in part.names], np.int32) for part in parts]
    width = len(parts[-1].features)

    def every(take: Callable[[Records], Any]) -> Any:
        return np.concatenate([take(part) for part in parts])

    def wide(part: Records) -> Any:
        return np.pad(part.values, ((0, 0), (0, width - part.values.shape[1])), constant_values=np.nan)

    dead_counts: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for part in parts:
        for totals, counts in ((dead_counts, part.dead_counts), (unknown, part.unknown)):
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
    return replace(
        parts[-1],
        names=list(names),
        codes=np.concatenate([own[part.codes] for own, part in zip(numbers, parts, strict=True)]),
        times=every(lambda part: part.times),
        values=every(wide),
        positions=every(lambda part: part.positions),
        ingested=every(lambda part: part.ingested),
        labels={name: labels for part in parts for name, labels in part.labels.items()},
        dead=[letter for part in parts for letter in part.dead],
        dead_counts=dead_counts,
        unknown=unknown,
    )
