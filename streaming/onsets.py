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


class Onsets:
    """Finds onsets in lines, as they come, and `symptoms`: those of warnings and errors that came again.

    `silence`: more than so many slots without a template make its next line an onset; `lateness`: slots by which a line
    that is on time may lie behind the newest one. `read` gives the masked text of a line's key. What is found does not
    depend on how lines came in polls.
    """

    def __init__(self, silence: int, lateness: int, read: Callable[[bytes | str], str]) -> None:
        self._silence, self._lateness, self._read = silence, lateness, read
        self._last: dict[tuple[str, int], int] = {}
        self._told: dict[tuple[str, int], int] = {}
        self._once: dict[tuple[str, int], int] = {}
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
        before = self._before(lines, places, ids, slots)
        is_begun = slots[places] > before + self._silence
        begun = places[is_begun]
        self._complain(lines, ids, slots, places, is_begun, severities)
        found = []
        for place in begun[severities[begun] < _WARNING].tolist():
            name, slot = lines.names[lines.codes[place]], int(slots[place])
            told = self._told.get((name, slot), 0)
            self._told[name, slot] = told + 1
            if told < MOST:
                text = self._read(keys[place])[:LONGEST]
                found.append(Onset(int(ids[place]), name, slot, int(lines.times[place]), text))
        self._bound(int(slots[places].max()))
        return found

    def _complain(
        self,
        lines: Lines,
        ids: Codes,
        slots: Ints,
        places: Ints,
        begun: NDArray[np.bool_],
        severities: NDArray[np.int8],
    ) -> None:
        """Note the warnings and errors (of `places`) that set in, and those that come for the second time."""
        wrong = severities[places] >= _WARNING
        for place, first in zip(places[wrong].tolist(), begun[wrong].tolist(), strict=True):
            key = (lines.names[lines.codes[place]], int(ids[place]))
            if first:
                self._once[key] = int(slots[place])
            elif key in self._once:
                self.symptoms.append(Symptom(key[0], self._once.pop(key), int(slots[place])))

    def _before(self, lines: Lines, places: Ints, ids: Codes, slots: Ints) -> Ints:
        """The newest slot of the same entity and template before each line (of `places`), which is noted in turn."""
        codes, named = lines.codes[places].astype(np.int64), ids[places].astype(np.int64)
        pairs = codes << 32 | named
        order = np.argsort(pairs, kind="stable")
        first = np.flatnonzero(np.diff(pairs[order], prepend=-1))
        ends = np.append(first[1:], len(order))
        here = slots[places][order]
        before = np.empty(len(order), np.int64)
        for start, end in zip(first.tolist(), ends.tolist(), strict=True):
            one = order[start]
            key = (lines.names[int(codes[one])], int(named[one]))
            known = self._last.get(key, _NEVER)
            if end - start == 1:
                before[start] = known
                self._last[key] = max(known, int(here[start]))
                continue
            rising = np.maximum.accumulate(np.append(known, here[start:end]))
            before[start:end] = rising[:-1]
            self._last[key] = int(rising[-1])
        found = np.empty(len(order), np.int64)
        found[order] = before
        return found

    def _bound(self, now: int) -> None:
        """Forget what says no more than nothing would, when there is much of it."""
        if len(self._last) + len(self._told) > self._full:
            self._forget(now)
            self._full = max(4096, 2 * (len(self._last) + len(self._told)))

    def _forget(self, now: int) -> None:
        oldest = now - self._lateness - 1
        self._last = {key: slot for key, slot in self._last.items() if slot >= oldest - self._silence}
        self._told = {key: count for key, count in self._told.items() if key[1] >= oldest}
        self._once = {key: slot for key, slot in self._once.items() if key in self._last}

    def state(self) -> State:
        """What was written last."""
        names = list(dict.fromkeys(name for name, _ in self._last))
        code = {name: place for place, name in enumerate(names)}
        last = [(code[name], template, slot) for (name, template), slot in self._last.items()]
        told: list[Any] = [[name, slot, count] for (name, slot), count in self._told.items()]
        once = [[name, template, slot] for (name, template), slot in self._once.items()]
        held = np.array(last, np.int64).reshape(-1, 3)
        return State({"last": held}, {"names": names, "told": told, "once": once})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        names = state.meta["names"]
        self._last = {(names[code], template): slot for code, template, slot in state.arrays["last"].tolist()}
        self._told = {(name, slot): count for name, slot, count in state.meta["told"]}
        self._once = {(name, template): slot for name, template, slot in state.meta["once"]}
