"""Closed slots as arrays: blocks of rows, put together in one order, and turned into the columns of a table."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.types import Floats, Ints

TURNED = 1024
"""Rows that are turned into columns together."""
SHARED = 4
"""Rows that have the same values, on average, from which on columns are picked from those, not turned row by row."""
KEY = ("entity", "slot", "score")


class Block(NamedTuple):
    """N closed slots of entities: codes (N) of `names`, slots, scores (N), and values K x F of `features`, a list that
    may have grown since. Row i has the values `at[i]`; without `at`, K = N and it has its own."""

    names: Sequence[str]
    codes: NDArray[np.integer[Any]]
    slots: Ints
    scores: Floats
    values: Floats
    features: Sequence[str]
    at: Ints | None = None

    def take(self, which: NDArray[np.bool_]) -> "Block":
        """The rows `which` (N); their values stay where they are."""
        at = np.flatnonzero(which) if self.at is None else self.at[which]
        return self._replace(codes=self.codes[which], slots=self.slots[which], scores=self.scores[which], at=at)


class _Lined(NamedTuple):
    """The rows of some blocks in order: codes (M) of `names`, slots, scores, and where in `pool` (K x F) the values of
    each lie (M)."""

    names: list[str]
    codes: Ints
    slots: Ints
    scores: Floats
    pool: Floats
    at: Ints


def joined(blocks: Sequence[Block], features: Sequence[str], by_entity: bool = False) -> Block:
    """Blocks with the columns `features`, ordered by (slot, entity) or (entity, slot); of a pair the last counts."""
    lined = _lined(blocks, features, by_entity)
    own = len(lined.at) == len(lined.pool) and np.array_equal(lined.at, np.arange(len(lined.at)))
    values = lined.pool if own else lined.pool[lined.at]
    return Block(lined.names, lined.codes, lined.slots, lined.scores, values, features)


def table_of(blocks: Sequence[Block], prefix: str) -> pa.Table:
    """Blocks by (slot, entity) as a table: of a pair the last counts; features by name, those without any value left
    out."""
    features = list(dict.fromkeys(name for block in blocks for name in block.features[: block.values.shape[1]]))
    lined = _lined(blocks, features)
    entity = pa.DictionaryArray.from_arrays(pa.array(lined.codes, pa.int32()), pa.array(lined.names, pa.string()))
    columns = {
        "entity": entity.cast(pa.string()), "slot": pa.array(lined.slots), "score": pa.array(lined.scores)
    }  # fmt: skip
    for name, column in sorted(zip(features, _columns(lined.pool, lined.at), strict=True), key=itemgetter(0)):
        if not np.isnan(column[:1]).all() or not np.isnan(column).all():
            columns[f"{prefix}{name}"] = pa.array(column)
    return pa.table(columns)


def block_of(table: pa.Table, prefix: str) -> Block:
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


def _lined(blocks: Sequence[Block], features: Sequence[str], by_entity: bool = False) -> _Lined:
    if not blocks:
        empty, none = np.zeros(0, np.int64), np.zeros((0, len(features)), np.float32)
        return _Lined([], empty, empty, np.zeros(0, np.float32), none, empty)
    names, codes = _renumbered(blocks)
    slots, scores = (np.concatenate(part) for part in zip(*((b.slots, b.scores) for b in blocks), strict=True))
    pool, at = _pooled(blocks, features)
    order = _order(codes, slots, by_entity)
    return _Lined(names, codes[order], slots[order], scores[order], pool, at[order])


def _order(codes: Ints, slots: Ints, by_entity: bool) -> Ints | slice:
    """The places of rows in order, of equal ones the last."""
    if not len(codes):
        return slice(None)
    above, span = slots - slots.min(), int(np.ptp(slots)) + 1
    key = codes * span + above if by_entity else above * (int(codes.max()) + 1) + codes
    if (key[1:] > key[:-1]).all():
        return slice(None)
    order: Ints = np.argsort(key, kind="stable")
    key = key[order]
    return order[np.r_[key[1:] != key[:-1], True]]


def _pooled(blocks: Sequence[Block], features: Sequence[str]) -> tuple[Floats, Ints]:
    """The values of all blocks with the columns `features`, and where among them those of each row lie. Blocks may
    share them."""
    begin: dict[int, int] = {}
    parts, at, size = list[Floats](), list[Ints](), 0
    for block in blocks:
        if id(block.values) not in begin:
            begin[id(block.values)] = size
            parts.append(_picked(block, features))
            size += len(block.values)
        at.append(begin[id(block.values)] + (np.arange(len(block.codes)) if block.at is None else block.at))
    return parts[0] if len(parts) == 1 else np.concatenate(parts), np.concatenate(at)


def _picked(block: Block, features: Sequence[str]) -> Floats:
    place = {name: column for column, name in zip(range(block.values.shape[1]), block.features, strict=False)}
    if list(place) == list(features):
        return block.values
    wide = np.pad(block.values, ((0, 0), (0, 1)), constant_values=np.nan)
    picked: Floats = wide[:, [place.get(name, len(place)) for name in features]]
    return picked


def _renumbered(blocks: Sequence[Block]) -> tuple[list[str], Ints]:
    """The names that rows have, sorted, and the code of each row among them."""
    known: dict[str, int] = {}
    numbers: dict[int, Ints] = {}  # by list of names, which many blocks have in common: -1 = not looked up
    parts = list[Ints]()
    for block in blocks:
        number = numbers.setdefault(id(block.names), np.full(len(block.names), -1, np.int64))
        new = np.zeros(len(number), np.bool_)
        new[block.codes] = True
        for code in np.flatnonzero(new & (number < 0)).tolist():
            number[code] = known.setdefault(block.names[code], len(known))
        parts.append(number[block.codes])
    names = sorted(known)
    rank = np.empty(len(names), np.int64)
    rank[[known[name] for name in names]] = np.arange(len(names))
    return names, rank[np.concatenate(parts)]


def _columns(pool: Floats, at: Ints) -> Floats:
    """F x M: the rows `at` (M) of `pool` (K x F) as columns."""
    if len(at) >= SHARED * len(pool):
        return np.take(np.ascontiguousarray(pool.T), at.astype(np.int32), axis=1)
    turned: Floats = np.empty((pool.shape[1], len(at)), np.float32)
    for start in range(0, len(at), TURNED):  # column by column costs thrice as much
        turned[:, start : start + TURNED] = pool[at[start : start + TURNED]].T
    return turned
