"""Decoded values of a poll into one matrix, a column for each feature."""

import math
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streaming.columns import Columns
from streaming.intake import Intake
from streaming.json_records import Time
from streaming.types import Floats, Ints

MAX_FIELDS = 512
"""Names that the typed fast decoder knows; records with others are decoded as dictionaries."""


@dataclass(slots=True)
class Block:
    """Rows (n) of a poll that name the same features in the same order (k): values n x k, NaN = absent."""

    rows: Ints
    names: Sequence[str]
    values: Floats


class Assembly:
    """From rows to the matrix of their values.

    Names seen before are fields of a generated `msgspec.Struct`, which decodes at twice the speed of a dictionary; a
    record with any other name is decoded as a dictionary. Both give the same matrix.
    """

    def __init__(self, columns: Columns, declared: Sequence[str] | None) -> None:
        self._columns = columns
        self._declared = None if declared is None else tuple(declared)
        self._fields: list[str] = []
        self._known: set[str] = set()
        self._width = 0
        self._learn(columns.names, rebuild=True)

    def values(self, rows: Sequence[Any], intake: Intake) -> tuple[Floats, dict[str, int]]:
        """Values (M x F float32) of all rows, those of bad ones included, and how often unknown features came.

        Rejects rows without values, with a wrong number of packed ones, or with one that is infinite in float32.
        """
        blocks = self._blocks(rows, intake)
        for block in blocks:
            reject_infinite(block, intake)
        matrix, unknown = place_blocks(blocks, intake.good, self._columns)
        self._learn([name for block in blocks for name in block.names], rebuild=False)
        return matrix, unknown

    def parser(self) -> tuple[Callable[[bytes], Any], Callable[[Any], Any]]:
        """For the next poll: payload -> row, and row -> row with its numbers as bytes of doubles.

        Lists of floats that live for a whole poll are what the garbage collector and the cache suffer from most; so
        each row's numbers are packed as soon as they are read.
        """
        width = len(self._packed_names())
        if width != self._width:
            self._build(width)
        typed, shape, astuple = self._typed, self._shape, msgspec.structs.astuple
        pack_packed, pack_named = _packer(width), _packer(len(self._fields))
        doubles = struct.Struct(f"{width}d").pack

        def pack(row: Any) -> Any:
            if row.v is not None:
                if len(row.v) == width:
                    row.v = pack_packed(row.v)
            elif row.values.__class__ is shape:
                row.values = pack_named(astuple(row.values))
            return row

        def parse(payload: bytes) -> Any:
            row: Any = typed(payload)
            v = row.v
            if v is None or len(v) != width:
                return pack(row)
            try:
                row.v = doubles(*v)
            except struct.error:  # a null among them
                row.v = pack_packed(v)
            return row

        return parse, pack

    def _blocks(self, rows: Sequence[Any], intake: Intake) -> list[Block]:
        if all([row.v.__class__ is bytes and row.values is None for row in rows]):  # noqa: C419 - a list is faster
            return [block(range(len(rows)), self._packed_names(), [row.v for row in rows])] if rows else []
        packed: list[int] = []
        typed: list[int] = []
        named: dict[tuple[str, ...], list[int]] = {}
        for i, row in enumerate(rows):
            v, values = row.v, row.values
            if v is not None:
                if values is not None:
                    intake.reject(i, "wrong_type", "values and v: a record has one of them, not both")
                elif v.__class__ is bytes:
                    packed.append(i)
                else:
                    said = f"v: {len(v)} numbers; {len(self._packed_names())} are declared (features)"
                    intake.reject(i, "packed_length", said)
            elif values.__class__ is bytes:
                typed.append(i)
            elif values is not None:
                named.setdefault(tuple(values), []).append(i)
            else:
                intake.reject(i, "missing_values", "values: missing; an object of numbers and nulls, or v, is expected")
        blocks = []
        for names, at in named.items():
            pack = _packer(len(names))
            blocks.append(block(at, names, [pack(rows[i].values.values()) for i in at]))
        if typed:
            blocks.append(block(typed, tuple(self._fields), [rows[i].values for i in typed]))
        if packed:
            blocks.append(block(packed, self._packed_names(), [rows[i].v for i in packed]))
        return blocks

    def _packed_names(self) -> tuple[str, ...]:
        if self._declared is not None:
            return self._declared
        return () if self._columns.open else tuple(self._columns.names)

    def _learn(self, names: Sequence[str], rebuild: bool) -> None:
        fresh = [name for name in dict.fromkeys(names) if name not in self._known and _can_be_field(name)]
        fresh = fresh[: MAX_FIELDS - len(self._fields)]
        if not fresh and not rebuild:
            return
        self._fields += fresh
        self._known |= set(fresh)
        self._build(len(self._packed_names()))

    def _build(self, width: int) -> None:
        """The typed decoder, for the fields known by now and `width` packed numbers: a tuple of known length is read,
        and packed, faster than a list. A record with another number is left to the careful decoder."""
        self._width = width
        packed: Any = tuple[(float | None,) * width] if width else list[float | None]  # type: ignore[misc]
        ids = [f"f{i}" for i in range(len(self._fields))]
        self._shape = msgspec.defstruct(
            "Values",
            [(key, float | None, math.nan) for key in ids],
            rename=dict(zip(ids, self._fields, strict=True)),
            gc=False,
            forbid_unknown_fields=True,
        )
        row = msgspec.defstruct(
            "FastRow",
            [
                ("entity", str),
                ("time", Time),
                ("values", self._shape | None, None),
                ("v", packed | None, None),
                ("labels", dict[str, str] | None, None),
            ],
            gc=False,
        )
        self._typed = msgspec.json.Decoder(row).decode


