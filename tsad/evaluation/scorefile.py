"""One Parquet file of scores a series, and the mark that says of what they are a function."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streaming.checksum import Checksum
from tsad.evaluation.imports import reached
from tsad.evaluation.running import Scored

MARK, SECONDS = b"tsad.mark", b"tsad.seconds"
SHARE, DETECTOR = "share:", "detector:"
SURPRISES = ("surprise", "settled_surprise")
PACKAGE = "tsad.evaluation"
SCORING, READING = ("running", "coldstart"), ("running", "series", "scorefile")
BASELINES = ("baselines", "subsequences")


@cache
def code_mark(baseline: bool = False, root: Path = Path(__file__).parents[2]) -> str:
    """A checksum of the code by which tsad, or a baseline, scores (read once a process): what measures, prints, stores
    or comes from other sources is not part of it."""
    if baseline:
        deciding = [root.joinpath(*PACKAGE.split("."), f"{name}.py") for name in (*READING, *BASELINES)]
    else:
        deciding = list(reached(root, [f"{PACKAGE}.{name}" for name in {*SCORING, *READING}]).values())
    digest = hashlib.sha256()
    for path in sorted(deciding):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def mark_of(code: str, files: list[Path], told: dict[str, Any]) -> str:
    """What scores are a function of: the code, the series' files and what the run was told (JSON values)."""
    parts = [code, Checksum(files).text(), json.dumps(told, sort_keys=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def write_scores(path: Path, scored: Scored, mark: str) -> None:
    """Write whole or not at all."""
    columns: dict[str, Any] = {
        "row": scored.row, "score": scored.score, "settled": scored.settled, "p": scored.p, "alert": scored.alert,
    }  # fmt: skip
    columns |= {name: getattr(scored, name) for name in SURPRISES}
    columns |= {f"{SHARE}{name}": scored.shares[:, place] for place, name in enumerate(scored.channels)}
    columns |= {f"{DETECTOR}{name}": scored.ratios[:, place] for place, name in enumerate(scored.detectors)}
    seconds = json.dumps([scored.fit_seconds, scored.stream_seconds])
    table = pa.table({name: np.ascontiguousarray(values) for name, values in columns.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(table.replace_schema_metadata({MARK: mark, SECONDS: seconds}), partial, compression="zstd")
    partial.rename(path)


def read_scores(path: Path, mark: str) -> Scored | None:
    """The scores at `path`, None where there are none with that mark."""
    if not path.exists() or (pq.read_schema(path).metadata or {}).get(MARK) != mark.encode():
        return None
    table = pq.read_table(path)
    channels, detectors = (_named(table, start) for start in (SHARE, DETECTOR))
    fit, stream = json.loads(table.schema.metadata[SECONDS])
    plain = {name: table[name].to_numpy() for name in ("row", "score", "settled", "p", *SURPRISES)}
    shares, ratios = (_stacked(table, start, names) for start, names in ((SHARE, channels), (DETECTOR, detectors)))
    return Scored(
        **plain, shares=shares, ratios=ratios, channels=channels, detectors=detectors, fit_seconds=fit,
        stream_seconds=stream,
    )  # fmt: skip


def _named(table: pa.Table, start: str) -> tuple[str, ...]:
    return tuple(name.removeprefix(start) for name in table.column_names if name.startswith(start))


def _stacked(table: pa.Table, start: str, names: tuple[str, ...]) -> Any:
    """Rows x names, as they were."""
    if not names:
        return np.zeros((table.num_rows, 0), np.float32)
    return np.stack([table[start + name].to_numpy() for name in names], axis=1)
