"""What a model says of each log line: an injected model, and the miner's ids put into the model's own numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streaming.cells import SCORED
from streaming.lastlines import UNKNOWN
from streaming.miner import Miner
from streaming.types import Codes, Ints, State

FOREIGN = 0
"""The code of every template that a model does not know."""


@dataclass(frozen=True, slots=True)
class MinedLines:
    """N log lines as models see them, in position order.

    `codes` (N, int32): the place of a line's template among the model's + 1, 0 = none of them. `before` (N x 2, int32):
    the codes of the two lines before it of the same entity, the nearest first; -1 = not known, and of a late line
    nothing is. `slots` (N): event time // step.
    """

    codes: Codes
    before: Codes
    slots: Ints

    def __post_init__(self) -> None:
        if self.before.shape != (len(self.codes), 2) or len(self.slots) != len(self.codes):
            raise ValueError(f"before must be {len(self.codes)} x 2, got {self.before.shape}")

    def __len__(self) -> int:
        return len(self.codes)


class LineModel(Protocol):
    """`texts` are the templates that the model knows, by rank; `features` what its S scores are called.

    `score` gives N x S int32, in 1/64 of the feature's unit, 0 = nothing strange. It is a function of each line alone.
    """

    @property
    def texts(self) -> Sequence[str]:
        """Templates, foremost first."""
        ...

    @property
    def features(self) -> Sequence[str]:
        """A name for each score."""
        ...

    def score(self, lines: MinedLines) -> Codes:
        """N x S int32."""
        ...


class LineScores:
    """A line model in force over one miner: which ids are the model's templates was settled as it came.

    At most a quarter of the miner's places are taken by the model's templates, the foremost.
    """

    def __init__(self, model: LineModel, miner: Miner) -> None:
        if len(model.features) > SCORED:
            raise ValueError(f"a line has at most {SCORED} scores, the model gives {len(model.features)}")
        ids = miner.adopt(model.texts[: miner.capacity // 4])
        self.model = model
        self._index(ids, np.arange(1, len(ids) + 1, dtype=np.int32))

    def _index(self, ids: Codes, codes: Codes) -> None:
        self._ids, first = np.unique(ids, return_index=True)
        self._codes = codes[first]

    def codes(self, ids: Codes) -> Codes:
        """Template ids (any shape; -1 = not known) -> the model's codes."""
        if not len(self._ids):
            return np.where(ids < 0, UNKNOWN, FOREIGN).astype(np.int32)
        place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        found = np.where(self._ids[place] == ids, self._codes[place], FOREIGN)
        return np.where(ids < 0, UNKNOWN, found).astype(np.int32)

    def of(self, ids: Codes, before: Codes, slots: Ints) -> Codes:
        """N x S scores of N lines by their template ids; `before` (N x 2) as `LastLines.take` gives it."""
        codes = np.maximum(self.codes(ids), FOREIGN)  # a late line that fits no template has a foreign one
        return self.model.score(MinedLines(codes, self.codes(before), slots))

    def state(self) -> State:
        """Which id has which code; the model is its version's."""
        return State({"ids": self._ids, "codes": self._codes})

    @classmethod
    def restored(cls, model: LineModel, state: State) -> "LineScores":
        """What gave `state`, over the same model."""
        found = cls.__new__(cls)
        found.model, found._ids, found._codes = model, state.arrays["ids"].copy(), state.arrays["codes"].copy()
        return found
