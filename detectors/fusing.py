"""The loops of fusion in machine code: over detectors and slots, one window after the other, so that a window's number
has no neighbours. `detectors.fusion` and `detectors.scorer` say what for."""

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled
from streaming.types import Codes, Floats, Ints

Doubles = NDArray[np.float64]
Ring = tuple[Floats, Ints]
"""Ratios of E entities in each of P places (E x P x D), and the slots that they are of (E x P)."""
_RING = "Tuple((f4[:, :, ::1], i8[:, ::1]))"


@compiled("void(f4[:, ::1], b1[::1], f8[::1])")
def mean_cube(ratios: Floats, quiet: NDArray[np.bool_], mean: Doubles) -> None:
    """The mean third power of D x B ratios into `mean` (B); NaN where no detector has an opinion. Those that are
    `quiet` (D) count only where no other has one."""
    for place in range(len(mean)):
        total, count, other, others = 0.0, 0, 0.0, 0
        for detector in range(len(quiet)):
            ratio = np.float64(ratios[detector, place])
            if np.isnan(ratio):
                continue
            if quiet[detector]:
                other, others = other + ratio * ratio * ratio, others + 1
            else:
                total, count = total + ratio * ratio * ratio, count + 1
        if count == 0:
            total, count = other, others
        mean[place] = total / count if count else np.nan


@compiled("void(f4[:, ::1], i8[::1], f4[:, ::1], i8)")
def _mean(stretch: Floats, look_ahead: Ints, mean: Floats, place: int) -> None:
    """Of S x D ratios, each detector's over its `look_ahead` (D) into its `mean` at `place`."""
    silent = True
    for detector in range(len(look_ahead)):
        silent &= np.isnan(stretch[0, detector])
    for detector in range(len(look_ahead)):
        total, count = 0.0, 0
        for slot in range(look_ahead[detector]):
            if not np.isnan(stretch[slot, detector]):
                total += stretch[slot, detector]
                count += 1
        mean[detector, place] = np.nan if silent or count == 0 else total / count


@compiled("void(f4[:, :, :], i8[::1], f4[:, ::1])")
def settled_mean(stretches: Floats, look_ahead: Ints, mean: Floats) -> None:
    """Each detector's mean over its own `look_ahead` (D) of S x D x B ratios into `mean` (D x B); NaN = no opinion, and
    where a window's own slot, the first, was judged by no detector."""
    slots, detectors, windows = stretches.shape
    stretch = np.empty((slots, detectors), np.float32)
    for place in range(windows):
        for slot in range(slots):
            for detector in range(detectors):
                stretch[slot, detector] = stretches[slot, detector, place]
        _mean(stretch, look_ahead, mean, place)


@compiled(f"void(i4, i8, {_RING}, f4[:, ::1])")
def _look_up(entity: int, end: int, ring: Ring, stretch: Floats) -> None:
    """The ratios of the slots up to `end` into `stretch` (S x D), NaN where they are gone."""
    kept, slots = ring
    first = end - len(stretch) + 1
    place = first % kept.shape[1]
    for ahead in range(len(stretch)):
        judged = slots[entity, place] == first + ahead
        for detector in range(kept.shape[2]):
            stretch[ahead, detector] = kept[entity, place, detector] if judged else np.nan
        place = place + 1 if place + 1 < kept.shape[1] else 0


@compiled(f"void(i4[::1], i8[::1], i8[::1], i8, {_RING}, f4[:, ::1])")
def looked_ahead(entities: Codes, ends: Ints, look_ahead: Ints, settle: int, ring: Ring, mean: Floats) -> None:
    """`settled_mean` over the `settle` slots up to each of `ends` (B), as the ring has them of `entities` (B)."""
    stretch = np.empty((settle, len(look_ahead)), np.float32)
    for place in range(len(ends)):
        _look_up(entities[place], ends[place], ring, stretch)
        _mean(stretch, look_ahead, mean, place)


@compiled(f"void(i4[::1], i8[::1], f4[:, ::1], i8[::1], i8, {_RING}, f4[:, ::1])")
def settle(entities: Codes, ends: Ints, own: Floats, look_ahead: Ints, slots: int, ring: Ring, mean: Floats) -> None:
    """Keep the ratios `own` (D x B) of windows, ordered by `ends`, in the ring: `looked_ahead` from each in turn."""
    kept, written = ring
    stretch = np.empty((slots, len(look_ahead)), np.float32)
    for place in range(len(ends)):
        entity, at = entities[place], ends[place] % kept.shape[1]
        if written[entity, at] <= ends[place]:  # a re-read slot may be older than the ring; what is newer stays
            written[entity, at] = ends[place]
            for detector in range(len(own)):
                kept[entity, at, detector] = own[detector, place]
        _look_up(entity, ends[place], ring, stretch)
        _mean(stretch, look_ahead, mean, place)
