"""PCA residual over the newest slots: the baseline that the field's benchmarks show to be hard to beat."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import BLOCK, has_gaps, in_blocks
from detectors.residuals import mean_over_channels, usual_errors
from detectors.types import Memory, Scores
from streaming.types import Floats, State, Windows

_IMPUTATIONS = 3
_STILL = 1e-8
"""Variance below which a direction does not move, in squared training ranges."""


class Subspace:
    """PCA residual of the newest slots: distance from the space in which the training windows lie.

    The newest `slots` slots (fewer where windows are shorter) of all F channels are one vector; the components that
    hold `variance` of the training variance, at most `rank`, span the space (sub-sequence PCA, TSB-AD). A channel's
    error is the root mean square of its residual over the slots, in units of its training range; the score is the
    mean over channels. Fitted twice, the second time without the worst `trim` of the windows, since training data may
    hold anomalies. Missing values are filled by the projection itself; a channel never seen in training is left out.
    """

    name: ClassVar[str] = "subspace"
    memory: ClassVar[Memory] = "window"

    def __init__(
        self, *, slots: int = 10, variance: float = 0.9, rank: int = 20, trim: float = 0.05, block: int = BLOCK
    ) -> None:
        self.slots, self.variance, self.rank, self.trim, self.block = slots, variance, rank, trim, block
        self._mean: Floats = np.zeros((0, 0), dtype=np.float32)
        self._basis: Floats = np.zeros((0, 0), dtype=np.float32)
        self._usual: Floats = np.zeros(0, dtype=np.float32)
        self._seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return self.slots

    def fit(self, windows: Windows) -> None:
        """Learn mean and components from B >= 1 windows."""
        newest = np.ascontiguousarray(windows.values[:, -self.slots :])
        self._seen = np.asarray((~np.isnan(newest)).any(axis=(0, 1)))
        keep = np.ones(len(newest), dtype=np.bool_)
        for last in (False, True):
            self._fit_space(newest[keep])
            errors = self._errors(newest)
            if not last:
                score = mean_over_channels(errors, np.ones_like(self._seen, dtype=np.float32)).values
                keep = ~(score > np.nanquantile(score, 1 - self.trim)) if np.isfinite(score).any() else keep
        self._usual = usual_errors(errors)

    def score(self, windows: Windows) -> Scores:
        """Mean over channels of the root mean squared residual; NaN where no known channel has a value."""
        if not self._mean.size:
            raise RuntimeError("subspace is not fitted")
        return mean_over_channels(self._errors(windows.values[:, -self._mean.shape[0] :]), self._usual)

    def state(self) -> State:
        """Mean, components, usual errors; parameters."""
        arrays = {"mean": self._mean, "basis": self._basis, "usual": self._usual, "seen": self._seen}
        return State(arrays, {"block": self.block})

    def restore(self, state: State) -> None:
        """Become the detector that gave `state`."""
        self._mean, self._basis = state.arrays["mean"], state.arrays["basis"]
        self._usual, self._seen = state.arrays["usual"], state.arrays["seen"]
        self.block = state.meta["block"]

    def _fit_space(self, newest: Floats) -> None:
        n, slots, channels = newest.shape
        present = ~np.isnan(newest)
        total = np.where(present, newest, 0).sum(axis=0, dtype=np.float64)
        self._mean = (total / np.maximum(present.sum(axis=0), 1)).astype(np.float32)
        centred = np.where(present, newest - self._mean, np.float32(0)).reshape(n, slots * channels)
        values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        share = np.cumsum(values[::-1]) / max(float(values.sum()), np.finfo(np.float64).tiny)
        # Directions without variance say nothing, and few windows span their own space exactly: five a component.
        moving = int((values > n * _STILL).sum())
        rank = min(int(np.searchsorted(share, self.variance)) + 1, self.rank, moving, n // 5)
        self._basis = np.ascontiguousarray(vectors[:, ::-1][:, :rank], dtype=np.float32)

    def _errors(self, newest: Floats) -> Floats:
        """B x F root mean squared residual over the slots, NaN where a channel is absent or was never seen."""
        return in_blocks(self._block_errors, newest, self.block)

    def _block_errors(self, rows: Floats) -> Floats:
        block, slots, channels = rows.shape
        rows -= self._mean
        flat = rows.reshape(block, slots * channels)
        if not has_gaps(flat):
            squares = self._squares(flat).reshape(rows.shape)
            return self._known(np.sqrt(squares.sum(axis=1) / np.float32(slots)))
        missing = np.isnan(flat)
        flat[missing] = 0
        for _ in range(_IMPUTATIONS):
            np.copyto(flat, self._projected(flat), where=missing)
        squares = (self._squares(flat) * ~missing).reshape(rows.shape)
        count = np.float32(slots) - missing.reshape(rows.shape).sum(axis=1, dtype=np.float32)
        count[count == 0] = np.nan
        return self._known(np.sqrt(squares.sum(axis=1) / count))

    def _known(self, errors: Floats) -> Floats:
        return errors if self._seen.all() else np.where(self._seen, errors, np.float32(np.nan))

    def _squares(self, flat: Floats) -> Floats:
        """Squared residuals of block x (slots F)."""
        residual = self._projected(flat)
        np.subtract(flat, residual, out=residual)
        return np.square(residual, out=residual)

    def _projected(self, flat: Floats) -> Floats:
        inside: Floats = flat @ self._basis
        projected: Floats = inside @ self._basis.T
        return projected
