"""Log templates that set in: lines whose template their entity had not written for a while.

A deploy, a batch or a backup says something that was not said all the time before. Warnings and errors are left out:
they tell of what went wrong, not of what was done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.types import SEVERITIES, Codes, Ints, Lines, State

MOST = 16
"""Onsets of an entity in a slot at most; the first."""
LONGEST = 200
"""Characters of a line that are kept for people."""
_WARNING = SEVERITIES.index("warning")
_NEVER = np.iinfo(np.int64).min // 4
_TEMPLATE = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Onset:
    """The first line of `template` after a silence: its `entity`, `slot`, `time` (ns) and masked `text`."""

    template: int
    entity: str
    slot: int
    time: int
    text: str


@dataclass(frozen=True, slots=True)
class Symptom:
    """A warning or an error of an `entity` that set in, in the slot `first`, and came again in `slot`."""

    entity: str
    first: int
    slot: int
    template: int


class Onsets:
    """Finds onsets in lines, as they come, and `symptoms`: those of warnings and errors that came again.

    `silence`: more than so many slots without a template make its next line an onset; `lateness`: slots by which a line
    that is on time may lie behind the newest one. `read` gives the masked text of a line's key. What is found does not
    depend on how lines came in polls.
    """

    def __init__(self, silence: int, lateness: int, read: Callable[[bytes | str], str]) -> None:
        self._silence, self._lateness, self._read = silence, lateness, read
        self._pairs = _Pairs()
        self._told: dict[tuple[str, int], int] = {}
        self.symptoms: list[Symptom] = []
        self._full = 4096

    def of(
        self,
        lines: Lines,
        keys: Sequence[bytes | str],
        ids: Codes,
        severities: NDArray[np.int8],
        on_time: NDArray[np.bool_],
        slots: Ints,
    ) -> list[Onset]:
        """The onsets among N lines with `ids` of templates (-1 = none), in order; late lines are nobody's."""
        places = np.flatnonzero(on_time & (ids >= 0))
        if not len(places):
            return []
        here, is_wrong = slots[places], severities[places] >= _WARNING
        pairs = self._pairs.of(lines.names, lines.codes[places], ids[places])
        is_begun = self._set_in(pairs, here)
        for place, since in self._complain(pairs, here, np.flatnonzero(is_wrong), is_begun):
            name, template = lines.names[lines.codes[places[place]]], int(ids[places[place]])
            self.symptoms.append(Symptom(name, since, int(here[place]), template))
        np.maximum.at(self._pairs.last, pairs, here)
        found = []
        for place in self._first(lines, places[is_begun & ~is_wrong], slots).tolist():
            text = self._read(keys[place])[:LONGEST]
            name, slot = lines.names[lines.codes[place]], int(slots[place])
            found.append(Onset(int(ids[place]), name, slot, int(lines.times[place]), text))
        self._bound(int(here.max()))
        return found

    def _set_in(self, pairs: Ints, slots: Ints) -> NDArray[np.bool_]:
        """Which of N lines come after a silence of their pair."""
        begun = slots > self._pairs.last[pairs] + self._silence
        if begun.any():  # a line of the same poll may lie between; of other pairs none has set in
            is_open = np.zeros(len(self._pairs.last), np.bool_)
            is_open[pairs[begun]] = True
            some = np.flatnonzero(is_open[pairs])
            order = some[np.argsort(pairs[some], kind="stable")]
            before = _newest_before(self._pairs.last[pairs[order]], pairs[order], slots[order])
            begun[order] = slots[order] > before + self._silence
        return begun

    def _complain(self, pairs: Ints, slots: Ints, wrong: Ints, begun: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Of the warnings and errors (places `wrong` of N lines) note those that set in; which ones came for the second
        time, in order, with the slot of the first."""
        if not len(wrong):
            return []
        order = wrong[np.argsort(pairs[wrong], kind="stable")]
        whose, since = pairs[order], np.where(begun[order], slots[order], _NEVER)
        is_first = np.diff(whose, prepend=-1) != 0
        waiting = np.where(is_first, self._pairs.once[whose], np.roll(since, 1))
        is_last = np.roll(is_first, -1)
        self._pairs.once[whose[is_last]] = since[is_last]
        again = (since == _NEVER) & (waiting != _NEVER)
        return sorted(zip(order[again].tolist(), waiting[again].tolist(), strict=True))

    def _first(self, lines: Lines, begun: Ints, slots: Ints) -> Ints:
        """Those of the places `begun` that are among the first `MOST` of their entity and slot."""
        if not len(begun):
            return begun
        codes, when = lines.codes[begun].astype(np.int64), slots[begun]
        oldest, span = int(when.min()), int(np.ptp(when)) + 1
        cells, group = np.unique(codes * span + when - oldest, return_inverse=True)
        order, counts = np.argsort(group, kind="stable"), np.bincount(group)
        rank = np.empty(len(begun), np.int64)
        rank[order] = np.arange(len(begun)) - np.repeat(np.cumsum(counts) - counts, counts)
        whose = [(lines.names[cell // span], oldest + cell % span) for cell in cells.tolist()]
        told = np.array([self._told.get(cell, 0) for cell in whose], np.int64)
        self._told |= zip(whose, (told + counts).tolist(), strict=True)
        first: Ints = begun[told[group] + rank < MOST]
        return first

    def _bound(self, now: int) -> None:
        """Forget what says no more than nothing would, when there is much of it."""
        if len(self._pairs) + len(self._told) > self._full:
            oldest = now - self._lateness - 1
            self._pairs = self._pairs.since(oldest - self._silence)
            self._told = {key: count for key, count in self._told.items() if key[1] >= oldest}
            self._full = max(4096, 2 * (len(self._pairs) + len(self._told)))

    def state(self) -> State:
        """What was written last."""
        pairs = self._pairs
        names, held = list(pairs.entities), pairs.held()
        once = held[held[:, 3] != _NEVER]
        told: list[Any] = [[name, slot, count] for (name, slot), count in self._told.items()]
        waiting = [[names[entity], template, slot] for entity, template, _, slot in once.tolist()]
        return State({"last": held[:, :3]}, {"names": names, "told": told, "once": waiting})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        names = state.meta["names"]
        once = {(name, template): slot for name, template, slot in state.meta["once"]}
        last = state.arrays["last"].tolist()
        self._pairs = _Pairs(names, [(*one, once.get((names[one[0]], one[1]), _NEVER)) for one in last])
        self._told = {(name, slot): count for name, slot, count in state.meta["told"]}


class _Pairs:
    """A place for each pair of an entity and a template, in order of their keys; one more lies behind the last.

    At each: `last`, the newest slot with a line, and `once`, that of a warning or an error which set in and has not
    come again (`_NEVER`: none).
    """

    def __init__(self, names: Sequence[str] = (), held: Ints | Sequence[tuple[int, ...]] = ()) -> None:
        self.entities = {name: number for number, name in enumerate(names)}
        rows = np.array(held, np.int64).reshape(-1, 4)
        keys = rows[:, 0] << 32 | rows[:, 1]
        order = np.argsort(keys)
        self._keys = np.append(keys[order], np.iinfo(np.int64).max)
        self.last, self.once = (np.append(rows[order, column], _NEVER) for column in (2, 3))

    def __len__(self) -> int:
        return len(self._keys) - 1

    def of(self, names: Sequence[str], codes: Codes, templates: Codes) -> Ints:
        """The places of N pairs (`codes` index `names`), which are made where there are none."""
        numbers = np.zeros(len(names), np.int64)
        for code in np.flatnonzero(np.bincount(codes, minlength=len(names))).tolist():
            numbers[code] = self.entities.setdefault(names[code], len(self.entities))
        wanted = numbers[codes] << 32 | templates
        places = np.searchsorted(self._keys, wanted)
        unknown = self._keys[places] != wanted
        if unknown.any():
            fresh = np.unique(wanted[unknown])
            into = np.searchsorted(self._keys, fresh)
            self._keys = np.insert(self._keys, into, fresh)
            self.last, self.once = (np.insert(column, into, _NEVER) for column in (self.last, self.once))
            places = np.searchsorted(self._keys, wanted)
        found: Ints = places
        return found

    def held(self) -> Ints:
        """K x 4: number of the entity, template, `last`, `once`."""
        keys = self._keys[:-1]
        return np.stack([keys >> 32, keys & _TEMPLATE, self.last[:-1], self.once[:-1]], axis=1)

    def since(self, oldest: int) -> "_Pairs":
        """Those that have a line in slot `oldest` or later."""
        held, names = self.held(), list(self.entities)
        held = held[held[:, 2] >= oldest]
        kept, held[:, 0] = np.unique(held[:, 0], return_inverse=True)
        return _Pairs([names[number] for number in kept.tolist()], held)


def _newest_before(last: Ints, pairs: Ints, slots: Ints) -> Ints:
    """The newest slot of the same pair before each of N lines, which are in order of `pairs`; before its first line
    that is `last`."""
    same = np.diff(pairs, prepend=-1) == 0
    oldest, span = slots.min(), np.ptp(slots) + 1
    floor = np.cumsum(~same) * span - oldest  # each pair's slots lie above those of the ones before
    rising = np.maximum.accumulate(slots + floor)
    before = last.copy()
    before[same] = np.maximum(last[same], rising[:-1][same[1:]] - floor[same])
    return before
