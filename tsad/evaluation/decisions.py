"""The product's own decisions against labels: what was found, what was false, how soon, and for how long after."""

from dataclasses import dataclass

import numpy as np

from streaming.types import Floats
from tsad.episodes import Episode, Reading, Rule, fold
from tsad.evaluation.extents import Bools, Extents, Ints


@dataclass(frozen=True, slots=True)
class Flagged:
    """Flagged rows held against events: share of events with a flag, share of flags in events, and their F1."""

    event_recall: float
    precision: float

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        total = self.event_recall + self.precision
        return 2 * self.event_recall * self.precision / total if total else 0.0

    @classmethod
    def of(cls, events: Extents, flags: Bools) -> "Flagged":
        """At least one event."""
        found = events.maxima(flags.astype(np.float64))
        count = int(flags.sum())
        return cls(float(found.mean()), float(flags[events.inside()].sum() / count) if count else 0.0)


def episodes_of(surprise: Floats, settled: Floats, rule: Rule) -> list[Episode]:
    """What the judge makes of a series: its episodes, retracted ones too, in order.

    `surprise` and `settled` (N): above 1 is a flag; `settled` speaks of its own row, so it is told `settle` - 1 rows
    later.
    """
    told = np.concatenate([np.full(rule.settle - 1, np.nan, np.float32), settled])[: len(surprise)]
    pairs = zip(surprise.tolist(), told.tolist(), strict=True)
    running, ended = fold(None, [Reading(row, score, np.nan, late) for row, (score, late) in enumerate(pairs)], rule)
    return ended if running is None else [*ended, running]


def delays(events: Extents, flags: Bools) -> Ints:
    """Rows from the start of each event that has a flag to its first flag."""
    after = np.append(np.flatnonzero(flags), events.rows)
    first = after[np.searchsorted(after, events.starts)]
    found: Ints = (first - events.starts)[first < events.stops]
    return found


def false_episodes(events: Extents, episodes: list[Episode]) -> int:
    """Episodes that share no row with an event."""
    return sum(not len(met_by(events, episode)) for episode in episodes)


def echoes(events: Extents, episodes: list[Episode]) -> Ints:
    """Rows from each met event's end to the last flag of the last episode that met it, not beyond the next event."""
    following = np.append(events.starts[1:], events.rows)
    met = meeting(events, episodes)
    ends = [min(max(one.last for one in met[event]) + 1, int(following[event])) for event in met]
    rows: Ints = np.maximum(np.array(ends, np.int64) - events.stops[list(met)], 0)
    return rows


def meeting(events: Extents, episodes: list[Episode]) -> dict[int, list[Episode]]:
    """The episodes that share a row with each event, where any does."""
    met: dict[int, list[Episode]] = {}
    for episode in episodes:
        for event in met_by(events, episode).tolist():
            met.setdefault(event, []).append(episode)
    return met


def met_by(events: Extents, episode: Episode) -> Ints:
    """The events that share a row with the episode."""
    return np.flatnonzero((events.starts <= episode.last) & (events.stops > episode.first))
