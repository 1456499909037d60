"""The history of a stream, read: by partition, from slot to slot, as Arrow batches of one schema.

Readers stand beside writers: an hour that is rewritten, or taken over, while it is read is looked up again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from tsad.history import HOUR, META, PREFIX, TEMPLATES, HourFile, files_of, read_block
from tsad.slotblocks import joined

BATCH = 1 << 16
"""Rows of a batch at most."""
ATTEMPTS = 3
KEY = (("entity", pa.string()), ("slot", pa.int64()), ("score", pa.float32()))


@dataclass(frozen=True, slots=True)
class Archive:
    """What `History` has written of one stream below `folder`. Files of another `step` (ns) are left out."""

    folder: Path
    step: int

    def partitions(self) -> list[int]:
        """The partitions that have a history."""
        found = self.folder.iterdir() if self.folder.exists() else ()
        return sorted(int(path.name) for path in found if path.name.isdecimal() and path.is_dir())

    def features(self, first: int, last: int) -> list[str]:
        """The features with a value in the hours of the slots `first` to `last`, by name."""
        names = set()
        for partition in self.partitions():
            for file in self._files(partition, first, last):
                schema = self._schema(file)
                names |= {name for name in (schema.names if schema else ()) if name.startswith(PREFIX)}
        return sorted(name.removeprefix(PREFIX) for name in names)

    def newest(self) -> int | None:
        """The last slot of any partition; None where nothing is kept."""
        slots = []
        for partition in self.partitions():
            for file in reversed(self._files(partition)):
                block = read_block(file.path) if self._schema(file) is not None else None
                if block is not None and len(block.slots):
                    slots.append(int(block.slots.max()))
                    break
        return max(slots, default=None)

    def counts(self, first: int, last: int) -> list[tuple[int, int]]:
        """(First slot, rows) of each hour of the slots `first` to `last`, all partitions together, oldest first."""
        rows: dict[int, int] = {}
        for partition in self.partitions():
            for file in self._files(partition, first, last):
                if self._schema(file) is not None:
                    rows[file.hour] = rows.get(file.hour, 0) + int(pq.read_metadata(file.path).num_rows)
        return [(-(-hour * HOUR // self.step), count) for hour, count in sorted(rows.items())]

    def texts(self, partition: int) -> dict[str, str]:
        """The text of each log template that has a column."""
        path = self.folder / str(partition) / TEMPLATES
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return found

    def batches(
        self, partition: int, first: int, last: int, features: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the slots `first` to `last`, by slot and entity: entity, slot, score, and `value:` columns.

        `features` are the value columns, and their order; without it all that there are. No more than a batch is held,
        or an hour where a former owner's file still lies beside it.
        """
        wanted = self.features(first, last) if features is None else list(features)
        values = [(f"{PREFIX}{name}", pa.float32()) for name in wanted]
        schema = pa.schema([*KEY, *values])
        for hour in sorted({file.hour for file in self._files(partition, first, last)}):
            for batch in self._hour(partition, hour, wanted):
                slot = batch.column("slot")
                kept = batch.filter(pc.and_(pc.greater_equal(slot, first), pc.less_equal(slot, last)))
                if kept.num_rows:
                    yield _shaped(kept, schema)

    def _files(self, partition: int, first: int | None = None, last: int | None = None) -> list[HourFile]:
        lowest = None if first is None else first * self.step // HOUR
        highest = None if last is None else last * self.step // HOUR
        folder = self.folder / str(partition)
        files = files_of(folder) if folder.exists() else []
        return [
            file
            for file in files
            if (lowest is None or file.hour + file.span > lowest) and (highest is None or file.hour <= highest)
        ]

    def _schema(self, file: HourFile) -> pa.Schema | None:
        """None where the file is of another step, gone, or cannot be read."""
        try:
            schema = pq.read_schema(file.path)
            said = json.loads((schema.metadata or {}).get(META, b"{}"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, pa.ArrowException) as error:
            structlog.get_logger().warning(
                "a file of the history cannot be read", file=str(file.path), reason=str(error)
            )
            return None
        return schema if said.get("step_ns") == self.step else None

    def _hour(self, partition: int, hour: int, features: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """An hour's rows. Its one file is open before anything of it is given out: what replaces it does not matter."""
        for _ in range(ATTEMPTS):
            every = [file for file in self._files(partition) if file.hour == hour]
            files = [file for file in every if self._schema(file) is not None]
            if len(files) != 1:
                break
            try:
                with pq.ParquetFile(files[0].path) as opened:
                    have = set(opened.schema_arrow.names)
                    columns = ["entity", "slot", "score", *(n for f in features if (n := f"{PREFIX}{f}") in have)]
                    yield from opened.iter_batches(BATCH, columns=columns)
                return
            except FileNotFoundError:
                continue
        blocks = [block for file in files if (block := read_block(file.path)) is not None]
        whole = joined(blocks, features)
        arrays = {
            "entity": pa.array(whole.names, pa.string()).take(pa.array(whole.codes)),
            "slot": pa.array(whole.slots), "score": pa.array(whole.scores),
        } | {f"{PREFIX}{name}": pa.array(whole.values[:, place]) for place, name in enumerate(features)}  # fmt: skip
        yield from pa.table(arrays).to_batches(BATCH)


def _shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """With every column of `schema`; what the hour does not have is missing (NaN)."""
    have = set(batch.schema.names)
    missing = pa.array(np.full(batch.num_rows, np.nan, np.float32))
    arrays = [batch.column(name) if name in have else missing for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
