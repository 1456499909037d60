"""Small labelled series: on disk in the shared layout, and as plain values."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tsad.evaluation.series import Series, SeriesFile

TRAIN, TEST = 500, 300
START, STOP = 200, 220
"""The labelled rows of the test part."""
MINUTE = 60 * 10**9


def waves(rows: int, seed: int) -> np.ndarray:
    """Three oscillating channels with a little noise, rows x 3."""
    rng = np.random.default_rng(seed)
    phase = np.arange(rows)[:, None] / np.array([9.0, 14.0, 25.0])
    return (np.sin(phase) + 0.1 * rng.normal(size=phase.shape)).astype(np.float32)


def write(folder: Path, name: str, seed: int, rows: int = TEST, labelled: bool = True) -> None:
    """Three oscillating channels; a shift of two of them in rows 200 to 220 of the test part."""
    folder.mkdir(parents=True, exist_ok=True)
    values = waves(TRAIN + TEST, seed)
    values[TRAIN + START : TRAIN + STOP, :2] += 6
    columns = {f"m{place}": column for place, column in enumerate(values.T)}
    train, test = (
        {"timestamp": np.arange(len(part))} | {key: column[part] for key, column in columns.items()}
        for part in (np.arange(TRAIN), np.arange(TRAIN, TRAIN + rows))
    )
    if labelled:
        test["label"] = ((np.arange(rows) >= START) & (np.arange(rows) < STOP)).astype(np.int8)
        event = {"start": START, "end": STOP, "channels": ["m0", "m1"]}
        (folder / f"{name}.interpretation_label.json").write_text(json.dumps({"events": [event]}))
    pq.write_table(pa.table(train), folder / f"{name}.train.parquet")
    pq.write_table(pa.table(test), folder / f"{name}.test.parquet")


def series_from(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray | None = None, names: Sequence[str] = (), name: str = "made"
) -> Series:
    """Values as a series of one-minute rows."""
    channels = list(names) or [f"m{place}" for place in range(test.shape[1])]
    file = SeriesFile("folder", name, Path(f"{name}.test.parquet"), None)
    values = (np.asarray(part, np.float32) for part in (train, test))
    return Series(file, channels, *values, 0, labels, [], MINUTE, None)
