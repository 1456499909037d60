"""Expected bands of closed slots, as columns: what an alert's evidence says is usual, for every entity and slot.

A band is what explanations show: the 1% and 99% quantiles of the model's normal windows, of the entity's own where it
has enough of them, in the unit of the channel at that hour.
"""

from collections.abc import Sequence

import numpy as np

from detectors.background import Background
from detectors.scorer import Scorer
from streaming.types import Codes, Floats, Ints, Windows
from tsad.cases import runs_of

LOW, HIGH = "low:", "high:"
"""What the names of their columns begin with."""


class Bands:
    """Of the entities that `scorer` judges. What is usual for an entity is looked up once."""

    def __init__(self, scorer: Scorer) -> None:
        self.features: Sequence[str] = scorer.ensemble.features
        self._scorer = scorer
        self._background = Background(scorer.ensemble.background)
        self._place: dict[str, int] = {}
        self._scaled = np.zeros((2, 0, len(self.features)), np.float32)

    def of(self, rows: Codes, names: Sequence[str], slot: int) -> tuple[Floats, Floats]:
        """Lower and upper bound (B x F each, float32, raw) of what is usual for entities at a slot; NaN where nothing
        is known. `rows` are their codes, `names` their names."""
        new = [name for name in names if name not in self._place]
        if new:
            self._learn(new)
        places = np.array([self._place[name] for name in names], np.int64)
        origin, width = self._scorer.ranges(rows, slot)
        lower: Floats = origin + width * self._scaled[0, places]
        upper: Floats = origin + width * self._scaled[1, places]
        return lower, upper

    def columns(self, rows: Codes, names: Sequence[str], ends: Ints) -> dict[str, Floats]:
        """The bands of N closed cells (by slot) by column: `low:FEATURE` and `high:FEATURE`, N each."""
        bounds = np.empty((2, len(rows), len(self.features)), np.float32)
        for part in runs_of(ends):
            bounds[:, part] = self.of(rows[part], names[part], int(ends[part.start]))
        sides = zip((LOW, HIGH), bounds, strict=True)
        return {f"{side}{name}": bound[:, place] for side, bound in sides for place, name in enumerate(self.features)}

    def _learn(self, names: Sequence[str]) -> None:
        """What is usual for `names`, scaled."""
        fresh = list(dict.fromkeys(names))
        width = len(self.features)
        windows = Windows(
            np.arange(len(fresh), dtype=np.int32), np.zeros(len(fresh), np.int64),
            np.empty((len(fresh), 0, width), np.float32), self.features, fresh,
        )  # fmt: skip
        self._place |= {name: len(self._place) + number for number, name in enumerate(fresh)}
        self._scaled = np.concatenate([self._scaled, np.stack(self._background.bands(windows))], axis=1)
