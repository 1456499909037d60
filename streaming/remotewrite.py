"""Prometheus remote-write 1.0: a snappy block of a protobuf WriteRequest (prompb: remote.proto, types.proto)."""

from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from streaming.json_records import RecordError
from streaming.mapping import Kind, SeriesMapping
from streaming.points import Points

MAX_MESSAGE_BYTES = 64 << 20
"""Bytes that a message may have when it is unpacked."""
NAME = "__name__"
COUNTERS = ("_total", "_count", "_sum", "_bucket")
"""Ends of the names of counters, by Prometheus' naming: version 1.0 does not say what a series is."""
V1, V2 = b"\x0a\x1a", b"\x22\x2a"
"""First bytes of a WriteRequest (timeseries, metadata) and of a version 2.0 Request (symbols, timeseries)."""

_DOUBLE, _INT64, _STRING, _UINT64, _MESSAGE = 1, 3, 9, 4, 11
_FIELDS: dict[str, list[tuple[str, int, int, str | None, bool]]] = {
    "Label": [("name", 1, _STRING, None, False), ("value", 2, _STRING, None, False)],
    "Sample": [("value", 1, _DOUBLE, None, False), ("timestamp", 2, _INT64, None, False)],
    "Histogram": [
        ("count_int", 1, _UINT64, None, False),
        ("count_float", 2, _DOUBLE, None, False),
        ("sum", 3, _DOUBLE, None, False),
        ("timestamp", 15, _INT64, None, False),
    ],
    "TimeSeries": [
        ("labels", 1, _MESSAGE, "Label", True),
        ("samples", 2, _MESSAGE, "Sample", True),
        ("histograms", 4, _MESSAGE, "Histogram", True),
    ],
    "WriteRequest": [("timeseries", 1, _MESSAGE, "TimeSeries", True)],
}


def _write_request() -> Any:
    """The class of the messages: of the published definition, the fields that are read."""
    file = descriptor_pb2.FileDescriptorProto(name="tsad/prompb.proto", package="prometheus", syntax="proto3")
    for name, parts in _FIELDS.items():
        message = file.message_type.add(name=name)
        for part, number, kind, of, repeated in parts:
            added = message.field.add(name=part, number=number, type=kind, label=3 if repeated else 1)
            if of is not None:
                added.type_name = f".prometheus.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


_WRITE_REQUEST = _write_request()


def unpacked(payload: bytes) -> bytes:
    """What the snappy block holds, its size looked at first; RecordError where it is none, or too large."""
    try:
        size = cramjam.snappy.decompress_raw_len(payload)
        if size > MAX_MESSAGE_BYTES:
            raise RecordError("too_long", f"{size} bytes unpacked, {MAX_MESSAGE_BYTES} are allowed")
        return bytes(cramjam.snappy.decompress_raw(payload))
    except (cramjam.DecompressionError, ValueError, OverflowError) as error:
        raise RecordError("broken_message", f"{error}; a snappy block is expected") from error


def write_request(payload: bytes) -> Any:
    """The WriteRequest in `payload`; RecordError where it is none."""
    plain = unpacked(payload)
    if plain[:1] and plain[:1] in V2:
        said = "a remote-write 2.0 request; 1.0 is read: set protobuf_message to prometheus.WriteRequest"
        raise RecordError("unsupported", said)
    try:
        return _WRITE_REQUEST.FromString(plain)
    except DecodeError as error:
        raise RecordError("broken_message", f"{error}; a remote-write WriteRequest is expected") from error


def read_series(request: Any, message: int, mapping: SeriesMapping, points: Points) -> None:
    """Add the samples of `request`, the payload of number `message`, to `points`."""
    for series in request.timeseries:
        labels = {label.name: label.value for label in series.labels}
        name = labels.get(NAME, "")
        entity = mapping.entity(labels)
        if entity and entity not in points.labels:
            points.labels[entity] = mapping.entity_labels(labels)
        if series.samples:
            targets = mapping.targets(name, "", kind_of_name(name), labels)
            points.add(message, entity, targets, [(s.timestamp, s.value) for s in series.samples], "ms")
        for held in series.histograms:
            for part, value in (("count", held.count_int or held.count_float), ("sum", held.sum)):
                targets = mapping.targets(name, part, "counter", labels)
                points.add(message, entity, targets, [(held.timestamp, value)], "ms")


def kind_of_name(name: str) -> Kind:
    """What a series is, by its name."""
    return "counter" if name.endswith(COUNTERS) else "gauge"
