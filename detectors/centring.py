"""Windows around their mean, in blocks of one fixed size (`detectors.blocks`), and what is left of them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled
from streaming.types import Floats


def centred_blocks(function: Callable[[Floats, Floats], Floats], values: Floats, mean: Floats, block: int) -> Floats:
    """`function` over the newest slots of all windows (`values`, B x T x F), as many as `mean` has (S x F): B x K.

    `function` gets exactly `block` of them around the mean (block x (S F), NaN = missing) in a buffer that it may
    overwrite, and the sum of squares of each (NaN where something is missing). It must treat rows independently and
    return a new array.
    """
    windows = np.require(values, np.float32, ["C", "W"]).reshape(len(values), values.shape[1] * values.shape[2])
    middle = np.array(mean, np.float32).reshape(-1)
    flat = np.empty((block, middle.size), np.float32)
    parts = []
    for start in range(0, max(len(values), 1), block):
        _centre(windows, start, middle, flat)
        parts.append(function(flat, np.vecdot(flat, flat)))
    return np.concatenate(parts)[: len(values)]


def missing_of(flat: Floats, squares: Floats) -> NDArray[np.bool_] | None:
    """What is missing of a block; None: nothing."""
    return np.isnan(flat) if np.isnan(squares.sum()) else None


def rest(flat: Floats, inside: Floats, seen: NDArray[np.bool_], missing: NDArray[np.bool_] | None) -> Floats:
    """block x F: the root mean square over slots of `flat` - `inside`, without what is `missing`; NaN where a channel
    is absent or was never `seen`. `inside` (block x (S F), overwritten) may have the newest slots only."""
    errors = np.empty((len(flat), len(seen)), np.float32)
    slots = np.float32(inside.shape[1] // len(seen))
    if missing is None:
        _rest(flat, inside, errors)
        errors /= slots
    else:
        missing = missing[:, missing.shape[1] - inside.shape[1] :]
        np.copyto(inside, flat[:, flat.shape[1] - inside.shape[1] :], where=missing)
        _rest(flat, inside, errors)
        there = slots - missing.reshape(len(flat), -1, len(seen)).sum(axis=1, dtype=np.float32)
        errors /= np.where(there > 0, there, np.float32(np.nan))
    np.sqrt(errors, out=errors)
    return errors if seen.all() else np.where(seen, errors, np.float32(np.nan))


@compiled("void(f4[:, ::1], i8, f4[::1], f4[:, ::1])")
def _centre(windows: Floats, start: int, mean: Floats, flat: Floats) -> None:
    """The rows of `flat`: the ends of `windows` from `start` on, less their `mean`; 0 behind the last one."""
    size, there = len(mean), min(len(flat), len(windows) - start)
    for row in range(there):
        out, newest = flat[row], windows[start + row, windows.shape[1] - size :]
        for place in range(size):
            out[place] = newest[place] - mean[place]
    flat[there:] = 0


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def _rest(flat: Floats, inside: Floats, squares: Floats) -> None:
    """The sums of squares over slots of the newest of `flat` less `inside`."""
    channels, skip = squares.shape[1], flat.shape[1] - inside.shape[1]
    for row in range(len(flat)):
        found = squares[row]
        found[:] = 0
        for first in range(0, inside.shape[1], channels):
            slot, near = flat[row, skip + first : skip + first + channels], inside[row, first : first + channels]
            for place in range(channels):
                away = slot[place] - near[place]
                found[place] += away * away
