"""Matrix products of a block of windows whose bits do not depend on a window's place in the block.

Equal shapes alone do not give that (DESIGN §3, "Alone = in a crowd"): OpenBLAS's kernels for processors with AVX2
alone (AMD's before Zen 4, Intel's before Skylake-X, and newer ones that it does not know) add up six rows of twelve in
another order than the other six, and every kernel's bits may depend on how many threads share a product.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from streaming.types import Floats

_TILE = 16
"""Windows that those kernels treat alike, where windows are the columns."""
_DRAWS = 64
"""Sums that are looked at, at least, before a way is taken for fair."""


def product(block: Floats, matrix: Floats) -> Floats:
    """B x N: `block` (B x K) times `matrix` (K x N). Each row has the bits that it would have at any other place."""
    return _way(len(block), *matrix.shape)(block, matrix)


def one_blas_thread() -> None:
    """No BLAS loaded by now uses a second thread in this process from now on: how sums are split would depend on their
    number, and products of a block are too small to gain from more."""
    ThreadpoolController().select(user_api="blas").limit(limits=1)


def _whole(block: Floats, matrix: Floats) -> Floats:
    product: Floats = block @ matrix
    return product


def _in_tiles(block: Floats, matrix: Floats) -> Floats:
    """A third dearer than `_whole`."""
    tiles = block.reshape(-1, _TILE, block.shape[1]).transpose(0, 2, 1)
    product: Floats = np.matmul(matrix.T, tiles).transpose(0, 2, 1).reshape(len(block), -1)
    return product


def _one_by_one(block: Floats, matrix: Floats) -> Floats:
    return np.stack([row @ matrix for row in block])


@cache
def _way(rows: int, inner: int, outer: int) -> Callable[[Floats, Floats], Floats]:
    """The cheapest for a block of so many `rows`, on this processor and with this BLAS."""
    one_blas_thread()
    ways = (_whole, _in_tiles) if rows % _TILE == 0 else (_whole,)
    return next((way for way in ways if _fair(way, rows, inner, outer)), _one_by_one)


def _fair(way: Callable[[Floats, Floats], Floats], rows: int, inner: int, outer: int) -> bool:
    """Whether a row has the same bits at each of its places."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((inner, outer), np.float32)
    for row in rng.standard_normal((max(4, _DRAWS // max(outer, 1)), inner), np.float32):
        found = way(np.tile(row, (rows, 1)), matrix)
        if (found != found[:1]).any():
            return False
    return True
