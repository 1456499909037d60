"""Closed slots for good, kept as Parquet for `history_days`: what a later fit, a chart and a backfill read.

One file for each hour of event time, `2026-01-05T13-4.parquet`, rewritten until the hour is final; 4 is the epoch of
the lease under which it was written. A file of 24 hours is `2026-01-05T00+24-4.parquet`. What a file holds follows from
the slots alone, not from when it was written: it is sorted by (slot, entity), each once, with the features that have a
value in it. `Archive` reads.

Only slots that a save has stored are written, so an owner that was cut off can write nothing that is not true. It only
ever touches files of its own epoch; its successor, who knows all that is not yet on disk, takes the older ones in.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from numpy.typing import NDArray

from detectors.types import Rows
from streaming.settings import SECOND
from streaming.types import Floats, Ints

HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
ALL_DAYS = 36_500
BUFFERED = 1 << 25
"""Values in the buffer from which it is written (128 MiB): an hour of 10,000 entities of 38 channels stays below."""
ROW_GROUP = 1 << 17
"""Rows that a reader decodes together."""
TURNED = 1024
"""Rows that are turned into columns together."""
NAME = re.compile(r"(-?\d+-\d\d-\d\dT\d\d)(?:\+(\d+))?-(\d+)\.parquet")
"""First hour (UTC), hours if there is more than one, and epoch of a file."""
PREFIX = "value:"
KEY = ("entity", "slot", "score")
TEMPLATES = "templates.json"
META = b"tsad"
FORMAT = "tsad-history-1"


class HourFile(NamedTuple):
    """A file: its first hour (hours since the epoch), the lease under which it was written, and how many hours."""

    hour: int
    epoch: int
    path: Path
    span: int = 1


class Block(NamedTuple):
    """N closed slots of entities: codes (N) of `names`, slots, scores (N) and values N x F of `features`."""

    names: list[str]
    codes: Ints
    slots: Ints
    scores: Floats
    values: Floats
    features: Sequence[str]


class _Part(NamedTuple):
    """N rows as they came: `codes` (N) of `names`, slots, values and scores."""

    names: Sequence[str]
    codes: NDArray[np.integer[Any]]
    slots: Ints
    values: Floats
    scores: Floats

    def take(self, which: NDArray[np.bool_]) -> "_Part":
        return _Part(self.names, self.codes[which], self.slots[which], self.values[which], self.scores[which])


class History:
    """The final slots of one partition: a buffer, and the files written so far under `folder` (None = keep nothing).

    Slots of `step` ns are kept for `days`, at least `least` of them, `span` hours a file. `texts` gives the text of
    each log template that has a column. `prefix` begins the names of the features' columns. What lies `beside` is
    written together with it.
    """

    def __init__(
        self,
        folder: Path | None,
        step: int,
        days: float,
        *,
        epoch: int = 1,
        least: int = 0,
        texts: Callable[[], Mapping[str, str]] = dict,
        span: int = 1,
        prefix: str = PREFIX,
    ) -> None:
        self.folder = folder
        self.beside: History | None = None
        self._prefix = prefix
        self.step = step
        self.span = span
        self.epoch = epoch
        self._keep = max(int(days * DAY / step), least)
        self._texts = texts
        self._told: dict[str, str] = {}
        self._parts: list[_Part] = []
        self._features: Sequence[str] = ()
        self._held = 0
        self._newest: int | None = None

    def add(
        self,
        names: Sequence[str],
        slots: int | Ints,
        values: Floats,
        scores: Floats,
        features: Sequence[str],
        codes: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Keep N rows: values N x F of `features` (a list that only grows) at `slots` (one, or rising) of `names`, one
        each, or of those that `codes` (N) point to."""
        if self.folder is None or not len(values):
            return
        codes = np.arange(len(names)) if codes is None else codes
        self._parts.append(_Part(names, codes, np.broadcast_to(slots, len(values)), values, scores))
        self._features = features
        self._held += values.size

    @property
    def due(self) -> bool:
        """Whether an hour is over, or much is held: time for `flush`, once it is saved."""
        if not self._parts:
            return False
        if self.beside is not None and self.beside.due:
            return True
        first, last = self._parts[0].slots[0], self._parts[-1].slots[-1]
        return self._hour(int(first)) != self._hour(int(last)) or self._held >= BUFFERED

    def _hour(self, slot: int) -> int:
        """The first hour of the file that holds `slot`."""
        return slot * self.step // HOUR // self.span * self.span

    def flush(self) -> None:
        """Write what was added, and remove files that are too old. It must have been saved."""
        if self.beside is not None:
            self.beside.flush()
        if self.folder is None or not self._parts:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        newest = max(int(part.slots[-1]) for part in self._parts)
        self._newest = newest if self._newest is None else max(self._newest, newest)
        oldest = self._hour(self._newest - self._keep)
        by_hour: dict[int, list[_Part]] = {}
        for part in self._parts:
            if (hour := self._hour(int(part.slots[0]))) == self._hour(int(part.slots[-1])):
                by_hour.setdefault(hour, []).append(part)
                continue
            each, at = np.unique(part.slots, return_inverse=True)
            hours = np.array([self._hour(slot) for slot in each.tolist()])
            for hour in np.unique(hours).tolist():
                here = hours == hour
                by_hour.setdefault(hour, []).append(part.take(here[at]))
        there = files_of(self.folder)
        for hour, parts in by_hour.items():
            if hour >= oldest:
                self._write(hour, self._block(parts), [file for file in there if file.hour == hour])
        self._tell_templates()
        for file in files_of(self.folder, halves=True):
            if file.hour < oldest:
                file.path.unlink(missing_ok=True)
        self._parts, self._held = [], 0

    def rows(self, features: Sequence[str], until: int) -> Rows:
        """Everything kept of slots below `until`, ordered by (entity, slot), with the columns `features`."""
        files = files_of(self.folder) if self.folder and self.folder.exists() else []
        blocks = [block for file in files if (block := read_block(file.path, self._prefix)) is not None]
        if self._parts:
            blocks.append(self._block(self._parts))
        whole = joined(blocks, features, by_entity=True)
        below = whole.slots < until
        codes, slots = whole.codes[below].astype(np.int32), whole.slots[below]
        return Rows(whole.names, codes, slots, whole.values[below], list(features))

    def _write(self, hour: int, block: Block, there: Sequence[HourFile]) -> None:
        """Rewrite an hour: what its files hold, `block` over it, and what older owners wrote taken in."""
        if self.folder is None or any(file.epoch > self.epoch for file in there):
            return  # a successor is at work, who has all of this
        before = [found for file in there if (found := read_block(file.path, self._prefix)) is not None]
        features = list(dict.fromkeys(name for one in [*before, block] for name in one.features))
        more = f"+{self.span}" if self.span > 1 else ""
        name = f"{np.datetime64(hour, 'h')}{more}-{self.epoch}.parquet"
        partial = self.folder / f".{name}.partial"
        pq.write_table(
            _table(joined([*before, block], features), self.step, self._prefix), partial, compression="lz4",
            use_dictionary=["entity"], write_statistics=False, row_group_size=ROW_GROUP,
        )  # fmt: skip
        partial.rename(self.folder / name)
        for file in there:
            if file.epoch < self.epoch:
                file.path.unlink(missing_ok=True)

    def _block(self, parts: Sequence[_Part]) -> Block:
        known: dict[str, int] = {}
        codes = np.concatenate([_renumbered(part, known) for part in parts])
        slots, scores = (np.concatenate([part[place] for part in parts]) for place in (2, 4))
        values = np.concatenate([_widened(part.values, len(self._features)) for part in parts])
        return Block(list(known), codes, slots, scores, values, self._features)

    def _tell_templates(self) -> None:
        texts = dict(self._texts())
        if self.folder is None or texts == self._told:
            return
        partial = self.folder / f".{TEMPLATES}.{self.epoch}.partial"
        partial.write_text(json.dumps(texts), encoding="utf-8")
        partial.rename(self.folder / TEMPLATES)
        self._told = texts


