"""The stream of `streams`, as somebody pushes it: OTLP and remote-write messages of its cells."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from streaming.settings import SECOND
from tests.tsad.streams import FEATURES, START, STREAM, configuration

Cells = Mapping[tuple[str, int], Any]


def by_slot(cells: Cells) -> list[list[tuple[str, int]]]:
    """The cells' keys, those of a slot together."""
    slots = sorted({slot for _, slot in cells})
    return [[(entity, slot) for entity in sorted({e for e, s in cells if s == slot})] for slot in slots]


def otlp(cells: Cells, keys: Sequence[tuple[str, int]]) -> bytes:
    """One ExportMetricsServiceRequest of some cells."""
    request = ExportMetricsServiceRequest()
    for entity, slot in keys:
        part = request.resource_metrics.add()
        attribute = part.resource.attributes.add(key="host.name")
        attribute.value.string_value = entity
        scope = part.scope_metrics.add()
        for name, value in zip(FEATURES, np.asarray(cells[entity, slot]).tolist(), strict=True):
            metric = scope.metrics.add(name=name)
            metric.gauge.data_points.add(time_unix_nano=(START + 60 * slot) * SECOND, as_double=value)
    return bytes(request.SerializeToString())


def otlp_json(cells: Cells, keys: Sequence[tuple[str, int]]) -> bytes:
    """The same in JSON."""
    return MessageToJson(ExportMetricsServiceRequest.FromString(otlp(cells, keys))).encode()


def lines(entity: str, slot: int, *texts: str) -> bytes:
    """One ExportLogsServiceRequest."""
    request = ExportLogsServiceRequest()
    part = request.resource_logs.add()
    part.resource.attributes.add(key="host.name").value.string_value = entity
    scope = part.scope_logs.add()
    for second, text in enumerate(texts):
        record = scope.log_records.add(time_unix_nano=(START + 60 * slot + second) * SECOND, severity_number=9)
        record.body.string_value = text
    return bytes(request.SerializeToString())


def remote_write(cells: Cells, keys: Sequence[tuple[str, int]]) -> bytes:
    """One packed WriteRequest of some cells: a series for each value."""
    series = b"".join(
        _part(1, b"".join([_label("__name__", name), _label("instance", entity), _part(2, _sample(slot, value))]))
        for entity, slot in keys
        for name, value in zip(FEATURES, np.asarray(cells[entity, slot]).tolist(), strict=True)
    )
    return bytes(cramjam.snappy.compress_raw(series))


def pushed_configuration(folder: Path, url: str, topics: Sequence[str] = ("telemetry",), **stream: Any) -> Any:
    """The stream with pushed topics."""
    told = {topic: {"source": "push"} for topic in topics}
    config = configuration(folder, url, **(told | stream))
    return config.model_copy(update={"journal": str(folder / "journal")})


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _part(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(data)) + data


def _label(name: str, value: str) -> bytes:
    return _part(1, _part(1, name.encode()) + _part(2, value.encode()))


def _sample(slot: int, value: float) -> bytes:
    return b"\x09" + struct.pack("<d", value) + b"\x10" + _varint((START + 60 * slot) * 1000)


__all__ = ["STREAM", "by_slot", "lines", "otlp", "otlp_json", "pushed_configuration", "remote_write"]
