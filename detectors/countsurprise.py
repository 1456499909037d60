"""Sessions in which a template came though it seldom does, did not come though it always does, or too often."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.sessioncounts import came_times, loud_counts, template_counts, told
from detectors.types import Scores
from streaming.sessions import Sessions
from streaming.types import Codes, Floats, State

Nats = NDArray[np.float64]


class CountSurprise:
    """How rare it is among the sessions of the fit that each template comes (or does not), and so many times.

    Both are in nats beyond the commoner case; the score is the cube root of their summed cubes, so that templates which
    always come together count little more than one. Numbers of times are smoothed over their neighbours in the
    logarithm (`width`): 15 is no surprise where 14 and 16 came. From `most` on they are one. `prior` sessions are
    spread over all of them. Templates that no session of the fit had are one. That a rare template came counts `loud`
    times where it came as a warning or worse: of all that is new, an error is more often a fault than news is.
    """

    name: ClassVar[str] = "counts"

    def __init__(self, width: float = 0.5, most: int = 40, prior: float = 0.5, loud: float = 2.0) -> None:
        if min(width, prior, loud) <= 0 or most < 2:
            raise ValueError(f"width, prior and loud must be above 0 and most at least 2: {width, prior, loud, most}")
        self._width, self._most, self._prior, self._loud = width, most, prior, loud
        self._presence, self._times = np.zeros((1, 2)), np.zeros((1, most))
        self._unseen: NDArray[np.bool_] = np.zeros(1, np.bool_)

    def fit(self, sessions: Sessions, templates: int) -> None:
        """Learn from S >= 1 sessions."""
        came = came_times(sessions, templates, self._most)[:, 1:]
        present = came.sum(axis=1)
        share = (present + self._prior) / (len(sessions) + 2 * self._prior)
        self._presence = _beyond_the_commonest(np.stack([1 - share, share], axis=1))
        places = np.log(np.arange(1, self._most + 1))
        kernel = np.exp(-np.abs(places[:, None] - places[None]) / self._width)
        kernel /= kernel.sum(axis=1, keepdims=True)
        self._times = _beyond_the_commonest(came @ kernel + self._prior * kernel.mean(axis=0))
        self._unseen = present == 0
        self._times[self._unseen] = 0  # nothing is known of how often it comes

    def score(self, sessions: Sessions) -> Scores:
        """Nats of S sessions, and the cubes' shares."""
        templates = len(self._times) - 1
        counts, loud = (self._as_one(count(sessions, templates)) for count in (template_counts, loud_counts))
        cubes = self._rare(counts, loud) ** 3 + _of_times(self._times, counts) ** 3
        return told(sessions, cubes, np.cbrt(cubes.sum(axis=1)))

    def least(self, sessions: Sessions) -> Floats:
        """What the score of each of S open sessions will be at least, whatever lines still come: those that came stay,
        and what is too often can only be so more often."""
        templates = len(self._times) - 1
        counts, loud = (self._as_one(count(sessions, templates)) for count in (template_counts, loud_counts))
        ahead = np.minimum.accumulate(self._times[:, ::-1], axis=1)[:, ::-1]
        rare, often = self._rare(counts, loud), _of_times(ahead, counts)
        bound: Floats = np.cbrt((np.where(counts > 0, rare**3 + often**3, 0.0)).sum(axis=1)).astype(np.float32)
        return bound

    @property
    def usual(self) -> Codes:
        """How often each template commonly comes in a session."""
        often = self._times.argmin(axis=1) + 1
        usual: Codes = np.where(self._presence[:, 1] > 0, 0, often).astype(np.int32)
        return usual

    def _as_one(self, counts: Codes) -> Codes:
        """Lines of templates that were never seen as those of none that is known."""
        counts[:, 0] += (counts[:, 1:] * self._unseen[1:]).sum(axis=1, dtype=np.int32)
        counts[:, 1:][:, self._unseen[1:]] = 0
        return counts

    def _rare(self, counts: Codes, loud: Codes) -> Nats:
        rows = np.arange(len(self._presence))
        nats: Nats = self._presence[rows, (counts > 0).astype(np.int64)] * np.where(loud > 0, self._loud, 1.0)
        return nats

    def state(self) -> State:
        """The nats."""
        return State({"presence": self._presence, "times": self._times, "unseen": self._unseen}, {"loud": self._loud})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._presence, self._times = state.arrays["presence"], state.arrays["times"]
        self._unseen, self._loud = state.arrays["unseen"], state.meta["loud"]


def _of_times(times: Nats, counts: Codes) -> Nats:
    """S x K: the nats of templates that came so many times, by K x `most`; 0 of those that did not."""
    rows, most = np.arange(len(times)), times.shape[1]
    nats: Nats = np.where(counts > 0, times[rows, np.clip(counts, 1, most) - 1], 0.0)
    return nats


def _beyond_the_commonest(chances: Nats) -> Nats:
    """K x C chances -> nats beyond the largest of each row."""
    nats: Nats = -np.log(chances / chances.max(axis=1, keepdims=True))
    return nats
