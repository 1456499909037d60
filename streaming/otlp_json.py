"""OTLP in JSON, as structs with the fields of the protobuf messages, so that one reader serves both encodings.

JSON encoding of opentelemetry-proto: camelCase names, 64-bit integers as text or numbers, unknown fields ignored.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from streaming.json_records import RecordError, untyped

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Shape = TypeVar("Shape")


class _Message(msgspec.Struct, rename="camel", gc=False, frozen=True):
    """A protobuf message."""


class AnyValue(_Message, frozen=True):
    """One of: a text, a boolean, a number, an array, pairs, bytes (in base64, which is not looked at)."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Int64 | None = None
    double_value: float | None = None
    array_value: "ArrayValue | None" = None
    kvlist_value: "KeyValueList | None" = None

    def WhichOneof(self, _: str) -> str | None:  # noqa: N802 - as protobuf calls it
        """The name of the field that is set."""
        return next((name for name in self.__struct_fields__ if getattr(self, name) is not None), None)


class ArrayValue(_Message, frozen=True):
    """Values."""

    values: list[AnyValue] = []


class KeyValue(_Message, frozen=True):
    """An attribute."""

    key: str = ""
    value: AnyValue = AnyValue()


class KeyValueList(_Message, frozen=True):
    """Attributes as a value."""

    values: list[KeyValue] = []


class Resource(_Message, frozen=True):
    """What produced the telemetry."""

    attributes: list[KeyValue] = []


class NumberPoint(_Message, frozen=True):
    """A number at a time."""

    attributes: list[KeyValue] = []
    time_unix_nano: Int64 = 0
    as_double: float | None = None
    as_int: Int64 | None = None
    flags: int = 0

    def WhichOneof(self, _: str) -> str | None:  # noqa: N802 - as protobuf calls it
        """The name of the field that is set."""
        return next((name for name in ("as_double", "as_int") if getattr(self, name) is not None), None)


class HistogramPoint(_Message, frozen=True):
    """Counts between bounds."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: Int64 = 0
    time_unix_nano: Int64 = 0
    count: Int64 = 0
    sum: float | None = None
    bucket_counts: list[Int64] = []
    explicit_bounds: list[float] = []
    flags: int = 0

    def HasField(self, name: str) -> bool:  # noqa: N802 - as protobuf calls it
        """Whether an optional field is set."""
        return getattr(self, name) is not None


class Buckets(_Message, frozen=True):
    """Counts from the bucket `offset` on."""

    offset: Int64 = 0
    bucket_counts: list[Int64] = []


class ExponentialPoint(_Message, frozen=True):
    """Counts in buckets whose bounds are powers of 2 ** 2 ** -scale."""

    attributes: list[KeyValue] = []
    start_time_unix_nano: Int64 = 0
    time_unix_nano: Int64 = 0
    count: Int64 = 0
    sum: float | None = None
    scale: Int64 = 0
    zero_count: Int64 = 0
    positive: Buckets = Buckets()
    negative: Buckets = Buckets()
    flags: int = 0

    def HasField(self, name: str) -> bool:  # noqa: N802 - as protobuf calls it
        """Whether an optional field is set."""
        return getattr(self, name) is not None


class QuantileValue(_Message, frozen=True):
    """A quantile that the producer computed."""

    quantile: float = 0.0
    value: float = 0.0


class SummaryPoint(_Message, frozen=True):
    """Count, sum and quantiles."""

    attributes: list[KeyValue] = []
    time_unix_nano: Int64 = 0
    count: Int64 = 0
    sum: float = 0.0
    quantile_values: list[QuantileValue] = []
    flags: int = 0


class Gauge(_Message, frozen=True):
    """Numbers."""

    data_points: list[NumberPoint] = []


class Sum(_Message, frozen=True):
    """Numbers that add up."""

    data_points: list[NumberPoint] = []
    aggregation_temporality: int | str = 0
    is_monotonic: bool = False


class Histogram(_Message, frozen=True):
    """Histograms with bounds."""

    data_points: list[HistogramPoint] = []
    aggregation_temporality: int | str = 0


class ExponentialHistogram(_Message, frozen=True):
    """Histograms with powers."""

    data_points: list[ExponentialPoint] = []
    aggregation_temporality: int | str = 0


class Summary(_Message, frozen=True):
    """Summaries."""

    data_points: list[SummaryPoint] = []


class Metric(_Message, frozen=True):
    """A metric: one of its kinds has points."""

    name: str = ""
    gauge: Gauge = Gauge()
    sum: Sum = Sum()
    histogram: Histogram = Histogram()
    exponential_histogram: ExponentialHistogram = ExponentialHistogram()
    summary: Summary = Summary()


class ScopeMetrics(_Message, frozen=True):
    """Metrics of one library."""

    metrics: list[Metric] = []


class ResourceMetrics(_Message, frozen=True):
    """Metrics of one resource."""

    resource: Resource = Resource()
    scope_metrics: list[ScopeMetrics] = []


class MetricsRequest(_Message, frozen=True):
    """ExportMetricsServiceRequest."""

    resource_metrics: list[ResourceMetrics] = []


class LogRecord(_Message, frozen=True):
    """A log line."""

    time_unix_nano: Int64 = 0
    observed_time_unix_nano: Int64 = 0
    severity_number: int | str = 0
    severity_text: str = ""
    body: AnyValue = AnyValue()
    attributes: list[KeyValue] = []
    event_name: str = ""


class ScopeLogs(_Message, frozen=True):
    """Lines of one library."""

    log_records: list[LogRecord] = []


class ResourceLogs(_Message, frozen=True):
    """Lines of one resource."""

    resource: Resource = Resource()
    scope_logs: list[ScopeLogs] = []


class LogsRequest(_Message, frozen=True):
    """ExportLogsServiceRequest."""

    resource_logs: list[ResourceLogs] = []


# lax: 64-bit integers come as text
_METRICS = msgspec.json.Decoder(MetricsRequest, strict=False)
_LOGS = msgspec.json.Decoder(LogsRequest, strict=False)


def metrics_of_json(payload: bytes) -> MetricsRequest:
    """The message in `payload`; RecordError says what is wrong with it."""
    return _parsed(_METRICS, payload)


def logs_of_json(payload: bytes) -> LogsRequest:
    """The message in `payload`; RecordError says what is wrong with it."""
    return _parsed(_LOGS, payload)


def _parsed(decoder: "msgspec.json.Decoder[Shape]", payload: bytes) -> Shape:
    try:
        return decoder.decode(payload)
    except (ValueError, RecursionError) as error:
        value: Any = untyped(payload)  # raises where it is no JSON
        raise RecordError("wrong_type", f"{error}; OTLP's JSON is expected, got a {type(value).__name__}") from error
