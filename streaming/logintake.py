"""From decoded log lines to counts for the ring: severities, templates, columns."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from streaming.columns import Columns
from streaming.logfeatures import LogFeatures, with_severities
from streaming.masking import Masking
from streaming.miner import Miner
from streaming.settings import Timing
from streaming.types import Lines, State
from streaming.windower import LogCounts


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

    def take(self, lines: Lines) -> LogCounts:
        """Count each line in its columns; in position order, each line once."""
        lines = with_severities(lines)
        count = len(lines.codes)
        newest = np.maximum.accumulate(np.r_[self._newest, lines.times])[1:]
        step = self._timing.step
        late = lines.times // step < (newest - self._timing.lateness) // step
        ids, is_new = np.full(count, -1, np.int32), np.zeros(count, np.bool_)
        for start, stop in _runs(late):
            part = lines.messages[start:stop]
            if late[start]:
                ids[start:stop] = self.miner.match(part)
            else:
                ids[start:stop], is_new[start:stop] = self.miner.learn(part)
        if count:
            self._newest = int(newest[-1])
        columns = self.features.columns(lines, ids, is_new)
        names = self._columns.names
        return LogCounts(lines.names, lines.codes, lines.times, columns, lines.positions, names, lines.next_position)

    def adopt(self, models: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        """Count the log templates of these models only (the newest last): what the ring calls each one's features."""
        return self.features.close(models)

    def _admit(self, name: str) -> int:
        """Log columns are bounded by their own rules: they are admitted where new telemetry is not."""
        was_open, self._columns.open = self._columns.open, True
        column = self._columns.index(name)
        self._columns.open = was_open
        return column

    def state(self) -> State:
        """Miner, columns and watermark."""
        whole = State(meta={"newest": int(self._newest)})
        whole.put("miner", self.miner.state())
        whole.put("features", self.features.state())
        return whole

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._newest = state.meta["newest"]
        self.miner.restore(state.part("miner"))
        self.features.restore(state.part("features"))


def _runs(late: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of equal values."""
    edges = (np.flatnonzero(late[1:] != late[:-1]) + 1).tolist()
    bounds = [0, *edges, len(late)]
    return [(a, b) for a, b in pairwise(bounds) if a < b]
