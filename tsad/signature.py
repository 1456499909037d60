"""What an alert has done so far: how far its channels went, and how many warnings and errors came beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from streaming.logfeatures import COMPLAINTS
from streaming.types import Ints
from streaming.windower import Windower
from tsad.era import Era

HARDLY = 0.05
"""So little outside of training is nothing."""
BY_CHANCE, A_FEW = 3.0, 2.0
"""So many standard deviations of a Poisson number, and so many lines, are more warnings and errors than usual."""


@dataclass(frozen=True, slots=True)
class Signature:
    """`peaks`: by channel, how far outside its range in training it was, in widths of that; those inside are left out.
    `errors`: lines that warn or worse, `rate`: how many there usually are in a slot, by training or before."""

    peaks: Mapping[str, float] = field(default_factory=dict)
    errors: float = 0.0
    rate: float = 0.0


def more_than_usual(errors: float, usual: float) -> bool:
    """Whether so many warnings and errors are no chance."""
    return errors > usual + BY_CHANCE * sqrt(usual) + A_FEW


def signature(era: Era, windower: Windower, row: int, first: int, last: int) -> Signature:
    """Of the slots `first` to `last` (of the last window) of an entity."""
    slots = np.arange(max(first, last - era.window + 1), last + 1)
    values = era.project(windower.derived(np.full(len(slots), row, np.int32), slots))
    origin, width = era.scorer.ranges(np.array([row], np.int32), last)
    outside = np.abs((values - origin[0]) / width[0] - 0.5) - 0.5
    highest = np.nan_to_num(np.fmax.reduce(outside, axis=0, initial=0.0))
    features = era.ensemble.features
    peaks = {name: round(float(peak), 3) for name, peak in zip(features, highest, strict=True) if peak > HARDLY}
    return Signature(peaks, _complaints(windower, row, slots), _usual_rate(era, windower, row, first))


def _complaints(windower: Windower, row: int, slots: Ints) -> float:
    """Whether the model knows of them or not."""
    columns = [place for place, name in enumerate(windower.features) if name in COMPLAINTS]
    values = windower.derived(np.full(len(slots), row, np.int32), slots)
    return float(np.nansum(values[:, [place for place in columns if place < values.shape[1]]]))


def _usual_rate(era: Era, windower: Windower, row: int, first: int) -> float:
    """Warnings and errors a slot: by training, else in the window before the slot `first`."""
    ensemble = era.ensemble
    grave = [place for place, name in enumerate(ensemble.features) if name in COMPLAINTS]
    if not grave or not len(ensemble.background):
        return _complaints(windower, row, np.arange(first - era.window, first)) / era.window
    origin, width = era.scorer.ranges(np.array([row], np.int32), first)
    scaled = ensemble.background.values[:, :, grave]
    mean = np.nansum(scaled, axis=(0, 1), dtype=np.float64) / np.maximum((~np.isnan(scaled)).sum(axis=(0, 1)), 1)
    return float(np.maximum(origin[0, grave] + width[0, grave] * mean, 0).sum())
