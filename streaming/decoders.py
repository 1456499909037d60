"""The decoder that a format asks for."""

from streaming.columns import Columns
from streaming.decode import MAX_AHEAD, MAX_RECORD_BYTES, LineDecoder, TelemetryDecoder
from streaming.messages import AnyDecoder, MetricDecoder
from streaming.otlp_logs import AnyLineDecoder, OtlpLineDecoder
from streaming.settings import LogFormat, TelemetryFormat

PayloadDecoder = TelemetryDecoder | MetricDecoder | AnyDecoder | LineDecoder | OtlpLineDecoder | AnyLineDecoder
"""All decode payloads alike: `decode(payloads, positions, ingested, next_position, partition)`."""


def decoder_of(
    format: TelemetryFormat | LogFormat,
    columns: Columns,
    *,
    max_ahead: int = MAX_AHEAD,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> PayloadDecoder:
    """A decoder of payloads; `max_record_bytes` bounds records of one entity and time, and lines of JSON and text."""
    if isinstance(format, LogFormat):
        if format.format == "json":
            return LineDecoder(format, max_ahead=max_ahead, max_record_bytes=max_record_bytes)
        if format.format == "auto":
            return AnyLineDecoder(format, max_ahead=max_ahead, max_record_bytes=max_record_bytes)
        return OtlpLineDecoder(format, max_ahead=max_ahead)
    if format.format == "json":
        return TelemetryDecoder(format, columns, max_ahead=max_ahead, max_record_bytes=max_record_bytes)
    if format.format == "auto":
        return AnyDecoder(format, columns, max_ahead=max_ahead, max_record_bytes=max_record_bytes)
    return MetricDecoder(format, columns, max_ahead=max_ahead)