def files_of(folder: Path, halves: bool = False) -> list[HourFile]:
    """The files of one partition, by hour and epoch; with `halves` what killed writers left of some, too."""
    found = []
    for path in folder.iterdir():
        name = path.name.removeprefix(".").removesuffix(".partial") if halves else path.name
        named = NAME.fullmatch(name)
        if named:
            hour, span = int(np.datetime64(named[1], "h").astype(np.int64)), int(named[2] or 1)
            found.append(HourFile(hour, int(named[3]), path, span))
    return sorted(found)


def read_block(path: Path, prefix: str = PREFIX) -> Block | None:
    """A whole file; None, with a line to the log, where it cannot be read (a power cut), or is gone since."""
    try:
        table = pq.read_table(path, read_dictionary=["entity"])
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        structlog.get_logger().warning("a file of the history cannot be read", file=str(path), reason=str(error))
        return None
    return block_of(table, prefix)


def block_of(table: pa.Table, prefix: str = PREFIX) -> Block:
    """A table of a file as arrays."""
    entity = table.column("entity").combine_chunks()
    entity = entity.chunk(0) if isinstance(entity, pa.ChunkedArray) else entity
    found = (name for name in table.column_names if name.startswith(prefix) and name not in KEY)
    features = [name.removeprefix(prefix) for name in found]
    values = np.empty((table.num_rows, len(features)), np.float32)
    for place, name in enumerate(features):
        values[:, place] = table.column(f"{prefix}{name}").to_numpy()
    return Block(
        entity.dictionary.to_pylist(), entity.indices.to_numpy().astype(np.int64), table.column("slot").to_numpy(),
        table.column("score").to_numpy(), values, features,
    )  # fmt: skip


