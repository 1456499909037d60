"""The session scorers of a model version, over one list of templates, and what is decided by them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import THRESHOLD_QUANTILE, Tail
from detectors.fusion import power_mean, ratios
from detectors.registry import SESSION_SCORERS, load_session_scorer
from detectors.types import SessionScorer
from streaming.sessions import Sessions
from streaming.settings import SECOND
from streaming.types import Floats, State

KNOWN = 0.7
"""The share of a history's sessions by which the rest is judged, so that a fit is not taken in by what it knows."""
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
    """Fitted `scorers` by name; `texts` are the templates behind the codes 1, 2, ...; `quantiles` (D) what is usual of
    each, `tail` how probable fused numbers are, `alpha` the probability below which a session is an anomaly."""

    texts: list[str]
    scorers: dict[str, SessionScorer]
    quantiles: Floats
    tail: Tail
    alpha: float

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        sessions: Sessions,
        budget: float = 1.0,
        names: Sequence[str] = tuple(SESSION_SCORERS),
    ) -> "FittedSessions | None":
        """Fit the scorers called `names` on sessions by start, whose templates are codes of `texts`; no labels.

        `budget`: false alerts a day. None with fewer than `FEWEST` sessions that have lines.
        """
        sessions = sessions.take(sessions.lengths > 0)
        if len(sessions) < FEWEST:
            return None
        known = int(KNOWN * len(sessions))
        scorers = {name: load_session_scorer(name)() for name in names}
        for scorer in scorers.values():
            scorer.fit(sessions.take(slice(known)), len(texts))
        rest = sessions.take(slice(known, None))
        values = np.stack([scorer.score(rest).values for scorer in scorers.values()])
        quantiles = np.maximum(np.quantile(values, THRESHOLD_QUANTILE, axis=1), 1e-6).astype(np.float32)
        fused = power_mean(ratios(values, quantiles[:, None]))
        for scorer in scorers.values():
            scorer.fit(sessions, len(texts))
        days = max(int(sessions.starts.max() - sessions.starts.min()), 1) / DAY
        alpha = float(np.clip(budget * days / len(sessions), 1e-15, MOST_ALPHA))
        return cls(list(texts), scorers, quantiles, Tail.fit(fused), alpha)

    def score(self, sessions: Sessions) -> SessionVerdicts:
        """Of S sessions; each by itself."""
        said = [scorer.score(sessions) for scorer in self.scorers.values()]
        beyond = ratios(np.stack([one.values for one in said]), self.quantiles[:, None])
        fused = power_mean(beyond)
        p = self.tail.probability(fused)
        shares = np.zeros((len(sessions), len(self.texts) + 1), np.float32)
        weights = np.nan_to_num(beyond) ** 3
        for one, weight in zip(said, weights, strict=True):
            shares += one.shares * weight[:, None]
        total = shares.sum(axis=1)
        shares /= np.where(total > 0, total, 1)[:, None]
        return SessionVerdicts(fused, p, (np.log(p) / np.log(self.alpha)).astype(np.float32), beyond, shares)

    def state(self) -> State:
        """Everything."""
        whole = State({"quantiles": self.quantiles})
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
        return cls(state.meta["texts"], scorers, state.arrays["quantiles"], tail, state.meta["alpha"])
