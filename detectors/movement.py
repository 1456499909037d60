"""How far each channel moved from its own past, beside what is usual for it: what names the root cause.

A model of all channels errs on those that only depend on the one that broke, too, and a window's reconstruction
smears a fault over its neighbours. Measured on the labelled extents of SMD and ASD (interpretation labels, 7 shared
series), shares by the detectors' errors put .49 / .94 of the named channels first, by a channel's own movement
.71 / .96; every larger part for the detectors' errors cost SMD.
"""

import numpy as np

from detectors.blocks import has_gaps
from streaming.types import Floats

REACH = 10
"""Slots before the newest that make a channel's level."""
FLOOR = np.float32(0.05)
"""Added to a usual movement before it divides, in training ranges: a channel that never moves does not take all blame
when it does (.02 to .2 make little difference)."""
CAP = np.float32(10)
"""Further beyond its usual movement no channel is blamed more: one cannot silence the others."""


def movements(values: Floats) -> Floats:
    """2 x B x F: |newest - the slot before| and |newest - mean of the `REACH` slots before it| of B x T x F `values`
    (NaN = missing), NaN where one of the two is."""
    newest, past = values[:, -1], values[:, -1 - REACH : -1]
    moved = np.full((2, *newest.shape), np.nan, np.float32)
    if not past.shape[1]:
        return moved
    np.subtract(newest, past[:, -1], out=moved[0])
    np.subtract(newest, _mean(past), out=moved[1])
    return np.abs(moved, out=moved)


def _mean(past: Floats) -> Floats:
    """B x F: the mean over the S slots of what is there, added up in one order whatever B; NaN where nothing is."""
    gaps = has_gaps(past)
    filled = np.nan_to_num(past) if gaps else past
    total = filled[:, 0].copy()
    for slot in range(1, past.shape[1]):
        total += filled[:, slot]
    if gaps:
        count = (~np.isnan(past)).sum(axis=1, dtype=np.float32)
        total /= np.where(count > 0, count, np.float32(np.nan))
    else:
        total /= np.float32(past.shape[1])
    return total


def blamed(values: Floats, usual: Floats, detectors: Floats) -> Floats:
    """Shares (B x F) of the channels of B x T x F `values`: proportional to 1 + the mean square of both movements over
    their `usual` (2 x B x F; NaN = never seen), at most `CAP`, + the `detectors`' own shares (B x F, add up to 1).

    The one keeps quiet rows even, so that sums and maxima of shares over rows agree; where nothing moved, the
    detectors decide. A channel without a newest value has the detectors' share alone; a row of which they say nothing
    (0) stays 0.
    """
    scaled = movements(values)
    scaled /= usual
    np.minimum(scaled, CAP, out=scaled)
    np.square(scaled, out=scaled)
    if has_gaps(scaled):
        np.copyto(scaled, np.float32(0), where=np.isnan(scaled))
    weights: Floats = scaled[0]
    weights += scaled[1]
    weights *= np.float32(0.5)
    weights += ~np.isnan(values[:, -1] - usual[1])
    weights += detectors
    silent = ~detectors.any(axis=1)
    if silent.any():
        weights[silent] = 0
    total = np.add.reduce(weights, axis=1, keepdims=True)
    np.copyto(total, np.float32(1), where=total <= 0)
    weights /= total
    return weights
