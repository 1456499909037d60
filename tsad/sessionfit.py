"""The sessions of a history, and what judges sessions, fitted on them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detectors.sessionmodel import FittedSessions
from streaming.linetape import JoinedTexts, Texts
from streaming.ring import ALWAYS
from streaming.sessionintake import SessionIntake, Shown
from streaming.sessions import Sessions
from streaming.sessiontable import CLOSED, EVICTED
from streaming.types import Codes

MOST = 1000
"""Templates that a model of sessions knows at most: the most frequent."""
MOST_LINES = 4_000_000
"""Lines whose sessions are kept at most: the newest."""
CUT_OFF = 0.5
"""The part of all sessions up to which those that the end of the history cut off are left out."""


class SessionTape:
    """Keeps every session as it closed, those of the newest `most` lines; `texts` of templates by the miner's id."""

    def __init__(self, texts: Texts, most: int | None = None) -> None:
        self._texts = texts
        self._most = most
        self._parts: list[Sessions] = []
        self._rest: list[Sessions] = []
        self._held = 0

    def add(self, shown: Sequence[Shown]) -> None:
        """Sessions that were told of."""
        for part in _closed(shown):
            self._parts.append(part)
            self._held += len(part.templates)
        most = self._most or MOST_LINES
        while self._held - len(self._parts[0].templates if self._parts else ()) >= most:
            self._held -= len(self._parts.pop(0).templates)

    def end(self, intake: SessionIntake) -> None:
        """The history ends: what is open is cut off there."""
        self.add(intake.shown())
        intake.end()
        self._rest = _closed(intake.shown())

    def join(self, other: "SessionTape", texts: JoinedTexts, since: int = ALWAYS) -> None:
        """Add what `other` keeps, of another miner; `texts` are those of this tape. What began before `since` (ns) is
        cut off there."""
        for part in other._parts:
            named = replace(part, templates=texts.numbers(other._texts, part.templates))
            self._parts.append(named.take(named.starts >= since))
            self._rest.append(named.take(named.starts < since))
        self._rest += [replace(part, templates=texts.numbers(other._texts, part.templates)) for part in other._rest]

    def fit(self, budget: float, max_templates: int) -> FittedSessions | None:
        """What judges sessions, at `budget` false alerts a day; None where they are too few."""
        whole, rest = Sessions.joined(self._parts), Sessions.joined(self._rest)
        if len(rest) > CUT_OFF * (len(whole) + len(rest)):
            whole = Sessions.joined([whole, rest])
        coded, texts = self._coded(whole.take(np.argsort(whole.starts, kind="stable")), min(MOST, max_templates // 4))
        return FittedSessions.fit(texts, coded, budget) if len(coded) else None

    def _coded(self, sessions: Sessions, most: int) -> tuple[Sessions, list[str]]:
        """Codes for ids, and the texts behind the codes: of equal frequency the older template first."""
        held, place, counts = np.unique(sessions.templates, return_inverse=True, return_counts=True)
        by_text: dict[str, int] = {}
        named = self._texts(held.tolist())
        for text, count in zip(named, counts.tolist(), strict=True):
            if text:
                by_text[text] = by_text.get(text, 0) + count
        known = sorted(by_text, key=lambda text: -by_text[text])[:most]
        code = {text: number for number, text in enumerate(known, 1)}
        codes: Codes = np.array([code.get(text or "", 0) for text in named], np.int32)
        return replace(sessions, templates=codes[place.reshape(-1)]), known


def _closed(shown: Sequence[Shown]) -> list[Sessions]:
    """Those that have just closed; what late lines added later is left out."""
    parts = [one.told.sessions.take(np.isin(one.told.as_, [CLOSED, EVICTED])) for one in shown]
    return [part for part in parts if len(part)]
