"""From errors of channels to a score and shares: what all detectors that predict or reconstruct have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors import robust
from detectors.blocks import by_name, has_gaps
from detectors.compiled import compiled
from detectors.types import Scores
from streaming.types import Codes, Floats, Ints, State

REFERENCE_FLOOR = np.float32(0.02)
"""Added to a channel's usual error before it divides: 2% of the training range (measured best for root causes)."""

_MAD_TO_SD = 1.4826
_CUT = 0.97
_ENOUGH = 100
"""Validation rows from which an entity has its own scale."""


def usual_errors(errors: Floats) -> Floats:
    """F: each channel's 99% quantile of `errors` (N x F, NaN = absent) plus a floor."""
    return _quantile(errors, 0.99) + REFERENCE_FLOOR


def _quantile(errors: Floats, level: float) -> Floats:
    """F: the quantile of what is there in each column of N x F `errors` (N >= 1); 0 where nothing is."""
    count = (~np.isnan(errors)).sum(axis=0)
    place = np.maximum(np.ceil(level * count).astype(np.int64) - 1, 0)
    ordered = np.sort(errors, axis=0)  # NaN last
    quantile: Floats = np.take_along_axis(ordered, place[None], axis=0)[0]
    return np.nan_to_num(quantile)


def mean_over_channels(errors: Floats, usual: Floats) -> Scores:
    """Scores of B windows from their channels' errors (B x F, not negative, NaN = no opinion of this channel).

    The score is the mean over the channels with an opinion (measured: mean .628 VUS-PR, top three .521, maximum .459);
    a channel's share follows (error / usual error) squared, so that a channel that is always noisy takes no blame.
    """
    if not has_gaps(errors):
        values = errors.sum(axis=1) / np.float32(errors.shape[1])
        return Scores(values, lambda some: shares_of(np.square(errors[some] / usual)))
    present = ~np.isnan(errors)
    filled = np.where(present, errors, np.float32(0))
    count = present.sum(axis=1, dtype=np.float32)
    values = np.where(count > 0, filled.sum(axis=1) / np.maximum(count, np.float32(1)), np.float32(np.nan))
    return Scores(values, lambda some: shares_of(np.square(filled[some] / usual), present[some]))


def shares_of(weights: Floats, present: NDArray[np.bool_] | None = None) -> Floats:
    """B x F shares in proportion to `weights` (>= 0, overwritten), 0 where not `present`; equal where all are 0."""
    if present is not None:
        weights *= present
    total = np.add.reduce(weights, axis=1, keepdims=True)
    even = total[:, 0] <= np.finfo(np.float32).tiny
    if even.any():
        weights[even] = True if present is None else present[even]
        total[even] = np.maximum(weights[even].sum(axis=1, keepdims=True), 1)
    weights /= total
    return weights


def held_out(count: int) -> tuple[Ints, Ints]:
    """Places of training and validation rows among `count`: of each 250 in a row, the last 50 validate.

    Fewer than 250 rows serve as both.
    """
    places = np.arange(count)
    validates = places % 250 >= 200
    return (places[~validates], places[validates]) if count >= 250 else (places, places)


@dataclass(frozen=True, slots=True)
class ResidualScale:
    """Robust centre and spread of each channel's residual: an entity's own where it has enough rows, else the fleet's.

    The last row of `centre` and `spread` ((K + 1) x F) is the fleet's, row k belongs to `names[k]`. The spread is
    1.4826 x the median absolute deviation, or the standard deviation of the deviations cut at their 97% quantile where
    that is larger (a channel that rests most of the time has no median deviation), plus `floor` in training ranges.
    """

    names: list[str]
    centre: Floats
    spread: Floats

    @classmethod
    def fit(cls, residuals: Floats, entities: Codes, names: Sequence[str], *, floor: float) -> "ResidualScale":
        """From N x F residuals (NaN = absent) of `entities` (N codes into `names`)."""
        codes, counts = np.unique(entities, return_counts=True)
        own = codes[counts >= _ENOUGH] if len(codes) > 1 else codes[:0]
        groups = [*(residuals[entities == code] for code in own), residuals]
        centre, spread = zip(*(_centre_and_spread(group, floor) for group in groups), strict=True)
        return cls([names[code] for code in own], np.stack(centre), np.stack(spread))

    def scaled(self, residuals: Floats, entities: Codes, names: Sequence[str], cap: float) -> Floats:
        """B x F: |residual - centre| / spread of each window's entity, at most `cap`."""
        scaled = np.array(residuals, np.float32, order="C")
        fleet = np.full(len(entities), len(self.names))
        rows = self.places(entities, names) % len(self.centre) if self.names else fleet
        _scale(scaled, rows, np.array(self.centre), np.array(self.spread), np.float32(cap))
        return scaled

    def places(self, entities: Codes, names: Sequence[str]) -> Ints:
        """B: the row of `centre` and `spread` that belongs to each of `entities` (codes into `names`)."""
        known = {name: k for k, name in enumerate(self.names)}
        return by_name(lambda name: known.get(name, -1), entities, names)

    def state(self) -> State:
        """As plain data."""
        return State({"centre": self.centre, "spread": self.spread}, {"names": self.names})

    @classmethod
    def restore(cls, state: State) -> "ResidualScale":
        """What `state` gave."""
        return cls(list(state.meta["names"]), state.arrays["centre"], state.arrays["spread"])


@compiled("void(f4[:, ::1], i8[::1], f4[:, ::1], f4[:, ::1], f4)")
def _scale(residuals: Floats, rows: Ints, centre: Floats, spread: Floats, cap: np.float32) -> None:
    """Overwrite `residuals` (B x F) by their sizes in terms of the `rows` (B) of `centre` and `spread`."""
    for place in range(len(rows)):
        row, middle, width = residuals[place], centre[rows[place]], spread[rows[place]]
        for channel in range(len(row)):
            size = abs(row[channel] - middle[channel]) / width[channel]
            row[channel] = cap if size > cap else size


def _centre_and_spread(residuals: Floats, floor: float) -> tuple[Floats, Floats]:
    centre = np.nan_to_num(robust.median(residuals, axis=0))
    deviation = np.abs(residuals - centre)
    mad = _MAD_TO_SD * np.nan_to_num(robust.median(deviation, axis=0))
    cut = np.minimum(deviation, _quantile(deviation, _CUT))
    sd = np.sqrt(np.nan_to_num(robust.mean(np.square(cut), axis=0)))
    return centre, np.maximum(mad, sd) + np.float32(floor)
