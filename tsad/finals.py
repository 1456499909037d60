"""Slots that no late data can reach any more: out of the readings, into the hourly roll-ups and the history."""

from collections.abc import Callable

import numpy as np

from streaming.types import Codes, Floats, Ints
from streaming.windower import Windower
from tsad.bands import Bands
from tsad.era import Era
from tsad.history import History
from tsad.overlap import Core
from tsad.readings import HourlyScores, Readings, Rollups

Given = tuple[list[str], HourlyScores]
"""Hours that are over, with the entities' names."""


class Finals:
    """What is kept of a partition's final slots, of those in `core` alone. `given` collects the hours that are over
    until somebody takes them."""

    def __init__(
        self,
        windower: Windower,
        readings: Readings,
        rollups: Rollups,
        history: History,
        era_at: Callable[[int], Era],
        core: Core,
    ) -> None:
        self.rollups = rollups
        self.history = history
        self.given: list[Given] = []
        self._windower = windower
        self._readings = readings
        self._era_at = era_at
        self._core = core
        self._bands: Bands | None = None

    def finish(self, slots: range) -> None:
        """`slots` are final now."""
        rows, ends, scores = self._readings.of(self._core.clip(slots))
        if not len(rows):
            return
        for ended in self.rollups.add_all(rows, ends, scores):
            self._give_out(ended)
        self._keep(rows, ends, scores)

    def leave(self, rows: Codes, closed: int) -> None:
        """The entities `rows` go after the slot `closed`: what they have is final."""
        for final in range(closed - self._readings.horizon + 1, closed + 1):
            here = rows[np.isin(rows, self._readings.at(final))]
            if len(here):
                scores = self._readings.scores(here, final)
                self._give_out(self.rollups.add(here, final, scores))
                self._keep(here, np.full(len(here), final, np.int64), scores)
        self._give_out(self.rollups.flush(rows))

    def so_far(self, closed: int) -> None:
        """Give out the open hours too, with what is not final yet, up to the slot `closed`.

        They stay open: when the stream goes on, they are given out again and replace these.
        """
        hours = self.rollups.copy()
        for slot in range(closed - self._readings.horizon + 1, closed + 1):
            rows = self._readings.at(slot)
            self._give_out(hours.add(rows, slot, self._readings.scores(rows, slot)))
        self._give_out(hours.everyone())

    def conclude(self, closed: int) -> None:
        """Nothing comes any more: all up to the slot `closed` is final."""
        self.finish(range(closed - self._readings.horizon + 1, closed + 1))
        self._give_out(self.rollups.everyone())

    def take(self) -> list[Given]:
        """The hours that came to their end since the last call."""
        given, self.given = self.given, []
        return given

    def _keep(self, rows: Codes, ends: Ints, scores: Floats) -> None:
        """Give final slots to the history: rows in the order of `ends`."""
        if self.history.folder is None:
            return
        names, features = self._windower.roster.filled, list(self._windower.features)
        self.history.add(names, ends, self._windower.derived(rows, ends), scores, features, rows)
        if self.history.beside is not None:
            self._keep_bands(self.history.beside, names, rows, ends, scores)

    def _keep_bands(self, history: History, names: list[str], rows: Codes, ends: Ints, scores: Floats) -> None:
        """Give what is expected of entities at final slots to its own history: one model judges all of that."""
        if self._bands is None:
            self._bands = Bands(self._era_at(int(ends[0])).scorer)
        bounds, at = self._bands.of(names, rows, ends)
        history.add(names, ends, bounds, scores, self._bands.columns, rows, at)

    def _give_out(self, ended: HourlyScores | None) -> None:
        if ended is not None and len(ended.rows):
            self.given.append((self._named(ended.rows), ended))

    def _named(self, rows: Codes) -> list[str]:
        names = self._windower.roster.filled
        return [names[row] for row in rows.tolist()]