def block(rows: Sequence[int], names: Sequence[str], packed: Sequence[bytes]) -> Block:
    """Rows with their values, packed as doubles, as one matrix; a value too large for float32 becomes infinite."""
    values = np.frombuffer(b"".join(packed), dtype=np.float64).reshape(len(rows), len(names))
    with np.errstate(over="ignore"):
        return Block(np.array(rows, dtype=np.int64), names, values.astype(np.float32))


def _packer(width: int) -> Callable[[Collection[float | None]], bytes]:
    pack = struct.Struct(f"{width}d").pack

    def packed(numbers: Collection[float | None]) -> bytes:
        try:
            return pack(*numbers)
        except struct.error:  # a null among them
            return pack(*[math.nan if number is None else number for number in numbers])

    return packed


def _can_be_field(name: str) -> bool:
    return name.isprintable() and '"' not in name and "\\" not in name


def reject_infinite(block: Block, intake: Intake) -> None:
    """Reject the rows of `block` with a value that is infinite, or too large for float32."""
    infinite = np.isinf(block.values)
    for k in np.flatnonzero(infinite.any(axis=1)).tolist():
        name = block.names[int(np.argmax(infinite[k]))]
        said = f"{name:.80}: infinite, or beyond 3.4e38; finite float32 numbers are allowed"
        intake.reject(int(block.rows[k]), "infinite_value", said)


def place_blocks(
    blocks: Sequence[Block], good: NDArray[np.bool_], columns: Columns, counted: NDArray[np.bool_] | None = None
) -> tuple[Floats, dict[str, int]]:
    """Blocks into one matrix (M x F), and the number of values of each feature without a column, in the rows `counted`
    (None: in those that are good).

    A feature is admitted at the first good row with a value of it, in the order of rows.
    """
    counted = good if counted is None else counted
    _admit(blocks, good, columns)
    if len(blocks) == 1 and list(blocks[0].names) == columns.names and len(blocks[0].rows) == len(good):
        return blocks[0].values, {}
    matrix = np.full((len(good), len(columns)), np.nan, dtype=np.float32)
    unknown: dict[str, int] = {}
    for part in blocks:
        numbers = np.array([columns.find(name) for name in part.names], dtype=np.int64)
        known = numbers >= 0
        if known.all():
            matrix[np.ix_(part.rows, numbers)] = part.values
            continue
        matrix[np.ix_(part.rows, numbers[known])] = part.values[:, known]
        counts = (~np.isnan(part.values[counted[part.rows]])).sum(axis=0)
        for k in np.flatnonzero(~known & (counts > 0)).tolist():
            label = columns.count_unknown(part.names[k], int(counts[k]))
            unknown[label] = unknown.get(label, 0) + int(counts[k])
    return matrix, unknown


def _admit(blocks: Sequence[Block], good: NDArray[np.bool_], columns: Columns) -> None:
    if not columns.open:
        return
    arrivals: list[tuple[int, int, str]] = []
    for part in blocks:
        for k in [k for k, name in enumerate(part.names) if columns.find(name) < 0]:
            present = good[part.rows] & ~np.isnan(part.values[:, k])
            if present.any():
                arrivals.append((int(part.rows[int(np.argmax(present))]), k, part.names[k]))
    for _, _, name in sorted(arrivals):
        columns.index(name)
