"""Ridge vector autoregression: the cheap forecast."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import BLOCK
from detectors.centring import centred_blocks, missing_of
from detectors.options import count, positive, share
from detectors.products import product
from detectors.residuals import ResidualScale, held_out, mean_over_channels, usual_errors
from detectors.types import Memory, Scores
from streaming.types import Floats, State, Windows

_TRIM = 0.05
_KEPT = ("reach", "ahead", "cap", "block")


class Linear:
    """Ridge vector autoregression, some slots ahead: each channel from the last values of all.

    The newest slot is forecast from what lies `ahead` slots before it: the last `lags` slots of every channel and their
    exponential mean (`decay` a slot) over `reach` slots; a missing slot takes the value before it. Its residual, scaled
    robustly for each channel (and entity, where it has enough rows) and capped, is averaged over channels. `penalty` is
    relative to the inputs' mean variance; `floor` is in training ranges. Fitted twice, the second time without the
    worst 5% of the rows.
    """

    name: ClassVar[str] = "linear"
    memory: ClassVar[Memory] = "window"

    def __init__(
        self,
        *,
        lags: int = 5,
        reach: int = 10,
        ahead: int = 1,
        decay: float = 0.8,
        penalty: float = 1e-2,
        floor: float = 0.05,
        cap: float = 20.0,
        block: int = BLOCK,
    ) -> None:
        count(1, lags=lags, reach=reach, ahead=ahead, block=block)
        share(decay=decay)
        positive(penalty=penalty, floor=floor, cap=cap)
        self.lags, self.reach, self.penalty, self.floor, self.cap = lags, reach, penalty, floor, cap
        self.ahead, self.decay, self.block = ahead, decay, block
        self._mean: Floats = np.zeros(0, dtype=np.float32)
        self._weights: Floats = np.zeros((0, 0), dtype=np.float32)
        self._usual: Floats = np.zeros(0, dtype=np.float32)
        self._seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._scale: ResidualScale | None = None

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return self.reach + self.ahead

    def fit(self, windows: Windows) -> None:
        """Learn the weights from B >= 1 windows of T >= 2 slots."""
        slots = windows.values.shape[1]
        self.ahead = min(self.ahead, slots // 2)
        self.reach = min(self.reach, slots - self.ahead)
        rows = self._newest(windows)
        present = ~np.isnan(rows)
        self._seen = np.asarray(present.any(axis=(0, 1)))
        total = np.where(present, rows, 0).sum(axis=(0, 1), dtype=np.float64)
        self._mean = (total / np.maximum(present.sum(axis=(0, 1)), 1)).astype(np.float32)
        targets = np.where(present[:, -1], rows[:, -1] - self._mean, np.float32(0))
        past = rows[:, : self.reach] - self._mean
        _carry_forward(past, np.isnan(past), np.zeros_like(self._mean))
        training, validation = held_out(len(rows))
        self._weights = self._solved(past[training], targets[training])
        errors = np.abs(targets - past.reshape(len(past), -1) @ self._weights).mean(axis=1)[training]
        kept = training[errors <= np.quantile(errors, 1 - _TRIM)]
        self._weights = self._solved(past[kept], targets[kept])
        held = windows.take(validation)
        self._scale = ResidualScale.fit(self._residuals(held), held.entities, held.names, floor=self.floor)
        self._usual = usual_errors(self._errors(held))

    def score(self, windows: Windows) -> Scores:
        """Mean over channels of the scaled residual; NaN where no known channel has a newest value and a past."""
        return mean_over_channels(self._errors(windows), self._usual)

    def state(self) -> State:
        """Weights, scales, parameters."""
        arrays = {"mean": self._mean, "weights": self._weights, "usual": self._usual, "seen": self._seen}
        state = State(arrays, {key: getattr(self, key) for key in _KEPT})
        state.put("scale", self._fitted().state())
        return state

    def restore(self, state: State) -> None:
        """Become the detector that gave `state`."""
        for key in _KEPT:
            setattr(self, key, state.meta[key])
        self._mean, self._weights, self._usual, self._seen = (
            state.arrays[key] for key in ("mean", "weights", "usual", "seen")
        )
        self._scale = ResidualScale.restore(state.part("scale"))

    def _fitted(self) -> ResidualScale:
        if self._scale is None:
            raise RuntimeError("linear is not fitted")
        return self._scale

    def _errors(self, windows: Windows) -> Floats:
        """B x F residuals over their scale."""
        scale = self._fitted()
        return scale.scaled(self._residuals(windows), windows.entities, windows.names, self.cap)

    def _newest(self, windows: Windows) -> Floats:
        """B x (reach + ahead) x F."""
        newest: Floats = windows.values[:, -self.span :]
        return newest

    def _solved(self, past: Floats, targets: Floats) -> Floats:
        """(reach F) x F weights of the past, by ridge regression on lags and exponential mean.

        Both inputs are linear in the past, so that scoring is one product.
        """
        rows, reach, channels = past.shape
        lags = min(self.lags, reach)
        decay = np.float32(self.decay) ** np.arange(reach - 1, -1, -1, dtype=np.float32)
        decay /= decay.sum()
        inputs = np.concatenate([past[:, -lags:].reshape(rows, -1), np.matmul(decay, past)], axis=1)
        gram = (inputs.T @ inputs).astype(np.float64)
        size = len(gram)
        gram[np.diag_indices(size)] += self.penalty * max(float(np.trace(gram)) / size, 1e-6)
        solved = np.linalg.solve(gram, (inputs.T @ targets).astype(np.float64))
        weights = decay[:, None, None] * solved[-channels:]
        weights[-lags:] += solved[:-channels].reshape(lags, channels, channels)
        return weights.reshape(-1, channels).astype(np.float32)

    def _residuals(self, windows: Windows) -> Floats:
        """B x F residuals of the newest slot; NaN where a channel is absent, without a past, or not in training."""
        mean = np.tile(self._mean, (self.span, 1))
        return centred_blocks(self._block_residuals, windows.values, mean, self.block)

    def _block_residuals(self, flat: Floats, squares: Floats) -> Floats:
        channels = len(self._mean)
        past, newest = flat[:, : self.reach * channels], flat[:, -channels:]
        missing = missing_of(flat, squares)
        if missing is not None:
            rows = flat.reshape(len(flat), self.span, channels)[:, : self.reach]
            gaps = missing.reshape(len(flat), self.span, channels)[:, : self.reach]
            newest = np.where(gaps.all(axis=1), np.float32(np.nan), newest)
            _carry_forward(rows, gaps, np.zeros_like(self._mean))
        residuals: Floats = newest - product(past, self._weights)
        return residuals if self._seen.all() else np.where(self._seen, residuals, np.float32(np.nan))


def _carry_forward(past: Floats, missing: NDArray[np.bool_], start: Floats) -> None:
    """Fill missing slots of B x S x F in place with the value before them, with `start` (F) at the beginning."""
    np.copyto(past[:, 0], start, where=missing[:, 0])
    for slot in range(1, past.shape[1]):
        np.copyto(past[:, slot], past[:, slot - 1], where=missing[:, slot])
