"""Scores as a pipeline notes them, column by column."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class NotedScores:
    """Judged windows worth a row: B entities, slots, scores and tail probabilities, B x D tails and votes.

    What has one number a window is plain Python: numpy's own, one by one, cost more.
    """

    entities: list[str]
    slots: list[int]
    scores: list[float]
    p: list[float]
    tails: NDArray[np.float64]
    votes: NDArray[np.bool_]
    detectors: tuple[str, ...]
    version: str
