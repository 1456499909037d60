"""What a candidate would have said of the slots behind its fit, by the path of live data, and if that is too much.

The rule: in a time in which the alert budget grants `expected` episodes, a model that keeps it opens a Poisson number
of them. Where it opens more than the 95% quantile of that, it is refused. Every episode counts, true or not, but for
those in stretches that a context event explained.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import poisson

from storage.read import Stretch
from streaming.logfeatures import TEMPLATE_PREFIX
from streaming.settings import FeatureRules
from streaming.types import Records
from streaming.windower import Windower
from tsad.archive import Archive
from tsad.config import StreamConfig
from tsad.episodes import Rule
from tsad.era import Era, begin_era, first_scorer
from tsad.findings import Event
from tsad.history import DAY, History
from tsad.judge import Judge
from tsad.models import Model
from tsad.partition import Partition
from tsad.readings import Readings, Rollups
from tsad.retraining import Columns, arranged, codes_of, values_of

CONFIDENCE = 0.95
ENOUGH = 0.5
"""Of the slots that the shadow should have seen."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`episodes` that a candidate would have opened in `slots` of the `wanted` ones, `expected` by the budget, and how
    many are `allowed`; `active` is how many the active version opened there."""

    episodes: int
    expected: float
    allowed: int
    slots: int
    wanted: int
    windows: int
    active: int

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"expected": round(self.expected, 3)}

    @property
    def refused(self) -> str:
        """Why it is not promoted; empty where it is."""
        if self.slots < ENOUGH * self.wanted:
            return f"only {self.slots} of {self.wanted} slots came to judge it by"
        if self.episodes > self.allowed:
            return (
                f"it would have opened {self.episodes} episodes; the budget grants {self.expected:.3g}, "
                f"at most {self.allowed} with {CONFIDENCE:.0%}"
            )
        return ""


def allowed(expected: float) -> int:
    """How many episodes are still no sign that more than `expected` are opened."""
    return int(poisson.ppf(CONFIDENCE, expected))


def counted(events: Iterable[Event], spared: Sequence[Stretch]) -> int:
    """How many alerts were opened outside the stretches `spared`."""
    opened = [(one.entity, one.slot) for one in events if one.kind == "alert" and one.detail["reason"] == "opened"]
    return sum(
        not any(one.entity == entity and one.first_slot <= slot <= one.last_slot for one in spared)
        for entity, slot in opened
    )


def shadowed(
    archive: Archive,
    model: Model,
    config: StreamConfig,
    first: int,
    columns: Columns,
    active: int = 0,
    spared: Sequence[Stretch] = (),
) -> Figures:
    """Judge the slots of `shadow` from `first` on with `model`; `columns` as at its fit (`Training`). What opens in the
    stretches `spared` does not count."""
    wanted = max(config.shadow // config.step, 1)
    seen: set[int] = set()
    episodes = windows = 0
    for partition in archive.partitions():
        one = _Shadow(archive, model, config, partition, _called(archive, model, partition, columns), spared)
        opened, judged, slots = one.run(first, first + wanted - 1)
        episodes, windows = episodes + opened, windows + judged
        seen |= slots
    expected = config.alert_budget * len(seen) * config.step / DAY
    return Figures(episodes, expected, allowed(expected), len(seen), wanted, windows, active)


def _called(archive: Archive, model: Model, partition: int, columns: Columns) -> dict[str, str]:
    """What the model calls the partition's columns of templates: as at the fit, those that are new since by text."""
    by_text = {text: feature for feature, text in model.templates.items()}
    later = {column: by_text[text] for column, text in archive.texts(partition).items() if text in by_text}
    return later | columns.get(partition, {})


class _Shadow:
    """One partition of the archive, judged by `model` as a stream is that begins with it."""

    def __init__(
        self,
        archive: Archive,
        model: Model,
        config: StreamConfig,
        partition: int,
        called: dict[str, str],
        spared: Sequence[Stretch],
    ) -> None:
        self._spared = spared
        self._archive, self._model, self._partition, self._called = archive, model, partition, called
        self._config = config.model_copy(update={"lateness": 0})  # slots are closed, their values derived, already
        self._names: dict[str, int] = {}
        self._rows = 0

    def run(self, first: int, last: int) -> tuple[int, int, set[int]]:
        """Episodes opened, windows judged, and the slots in which there was anything, from `first` to `last`."""
        features = list(self._model.ensemble.features)
        timing, rules = self._config.timing(), FeatureRules()
        windower = Windower(timing, rules, lambda *_: None, features=features, is_log=lambda _: False)
        path = self._path(windower, first)
        episodes = windows = 0
        seen: set[int] = set()
        for batch in self._batches(first - self._config.window, last, features):
            path.process("telemetry", batch, 0, 0)
            seen |= {slot for slot in np.unique(batch.times // self._config.step).tolist() if slot >= first}
            found = path.take()
            episodes, windows = episodes + counted(found.events, self._spared), windows + found.windows
        path.end("telemetry", 0)
        found = path.take()
        return episodes + counted(found.events, self._spared), windows + found.windows, seen

    def _path(self, windower: Windower, first: int) -> Partition:
        config = self._config

        def begin() -> Era:
            scorer = first_scorer(self._model.ensemble, windower, config.timing())
            return begin_era("candidate", first, scorer, windower, config.timing(), {})

        return Partition(
            windower,
            Judge(Rule(config.settle, config.quiet), Readings(config.late_horizon + config.settle, config.max_lead)),
            Rollups(config.step),
            History(None, config.step, 0),
            lambda _, __: {},
            lambda partition, slot: begin if slot >= first and not partition.eras else None,
        )

    def _batches(self, first: int, last: int, features: Sequence[str]) -> Iterator[Records]:
        """The slots as records. A row without any value is silence, which the windower finds by itself."""
        names = self._archive.features(first, last)
        wanted = [name for name in names if name in features or name.startswith(TEMPLATE_PREFIX)]
        for batch in self._archive.batches(self._partition, first, last, wanted):
            codes = codes_of(batch, self._names)
            values = arranged(values_of(batch, wanted), wanted, features, self._called)
            there = ~np.isnan(values).all(axis=1)
            times = batch.column("slot").to_numpy()[there] * self._config.step
            positions = np.arange(self._rows, self._rows + len(times))
            self._rows += len(times)
            yield Records(
                list(self._names), codes[there], times, values[there], positions, times, list(features), self._rows
            )
