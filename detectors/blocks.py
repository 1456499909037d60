"""Arithmetic over windows in blocks of one fixed size, so that a window's score does not depend on its neighbours.

A float32 matrix product of 3 rows differs from the same rows among 256 by up to 2e-4 (relative); with equal shapes it
is the same bit for bit (DESIGN §3, "Alone = in a crowd"). So every product and network sees blocks of one shape, the
last one padded with zeros.
"""

from collections.abc import Callable

import numpy as np

from streaming.types import Floats

BLOCK = 64
"""Windows in a block. 256 are a seventh cheaper where thousands are scored at once (26 and 30 µs a window of the default
ensemble), but a poll of one entity is scored 63 slots at a time, which are then four times as dear (98 and 38 µs)."""


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
