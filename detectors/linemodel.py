"""The line scorers of a model version, over one list of templates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.registry import load_line_scorer
from detectors.types import LearningScorer, LineScorer, ReadingScorer, ReasoningScorer
from streaming.linescores import MinedLines
from streaming.related import Related
from streaming.types import Codes, Ints, State

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

    @property
    def fields(self) -> Ints:
        """What is read of lines (see `FieldReader`)."""
        read = [scorer.fields for scorer in self.scorers.values() if isinstance(scorer, ReadingScorer)]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *read]))

    def score(self, lines: MinedLines) -> Codes:
        """N x S int32, in 1/64."""
        return self._once(lines, [scorer.score(lines) for scorer in self.scorers.values()])

    def _once(self, lines: MinedLines, scores: Sequence[Codes]) -> Codes:
        """Scores side by side (N x S), each line counted by what is strange about it first: one that founded a template
        is new, and neither rare nor out of order; of one that is rare, how it came says no more.

        So a single line that nobody has seen moves one feature, as it did before there were scorers.
        """
        whole = np.stack(scores, axis=1)
        asks = np.array([scorer.asks for scorer in self.scorers.values()])
        whole[:, asks == "which"] *= ~lines.new[:, None]
        counted = lines.new | (whole[:, asks == "which"] > 0).any(axis=1)
        whole[:, asks == "how"] *= ~counted[:, None]
        return whole

    def reasons(self, lines: MinedLines, places: Ints, number: int) -> list[str]:
        """Why lines (by their places, rising) have the score at `number`; "" where the text of one says all."""
        scorer = list(self.scorers.values())[number]
        return scorer.reasons(lines, places) if isinstance(scorer, ReasoningScorer) else [""] * len(places)

    def own(self) -> "FittedLines | None":
        """A copy in which scorers that learn are a partition's own; None where none does."""
        own = {name: scorer.own() for name, scorer in self.scorers.items() if isinstance(scorer, LearningScorer)}
        return FittedLines(self.texts, self.scorers | own) if own else None

    def learn(self, related: Related) -> None:
        """Let those that learn do so."""
        for scorer in self.scorers.values():
            if isinstance(scorer, LearningScorer):
                scorer.learn(related)

    def learnt(self) -> State:
        """What those that learn know."""
        whole = State()
        for name, scorer in self.scorers.items():
            if isinstance(scorer, LearningScorer):
                whole.put(f"scorer:{name}", scorer.state())
        return whole

    def relearn(self, state: State) -> None:
        """What `learnt` gave."""
        for name, scorer in self.scorers.items():
            if isinstance(scorer, LearningScorer):
                scorer.restore(state.part(f"scorer:{name}"))

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
        model = cls(list(texts), scorers)
        return model, model._once(lines, scores)

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
