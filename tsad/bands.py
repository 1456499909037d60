"""Expected bands of closed slots: what an alert's evidence says is usual, for every entity and slot.

A band is what explanations show: the 1% and 99% quantiles of the model's normal windows, of the entity's own where it
has enough of them, in the unit of the channel at that hour.
"""

from collections.abc import Sequence

import numpy as np

from detectors.background import Background
from detectors.scorer import Scorer
from streaming.types import Codes, Floats, Ints, Windows

BANDS = "bands"
"""The folder of their files, in that of the closed slots."""
LOW, HIGH = "low:", "high:"
"""What the names of their columns begin with."""


class Bands:
    """Of the entities that `scorer` judges. What is usual for an entity is looked up once.

    `columns` are the names of its 2 F bounds: the lower one of each feature, then the upper ones.
    """

    def __init__(self, scorer: Scorer) -> None:
        features = scorer.ensemble.features
        self.columns = [f"{side}{name}" for side in (LOW, HIGH) for name in features]
        self._features = features
        self._scorer = scorer
        self._background = Background(scorer.ensemble.background)
        self._place: dict[str, int] = {}
        self._names: Sequence[str] | None = None
        self._places = np.zeros(0, np.int64)
        self._scaled = np.zeros((0, len(self.columns)), np.float32)
        self._bounds = self._scaled
        self._lasting = np.zeros(0, np.bool_)

    def of(self, names: Sequence[str], rows: Codes, slots: Ints | int) -> tuple[Floats, Ints]:
        """Bounds (K x 2 F, raw; NaN = unknown), and which of them are those of entities, `rows` (N) of `names`, at one
        slot or `slots` (N).

        Of an entity that still learns its ranges: as far as it has come. Where nothing has changed since, it is the
        same array as before, with a line for each of `names`.
        """
        if names is not self._names:  # a list stays the same one until an entity comes or goes
            self._look_up(names)
        if self._scorer.seasonal:
            return self._at(rows, slots), np.arange(len(rows))
        new = ~self._lasting
        asked = np.zeros(len(new), np.bool_)
        asked[rows] = new[rows]
        which = np.flatnonzero(asked).astype(np.int32)
        if len(which):
            found = self._at(which, 0)
            if not np.array_equal(found, self._bounds[which], equal_nan=True):
                self._bounds = self._bounds.copy()  # who was given the last one may hold it still
                self._bounds[which] = found
            self._lasting[which] = ~self._scorer.young(which)
        return self._bounds, rows.astype(np.int64)

    def _at(self, rows: Codes, slots: Ints | int) -> Floats:
        """The bounds (N x 2 F) of `rows` at `slots`."""
        origin, width = self._scorer.ranges(rows, slots)
        bounds: Floats = self._scaled[self._places[rows]]
        for side in np.split(bounds, 2, axis=1):
            np.add(np.multiply(side, width, out=side), origin, out=side)
        return bounds

    def _look_up(self, names: Sequence[str]) -> None:
        new = [name for name in dict.fromkeys(names) if name not in self._place]
        if new:
            self._learn(new)
        self._names, self._places = names, np.array([self._place[name] for name in names], np.int64)
        self._bounds = np.full((len(names), len(self.columns)), np.nan, np.float32)
        self._lasting = np.zeros(len(names), np.bool_)

    def _learn(self, names: Sequence[str]) -> None:
        """What is usual for `names`, scaled."""
        nothing = np.empty((len(names), 0, len(self._features)), np.float32)
        codes = np.arange(len(names), dtype=np.int32)
        windows = Windows(codes, np.zeros(len(names), np.int64), nothing, self._features, names)
        self._place |= {name: len(self._place) + number for number, name in enumerate(names)}
        usual = np.concatenate(self._background.bands(windows), axis=1)
        self._scaled = np.concatenate([self._scaled, usual])
