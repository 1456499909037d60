"""OTLP metrics (OpenTelemetry protocol 1.x) in protobuf or JSON: the points of ExportMetricsServiceRequest."""

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from streaming.histograms import QUANTILES, Buckets, CumulativeBuckets, explicit, exponential
from streaming.json_records import RecordError
from streaming.mapping import Kind, SeriesMapping
from streaming.points import Points, Sample

DELTA = (1, "AGGREGATION_TEMPORALITY_DELTA")
CUMULATIVE = (2, "AGGREGATION_TEMPORALITY_CUMULATIVE")
NO_VALUE = 1
"""Flag of a point that says that there is none."""
_PARTS = [f"p{quantile * 100:g}" for quantile in QUANTILES]


def metrics_of_protobuf(payload: bytes) -> Any:
    """The message in `payload`; RecordError where it is none."""
    try:
        return ExportMetricsServiceRequest.FromString(payload)
    except DecodeError as error:
        raise RecordError("broken_message", f"{error}; an OTLP ExportMetricsServiceRequest is expected") from error


def text_of(value: Any) -> str | None:
    """An attribute's value as text; None for arrays, pairs and bytes."""
    match value.WhichOneof("value"):
        case "string_value":
            return str(value.string_value)
        case "int_value":
            return str(value.int_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "double_value":
            return repr(value.double_value)
    return None


def attributes_of(pairs: Iterable[Any]) -> dict[str, str]:
    """Attributes as text, those that are none left out."""
    return {pair.key: text for pair in pairs if (text := text_of(pair.value)) is not None}


class MetricReader:
    """Takes the points out of requests, each looked at once."""

    def __init__(self, mapping: SeriesMapping) -> None:
        self._mapping = mapping
        self.cumulative = CumulativeBuckets()

    def read(self, request: Any, message: int, position: int, points: Points) -> None:
        """Add the points of `request`, the payload of number `message` at `position`, to `points`."""
        for part in request.resource_metrics:
            labels = attributes_of(part.resource.attributes)
            reading = _Reading(self._mapping, self.cumulative, labels, message, position, points)
            for scope in part.scope_metrics:
                for metric in scope.metrics:
                    reading.metric(metric)


class _Reading:
    """The metrics of one resource of one message."""

    def __init__(
        self,
        mapping: SeriesMapping,
        cumulative: CumulativeBuckets,
        labels: dict[str, str],
        message: int,
        position: int,
        points: Points,
    ) -> None:
        self._mapping, self._cumulative, self._points = mapping, cumulative, points
        self._labels, self._message, self._position = labels, message, position
        self._entity = mapping.entity(labels)
        self._settled = mapping.settles(labels)
        self._remember(self._entity, labels)

    def metric(self, metric: Any) -> None:
        """Add the points of `metric`."""
        name = metric.name
        if numbers := metric.gauge.data_points:
            self._numbers(name, "gauge", numbers)
        if numbers := metric.sum.data_points:
            self._numbers(name, _kind(metric.sum.aggregation_temporality, metric.sum.is_monotonic), numbers)
        if metric.histogram.data_points:
            self._histograms(name, metric.histogram, is_exponential=False)
        if metric.exponential_histogram.data_points:
            self._histograms(name, metric.exponential_histogram, is_exponential=True)
        for point in metric.summary.data_points:
            self._summary(name, point)

    def _numbers(self, name: str, kind: Kind, numbers: Any) -> None:
        if self._settled and not self._mapping.matches(name):
            targets = self._mapping.targets(name, "", kind, self._labels)
            samples = [(p.time_unix_nano, p.as_double or p.as_int or _zero(p)) for p in numbers] if targets else []
            self._points.add(self._message, self._entity, targets, samples)
            self._points.count += len(numbers) - len(samples)
            return
        for p in numbers:
            entity, labels = self._series(p)
            targets = self._mapping.targets(name, "", kind, labels)
            sample = (p.time_unix_nano, p.as_double or p.as_int or _zero(p))
            self._points.add(self._message, entity, targets, [sample])

    def _histograms(self, name: str, histogram: Any, *, is_exponential: bool) -> None:
        kind = _kind(histogram.aggregation_temporality, True)
        for p in histogram.data_points:
            if p.flags & NO_VALUE:
                continue
            entity, labels = self._series(p)
            self._add(entity, labels, name, "count", kind, (p.time_unix_nano, p.count))
            if p.HasField("sum"):
                self._add(entity, labels, name, "sum", kind, (p.time_unix_nano, p.sum))
            buckets = exponential(p) if is_exponential else explicit(p.explicit_bounds, p.bucket_counts)
            if buckets is not None and kind == "counter":
                start, series = p.start_time_unix_nano, _series_name(entity, name, self._labels, p.attributes)
                buckets = self._cumulative.added(self._position, series, start, p.time_unix_nano, buckets)
            for part, value in zip(_PARTS, _quantiles(buckets), strict=False):
                self._add(entity, labels, name, part, "gauge", (p.time_unix_nano, value))

    def _summary(self, name: str, point: Any) -> None:
        if point.flags & NO_VALUE:
            return
        entity, labels = self._series(point)
        time = point.time_unix_nano
        self._add(entity, labels, name, "count", "counter", (time, point.count))
        self._add(entity, labels, name, "sum", "counter", (time, point.sum))
        for held in point.quantile_values:
            self._add(entity, labels, name, f"p{held.quantile * 100:g}", "gauge", (time, held.value))

    def _add(self, entity: str, labels: dict[str, str], name: str, part: str, kind: Kind, sample: Sample) -> None:
        self._points.add(self._message, entity, self._mapping.targets(name, part, kind, labels), [sample])

    def _series(self, point: Any) -> tuple[str, dict[str, str]]:
        """The entity and the labels of a point that has attributes of its own."""
        labels = attributes_of(point.attributes) | self._labels
        if self._settled:
            return self._entity, labels
        entity = self._mapping.entity(labels)
        self._remember(entity, labels)
        return entity, labels

    def _remember(self, entity: str, labels: dict[str, str]) -> None:
        if entity and entity not in self._points.labels:
            self._points.labels[entity] = self._mapping.entity_labels(labels)


def _kind(temporality: int | str, is_monotonic: bool) -> Kind:
    if temporality in DELTA:
        return "delta"
    return "counter" if is_monotonic and temporality in CUMULATIVE else "gauge"


def _zero(point: Any) -> float:
    """The value of a point that reads as zero: none where it has none."""
    return math.nan if point.flags & NO_VALUE or point.WhichOneof("value") is None else 0.0


def _quantiles(buckets: Buckets | None) -> list[float]:
    return [] if buckets is None else buckets.quantiles()


def _series_name(entity: str, name: str, resource: dict[str, str], attributes: Iterable[Any]) -> str:
    """A short name for a series, from all that tells it from others."""
    labels = sorted((resource | attributes_of(attributes)).items())
    return blake2b(repr((entity, name, labels)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
