"""What normal looks like beside an alert: the window it is explained against, and each channel's usual range."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.robust import median
from streaming.types import Floats, Windows

OWN = 32
"""An entity with this many background windows of its own is compared with those alone."""
_RANK, _VARIANCE, _RIDGE, _ROUNDS = 40, 0.98, 1e-3, 3


@dataclass(slots=True)
class Background:
    """The normal windows of a model version (at most a few hundred, scaled, NaN = missing)."""

    windows: Windows
    _spaces: dict[str, "_Space"] = field(default_factory=dict, repr=False)
    _edges: dict[str, tuple[Floats, Floats]] = field(default_factory=dict, repr=False)
    _own: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        held = np.bincount(self.windows.entities, minlength=len(self.windows.names)).tolist()
        self._own = dict(zip(self.windows.names, held, strict=True))

    def __len__(self) -> int:
        return len(self.windows)

    def references(self, windows: Windows) -> Floats:
        """The normal window (T x F) that each of B windows is explained against: B x T x F, without NaN.

        Around the entity's median window, with the level and phase of this one: see `_Space.nearest`. The bare median
        is a flat line, before which every channel's ordinary movement is a difference, and a flat line none. Without
        background windows: the window's own median row.
        """
        if not len(self):
            own = np.nan_to_num(median(windows.values, 1))
            return np.repeat(own[:, None, :], windows.values.shape[1], axis=1)
        return np.stack(
            [self._space(windows.names[e]).nearest(w) for e, w in zip(windows.entities, windows.values, strict=True)]
        )

    def bands(self, windows: Windows) -> tuple[Floats, Floats]:
        """Each channel's usual range (lower and upper, B x F, scaled): the 1% and 99% quantiles of normal windows.

        NaN where nothing is known.
        """
        if not len(self):
            unknown = np.full((len(windows), len(windows.features)), np.nan, np.float32)
            return unknown, unknown.copy()
        edges = [self._usual(windows.names[entity]) for entity in windows.entities]
        return np.stack([lower for lower, _ in edges]), np.stack([upper for _, upper in edges])

    def _key(self, name: str) -> str:
        """Whose windows an entity is compared with: its own where there are enough, else everybody's ("")."""
        return name if self._own.get(name, 0) >= OWN else ""

    def _normal(self, key: str) -> Floats:
        """The windows (K x T x F) of `_key`."""
        own = np.asarray(self.windows.names, dtype=object)[self.windows.entities] == key
        return self.windows.values[own] if key else self.windows.values

    def _space(self, name: str) -> "_Space":
        key = self._key(name)
        if key not in self._spaces:
            self._spaces[key] = _Space.fit(self._normal(key))
        return self._spaces[key]

    def _usual(self, name: str) -> tuple[Floats, Floats]:
        """The 1% and 99% quantiles (F each)."""
        key = self._key(name)
        if key not in self._edges:
            values = self._normal(key)
            rows = np.sort(values.reshape(-1, values.shape[2]), axis=0)
            self._edges[key] = _ranked(rows, 0.01), _ranked(rows, 0.99)
        return self._edges[key]


@dataclass(frozen=True, slots=True)
class _Space:
    """Where normal windows lie: around `centre` (T x F), along `axes` (F x T x r, in units of their spread).

    `grams` (F x r x r) are the axes' products by channel; `least` and `most` (F) the extremes.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    grams: NDArray[np.float64]
    least: Floats
    most: Floats

    @classmethod
    def fit(cls, values: Floats) -> "_Space":
        """Principal axes of K windows (K x T x F) about their median window: 98% of the variance, at most 40."""
        count, slots, channels = values.shape
        rows = values.reshape(-1, channels)
        least, most = np.fmin.reduce(rows, axis=0), np.fmax.reduce(rows, axis=0)
        usual = np.nan_to_num(median(values.reshape(-1, channels), 0))
        centre = median(values, 0).astype(np.float64)
        centre = np.where(np.isnan(centre), usual, centre)
        away = np.nan_to_num(values - centre).reshape(count, -1)
        power, vectors = np.linalg.eigh(away @ away.T)
        power, vectors = np.maximum(power[::-1], 0), vectors[:, ::-1]
        total = max(float(power.sum()), np.finfo(np.float64).tiny)
        rank = min(int(np.searchsorted(np.cumsum(power) / total, _VARIANCE)) + 1, _RANK, count // 3)
        rank = min(rank, int((power > 1e-12 * total).sum()))
        axes = (vectors[:, :rank].T @ away / np.sqrt(count)).reshape(rank, slots, channels).transpose(2, 1, 0)
        axes = np.ascontiguousarray(axes)
        return cls(centre, axes, np.einsum("ftr,fts->frs", axes, axes), least, most)

    def nearest(self, window: Floats) -> Floats:
        """The normal window (T x F) that agrees with `window` in the channels that look normal: a robust projection.

        Iteratively reweighted ridge regression: a channel that the rest does not fit loses its weight by the fourth
        power of its error (Geman-McClure), so that its normal course is read from its peers. Missing values are filled
        by the projection; no channel leaves the range of the normal windows.
        """
        away = (window - self.centre).T
        missing = np.isnan(away)
        weight = 1.0 - missing.mean(axis=1)
        course = np.zeros_like(away)
        for _ in range(_ROUNDS if self.axes.shape[2] else 0):
            filled = np.where(missing, course, away)
            products = np.matmul(filled[:, None], self.axes)[:, 0]
            ridge = _RIDGE * max(float(weight.sum()), 1e-9) * np.eye(self.axes.shape[2])
            whole = np.tensordot(weight, self.grams, 1)
            course = self.axes @ np.linalg.solve(whole + ridge, weight @ products)
            error = np.sqrt(np.square(filled - course).mean(axis=1))
            weight = (1.0 - missing.mean(axis=1)) / (1 + (error / max(float(np.median(error)), 1e-9)) ** 4)
        low, high = np.nan_to_num(self.least), np.nan_to_num(self.most)
        return np.clip(self.centre + course.T, low, high).astype(np.float32)


def _ranked(rows: Floats, q: float) -> Floats:
    """The q quantile of each column of sorted rows (NaN last), by nearest rank; NaN where a column is empty."""
    count = (~np.isnan(rows)).sum(axis=0)
    place = np.round(q * np.maximum(count - 1, 0)).astype(np.int64)
    found: Floats = np.take_along_axis(rows, place[None], axis=0)[0]
    return found
