"""Sessions whose counts of templates are like nobody's: distance to neighbours among the sessions of the fit."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import BLOCK, in_blocks
from detectors.sessioncounts import evenly, template_counts, told
from detectors.types import Scores
from streaming.sessions import Sessions
from streaming.types import Floats, State

MOST = 512
"""Distinct sessions that are remembered at most: the most frequent."""


class SessionNeighbours:
    """Distance of a session's logarithmic counts to the nearest place that `share` of the fit's sessions lie within.

    So an anomaly that came a few times in the history is still one. Equal sessions are remembered once, with their
    number.
    """

    name: ClassVar[str] = "nearest"

    def __init__(self, share: float = 0.01) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"share must lie in [0, 1), got {share}")
        self._share = share
        self._vectors: Floats = np.zeros((0, 1), np.float32)
        self._weights: NDArray[np.float64] = np.zeros(0)

    def fit(self, sessions: Sessions, templates: int) -> None:
        """Learn from S >= 1 sessions."""
        sessions = evenly(sessions)
        distinct, numbers = np.unique(template_counts(sessions, templates), axis=0, return_counts=True)
        kept = np.sort(np.argsort(-numbers, kind="stable")[:MOST])
        self._vectors = np.log1p(distinct[kept], dtype=np.float32)
        self._weights = numbers[kept] / len(sessions)

    def score(self, sessions: Sessions) -> Scores:
        """Distances of S sessions, and the squares' shares."""
        vectors = np.log1p(template_counts(sessions, self._vectors.shape[1] - 1), dtype=np.float32)
        squares = in_blocks(self._of_block, vectors, BLOCK).astype(np.float64)
        return told(sessions, squares, np.sqrt(squares.sum(axis=1)))

    def _of_block(self, block: Floats) -> Floats:
        """The squared differences to the place by template (block x K)."""
        distances = np.stack([np.square(self._vectors - row).sum(axis=1) for row in block])
        ordered = np.argsort(distances, axis=1, kind="stable")
        within = np.cumsum(self._weights[ordered], axis=1) >= self._share
        place = ordered[np.arange(len(block)), within.argmax(axis=1)]
        difference: Floats = block - self._vectors[place]
        return difference * difference

    def state(self) -> State:
        """The sessions remembered."""
        return State({"vectors": self._vectors, "weights": self._weights}, {"share": self._share})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._vectors, self._weights = state.arrays["vectors"], state.arrays["weights"]
        self._share = state.meta["share"]
