"""Sessions whose counts of templates lie outside the space of most sessions: PCA on counts."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import BLOCK, in_blocks
from detectors.sessioncounts import evenly, template_counts, told
from detectors.space import Space
from detectors.types import Scores
from streaming.sessions import Sessions
from streaming.types import Floats, State


class SessionSpace:
    """Distance of a session's logarithmic counts from the components that hold `variance` of the fit's, at most `rank`.

    Fitted twice, the second time without the worst `trim` of the sessions, which may be anomalies.
    """

    name: ClassVar[str] = "components"

    def __init__(self, variance: float = 0.95, rank: int = 40, trim: float = 0.05) -> None:
        if not 0 < variance <= 1 or not 0 <= trim < 1 or rank < 1:
            raise ValueError(f"variance and trim are shares and rank is at least 1, got {variance}, {trim}, {rank}")
        self._variance, self._rank, self._trim = variance, rank, trim
        self._space = Space.none()

    def fit(self, sessions: Sessions, templates: int) -> None:
        """Learn from S >= 1 sessions."""
        vectors = logarithms(evenly(sessions), templates)[:, None]
        self._space = Space.fit(vectors, self._variance, self._rank)
        distances = self._squares(vectors[:, 0]).sum(axis=1)
        kept = np.flatnonzero(distances <= np.quantile(distances, 1 - self._trim))
        self._space = Space.fit(vectors, self._variance, self._rank, kept)

    def score(self, sessions: Sessions) -> Scores:
        """Distances of S sessions, and the squares' shares."""
        squares = self._squares(logarithms(sessions, self._space.mean.shape[1] - 1))
        return told(sessions, squares, np.sqrt(squares.sum(axis=1)))

    def _squares(self, vectors: Floats) -> NDArray[np.float64]:
        return in_blocks(self._of_block, vectors[:, None], BLOCK).astype(np.float64)

    def _of_block(self, block: Floats) -> Floats:
        flat, _ = self._space.centred(block)
        residual: Floats = flat - self._space.projected(flat)
        return residual * residual

    def state(self) -> State:
        """Mean and components."""
        return self._space.state()

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._space = Space.restore(state)


def logarithms(sessions: Sessions, templates: int) -> Floats:
    """S x (`templates` + 1) float32: log(1 + lines)."""
    return np.log1p(template_counts(sessions, templates), dtype=np.float32)
