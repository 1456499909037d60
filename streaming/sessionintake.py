"""From mined log lines to sessions: whose key a line has, and what becomes of them."""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.columns import MAX_NAME
from streaming.linescores import FOREIGN
from streaming.miner import Miner
from streaming.related import Related
from streaming.sessiontable import SessionRules, SessionTable, Told
from streaming.types import Codes, Ints, Lines, State

PART = 16
"""Characters of a name that are left for the number of a part."""
MOST_QUOTED, LONGEST = 5000, 300
"""Templates unknown to the model of which a line is kept for people: the first to come; and characters of each."""


class SessionKeys:
    """Finds a line's session: by the one group of a regular expression that is sought in its text, or in `field`, one
    of the named values that came with it. `apart`: that is not among those which are related to each other."""

    def __init__(self, key: str | None, field: str | None = None, apart: bool = False) -> None:
        self._find = re.compile(key or "").search
        self._field, self._apart = field, apart

    def of(self, lines: Lines) -> tuple[list[str], Codes]:
        """The keys in N lines, and which of them each has (N, int32; -1 = none that can be stored)."""
        if self._field is None:
            return self.within(lines.messages)
        related = lines.related
        if related is None or self._field not in related.names:
            return [], np.full(len(lines.codes), -1, np.int32)
        return _storable(related.texts, related.codes[:, related.names.index(self._field)])

    def within(self, messages: Sequence[str]) -> tuple[list[str], Codes]:
        """Those in texts."""
        known: dict[str, int] = {}
        matches = map(self._find, messages)
        places = [-1 if match is None else known.setdefault(match[1] or "", len(known)) for match in matches]
        return _storable(list(known), np.array(places, np.int32))

    def others(self, related: Related | None) -> Related | None:
        """The named values that are related to each other."""
        return related if related is None or self._field is None or not self._apart else related.without(self._field)


def _storable(names: Sequence[str], codes: Codes) -> tuple[list[str], Codes]:
    """Those of `names` that can be an entity's, with room for the number of a part, and are in use."""
    good = np.array([*(0 < len(name) <= MAX_NAME - PART and "\0" not in name for name in names), False], np.bool_)
    codes = np.where(good[codes], codes, -1)
    used = np.unique(codes[codes >= 0])
    place = np.full(len(names) + 1, -1, np.int32)
    place[used] = np.arange(len(used))
    return [names[code] for code in used.tolist()], place[codes]


class SessionModel(Protocol):
    """`texts` are the templates that the model knows, by rank."""

    @property
    def texts(self) -> Sequence[str]:
        """Templates, foremost first."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """Sessions as `told` of, whose templates are the miner's ids, and what they are to the model of `version` (M; see
    `Sessions`); `quoted`: by id, a line of each template that the model does not know. Without one, `version` is empty,
    and only who can change no more is told of."""

    told: Told
    codes: Codes
    version: str
    quoted: Mapping[int, str]

    def quotes(self, place: int) -> list[str]:
        """What lines of session `place` said that the model does not know."""
        bounds = self.told.sessions.bounds
        lines = slice(int(bounds[place]), int(bounds[place + 1]))
        ids = self.told.sessions.templates[lines][self.codes[lines] == FOREIGN]
        return list(dict.fromkeys(self.quoted[key] for key in ids.tolist() if key in self.quoted))


class SessionIntake:
    """The sessions of a partition. `keys` finds which line is of which; `model` finds what judges the sessions by a
    version of a model, if anything does.

    With `taped`, sessions are told of though nothing judges them.
    """

    def __init__(self, rules: SessionRules, keys: SessionKeys, model: Callable[[str], SessionModel | None]) -> None:
        self.table = SessionTable(rules)
        self.taped = False
        self.keys = keys
        self._model = model
        self._version = ""
        self._known = KnownTemplates(np.empty(0, np.int32))
        self._quoted: dict[int, str] = {}
        self._shown: list[Shown] = []

    def shown(self) -> list[Shown]:
        """What was told of since the last call, in order."""
        shown, self._shown = self._shown, []
        return shown

    def score_by(self, version: str, miner: Miner) -> None:
        """The model of `version` judges from now on, if it has one for sessions."""
        model = self._model(version)
        self._version = version if model is not None else ""
        self.table.early = model is not None
        texts = model.texts if model is not None else ()
        self._known = known = KnownTemplates(miner.adopt(texts[: miner.capacity // 4]))
        codes = known.codes(np.array(list(self._quoted), np.int32)).tolist()
        # open sessions may have lines of these
        self._quoted = {
            key: text
            for (key, text), code in zip(self._quoted.items(), codes, strict=True)
            if code == FOREIGN and miner.holds(key)
        }

    def take(
        self, lines: Lines, severities: NDArray[np.int8], ids: Codes, now: Ints, text: Callable[[int], str]
    ) -> None:
        """N lines with their template `ids` (N); `now` (N) is the topic's newest event time as each came, `text` gives
        what is mined of the line at a place."""
        names, codes = self.keys.of(lines)
        found = self.table.take(names, codes, ids, lines.times, severities, now)
        foreign = self._foreign(codes, ids)
        for told in found:
            # a session is told of with the lines that came before that, wherever the poll ends
            while foreign and foreign[0] < told.at:
                self._quote(ids, foreign.popleft(), text)
            self._show(told)
        for place in foreign:
            self._quote(ids, place, text)

    def end(self) -> None:
        """No more lines come: every session closes."""
        for told in self.table.end():
            self._show(told)

    def _foreign(self, codes: Codes, ids: Codes) -> deque[int]:
        """The places of the first lines of templates that the model does not know."""
        if not self._version:
            return deque()
        places = np.flatnonzero((codes >= 0) & (ids >= 0) & (self._known.codes(ids) == FOREIGN))
        return deque(places[np.sort(np.unique(ids[places], return_index=True)[1])].tolist())

    def _quote(self, ids: Codes, place: int, text: Callable[[int], str]) -> None:
        key = int(ids[place])
        if key not in self._quoted and len(self._quoted) < MOST_QUOTED:
            self._quoted[key] = text(place)[:LONGEST]

    def _show(self, told: Told) -> None:
        if not (self._version or self.taped or len(told.gone)):
            return
        ids = told.sessions.templates
        codes = self._known.codes(ids)
        foreign = np.unique(ids[codes == FOREIGN]).tolist() if self._version else ()
        quoted = {key: self._quoted[key] for key in foreign if key in self._quoted}
        self._shown.append(Shown(told, codes, self._version, quoted))

    def state(self) -> State:
        """Everything but the model, which is its version's."""
        state = State({"known": self._known.ids}, {"version": self._version, "quoted": list(self._quoted.items())})
        state.put("table", self.table.state())
        return state

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._version, self._quoted = state.meta["version"], dict(state.meta["quoted"])
        self.table.early = bool(self._version)
        self._known = KnownTemplates(state.arrays["known"].copy())
        self.table.restore(state.part("table"))


class KnownTemplates:
    """Which of the miner's `ids` (K) are the templates 1 to K of a model."""

    def __init__(self, ids: Codes) -> None:
        self.ids = ids
        self._sorted, first = np.unique(ids, return_index=True)
        self._codes = (first + 1).astype(np.int32)

    def codes(self, ids: Codes) -> Codes:
        """Of N template ids: their numbers, 0 = none of them."""
        if not len(self._sorted):
            return np.full(len(ids), FOREIGN, np.int32)
        place = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        return np.where(self._sorted[place] == ids, self._codes[place], FOREIGN).astype(np.int32)
