"""Sessions in which a template came unusually often, unusually seldom, or not at all."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.sessioncounts import template_counts, told
from detectors.types import Scores
from streaming.sessions import Sessions
from streaming.types import State


class CountSurprise:
    """How rare each template's count is among the sessions of the fit: nats beyond the commonest count.

    Counts above 0 are smoothed over neighbours in their logarithm (`width`), so that 15 is no surprise where 14 and 16
    came; none at all is a count of its own. Counts from `most` on are one. `prior` sessions are spread over all counts.
    """

    name: ClassVar[str] = "counts"

    def __init__(self, width: float = 0.5, most: int = 40, prior: float = 0.5) -> None:
        if width <= 0 or prior <= 0 or most < 2:
            raise ValueError(f"width and prior must be above 0 and most at least 2, got {width}, {prior}, {most}")
        self._width, self._most, self._prior = width, most, prior
        self._nats: NDArray[np.float64] = np.zeros((1, most + 1))

    def fit(self, sessions: Sessions, templates: int) -> None:
        """Learn from S >= 1 sessions."""
        counts = np.minimum(template_counts(sessions, templates), self._most)
        came = np.stack([np.bincount(column, minlength=self._most + 1) for column in counts.T])
        places = np.log1p(np.arange(self._most + 1))
        kernel = np.exp(-np.abs(places[:, None] - places[None]) / self._width)
        kernel[0, 1:] = kernel[1:, 0] = 0
        kernel /= kernel.sum(axis=1, keepdims=True)
        chance = (came @ kernel + self._prior * kernel.mean(axis=0)) / (len(sessions) + self._prior)
        self._nats = -np.log(chance / chance.max(axis=1, keepdims=True))

    def score(self, sessions: Sessions) -> Scores:
        """The root of the summed squares of the templates' nats."""
        templates = len(self._nats) - 1
        counts = np.minimum(template_counts(sessions, templates), self._nats.shape[1] - 1)
        nats = self._nats[np.arange(templates + 1), counts]
        squares = nats * nats
        return told(sessions, squares, np.sqrt(squares.sum(axis=1)))

    def state(self) -> State:
        """The nats of each template's counts."""
        return State({"nats": self._nats})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._nats = state.arrays["nats"]
