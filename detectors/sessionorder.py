"""Sessions in which templates follow each other as they seldom do."""

from typing import ClassVar

import numpy as np

from detectors.sequence import Sequence
from detectors.sessioncounts import known_codes, told
from detectors.types import Scores
from streaming.linescores import MinedLines
from streaming.sessions import Sessions
from streaming.types import State


class SessionOrder:
    """The n-gram model of lines (`detectors.sequence`) over the lines of a session, which begins with a mark.

    Of each template the most surprising line counts, in nats; the score is the cube root of the summed cubes. An end is
    no surprise: a session that was cut short lacks templates, which is for `counts` to say.
    """

    name: ClassVar[str] = "order"

    def __init__(self) -> None:
        self._templates = 0
        self._model = Sequence(least=1)

    def fit(self, sessions: Sessions, templates: int) -> None:
        """Learn from S >= 1 sessions with two lines or more in all."""
        self._templates = templates
        lines = _in_sessions(sessions, templates)
        rest = np.arange(len(lines)) == len(lines) - 1
        if self._model.fit(lines, templates + 1, rest) is None:
            raise ValueError(f"{len(lines)} lines are too few to learn an order from")

    def score(self, sessions: Sessions) -> Scores:
        """Nats of S sessions, and the cubes' shares."""
        lines = _in_sessions(sessions, self._templates)
        nats = np.zeros((len(sessions), self._templates + 1))
        np.maximum.at(nats, (sessions.owners, lines.codes), self._model.surprise(lines))
        cubes = nats**3
        return told(sessions, cubes, np.cbrt(cubes.sum(axis=1)))

    def state(self) -> State:
        """The tables."""
        whole = State(meta={"templates": self._templates})
        whole.put("model", self._model.state())
        return whole

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._templates = state.meta["templates"]
        self._model.restore(state.part("model"))


def _in_sessions(sessions: Sessions, templates: int) -> MinedLines:
    """The lines with the two before each in its session; before the first stands a template of its own."""
    codes = known_codes(sessions, templates).astype(np.int32)
    places = np.arange(len(codes)) - np.repeat(sessions.bounds[:-1], sessions.lengths)
    before = np.full((len(codes), 2), templates + 1, np.int32)
    for back in (1, 2):
        there = np.flatnonzero(places >= back)
        before[there, back - 1] = codes[there - back]
    return MinedLines(codes, before, np.zeros(len(codes), np.int64))