def joined(blocks: Sequence[Block], features: Sequence[str], by_entity: bool = False) -> Block:
    """Blocks with the columns `features`, ordered by (slot, entity) or (entity, slot); of a pair the last counts."""
    names = sorted({name for block in blocks for name in block.names})
    if not blocks:
        empty = np.zeros(0, np.int64)
        return Block([], empty, empty, np.zeros(0, np.float32), np.zeros((0, len(features)), np.float32), features)
    place = {name: code for code, name in enumerate(names)}
    codes = np.concatenate([np.array([place[n] for n in b.names], np.int64)[b.codes] for b in blocks])
    slots = np.concatenate([block.slots for block in blocks])
    order = np.lexsort((slots, codes) if by_entity else (codes, slots))  # stable: a later block's row lies behind
    same = (codes[order][1:] == codes[order][:-1]) & (slots[order][1:] == slots[order][:-1])
    order = order[np.r_[~same, True]] if len(order) else order
    values = np.concatenate([_picked(block, features) for block in blocks])
    scores = np.concatenate([block.scores for block in blocks])
    if len(order) == len(codes) and np.array_equal(order, np.arange(len(codes))):
        return Block(names, codes, slots, scores, values, features)
    return Block(names, codes[order], slots[order], scores[order], values[order], features)


def _renumbered(part: _Part, known: dict[str, int]) -> Ints:
    """The codes of a part by the numbers of `known`, which learns the names that are new."""
    place = np.zeros(len(part.names), np.int64)
    place[part.codes] = 1
    used = np.flatnonzero(place)
    place[used] = [known.setdefault(part.names[code], len(known)) for code in used.tolist()]
    codes: Ints = place[part.codes]
    return codes


def _widened(values: Floats, width: int) -> Floats:
    if values.shape[1] == width:
        return values
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=np.nan)


def _picked(block: Block, features: Sequence[str]) -> Floats:
    if list(block.features) == list(features):
        return block.values
    place = {name: column for column, name in enumerate(block.features)}
    wide = _widened(block.values, len(place) + 1)
    picked: Floats = wide[:, [place.get(name, len(place)) for name in features]]
    return picked


def _table(block: Block, step: int, prefix: str) -> pa.Table:
    """As it is written: features by name, those without any value left out."""
    entity = pa.DictionaryArray.from_arrays(pa.array(block.codes, pa.int32()), pa.array(block.names, pa.string()))
    columns = {
        "entity": entity.cast(pa.string()), "slot": pa.array(block.slots), "score": pa.array(block.scores)
    }  # fmt: skip
    turned = _turned(block.values)
    present = ~np.isnan(turned).all(axis=1)
    for place in sorted(np.flatnonzero(present).tolist(), key=lambda place: block.features[place]):
        columns[f"{prefix}{block.features[place]}"] = pa.array(turned[place])
    return pa.table(columns).replace_schema_metadata({META: json.dumps({"format": FORMAT, "step_ns": step})})


def _turned(values: Floats) -> Floats:
    """The columns as rows, some rows at a time: column by column costs thrice as much."""
    turned: Floats = np.empty(values.shape[::-1], np.float32)
    for start in range(0, len(values), TURNED):
        turned[:, start : start + TURNED] = values[start : start + TURNED].T
    return turned
