"""The last H slots' readings of every entity, in arrays, and the hourly roll-ups of what leaves them for good."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.settings import SECOND
from streaming.types import Codes, Floats, Ints, State
from tsad.episodes import Reading

HOUR = 3600 * SECOND
NOTHING = np.iinfo(np.int64).min


class Readings:
    """A ring of (score, p, settled) by entity: the last H = `horizon` slots, which late data may still change, and
    behind them the `lead` slots that may close at a time. H = late_horizon + settle."""

    def __init__(self, horizon: int, lead: int = 1) -> None:
        self.horizon = horizon
        self.lead = lead
        self._places = horizon + lead
        self.written = np.full((0, self._places), NOTHING, np.int64)
        self.score = np.full((0, self._places), np.nan, np.float32)
        self.p = np.full((0, self._places), np.nan, np.float64)
        self.settled = np.full((0, self._places), np.nan, np.float32)
        self._flagged = [NOTHING] * self._places
        """By place, the newest slot in which a row was ever flagged: what needs no look."""

    def grow(self, entities: int) -> None:
        """Make room for rows up to `entities`."""
        have = len(self.written)
        if entities <= have:
            return
        more = max(entities, 2 * have) - have
        self.written = np.pad(self.written, ((0, more), (0, 0)), constant_values=NOTHING)
        self.score = np.pad(self.score, ((0, more), (0, 0)), constant_values=np.nan)
        self.p = np.pad(self.p, ((0, more), (0, 0)), constant_values=np.nan)
        self.settled = np.pad(self.settled, ((0, more), (0, 0)), constant_values=np.nan)

    def write(self, rows: Codes, slots: Ints | int, score: Floats, p: NDArray[np.float64], settled: Floats) -> None:
        """Keep the readings of `rows` at `slots` (scalar or one each)."""
        if not len(rows):
            return
        self.grow(int(rows.max()) + 1)
        at = rows.astype(np.int64) * self._places + slots % self._places
        for kept, given in (
            (self.written, slots), (self.score, score), (self.p, p), (self.settled, settled)
        ):  # fmt: skip
            kept.reshape(-1)[at] = given
        for slot in np.unique(np.broadcast_to(slots, len(rows))[score > 1]).tolist():
            self._flagged[slot % self._places] = max(slot, self._flagged[slot % self._places])

    def of(self, slots: range) -> tuple[Codes, Ints, Floats]:
        """Rows, slots and scores (N each, by slot and row) of the readings at `slots`, as many as are held."""
        wanted = np.arange(slots.start, slots.stop)
        places = wanted % self._places
        at, rows = (self.written[:, places] == wanted).T.nonzero()
        return rows.astype(np.int32), wanted[at], self.score[rows, places[at]]

    def at(self, slot: int) -> Codes:
        """The rows with a reading at `slot`."""
        return np.flatnonzero(self.written[:, slot % self._places] == slot).astype(np.int32)

    def scores(self, rows: Codes, slot: int) -> Floats:
        """The scores of `rows`, which have a reading at `slot`."""
        scores: Floats = self.score[rows, slot % self._places]
        return scores

    def flags(self, slot: int) -> bool:
        """Whether a row may be flagged at `slot`."""
        return self._flagged[slot % self._places] >= slot

    def flagged(self, slot: int) -> Codes:
        """The rows flagged at `slot`."""
        if not self.flags(slot):
            return np.zeros(0, np.int32)
        place = slot % self._places
        hit = (self.written[:, place] == slot) & (self.score[:, place] > 1)
        return np.flatnonzero(hit).astype(np.int32)

    def reading(self, row: int, slot: int) -> Reading:
        """The reading of `row` at `slot`, all NaN where there is none."""
        place = slot % self._places
        if row >= len(self.written) or self.written.item(row, place) != slot:
            return Reading(slot, np.nan, np.nan, np.nan)
        return Reading(slot, *(kept.item(row, place) for kept in (self.score, self.p, self.settled)))

    def forget(self, rows: Codes) -> None:
        """Empty `rows`."""
        self.written[rows[rows < len(self.written)]] = NOTHING

    def state(self) -> State:
        """Everything, as arrays."""
        return State({name: getattr(self, name) for name in ("written", "score", "p", "settled")})

    def restore(self, state: State) -> None:
        """What `state` gave, also of a ring of another size."""
        arrays = state.arrays
        if arrays["written"].shape[1] == self._places:
            for name, array in arrays.items():
                setattr(self, name, np.ascontiguousarray(array))
        else:
            rows, at = np.nonzero(arrays["written"] != NOTHING)
            order = np.argsort(arrays["written"][rows, at], kind="stable")  # of a place the newest slot counts
            rows, at = rows[order], at[order]
            self.grow(len(arrays["written"]))
            slots, *rest = (arrays[name][rows, at] for name in ("written", "score", "p", "settled"))
            self.write(rows.astype(np.int32), slots, *rest)
        self._flagged = np.where(self.score > 1, self.written, NOTHING).max(axis=0, initial=NOTHING).tolist()


@dataclass(frozen=True, slots=True)
class HourlyScores:
    """Roll-ups of M (row, hour) pairs: the hour's first ns, maximum and mean score, number of slots."""

    rows: Codes
    hours: Ints
    maxima: Floats
    means: Floats
    counts: Ints


