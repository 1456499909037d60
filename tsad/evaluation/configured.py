"""Series of a configured stream: one for each entity, cut into slots by the stream's own reading.

They are written in the shared layout and evaluated like any others. Derived features (rates of counters, what is
carried) are in them already. Logs are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from detectors.types import Rows
from tsad.config import Config, ConfigError, StreamConfig
from tsad.evaluation.series import TEST
from tsad.incoming import FeatureConfig, TelemetryConfig
from tsad.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Configured:
    """The stream whose series lie in the folder `name`, and how many they are."""

    name: str
    stream: StreamConfig
    entities: int

    def config(self, scope: Literal["entity", "stream"]) -> StreamConfig:
        """What judges the series: the stream's detectors and decision, on slots that are closed already."""
        closed: dict[str, Any] = {"telemetry": TelemetryConfig(), "logs": None, "features": {}, "lateness": 0}
        entities = self.stream.expected_entities or self.entities
        return self.stream.model_copy(update=closed | {"scope": scope, "expected_entities": entities})


def configured_series(
    config: Config, name: str, path: Path | None, label: str, folder: Path, budget: float | None, profile: str | None
) -> Configured:
    """Read stream `name` from `path` (None = as configured) and write a series for each entity below `folder`.

    `label` is the column that is not 0 where a row is anomalous; without it there are no labels. `budget` and
    `profile` replace what is configured. ConfigError where the stream has no telemetry, ValueError where it is empty.
    """
    stream = _told(config.of(name), budget, profile)
    if stream.telemetry is None:
        raise ConfigError(f"stream {name!r} has no telemetry: there is nothing to evaluate")
    read = _labelled(stream, stream.telemetry, label)
    rows = Inputs(name, read).collect({} if path is None else {"telemetry": str(path)}).rows
    if not len(rows.codes):
        raise ValueError(f"stream {name!r} has no row to evaluate")
    place = folder / quote(name, safe="")
    place.mkdir()
    for code, entity in enumerate(rows.names):
        pq.write_table(_series(rows, code, label, read.step), place / f"{quote(entity, safe='')}{TEST}")
    return Configured(place.name, stream, len(rows.names))


def _told(stream: StreamConfig, budget: float | None, profile: str | None) -> StreamConfig:
    """With what the command line says instead."""
    given: dict[str, Any] = {} if budget is None else {"alert_budget": budget}
    return stream.model_copy(update=given if profile is None else given | {"profile": profile, "detectors": None})


def _labelled(stream: StreamConfig, telemetry: TelemetryConfig, label: str) -> StreamConfig:
    """A stream that reads the label as a feature of its own, whatever it makes of the others."""
    named = telemetry.features
    if named is not None and telemetry.layout != "json" and label not in named:
        named = (*named, label)
    ignored = tuple(name for name in telemetry.ignore if name != label)
    reading = telemetry.model_copy(update={"features": named, "ignore": ignored})
    features = stream.features | {label: FeatureConfig(aggregate="max")}
    return stream.model_copy(update={"telemetry": reading, "features": features, "logs": None})


def _series(rows: Rows, code: int, label: str, step: int) -> pa.Table:
    """Every slot of one entity from its first to its last; those it lacks are missing."""
    own = rows.codes == code
    slots, values = rows.slots[own], rows.values[own]
    first, count = int(slots[0]), int(slots[-1] - slots[0]) + 1
    whole = np.full((count, values.shape[1]), np.nan, np.float32)
    whole[slots - first] = values
    columns: dict[str, Any] = {"timestamp": pa.array((first + np.arange(count)) * step, pa.timestamp("ns"))}
    columns |= {name: whole[:, place] for place, name in _channels(rows.features, label)}
    if label in rows.features:
        columns["label"] = (np.nan_to_num(whole[:, rows.features.index(label)]) != 0).astype(np.int8)
    return pa.table(columns)


def _channels(features: Sequence[str], label: str) -> list[tuple[int, str]]:
    return [(place, name) for place, name in enumerate(features) if name != label]
