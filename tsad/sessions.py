"""Sessions on their way from the log intake to alerts: each is scored when it closes, and anew with each late line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from detectors.sessionmodel import FittedSessions, SessionVerdicts
from storage.types import Alert, AlertState, Audit, Changes, ScoreRow, Vote
from streaming.sessionintake import SessionIntake, Shown
from streaming.sessions import Sessions
from streaming.sessiontable import AMENDED, OPEN
from streaming.types import Ints, State
from tsad.rows import utc
from tsad.sessioncases import Finding, Reason, SessionCase, SessionRows

WORTH = 0.5
"""Scores above which a session has a row, as windows have."""


@dataclass
class SessionDesk:
    """The anomalous sessions of a partition. `guard`: the stream whose lease guards their rows; `intake` is where the
    sessions are, `model` finds what judges them by a version's name."""

    rows: SessionRows
    guard: str
    intake: SessionIntake
    model: Callable[[str], FittedSessions | None]
    opened: int = 0
    _cases: dict[int, SessionCase] = field(default_factory=dict)
    _changed: dict[int, SessionCase] = field(default_factory=dict)
    _scores: list[ScoreRow] = field(default_factory=list)
    _events: list[Audit] = field(default_factory=list)

    def look(self, now_ns: int, ingested_ns: int) -> None:
        """Judge what the intake has told of; the wall clock and the newest ingest time only stamp detections."""
        for version, parts in groupby(self.intake.shown(), key=lambda shown: shown.version):
            model = self.model(version) if version else None
            if model is not None:
                self._judge(model, version, list(parts), now_ns, ingested_ns)
                continue
            for shown in parts:
                self._resolve(shown.told.gone, now_ns)

    def end(self, now_ns: int, ingested_ns: int) -> None:
        """The lines have ended."""
        self.intake.end()
        self.look(now_ns, ingested_ns)

    def _judge(
        self, model: FittedSessions, version: str, parts: Sequence[Shown], now_ns: int, ingested_ns: int
    ) -> None:
        """All sessions at once; those that are strange, or were, one by one."""
        sessions = Sessions.joined([replace(one.told.sessions, templates=one.codes) for one in parts])
        verdicts, start = _verdicts(model, sessions, np.concatenate([one.told.as_ for one in parts])), 0
        for shown in parts:
            told, count = shown.told, len(shown.told.sessions)
            part = verdicts.score[start : start + count]
            known = np.isin(told.numbers, list(self._cases)) if self._cases else np.zeros(count, np.bool_)
            for place in np.flatnonzero((part > 1) | known).tolist():
                finding = Finding.of(model, version, sessions, verdicts, start + place, shown.quotes(place))
                self._take(shown, place, finding, now_ns, ingested_ns)
            self._note(shown, verdicts, start, model)
            self._resolve(told.gone, now_ns)
            start += count

    def _take(self, shown: Shown, place: int, finding: Finding, now_ns: int, ingested_ns: int) -> None:
        """A session that is strange, or was."""
        told, number = shown.told, int(shown.told.numbers[place])
        as_, strange, case = int(told.as_[place]), finding.score > 1, self._cases.get(number)
        if case is None:
            entity = _named(told.sessions.names[place], int(told.parts[place]))
            state: AlertState = "open" if as_ == OPEN else "confirmed"
            case = SessionCase(number, entity, int(told.opened[place]), finding, state, "opened", now_ns, ingested_ns)
            self._cases[number] = case
            self.opened += 1
            self._log(case, "opened", now_ns)
        elif as_ != OPEN:
            self._move(case, finding, strange, as_ == AMENDED, now_ns)
        case.finding = finding
        if as_ == AMENDED:
            case.amended_ns = now_ns
        self._changed[number] = case

    def _move(self, case: SessionCase, finding: Finding, strange: bool, late: bool, now_ns: int) -> None:
        """A case whose session has closed, or has changed since."""
        reason: Reason
        if not strange:
            if case.state == "retracted":
                return
            case.becomes("retracted", reason := "retracted")
        elif case.state == "retracted":
            case.becomes("confirmed", reason := "reopened")
        elif case.state == "open":
            case.becomes("confirmed", reason := "confirmed")
        elif late and finding != case.finding:
            case.becomes("confirmed", reason := "amended")
        else:
            return
        self._log(case, reason, now_ns)

    def _resolve(self, gone: Ints, now_ns: int) -> None:
        """No line can change these any more."""
        for number in gone.tolist() if self._cases else ():
            case = self._cases.pop(number, None)
            if case is not None and case.state != "retracted":
                case.becomes("resolved", "resolved")
                self._log(case, "resolved", now_ns)
                self._changed[number] = case

    def _log(self, case: SessionCase, reason: str, now_ns: int) -> None:
        alert = self.rows.id(case)
        self._events.append(Audit("alert", utc(now_ns), case.entity, alert, case.opened, {"reason": reason}))

    def _note(self, shown: Shown, verdicts: SessionVerdicts, start: int, model: FittedSessions) -> None:
        """Keep the scores worth a row, and every one that was amended."""
        told = shown.told
        score = verdicts.score[start : start + len(told.sessions)]
        for place in np.flatnonzero((told.as_ != OPEN) & ((score > WORTH) | (told.as_ == AMENDED))).tolist():
            at, ratios = start + place, verdicts.ratios[:, start + place]
            votes: dict[str, Vote] = {
                name: {"p": None, "voted": bool(ratio > 1)} for name, ratio in zip(model.scorers, ratios, strict=True)
            }
            entity = _named(told.sessions.names[place], int(told.parts[place]))
            time = utc(int(told.opened[place]) * self.rows.step)
            row = ScoreRow(
                entity, int(told.opened[place]), time, float(score[place]), float(verdicts.p[at]), votes, shown.version
            )
            self._scores.append(row)

    def take(self, epoch: int) -> tuple[list[Changes], list[tuple[Alert, int]]]:
        """What is to be saved since the last call, and its alerts with how often they have changed."""
        # of an evicted session that began anew in the same slot, the later part counts
        cases, self._changed = list({self.rows.id(case): case for case in self._changed.values()}.values()), {}
        scores, self._scores = self._scores, []
        events, self._events = self._events, []
        self.opened = 0
        if not (cases or scores or events):
            return [], []
        alerts = [self.rows.alert(case) for case in cases]
        rows = self.rows
        changes = Changes(rows.run, rows.stream, rows.partition, epoch, guard=self.guard)
        changes.alerts, changes.scores, changes.audit = alerts, scores, events
        changes.explanations = [part for case in cases for part in rows.explanations(case)]
        return [changes], [(alert, case.changes) for alert, case in zip(alerts, cases, strict=True)]

    def state(self) -> State:
        """The cases, as JSON."""
        return State(meta={"cases": [case.meta() for case in self._cases.values()]})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        cases = map(SessionCase.restored, state.meta["cases"])
        self._cases = {case.number: case for case in cases}


def _verdicts(model: FittedSessions, sessions: Sessions, as_: NDArray[np.int8]) -> SessionVerdicts:
    """What the model says of sessions; of open ones as much as no line to come can take back."""
    verdicts = model.score(sessions)
    still = np.flatnonzero(as_ == OPEN)
    if len(still):
        verdicts.score[still] = model.least(sessions.take(still))
        verdicts.p[still] = model.alpha ** verdicts.score[still].astype(np.float64)
    return verdicts


def _named(key: str, part: int) -> str:
    """A session as an entity: its key, with a number where one of that key and slot was there before."""
    return key if part == 0 else f"{key} #{part + 1}"