class Rollups:
    """An open hour for each entity; an hour is given out when the entity's next one begins."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.hour = np.full(0, NOTHING, np.int64)
        self.maximum = np.zeros(0, np.float32)
        self.total = np.zeros(0, np.float64)
        self.count = np.zeros(0, np.int64)

    def _grow(self, entities: int) -> None:
        more = max(0, entities - len(self.hour))
        if more:
            self.hour = np.pad(self.hour, (0, more), constant_values=NOTHING)
            self.maximum = np.pad(self.maximum, (0, more))
            self.total = np.pad(self.total, (0, more))
            self.count = np.pad(self.count, (0, more))

    def add(self, rows: Codes, slot: int, scores: Floats) -> HourlyScores | None:
        """Count final scores of `rows` at `slot`; returns the hours that this ends."""
        return next(self.add_all(rows, np.full(len(rows), slot, np.int64), scores), None)

    def add_all(self, rows: Codes, slots: Ints, scores: Floats) -> Iterator[HourlyScores]:
        """Count final scores of cells (N, by slot); gives the hours that this ends."""
        known = ~np.isnan(scores)
        rows, scores, hours = rows[known], scores[known], slots[known] * self.step // HOUR * HOUR
        if not len(rows):
            return
        self._grow(int(rows.max()) + 1)
        for start, stop in pairwise([0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(hours)]):
            ended = self._add(rows[start:stop], int(hours[start]), scores[start:stop])
            if ended is not None:
                yield ended

    def _add(self, rows: Codes, hour: int, scores: Floats) -> HourlyScores | None:
        new, ended = np.unique(rows[self.hour[rows] != hour]), None
        if len(new):
            over = new[self.count[new] > 0]
            ended = self._of(over) if len(over) else None
            self._clear(new)
            self.hour[new] = hour
        np.maximum.at(self.maximum, rows, scores)
        np.add.at(self.total, rows, scores)  # in the order of slots
        np.add.at(self.count, rows, 1)
        return ended

    def flush(self, rows: Codes) -> HourlyScores:
        """Give out what `rows` have so far, and empty them."""
        self._grow(int(rows.max(initial=-1)) + 1)
        open_rows = rows[self.count[rows] > 0]
        ended = self._of(open_rows)
        self._clear(open_rows)
        return ended

    def copy(self) -> "Rollups":
        """Another one with the same open hours."""
        other = Rollups(self.step)
        other.restore(State({name: array.copy() for name, array in self.state().arrays.items()}))
        return other

    def everyone(self) -> HourlyScores:
        """The open hours as they stand, which stay open."""
        return self._of(np.flatnonzero(self.count).astype(np.int32))

    def _of(self, rows: Codes) -> HourlyScores:
        count = self.count[rows]
        means = (self.total[rows] / np.maximum(count, 1)).astype(np.float32)
        return HourlyScores(rows, self.hour[rows], self.maximum[rows], means, count)

    def _clear(self, rows: Codes) -> None:
        self.maximum[rows] = 0
        self.total[rows] = 0
        self.count[rows] = 0

    def state(self) -> State:
        """Everything, as arrays."""
        return State({name: getattr(self, name) for name in ("hour", "maximum", "total", "count")})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        for name, array in state.arrays.items():
            setattr(self, name, array)


def meta_rows(state: dict[str, Any]) -> dict[int, Any]:
    """JSON turns integer keys into strings; this turns them back."""
    return {int(key): value for key, value in state.items()}
