"""A model version in force from a slot on: its scorer, and the ring of inputs scaled by it."""

from collections.abc import Mapping, Sequence

import numpy as np

from detectors.ensemble import Ensemble
from detectors.scorer import Scorer, SlotTimes
from detectors.types import joined
from streaming.examples import QUOTED
from streaming.logfeatures import OTHER, TEMPLATE_PREFIX
from streaming.ring import WindowPlane
from streaming.settings import Timing
from streaming.types import Codes, Floats, Ints, Windows
from streaming.windower import Windower
from tsad.cases import Judged
from tsad.models import COLD

BLOCK = 2048
"""Windows that are gathered and scored at a time: more cost fresh memory pages, fewer each call's overhead."""


class Era:
    """`columns` are the windower's features; one of the model's that is not among them is missing.

    `renamed`: what the model's features are called in the ring, where that differs (log templates have the number of
    the partition's own column). Templates that the model does not know are what it calls `log.other`, whether the ring
    counts them apart or not.
    """

    def __init__(
        self,
        version: str,
        first_slot: int,
        scorer: Scorer,
        plane: WindowPlane,
        columns: list[str],
        renamed: dict[str, str],
    ) -> None:
        self.version = version
        self.first_slot = first_slot
        self.scorer = scorer
        self.plane = plane
        self._columns = columns
        self._wanted = [renamed.get(name, name) for name in scorer.ensemble.features]
        self._span = scorer.ensemble.span
        self._known = -1
        self._pick: list[int] | None = None
        self._others: list[int] = []
        self._other = self._wanted.index(OTHER) if OTHER in self._wanted and version != COLD else None

    @property
    def ensemble(self) -> Ensemble:
        """The fitted model."""
        return self.scorer.ensemble

    @property
    def window(self) -> int:
        """Slots in a window."""
        return self.ensemble.settings.window

    def project(self, values: Floats) -> Floats:
        """N x columns of the windower -> N x features of the model."""
        width = values.shape[1]
        if self._known != width:
            self._known, self._pick = width, self._picked(width)
            self._others = self._foreign(width)
        if self._pick is None:
            return values
        picked: Floats = np.pad(values, ((0, 0), (0, 1)), constant_values=np.nan)[:, self._pick]
        if self._others:
            picked[:, self._other] += np.nan_to_num(values[:, self._others]).sum(axis=1)
        return picked

    def called(self, quoted: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """What is `quoted` of the windower's columns, by the features of the model."""
        pairs = zip(self.ensemble.features, self._wanted, strict=True)
        found = {name: quoted[column] for name, column in pairs if column in quoted}
        foreign = [line for place in self._others for line in quoted.get(self._columns[place], [])]
        if foreign:
            found[OTHER] = list(dict.fromkeys([*found.get(OTHER, []), *foreign]))[:QUOTED]
        return found

    def _picked(self, width: int) -> list[int] | None:
        """Column of each feature, `width` (one beyond) where there is none; None where they are the columns as such."""
        if self._wanted == self._columns[:width]:
            return None
        place = {name: number for number, name in enumerate(self._columns[:width])}
        return [place.get(name, width) for name in self._wanted]

    def _foreign(self, width: int) -> list[int]:
        """Columns of log templates that are not the model's, where it counts such lines."""
        if self._other is None:
            return []
        known = set(self._wanted)
        names = enumerate(self._columns[:width])
        return [place for place, name in names if name.startswith(TEMPLATE_PREFIX) and name not in known]

    def take_in(self, rows: Codes, slots: Ints, values: Floats) -> None:
        """Scale the rows of closed slots (N cells, by slot), once, and keep them."""
        self.plane.write(rows, slots, self.scorer.scale_slots(rows, slots, self.project(values)))

    def correct(self, rows: Codes, slots: Ints, values: Floats) -> None:
        """Scale again rows that late data changed, with the scaling of this moment."""
        if len(rows):
            self.plane.write(rows, slots, self.scorer.scale(rows, slots, self.project(values), learn=False))

    def judge_windows(
        self, rows: Codes, ends: Ints, names: Sequence[str], learn: bool, near: float = -np.inf
    ) -> Judged:
        """The windows of `rows` that end with `ends` (ordered by end, row), and what the scorer says of them: shares of
        those whose score is above `near`."""
        features, span = self.ensemble.features, self._span
        parts = []
        for start in range(0, max(len(rows), 1), BLOCK):
            part = slice(start, start + BLOCK)
            windows = Windows(rows[part], ends[part], self.plane.gather(rows[part], ends[part], span), features, names)
            parts.append(self.scorer.score(windows, learn, near))
        return Judged(rows, ends, features, joined(parts), self.version, self.ensemble.alpha)


def first_scorer(ensemble: Ensemble, windower: Windower, timing: Timing, times: SlotTimes | None = None) -> Scorer:
    """A scorer for the entities that the windower knows by now, none of which was judged before."""
    scorer = Scorer(ensemble, late_horizon=timing.late_horizon, times=times)
    names = windower.roster.names
    rows = np.array([row for row, name in enumerate(names) if name is not None], np.int32)
    scorer.bind(rows, [names[row] or "" for row in rows.tolist()])
    return scorer


def begin_era(
    version: str, slot: int, scorer: Scorer, windower: Windower, timing: Timing, renamed: dict[str, str]
) -> Era:
    """An era whose ring is filled from the raw one: what its first windows hold, scaled by the new model."""
    settings = scorer.ensemble.settings
    horizon = timing.late_horizon + settings.settle
    size = settings.window + horizon + timing.max_lead
    plane = WindowPlane(settings.window, size, len(scorer.ensemble.features))
    era = Era(version, slot, scorer, plane, windower.features, renamed)
    names = windower.roster.names
    rows = np.array([row for row, name in enumerate(names) if name is not None], np.int32)
    for past in range(slot - settings.window + 1, slot):
        here = rows[windower.ring.has(rows, np.full(len(rows), past, np.int64))]
        slots = np.full(len(here), past, np.int64)
        era.correct(here, slots, windower.derived(here, slots))
    return era
