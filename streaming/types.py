"""The values that enter the house: a decoded poll, and windows cut from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streaming.related import Related

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]

Topic = Literal["telemetry", "logs"]
SEVERITIES = ("trace", "debug", "info", "warning", "error", "fatal")
"""Severity names in rising order; `Lines.severities` holds indices into this, -1 = not stated."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One rejected record: its place, a reason from a closed list, and what it said (cut at 64 KiB, or None)."""

    position: int
    reason: str
    detail: str
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Records:
    """A decoded poll of telemetry, in position order.

    N records; `codes` (N) index `names` (the distinct entities of this poll); `times` (N) are event times in ns since
    the epoch, UTC; `values` N x F float32, NaN = absent; `positions` (N) are row numbers or offsets in the partition;
    `ingested` (N) are ingest timestamps in ns. `features` names the F columns: a prefix-stable list that only grows.
    `next_position` is the place to go on from, beyond dead letters too.
    """

    names: Sequence[str]
    codes: Codes
    times: Ints
    values: Floats
    positions: Ints
    ingested: Ints
    features: Sequence[str]
    next_position: int
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    dead: Sequence[DeadLetter] = ()
    dead_counts: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    partition: int = 0

    def __post_init__(self) -> None:
        n, f = len(self.codes), len(self.features)
        if self.values.shape != (n, f):
            raise ValueError(f"values must be {n} x {f}, got {self.values.shape}")


@dataclass(frozen=True, slots=True)
class Lines:
    """A decoded poll of logs, in position order: arrays, no objects a line.

    `messages` (N) is the raw text, kept until the miner has turned it into template ids; the other arrays are as in
    `Records`. `severities` (N, int8) index `SEVERITIES`. `templates` (N, or empty) are those that lines came with
    (None = to be mined). `related`: the named values of N lines, where any are asked for.
    """

    names: Sequence[str]
    codes: Codes
    times: Ints
    messages: Sequence[str]
    severities: NDArray[np.int8]
    positions: Ints
    ingested: Ints
    next_position: int
    dead: Sequence[DeadLetter] = ()
    dead_counts: dict[str, int] = field(default_factory=dict)
    partition: int = 0
    templates: Sequence[str | None] = ()
    related: "Related | None" = None


Batch = Records | Lines


@dataclass(frozen=True, slots=True)
class Windows:
    """B windows in one array: `values` B x T x F float32 (NaN = missing), the newest slot last.

    `entities` (B) index `names`; `ends` (B) are the end slots. Ordered by (end slot, entity) when they come from a
    stream. Shape is checked once, here.
    """

    entities: Codes
    ends: Ints
    values: Floats
    features: Sequence[str]
    names: Sequence[str]

    def __post_init__(self) -> None:
        b = len(self.entities)
        if self.values.ndim != 3 or self.values.shape[0] != b or self.values.shape[2] != len(self.features):
            raise ValueError(f"values must be {b} x T x {len(self.features)}, got {self.values.shape}")
        if len(self.ends) != b:
            raise ValueError(f"ends must have {b} entries, got {len(self.ends)}")

    def __len__(self) -> int:
        return len(self.entities)

    def take(self, index: NDArray[Any] | slice) -> "Windows":
        """The windows at `index` (integers, booleans or a slice)."""
        return Windows(self.entities[index], self.ends[index], self.values[index], self.features, self.names)


@dataclass(slots=True)
class State:
    """What a part remembers, as plain data: arrays, JSON and opaque bytes (XGBoost's UBJ). Never pickled."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def put(self, prefix: str, part: "State") -> None:
        """Store `part` under `prefix`."""
        self.arrays |= {f"{prefix}/{key}": value for key, value in part.arrays.items()}
        self.blobs |= {f"{prefix}/{key}": value for key, value in part.blobs.items()}
        self.meta[prefix] = part.meta

    def part(self, prefix: str) -> "State":
        """What `put` stored under `prefix`; KeyError when nothing was."""
        start = f"{prefix}/"
        return State(
            {key.removeprefix(start): value for key, value in self.arrays.items() if key.startswith(start)},
            self.meta[prefix],
            {key.removeprefix(start): value for key, value in self.blobs.items() if key.startswith(start)},
        )

    def parts(self) -> dict[str, "State"]:
        """All that `put` stored, by prefix, in one pass: `part` looks at every array for each."""
        found = {prefix: State(meta=meta) for prefix, meta in self.meta.items() if isinstance(meta, dict)}
        for key, value in self.arrays.items():
            prefix, _, rest = key.partition("/")
            if rest and prefix in found:
                found[prefix].arrays[rest] = value
        for key, blob in self.blobs.items():
            prefix, _, rest = key.partition("/")
            if rest and prefix in found:
                found[prefix].blobs[rest] = blob
        return found


class SourceChanged(Exception):
    """A finite source is not the one that a position belongs to (a table was edited or replaced)."""


class Source(Protocol):
    """Something that is read in polls and can go on from a position.

    `poll` returns a batch (perhaps an empty one), or None at the end of a finite source. `position` is JSON: what
    `seek` needs to go on behind the batch whose `next_position` is given; without a `row` in it, at the beginning.
    `waiting`: whether a poll would find something (or the end) at once. `truncated`: (row, row) where the last `seek`
    wanted to go on and where it could, if what lies between is gone for good.
    """

    topic: Topic
    truncated: tuple[int, int] | None

    @property
    def waiting(self) -> bool: ...

    def poll(self, max_records: int = 5000) -> Batch | None: ...

    def position(self, next_position: int) -> dict[str, Any]: ...

    def seek(self, position: dict[str, Any]) -> None: ...

    def close(self) -> None: ...
