"""What a model says of each log line: an injected model, and the miner's ids put into the model's own numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.cells import SCORED
from streaming.lastlines import UNKNOWN
from streaming.lessons import Learner, Lessons
from streaming.linefields import FieldReader, Fields, ShapedLines
from streaming.miner import Miner
from streaming.related import Related
from streaming.types import Codes, Ints, State

FOREIGN = 0
"""The code of every template that a model does not know."""


@dataclass(frozen=True, slots=True)
class MinedLines:
    """N log lines as models see them, in position order.

    `codes` (N, int32): the place of a line's template among the model's + 1, 0 = none of them. `before` (N x 2 or
    more, int32): the codes of the lines before it of the same entity, the nearest first; -1 = not known, and of a late
    line nothing is. `slots` (N): event time // step. `new` (N): whether a line founded its template, and is counted as
    that. `said`: what stands at the varying places, where it was read; `related`: named values, where they are kept.
    """

    codes: Codes
    before: Codes
    slots: Ints
    new: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    said: Fields | None = None
    related: Related | None = None

    def __post_init__(self) -> None:
        if not len(self.new):
            object.__setattr__(self, "new", np.zeros(len(self.codes), np.bool_))
        shape = self.before.shape
        if len(shape) != 2 or shape[0] != len(self.codes) or shape[1] < 2 or len(self.slots) != len(self.codes):
            raise ValueError(f"before must be {len(self.codes)} x 2 or more, got {shape}")

    def __len__(self) -> int:
        return len(self.codes)


class LineModel(Protocol):
    """`texts` are the templates that the model knows, by rank; `features` what its S scores are called.

    `fields` are those of lines that are read (`FieldReader`); where there are none, no line is looked into.
    `score` gives N x S int32, in 1/64 of the feature's unit, 0 = nothing strange. It is a function of each line alone.
    `reasons` says why lines (by their places, rising) have a score, by its number; "" where the text of one says all.
    """

    @property
    def texts(self) -> Sequence[str]:
        """Templates, foremost first."""
        ...

    @property
    def features(self) -> Sequence[str]:
        """A name for each score."""
        ...

    @property
    def fields(self) -> Ints:
        """Numbers of fields, by codes of templates."""
        ...

    def score(self, lines: MinedLines) -> Codes:
        """N x S int32."""
        ...

    def reasons(self, lines: MinedLines, places: Ints, number: int) -> list[str]:
        """For people."""
        ...

    def own(self) -> "LearningModel | None":
        """A copy that learns on from the lines of one partition; None where nothing in it learns."""
        ...


class LearningModel(LineModel, Learner, Protocol):
    """One that changes with what lines say."""


class LineScores:
    """A line model in force over one miner: which ids are the model's templates was settled as it came.

    At most a quarter of the miner's places are taken by the model's templates, the foremost.
    """

    def __init__(self, model: LineModel, miner: Miner) -> None:
        if len(model.features) > SCORED:
            raise ValueError(f"a line has at most {SCORED} scores, the model gives {len(model.features)}")
        ids = miner.adopt(model.texts[: miner.capacity // 4])
        self._take(model)
        self._index(ids, np.arange(1, len(ids) + 1, dtype=np.int32))

    def _take(self, model: LineModel) -> None:
        own = model.own()
        self.model, self._reader = own or model, _reader_for(model)
        self.lessons = None if own is None else Lessons(own)

    @property
    def reads(self) -> bool:
        """Whether what lines say is looked at."""
        return self._reader is not None

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

    def mined(
        self, ids: Codes, before: Codes, slots: Ints, new: NDArray[np.bool_], shaped: ShapedLines | None = None,
        related: Related | None = None,
    ) -> MinedLines:  # fmt: skip
        """N lines as the model sees them, from their template ids; `before` (N x depth) as `LastLines.take` gives it,
        `new` which of them founded a template, `shaped` what they say (not asked for unless `reads`)."""
        codes = np.maximum(self.codes(ids), FOREIGN)  # a late line that fits no template has a foreign one
        said = self._reader.read(shaped, codes) if self._reader is not None and shaped is not None else None
        return MinedLines(codes, self.codes(before), slots, new, said, related)

    def state(self) -> State:
        """Which id has which code, and what was learnt since; the model is its version's."""
        whole = State({"ids": self._ids, "codes": self._codes})
        whole.put("lessons", State() if self.lessons is None else self.lessons.state())
        return whole

    @classmethod
    def restored(cls, model: LineModel, state: State) -> "LineScores":
        """What gave `state`, over the same model."""
        found = cls.__new__(cls)
        found._take(model)
        if found.lessons is not None and "lessons" in state.meta:  # snapshots of older versions have none
            found.lessons.restore(state.part("lessons"))
        found._ids, found._codes = state.arrays["ids"].copy(), state.arrays["codes"].copy()
        return found


def _reader_for(model: LineModel) -> FieldReader | None:
    return FieldReader(model.texts, model.fields.tolist()) if len(model.fields) else None
