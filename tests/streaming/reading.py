"""Batches as plain Python, so that tests compare what was read and not how it was cut."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from streaming.decode import LineDecoder, TelemetryDecoder
from streaming.settings import SECOND
from streaming.types import Batch, DeadLetter, Lines, Records, Source

INGESTED = 1_800_000_000 * SECOND
START = 1_700_000_000


@dataclass
class Reading:
    """Everything that came: records, dead letters, counts by reason, unknown features, labels."""

    records: list[tuple[Any, ...]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)
    next_position: int = 0
    batches: int = 0

    def add(self, batch: Batch) -> None:
        self.batches += 1
        self.next_position = batch.next_position
        self.positions += batch.positions.tolist()
        self.records += plain_lines(batch) if isinstance(batch, Lines) else plain(batch)
        self.dead += batch.dead
        for reason, count in batch.dead_counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
        if isinstance(batch, Records):
            self.labels |= batch.labels
            for name, count in batch.unknown.items():
                self.unknown[name] = self.unknown.get(name, 0) + count

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(letter.position, letter.reason) for letter in self.dead]

    @property
    def values(self) -> list[dict[str, float]]:
        return [record[2] for record in self.records]

    @property
    def times(self) -> list[int]:
        return [record[1] for record in self.records]

    @property
    def entities(self) -> list[str]:
        return [record[0] for record in self.records]


def plain(batch: Records) -> list[tuple[str, int, dict[str, float]]]:
    assert batch.values.dtype == np.float32 and batch.codes.dtype == np.int32
    assert len(set(batch.names)) == len(batch.names)
    assert set(batch.codes.tolist()) == set(range(len(batch.names)))
    assert (np.diff(batch.positions) > 0).all()
    rows = []
    for code, time, row in zip(batch.codes, batch.times, batch.values, strict=True):
        present = {name: float(value) for name, value in zip(batch.features, row, strict=True) if not np.isnan(value)}
        rows.append((batch.names[code], int(time), present))
    return rows


def plain_lines(batch: Lines) -> list[tuple[str, int, str, int]]:
    assert batch.severities.dtype == np.int8
    assert (np.diff(batch.positions) > 0).all()
    return [
        (batch.names[code], int(time), message, int(severity))
        for code, time, message, severity in zip(
            batch.codes, batch.times, batch.messages, batch.severities, strict=True
        )
    ]


def decode_all(decoder: TelemetryDecoder | LineDecoder, payloads: Sequence[bytes], poll: int = 10_000) -> Reading:
    """Payloads in polls of `poll`, all ingested at one time."""
    reading = Reading()
    for start in range(0, len(payloads), poll):
        part = payloads[start : start + poll]
        positions = np.arange(start, start + len(part), dtype=np.int64)
        reading.add(decoder.decode(part, positions, np.full(len(part), INGESTED, np.int64), start + len(part)))
    return reading


def drain(source: Source, poll: int = 5000, most: int | None = None) -> Reading:
    """What a source gives to its end, or for `most` polls."""
    reading = Reading()
    while (most is None or reading.batches < most) and (batch := source.poll(poll)) is not None:
        assert len(batch.codes) <= poll
        reading.add(batch)
    return reading


def record(entity: str = "a", time: Any = START, **fields: Any) -> bytes:
    return msgspec.json.encode({"entity": entity, "time": time} | (fields or {"values": {"x": 1.0}}))


def write(path: Path, lines: Sequence[bytes | str], end: bytes = b"\n") -> Path:
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + end for line in lines))
    return path
