"""From decoded log lines to counts for the ring: severities, templates, columns."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streaming.cells import COUNTED, alike
from streaming.columns import Columns
from streaming.logfeatures import LogFeatures, with_severities
from streaming.masking import Masking
from streaming.miner import Miner
from streaming.settings import Timing
from streaming.signs import Sighting, Sign, Signs
from streaming.stretches import LogCounts
from streaming.types import Codes, Ints, Lines, State

LONGEST_TEXT = 300
"""Characters of a rare line that are kept for people."""


class LogIntake:
    """Mines a partition's lines in position order: lines on time teach, late ones are only matched (DESIGN §3).

    Lateness is judged by the topic's own watermark, as in the windower, so that what is learnt depends on the order of
    this topic alone. `columns` are the partition's; log features are always admitted.
    """

    def __init__(
        self,
        timing: Timing,
        columns: Columns,
        masks: Masking | None = None,
        max_templates: int = 5000,
        max_template_columns: int = 100,
    ) -> None:
        self.miner = Miner(masks, max_templates=max_templates)
        self._columns = columns
        self.features = LogFeatures(self.miner, self._admit, max_template_columns)
        self._timing = timing
        self._newest = np.iinfo(np.int64).min // 2
        self._queue: list[tuple[int, str, list[dict[str, str]]]] = []
        self.renamed: dict[str, dict[str, str]] = {}
        self._founded: dict[int, int] = {}
        self._signs: Signs | None = None
        self._sighted: list[Sighting] = []

    def watch_for(self, signs: Sequence[Sign]) -> None:
        """Look for these in lines that are on time: those of a late one are nobody's."""
        self._signs = Signs(signs, self.miner.keys, self.miner.read) if signs else None

    def sighted(self) -> list[Sighting]:
        """What was seen since the last call, in order."""
        sighted, self._sighted = self._sighted, []
        return sighted

    def take(self, lines: Lines) -> LogCounts:
        """Count each line in its columns; in position order, each line once."""
        lines = with_severities(lines)
        newest = np.maximum.accumulate(np.r_[self._newest, lines.times])[1:]
        columns, start = np.full((len(newest), 5), -1, np.int32), 0
        said, texts = np.full((len(newest), COUNTED), -1, np.int32), list[str]()
        while start < len(newest):
            stop = len(newest)
            if self._queue:
                stop = int(np.searchsorted(newest // self._timing.step, self._queue[0][0]))
                if stop <= start:
                    self._adopt_next()
                    continue
            part = slice(start, stop)
            columns[part], said[part] = self._count(lines, newest, part, texts)
            start = stop
        if len(newest):
            self._newest = int(newest[-1])
        names = self._columns.names
        return LogCounts(
            lines.names, lines.codes, lines.times, columns, lines.positions, names, lines.next_position, said, texts
        )

    def _count(self, lines: Lines, newest: Ints, part: slice, texts: list[str]) -> tuple[Codes, Codes]:
        """The columns of each line of `part` and what it said, whose words join `texts`.

        `newest` (N, ns) is the newest event time up to each line.
        """
        step, times, messages = self._timing.step, lines.times[part], lines.messages[part]
        given = lines.templates[part]
        late = times // step < (newest[part] - self._timing.lateness) // step
        if self._signs is not None:
            self._sighted += self._signs.of(lines, part, ~late, times // step)
        ids, is_new = np.full(len(times), -1, np.int32), np.zeros(len(times), np.bool_)
        for start, stop in _runs(late):
            if late[start]:
                ids[start:stop] = self.miner.match(messages[start:stop], given[start:stop])
            else:
                ids[start:stop], is_new[start:stop] = self.miner.learn(messages[start:stop], given[start:stop])
        said = np.full((len(ids), COUNTED), -1, np.int32)
        told = self._fresh(ids, is_new, newest[part] // step)
        if len(told):
            firsts, cells = alike(lines.codes[part][told], times[told] // step, ids[told])
            said[told] = np.stack([ids[told], is_new[told], len(texts) + cells], axis=1)
            texts += [self.miner.masked(messages[place])[:LONGEST_TEXT] for place in told[firsts].tolist()]
        return self.features.columns(lines.severities[part], ids, is_new), said

    def _fresh(self, ids: Codes, is_new: NDArray[np.bool_], now: Ints) -> Ints:
        """Places of the lines whose template was founded less than a window ago; `now` (N) is the topic's slot.

        Whether the template has a column does not count: that follows from when a model came, not from the lines.
        """
        self._founded |= zip(ids[is_new].tolist(), now[is_new].tolist(), strict=True)
        if not self._founded or not len(now):
            return np.zeros(0, np.int64)
        founded = np.full(max(*self._founded, int(ids.max())) + 2, np.iinfo(np.int64).min // 2)
        founded[list(self._founded)] = list(self._founded.values())
        oldest = int(now[-1]) - self._timing.window
        self._founded = {key: slot for key, slot in self._founded.items() if slot > oldest}
        return np.flatnonzero(now - founded[ids] < self._timing.window)  # -1, no template, is the last place

    def adopt(self, models: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """Count the log templates of these models only (the newest last): what the ring calls each one's features."""
        return self.features.close(models)

    def adopt_from(self, slot: int, version: str, models: Sequence[dict[str, str]]) -> None:
        """`adopt` before the first line (in position order) that comes when the newest line lies in `slot` or above.

        So the columns of every line follow from this topic's lines alone, if none of those was taken yet. `version`
        names the newest model, the last of `models`.
        """
        self._queue.append((slot, version, list(models)))

    def adopted(self, version: str) -> dict[str, str]:
        """What the ring calls the features of `version`, which is adopted now if its line has not come."""
        while any(waiting == version for _, waiting, _ in self._queue):
            self._adopt_next()
        return self.renamed.get(version, {})

    def _adopt_next(self) -> None:
        _, version, models = self._queue.pop(0)
        self.renamed[version] = self.adopt(models)[-1]

    def _admit(self, name: str) -> int:
        """Log columns are bounded by their own rules: they are admitted where new telemetry is not."""
        was_open, self._columns.open = self._columns.open, True
        column = self._columns.index(name)
        self._columns.open = was_open
        return column

    def state(self) -> State:
        """Miner, columns and watermark."""
        whole = State(meta={"newest": int(self._newest), "queue": self._queue, "renamed": self.renamed})
        whole.meta["founded"] = list(self._founded.items())
        whole.put("miner", self.miner.state())
        whole.put("features", self.features.state())
        return whole

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._newest, self.renamed = state.meta["newest"], state.meta["renamed"]
        self._queue = [(slot, version, models) for slot, version, models in state.meta["queue"]]
        self._founded = dict(state.meta["founded"])
        self.miner.restore(state.part("miner"))
        self.features.restore(state.part("features"))


def _runs(late: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of equal values."""
    edges = (np.flatnonzero(late[1:] != late[:-1]) + 1).tolist()
    bounds = [0, *edges, len(late)]
    return [(a, b) for a, b in pairwise(bounds) if a < b]
