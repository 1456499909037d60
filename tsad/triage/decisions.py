"""What becomes of an entity's alerts: a pure function of them, the rules, the calendars, and what people said.

As in Alertmanager, each alert goes through the same stages in the same order, and the first that holds it says why.
Late data, a changed rule and a new answer all go through it again; whoever was told before is told of the change.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from storage.marks import Mark
from storage.rulings import DecisionRow, Standing
from storage.types import Alert, Severity
from tsad.triage.calendars import Calendar, covering
from tsad.triage.facts import Facts
from tsad.triage.likeness import Likeness, alike, likeness
from tsad.triage.rules import Reason, Rulebook, Ruling, judge


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody said of an alert that began at `first_time` that it was none, or was expected: `by` is the mark's id."""

    by: str
    alert: str
    likeness: Likeness
    first_time: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """Rules in force for alerts that last until `since` or longer."""

    number: int
    since: datetime
    book: Rulebook


@dataclass(frozen=True, slots=True)
class Rulings:
    """All that is not the alerts': versions of the rules (the oldest first), calendars, false and expected alerts that
    were `answered`, and what people said of each (the oldest first), of which only what stands is looked at."""

    versions: Sequence[Version] = ()
    calendars: Sequence[Calendar] = ()
    answered: Sequence[Answered] = ()
    marks: Mapping[str, Sequence[Mark]] = field(default_factory=dict)

    def version(self, alert: Alert) -> Version | None:
        """The rules in force for an alert; None before there were any."""
        return next((one for one in reversed(self.versions) if one.since <= alert.last_time), None)


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where an alert ended up."""

    standing: Standing
    reason: Reason
    rule: str = ""


def decide(
    alerts: Iterable[Alert],
    rulings: Rulings,
    step_ns: int,
    now: datetime,
    flagged: Mapping[str, tuple[int, ...]] | None = None,
    known: Mapping[str, DecisionRow] | None = None,
) -> list[DecisionRow]:
    """What becomes of the alerts of one entity of a stream (slots of `step_ns`), at `now` by the wall clock, in their
    order. `flagged`: the anomalous slots of those that k of n is asked of; `known`: decisions that stay, by id."""
    found: list[DecisionRow] = []
    told: list[tuple[Alert, frozenset[str], str]] = []
    for alert in sorted(alerts, key=lambda one: (one.first_time, one.id)):
        facts = Facts.of(alert, (flagged or {}).get(alert.id))
        version = rulings.version(alert)
        book = version.book if version is not None else Rulebook()
        ruling = judge(facts, book, step_ns)
        leading = frozenset(one.feature for one in facts.movements)
        if known and alert.id in known:
            if known[alert.id].standing == "notify":
                told.append((alert, leading, known[alert.id].thread))
            continue
        thread = _thread(alert, leading, told, book)
        stage = _stage(facts, rulings, ruling, thread is not None, now)
        if stage.standing == "notify":
            told.append((alert, leading, thread or alert.id))
        found.append(
            DecisionRow(
                alert.id, stage.standing, _severity(alert, ruling), stage.reason, stage.rule, thread or alert.id,
                0 if version is None else version.number,
            )
        )  # fmt: skip
    return found


def _severity(alert: Alert, ruling: Ruling) -> Severity:
    """What a context event explains stays for information, whatever a rule says."""
    return alert.severity if alert.explained_by_event else ruling.severity


def _thread(
    alert: Alert, leading: frozenset[str], told: Sequence[tuple[Alert, frozenset[str], str]], book: Rulebook
) -> str | None:
    """The alert that people were told of and that this one goes on, if any: the newest, within `reopen`, that shares a
    leading feature."""
    for before, features, thread in reversed(told):
        between = (alert.first_time - before.last_time).total_seconds() * 1e9
        if between <= (book.reopen or 0) and features & leading and book.reopen:
            return thread
    return None


def _stage(facts: Facts, rulings: Rulings, ruling: Ruling, goes_on: bool, now: datetime) -> _Stage:
    """The first stage that holds the alert, or that it passes."""
    alert = facts.alert
    marks = [mark for mark in rulings.marks.get(alert.id, ()) if mark.stands]
    return (
        _gone(alert)
        or _closed(marks)
        or _known(facts, rulings)
        or _calendar(alert, rulings.calendars)
        or _ruled(ruling, goes_on)
        or _snoozed(marks, now)
        or _Stage("notify", _passed(alert, marks, goes_on))
    )


def _gone(alert: Alert) -> _Stage | None:
    if alert.merged_into is not None:
        return _Stage("withdraw", "merged", alert.merged_into)
    if alert.state == "retracted":
        return _Stage("withdraw", "retracted")
    if alert.explained_by_event:
        return _Stage("suppress", "explained", str(alert.explained_by_event.get("id", "")))
    return None


def _closed(marks: Sequence[Mark]) -> _Stage | None:
    """Whether somebody has closed the alert, and not opened it again since; or said that it is none."""
    said = [mark for mark in marks if mark.kind in ("close", "reopen")]
    if said and said[-1].kind == "close":
        return _Stage("suppress", "closed", said[-1].id)
    answers = [mark for mark in marks if mark.kind == "feedback"]
    if answers and answers[-1].answer in ("false", "expected"):
        return _Stage("suppress", "answered", answers[-1].id)
    return None


def _known(facts: Facts, rulings: Rulings) -> _Stage | None:
    """Whether it is such a one as somebody has said of that it is none. Its own answer, or a person who took the alert
    for true, goes before that."""
    marks = rulings.marks.get(facts.alert.id, ())
    if not rulings.answered or any(mark.stands and mark.kind == "feedback" for mark in marks):
        return None
    mine = likeness(facts)
    for one in rulings.answered:
        behind = one.alert != facts.alert.id and one.first_time <= facts.alert.first_time
        if behind and alike(one.likeness, mine):
            return _Stage("suppress", "alike", one.by)
    return None


def _calendar(alert: Alert, calendars: Collection[Calendar]) -> _Stage | None:
    """What goes on behind a maintenance window is told of then."""
    found = covering(calendars, alert.stream, alert.entity, alert.first_time, alert.last_time)
    return None if found is None else _Stage("suppress", found.kind, found.name)


def _ruled(ruling: Ruling, goes_on: bool) -> _Stage | None:
    if ruling.passes or ruling.reason is None or (goes_on and ruling.clears):
        return None
    return _Stage("hold" if ruling.waits else "suppress", ruling.reason, ruling.rule)


def _snoozed(marks: Sequence[Mark], now: datetime) -> _Stage | None:
    until = [mark for mark in marks if mark.kind == "snooze" and mark.until is not None and mark.until > now]
    return _Stage("hold", "snoozed", until[-1].id) if until else None


def _passed(alert: Alert, marks: Sequence[Mark], goes_on: bool) -> Reason:
    if alert.state == "resolved":
        return "resolved"
    if any(mark.kind == "acknowledge" for mark in marks):
        return "acknowledged"
    if goes_on:
        return "reopened"
    return "confirmed" if alert.state == "confirmed" else "opened"
