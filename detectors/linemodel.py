"""The line scorers of a model version, over one list of templates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.registry import load_line_scorer
from detectors.types import LineScorer
from streaming.linescores import MinedLines
from streaming.types import Codes, State

PREFIX = "log."
KNOWN = 0.7
"""The share of a history's time by which the rest is judged, so that a fit is not taken in by what it knows."""


@dataclass(frozen=True, slots=True)
class FittedLines:
    """Fitted `scorers` by name; `texts` are the templates behind the codes 1, 2, ..."""

    texts: list[str]
    scorers: dict[str, LineScorer]

    @property
    def features(self) -> list[str]:
        """What the scores are called as features of a slot."""
        return [f"{PREFIX}{name}" for name in self.scorers]

    def score(self, lines: MinedLines) -> Codes:
        """N x S int32, in 1/64."""
        return np.stack([scorer.score(lines) for scorer in self.scorers.values()], axis=1)

    @classmethod
    def fit(cls, texts: Sequence[str], lines: MinedLines, names: Sequence[str]) -> tuple["FittedLines | None", Codes]:
        """Fit the scorers called `names`, as far as the lines (at least one) suffice; also the lines' scores, N x S.

        Lines of the last 30% of the time are scored there as judged by what came before. None where no scorer is left.
        """
        first, last = int(lines.slots.min()), int(lines.slots.max())
        rest = lines.slots >= first + KNOWN * (last + 1 - first)
        scorers, scores = dict[str, LineScorer](), list[Codes]()
        for name in names:
            scorer = load_line_scorer(name)()
            found = scorer.fit(lines, len(texts), rest)
            if found is not None:
                scorers[name] = scorer
                scores.append(found)
        if not scorers:
            return None, np.zeros((len(lines), 0), np.int32)
        return cls(list(texts), scorers), np.stack(scores, axis=1)

    def state(self) -> State:
        """Everything."""
        whole = State(meta={"texts": self.texts, "scorers": list(self.scorers)})
        for name, scorer in self.scorers.items():
            whole.put(f"scorer:{name}", scorer.state())
        return whole

    @classmethod
    def restore(cls, state: State) -> "FittedLines":
        """What gave `state`."""
        scorers = {name: load_line_scorer(name)() for name in state.meta["scorers"]}
        for name, scorer in scorers.items():
            scorer.restore(state.part(f"scorer:{name}"))
        return cls(state.meta["texts"], scorers)
