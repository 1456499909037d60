"""PCA residual over the newest slots: the baseline that the field's benchmarks show to be hard to beat."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import BLOCK
from detectors.centring import centred_blocks, missing_of, rest
from detectors.options import count, share
from detectors.residuals import mean_over_channels, usual_errors
from detectors.space import Space
from detectors.types import Memory, Scores
from streaming.types import Floats, State, Windows


class Subspace:
    """PCA residual of the newest slots: distance from the space in which the training windows lie.

    The newest `slots` slots (fewer where windows are shorter) of all F channels are one vector; the components that
    hold `variance` of the training variance, at most `rank`, span the space (sub-sequence PCA, TSB-AD). A channel's
    error is the root mean square of its residual over the slots, in units of its training range; the score is the
    mean over channels. Fitted twice, the second time without the worst `trim` of the windows, since training data may
    hold anomalies. Missing values are filled by the projection itself; a channel never seen in training is left out.
    `look_ahead`: slots of a settled score, at most a window.
    """

    name: ClassVar[str] = "subspace"
    memory: ClassVar[Memory] = "window"

    def __init__(
        self,
        *,
        slots: int = 10,
        variance: float = 0.9,
        rank: int = 20,
        trim: float = 0.05,
        look_ahead: int = 20,
        block: int = BLOCK,
    ) -> None:
        count(1, slots=slots, rank=rank, look_ahead=look_ahead, block=block)
        share(variance=variance, trim=trim)
        self.slots, self.variance, self.rank, self.trim, self.block = slots, variance, rank, trim, block
        self.look_ahead = min(slots, look_ahead)
        self._space = Space.none()
        self._usual: Floats = np.zeros(0, dtype=np.float32)
        self._seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return self.slots

    def fit(self, windows: Windows) -> None:
        """Learn mean and components from B >= 1 windows."""
        newest = windows.values[:, -self.slots :]
        self._seen = np.asarray((~np.isnan(newest)).any(axis=(0, 1)))
        keep = np.ones(len(newest), dtype=np.bool_)
        for last in (False, True):
            self._space = Space.fit(newest, self.variance, self.rank, np.flatnonzero(keep))
            errors = self._errors(newest)
            if not last:
                score = mean_over_channels(errors, np.ones_like(self._seen, dtype=np.float32)).values
                keep = ~(score > np.nanquantile(score, 1 - self.trim)) if np.isfinite(score).any() else keep
        self._usual = usual_errors(errors)

    def score(self, windows: Windows) -> Scores:
        """Mean over channels of the root mean squared residual; NaN where no known channel has a value."""
        if not self._space.slots:
            raise RuntimeError("subspace is not fitted")
        return mean_over_channels(self._errors(windows.values), self._usual)

    def state(self) -> State:
        """Space, usual errors, parameters."""
        state = State({"usual": self._usual, "seen": self._seen}, {"slots": self.slots, "block": self.block})
        state.put("space", self._space.state())
        return state

    def restore(self, state: State) -> None:
        """Become the detector that gave `state`."""
        self._space = Space.restore(state.part("space"))
        self._usual, self._seen = state.arrays["usual"], state.arrays["seen"]
        self.slots, self.block = state.meta["slots"], state.meta["block"]

    def _errors(self, values: Floats) -> Floats:
        """B x F root mean squared residual over the newest slots, NaN where a channel is absent or was never seen."""
        return centred_blocks(self._block_errors, values, self._space.mean, self.block)

    def _block_errors(self, flat: Floats, squares: Floats) -> Floats:
        missing = missing_of(flat, squares)
        self._space.fill(flat, missing)
        return rest(flat, self._space.projected(flat), self._seen, missing)
