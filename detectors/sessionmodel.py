"""The session scorers of a model version, over one list of templates, and what is decided by them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Tail
from detectors.fusion import power_mean, ratios
from detectors.registry import load_session_scorer
from detectors.sessioncounts import parts
from detectors.types import BoundedSessionScorer, SessionScorer
from streaming.sessions import Sessions
from streaming.settings import SECOND
from streaming.types import Codes, Floats, State

DECIDING = ("counts",)
"""The scorers of a fit that names none: measured, the others add nothing to it where order and neighbours are noise
(docs/logs.md)."""
FOLDS = 5
"""Each session is judged by a fit on those of the other folds, so that a fit is not taken in by what it knows."""
EDGE, MIDDLE = 0.9, 0.5
"""The tail is an exponential through these quantiles: beyond the first a history may hold anomalies, and nothing there
is believed."""
LEAST_USUAL, LEAST_SCALE = 1.0, 0.25
"""A nat (a logarithm of a count) is nothing strange, however alike the sessions of a history are; nor is a tail
lighter than a quarter of what is usual for each factor of e."""
_BINS, _PRIOR = 32, 50.0
FEWEST = 20
"""Sessions that a fit needs at least."""
MOST_ALPHA = 0.01
DAY = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class SessionVerdicts:
    """What is said of S sessions: `fused` (S; the power mean of the scorers' ratios), `p` (S; its tail probability),
    `score` (S; log p / log alpha: above 1 is an alert), `ratios` D x S by scorer and `shares` S x (templates + 1).

    NaN (shares: 0) of a session without lines.
    """

    fused: Floats
    p: NDArray[np.float64]
    score: Floats
    ratios: Floats
    shares: Floats

    @property
    def alert(self) -> NDArray[np.bool_]:
        """Which sessions are anomalies (S)."""
        found: NDArray[np.bool_] = self.score > 1
        return found


@dataclass(frozen=True, slots=True)
class FittedSessions:
    """Fitted `scorers` by name; `texts` are the templates behind the codes 1, 2, ...; `usual` (D) what is usual of
    each, `tail` how probable fused numbers are, `alpha` the probability below which a session is an anomaly."""

    texts: list[str]
    scorers: dict[str, SessionScorer]
    usual: Floats
    tail: Tail
    alpha: float

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        sessions: Sessions,
        budget: float = 1.0,
        names: Sequence[str] = DECIDING,
    ) -> "FittedSessions | None":
        """Fit the scorers called `names` on sessions by start, whose templates are codes of `texts`; no labels.

        `budget`: false alerts a day. None with fewer than `FEWEST` sessions that have lines.
        """
        sessions = sessions.take(sessions.lengths > 0)
        if len(sessions) < FEWEST:
            return None
        values = np.stack([_judged_by_others(name, sessions, len(texts)) for name in names])
        usual = np.maximum(np.quantile(values, EDGE, axis=1), LEAST_USUAL).astype(np.float32)
        scorers = {name: load_session_scorer(name)() for name in names}
        for scorer in scorers.values():
            scorer.fit(sessions, len(texts))
        days = max(int(sessions.starts.max() - sessions.starts.min()), 1) / DAY
        alpha = float(np.clip(budget * days / len(sessions), 1e-15, MOST_ALPHA))
        tail = session_tail(power_mean(ratios(values, usual[:, None])), 1 / float(usual.min()))
        return cls(list(texts), scorers, usual, tail, alpha)

    def score(self, sessions: Sessions) -> SessionVerdicts:
        """Of S sessions; each by itself."""
        found = [self._of_part(part) for part in parts(sessions)]
        joined = {
            one.name: np.concatenate([getattr(part, one.name) for part in found], axis=int(one.name == "ratios"))
            for one in fields(SessionVerdicts)
        }
        return SessionVerdicts(**joined)

    def _of_part(self, sessions: Sessions) -> SessionVerdicts:
        said = [scorer.score(sessions) for scorer in self.scorers.values()]
        beyond = ratios(np.stack([one.values for one in said]), self.usual[:, None])
        fused = power_mean(beyond)
        p = self.tail.probability(fused)
        shares = np.zeros((len(sessions), len(self.texts) + 1), np.float32)
        for one, weight in zip(said, np.nan_to_num(beyond) ** 3, strict=True):
            shares += one.shares * weight[:, None]
        total = shares.sum(axis=1)
        shares /= np.where(total > 0, total, 1)[:, None]
        return SessionVerdicts(fused, p, (np.log(p) / np.log(self.alpha)).astype(np.float32), beyond, shares)

    def least(self, sessions: Sessions) -> Floats:
        """What `score` will say of S open sessions at least, whatever lines still come."""
        bounds = np.zeros((len(self.scorers), len(sessions)), np.float32)
        for bound, scorer in zip(bounds, self.scorers.values(), strict=True):
            if isinstance(scorer, BoundedSessionScorer):
                bound[:] = np.concatenate([scorer.least(part) for part in parts(sessions)])
        p = self.tail.probability(power_mean(ratios(bounds, self.usual[:, None])))
        score: Floats = (np.log(p) / np.log(self.alpha)).astype(np.float32)
        return score

    @property
    def commonly(self) -> Codes | None:
        """How often each template commonly comes in a session (templates + 1); None where no scorer says."""
        return next((one.usual for one in self.scorers.values() if isinstance(one, BoundedSessionScorer)), None)

    def state(self) -> State:
        """Everything."""
        whole = State({"usual": self.usual})
        whole.meta |= {"texts": self.texts, "scorers": list(self.scorers), "alpha": self.alpha}
        whole.put("tail", self.tail.state())
        for name, scorer in self.scorers.items():
            whole.put(f"scorer:{name}", scorer.state())
        return whole

    @classmethod
    def restore(cls, state: State) -> "FittedSessions":
        """What gave `state`."""
        scorers = {name: load_session_scorer(name)() for name in state.meta["scorers"]}
        for name, scorer in scorers.items():
            scorer.restore(state.part(f"scorer:{name}"))
        tail = Tail.restore(state.part("tail"))
        return cls(state.meta["texts"], scorers, state.arrays["usual"], tail, state.meta["alpha"])


def _judged_by_others(name: str, sessions: Sessions, templates: int) -> Floats:
    """What scorer `name` says of each session (S) when it was fitted on the other folds, to which they go by turns."""
    fold, values = np.arange(len(sessions)) % FOLDS, np.zeros(len(sessions), np.float32)
    for number in range(FOLDS):
        scorer = load_session_scorer(name)()
        scorer.fit(sessions.take(fold != number), templates)
        others = parts(sessions.take(fold == number))
        values[fold == number] = np.concatenate([scorer.score(part).values for part in others])
    return values


def session_tail(fused: Floats, nat: float) -> Tail:
    """How probable fused numbers are, by those of a history (n >= 1) of which up to a tenth may be anomalies.

    `nat`: how far a nat moves a fused number at most. What is rarer than so many nats is rarer than e to that power, so
    the tail is no heavier.
    """
    edge = max(float(np.quantile(fused, EDGE)), float(LEAST_SCALE))
    scale = (edge - float(np.quantile(fused, MIDDLE))) / np.log((1 - MIDDLE) / (1 - EDGE))
    edges = np.concatenate([[-1e-6], np.linspace(edge / _BINS, edge, _BINS)]).astype(np.float32)
    beyond = len(fused) - np.searchsorted(np.sort(fused), edges, side="right")
    prior = (1 - EDGE) ** np.clip(edges.astype(np.float64) / edge, 0, 1)
    survival = (beyond + _PRIOR * prior) / (len(fused) + _PRIOR)
    survival[0] = 1.0
    return Tail(edges, survival, max(min(scale, nat), LEAST_SCALE) / edge, 1.0)
