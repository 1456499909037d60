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
from tsad.slotblocks import Block, block_of, joined, table_of

HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
ALL_DAYS = 36_500
BUFFERED = 1 << 25
"""Values in the buffer from which it is written (128 MiB): an hour of 10,000 entities of 38 channels stays below."""
ROW_GROUP = 1 << 17
"""Rows that a reader decodes together."""
BATCH = 1 << 16
"""Rows that the encoder takes in at a time: its own 1,024 cost a column of many rows a sixth more."""
NAME = re.compile(r"(-?\d+-\d\d-\d\dT\d\d)(?:\+(\d+))?-(\d+)\.parquet")
"""First hour (UTC), hours if there is more than one, and epoch of a file."""
PREFIX = "value:"
TEMPLATES = "templates.json"
META = b"tsad"
FORMAT = "tsad-history-1"


class HourFile(NamedTuple):
    """A file: its first hour (hours since the epoch), the lease under which it was written, and how many hours."""

    hour: int
    epoch: int
    path: Path
    span: int = 1


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
        self._parts: list[Block] = []
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
        at: Ints | None = None,
    ) -> None:
        """Keep N rows: values of `features` (a list that only grows) at `slots` (one, or rising) of `names`, one each,
        or of those that `codes` (N) point to. `values` are N x F, or K x F of which `at` (N) says whose are whose."""
        if self.folder is None or not len(scores):
            return
        codes = np.arange(len(names)) if codes is None else codes
        block = Block(names, codes, np.broadcast_to(slots, len(scores)), scores, values, features, at)
        shared = bool(self._parts) and self._parts[-1].values is values
        self._held += len(scores) if shared else len(scores) + values.size
        self._parts.append(block)

    @property
    def due(self) -> bool:
        """Whether an hour is over, or much is held: time for `flush`, once it is saved."""
        if not self._parts:
            return False
        first, last = self._parts[0].slots[0], self._parts[-1].slots[-1]
        return self._hour(int(first)) != self._hour(int(last)) or self._full

    @property
    def _full(self) -> bool:
        return self._held >= BUFFERED or (self.beside is not None and self.beside._full)

    def _hour(self, slot: int) -> int:
        """The first hour of the file that holds `slot`."""
        return slot * self.step // HOUR // self.span * self.span

    def flush_over(self) -> None:
        """Write the hours that are over, everything where much is held. It must have been saved.

        What has begun of the newest hour is held back: of a run over history that is half of a file, which would be
        read and written a second time.
        """
        self._flush(everything=self._full)

    def flush(self) -> None:
        """Write what was added, and remove files that are too old. It must have been saved."""
        self._flush(everything=True)

    def _flush(self, everything: bool) -> None:
        if self.beside is not None:
            self.beside._flush(everything)
        if self.folder is None or not self._parts:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        newest = max(int(part.slots[-1]) for part in self._parts)
        self._newest = newest if self._newest is None else max(self._newest, newest)
        oldest, open_hour = self._hour(self._newest - self._keep), self._hour(newest)
        by_hour = self._by_hour()
        held_back = [] if everything else by_hour.pop(open_hour, [])
        there = files_of(self.folder)
        for hour, parts in by_hour.items():
            if hour >= oldest:
                self._write(hour, parts, [file for file in there if file.hour == hour])
        self._tell_templates()
        for file in files_of(self.folder, halves=True):
            if file.hour < oldest:
                file.path.unlink(missing_ok=True)
        self._parts, self._held = held_back, sum(len(part.codes) + part.values.size for part in held_back)

    def _by_hour(self) -> dict[int, list[Block]]:
        """What is held, by the file that it belongs to."""
        by_hour: dict[int, list[Block]] = {}
        for part in self._parts:
            if (hour := self._hour(int(part.slots[0]))) == self._hour(int(part.slots[-1])):
                by_hour.setdefault(hour, []).append(part)
                continue
            each, at = np.unique(part.slots, return_inverse=True)
            hours = np.array([self._hour(slot) for slot in each.tolist()])
            for hour in np.unique(hours).tolist():
                here = hours == hour
                by_hour.setdefault(hour, []).append(part.take(here[at]))
        return by_hour

    def rows(self, features: Sequence[str], until: int) -> Rows:
        """Everything kept of slots below `until`, ordered by (entity, slot), with the columns `features`."""
        files = files_of(self.folder) if self.folder and self.folder.exists() else []
        blocks = [block for file in files if (block := read_block(file.path, self._prefix)) is not None]
        blocks += self._parts
        whole = joined(blocks, features, by_entity=True)
        below = whole.slots < until
        codes, slots = whole.codes[below].astype(np.int32), whole.slots[below]
        return Rows(list(whole.names), codes, slots, whole.values[below], list(features))

    def _write(self, hour: int, parts: Sequence[Block], there: Sequence[HourFile]) -> None:
        """Rewrite an hour: what its files hold, `parts` over it, and what older owners wrote taken in."""
        if self.folder is None or any(file.epoch > self.epoch for file in there):
            return  # a successor is at work, who has all of this
        before = [found for file in there if (found := read_block(file.path, self._prefix)) is not None]
        table = table_of([*before, *parts], self._prefix)
        more = f"+{self.span}" if self.span > 1 else ""
        name = f"{np.datetime64(hour, 'h')}{more}-{self.epoch}.parquet"
        partial = self.folder / f".{name}.partial"
        meta = {META: json.dumps({"format": FORMAT, "step_ns": self.step})}
        pq.write_table(
            table.replace_schema_metadata(meta), partial, compression="lz4", use_dictionary=["entity"],
            write_statistics=False, row_group_size=ROW_GROUP, write_batch_size=BATCH,
        )  # fmt: skip
        partial.rename(self.folder / name)
        for file in there:
            if file.epoch < self.epoch:
                file.path.unlink(missing_ok=True)

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
