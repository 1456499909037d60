"""Arithmetic over windows in blocks of one fixed size, so that a window's score does not depend on its neighbours.

A float32 matrix product of 3 rows differs from the same rows among 256 by up to 2e-4 (relative); with equal shapes it
is the same bit for bit (DESIGN §3, "Alone = in a crowd") on most processors, and by `detectors.products` on the others.
So every product and network sees blocks of one shape, the last one padded with zeros.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.types import Codes, Floats, Ints, Windows

BLOCK = 64
"""Windows in a block. 256 are a seventh cheaper where thousands are scored at once (26 and 30 µs a window of the
default ensemble), but a poll of one entity is scored 63 slots at a time, which are then four times as dear (98 and
38 µs)."""


def in_blocks(function: Callable[[Floats], Floats], values: Floats, block: int = BLOCK) -> Floats:
    """`function` (block x ... -> block x K) over all rows of `values` (B x ...): B x K.

    `function` must treat rows independently and return a new array; it always gets exactly `block` rows, in a buffer
    that it may overwrite.
    """
    buffer = np.empty((block, *values.shape[1:]), dtype=np.float32)
    parts = []
    for start in range(0, max(len(values), 1), block):
        rows = values[start : start + block]
        buffer[: len(rows)] = rows
        buffer[len(rows) :] = 0
        parts.append(function(buffer))
    return np.concatenate(parts)[: len(values)]


def has_gaps(values: Floats) -> bool:
    """Whether any of `values` (finite or NaN) is missing; cheaper than looking at each."""
    return bool(np.isnan(values.sum()))


def least(values: NDArray[np.floating[Any]], count: int) -> NDArray[np.floating[Any]]:
    """The `count` least numbers of each row of B x N `values`, which are overwritten, in rising order: B x `count`.

    A few times the least is an eighth of the cost of a partition (measured: 5 of 1,024).
    """
    found, rows = np.empty((len(values), count), values.dtype), np.arange(len(values))
    for place in range(count):
        at = values.argmin(axis=1)
        found[:, place] = values[rows, at]
        values[rows, at] = np.inf
    return found


def by_name(find: Callable[[str], int], entities: Codes, names: Sequence[str]) -> Ints:
    """B numbers: what `find` says of the name of each of `entities` (codes into `names`). Asked of the windows' names
    or of all, whichever are fewer: a stream has many entities, and a block of windows few."""
    if len(names) <= len(entities):
        return np.array([find(name) for name in names], np.int64)[entities]
    return np.array([find(names[entity]) for entity in entities.tolist()], np.int64)


def slot_runs(windows: Windows, most: int) -> Iterator[range]:
    """The windows, at most `most` at a time, by slots of the same entities: range(first, end, entities of a slot)."""
    ends, entities = windows.ends, windows.entities
    edges = np.flatnonzero(np.diff(ends, prepend=ends[:1] - 1, append=ends[-1:] + 1))
    sizes = np.diff(edges)
    for first, last in pairwise([0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]):
        if first == last:
            continue
        size, start, stop = int(sizes[first]), int(edges[first]), int(edges[last])
        if size > most:
            for begin in range(start, stop, size):
                end = begin + size
                yield from (range(at, min(at + most, end), min(most, end - at)) for at in range(begin, end, most))
            continue
        table = entities[start:stop].reshape(-1, size)
        changes = np.flatnonzero((table[1:] != table[:-1]).any(axis=1)) + 1
        for begin, end in pairwise([0, *changes.tolist(), len(table)]):
            step = most // size * size
            behind = start + end * size
            yield from (range(at, min(at + step, behind), size) for at in range(start + begin * size, behind, step))
