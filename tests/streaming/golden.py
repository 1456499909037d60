"""Messages of OTLP and remote-write, made with the formats' own protobuf definitions."""

from collections.abc import Mapping, Sequence
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from streaming.settings import SECOND
from tests.streaming.reading import START

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
NS = START * SECOND
MS = START * 1000

# prometheus/prompb: remote.proto and types.proto as published; and of io/prometheus/write/v2 what a test needs
PROMPB = """
Label: name=1 string, value=2 string
Sample: value=1 double, timestamp=2 int64
Exemplar: labels=1 Label*, value=2 double, timestamp=3 int64
BucketSpan: offset=1 sint32, length=2 uint32
Histogram: count_int=1 uint64, count_float=2 double, sum=3 double, schema=4 sint32, zero_threshold=5 double,\
 zero_count_int=6 uint64, zero_count_float=7 double, negative_spans=8 BucketSpan*, negative_deltas=9 sint64*,\
 negative_counts=10 double*, positive_spans=11 BucketSpan*, positive_deltas=12 sint64*, positive_counts=13 double*,\
 reset_hint=14 int32, timestamp=15 int64
TimeSeries: labels=1 Label*, samples=2 Sample*, exemplars=3 Exemplar*, histograms=4 Histogram*
MetricMetadata: type=1 int32, metric_family_name=2 string, help=4 string, unit=5 string
WriteRequest: timeseries=1 TimeSeries*, metadata=3 MetricMetadata*
TimeSeriesV2: labels_refs=1 uint32*, samples=2 Sample*
Request: symbols=4 string*, timeseries=5 TimeSeriesV2*
"""
TYPES = {"double": 1, "int64": 3, "uint64": 4, "int32": 5, "string": 9, "uint32": 13, "sint32": 17, "sint64": 18}


def _prompb() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="test/prompb.proto", package="test", syntax="proto3")
    names = []
    for line in PROMPB.strip().splitlines():
        name, _, parts = line.partition(": ")
        names.append(name)
        message = file.message_type.add(name=name)
        for part in parts.split(", "):
            left, kind = part.strip().split(" ")
            field, number = left.split("=")
            label = 3 if kind.endswith("*") else 1
            kind = kind.rstrip("*")
            added = message.field.add(name=field, number=int(number), label=label, type=TYPES.get(kind, 11))
            if kind not in TYPES:
                added.type_name = f".test.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}")) for name in names}


CLASSES = _prompb()


def any_value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            held = AnyValue()
            held.array_value.values.extend(any_value(one) for one in value)
            return held
        case dict():
            held = AnyValue()
            held.kvlist_value.values.extend(pairs(value))
            return held
    return AnyValue(string_value=value)


def pairs(labels: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in labels.items()]


def gauge(name: str, *points: tuple[int, float, dict[str, Any]] | tuple[int, float]) -> Metric:
    metric = Metric(name=name)
    _numbers(metric.gauge.data_points, points)
    return metric


def total(name: str, temporality: Any, *points: Any, monotonic: bool = True) -> Metric:
    metric = Metric(name=name)
    metric.sum.aggregation_temporality = temporality
    metric.sum.is_monotonic = monotonic
    _numbers(metric.sum.data_points, points)
    return metric


def _numbers(data: Any, points: Sequence[Any]) -> None:
    for seconds, value, *labels in points:
        point = data.add(time_unix_nano=NS + seconds * SECOND, attributes=pairs(labels[0] if labels else {}))
        if isinstance(value, int):
            point.as_int = value
        elif value is not None:
            point.as_double = value


def histogram(
    name: str, temporality: Any, *points: tuple[int, list[float], list[int], float], start: int = 0
) -> Metric:
    metric = Metric(name=name)
    metric.histogram.aggregation_temporality = temporality
    for seconds, bounds, counts, added in points:
        metric.histogram.data_points.add(
            start_time_unix_nano=NS + start * SECOND, time_unix_nano=NS + seconds * SECOND, count=sum(counts),
            sum=added, bucket_counts=counts, explicit_bounds=bounds,
        )  # fmt: skip
    return metric


def metrics(*parts: tuple[dict[str, Any], Sequence[Metric]]) -> ExportMetricsServiceRequest:
    """A request of resources (attributes) with their metrics."""
    request = ExportMetricsServiceRequest()
    for attributes, held in parts:
        resource = request.resource_metrics.add()
        resource.resource.attributes.extend(pairs(attributes))
        resource.scope_metrics.add().metrics.extend(held)
    return request


def logs(*parts: tuple[dict[str, Any], Sequence[dict[str, Any]]]) -> ExportLogsServiceRequest:
    """A request of resources (attributes) with lines: fields of LogRecord, `body` and `attributes` as Python values."""
    request = ExportLogsServiceRequest()
    for attributes, lines in parts:
        resource = request.resource_logs.add()
        resource.resource.attributes.extend(pairs(attributes))
        records = resource.scope_logs.add().log_records
        for line in lines:
            fields = dict(line)
            body, own = fields.pop("body", None), fields.pop("attributes", {})
            record = records.add(attributes=pairs(own), **({"time_unix_nano": NS} | fields))
            if body is not None:
                record.body.CopyFrom(any_value(body))
    return request


def as_json(request: Any) -> bytes:
    """OTLP's JSON: protobuf's, but enumerations are numbers."""
    return json_format.MessageToJson(request, indent=None, use_integers_for_enums=True).encode()


def write_request(*series: tuple[dict[str, str], Sequence[tuple[int, float]]]) -> Any:
    """A remote-write 1.0 message of series: labels, and samples of (seconds, value)."""
    request = CLASSES["WriteRequest"]()
    for labels, samples in series:
        added = request.timeseries.add()
        for name, value in sorted(labels.items()):
            added.labels.add(name=name, value=value)
        for seconds, value in samples:
            added.samples.add(timestamp=MS + seconds * 1000, value=value)
    return request


def snappy(request: Any) -> bytes:
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


HOST = {"service.name": "shop", "host.name": "web-1"}
OTLP = metrics((HOST, [gauge("cpu", (0, 0.5), (60, 0.75)), total("requests", CUMULATIVE, (0, 10), (60, 40))]))
OTLP_LOGS = logs((HOST, [{"body": "user 7 logged in", "severity_number": 9}]))
REMOTE = write_request(
    ({"__name__": "cpu", "job": "shop", "instance": "web-1:80"}, [(0, 0.5), (60, 0.75)]),
    ({"__name__": "requests_total", "job": "shop", "instance": "web-1:80"}, [(0, 10.0), (60, 40.0)]),
)
