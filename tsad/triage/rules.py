"""Rules: which alerts people are told of, and how bad they are. Pure functions, with a named reason for each decision.

After Alertmanager's design: rules do not change what was found; they say what becomes of it. A rule concerns the alerts
of its streams and entities that are led by one of its features. What it demands of a feature (a direction, a least
deviation) decides whether that feature counts; an alert passes while enough of its features count, so a rule for one
feature never hides another. What it demands of the alert (duration, k of n, score) holds for the whole of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field, field_validator, model_validator

from storage.types import Severity
from tsad.section import MaybeDuration, Section
from tsad.triage.facts import Facts, Movement
from tsad.triage.likeness import Likeness, alike, likeness

NotifyOn = Literal["open", "confirmed"]
Reason = Literal[
    "opened", "confirmed", "resolved", "reopened", "acknowledged",
    "retracted", "merged", "explained", "maintenance", "holiday", "closed", "answered", "alike",
    "muted", "direction", "deviation", "features", "duration", "k_of_n", "score",
    "unconfirmed", "unexplained", "snoozed",
]  # fmt: skip
"""What an alert passed with, why it is gone, who or what suppresses it, which demand it fails, what it waits for."""


class Rule(Section):
    """One rule. Patterns are globs; an empty list of features means all of them."""

    name: str = Field(min_length=1, max_length=200)
    stream: str = "*"
    entity: str = "*"
    features: tuple[str, ...] = ()
    mute: bool = False
    like: Likeness | None = None
    direction: Literal["any", "up", "down"] = "any"
    min_deviation: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    min_relative_deviation: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    min_duration: MaybeDuration = None
    min_features: int = Field(default=1, ge=1)
    k: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    min_score: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    clear_score: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    notify_on: NotifyOn | None = None
    severity: Severity | None = None
    note: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _whole(self) -> "Rule":
        if (self.k is None) != (self.n is None):
            raise ValueError("k and n belong together: k anomalous slots of n")
        if self.k is not None and self.n is not None and self.k > self.n:
            raise ValueError(f"k ({self.k}) must be at most n ({self.n})")
        if self.clear_score is not None and (self.min_score is None or self.clear_score > self.min_score):
            raise ValueError("clear_score needs a min_score that is not below it")
        return self

    def concerns(self, facts: Facts) -> bool:
        """Whether it is for alerts such as this one."""
        alert = facts.alert
        ours = fnmatchcase(alert.stream, self.stream) and fnmatchcase(alert.entity, self.entity)
        if not ours or (self.like is not None and not alike(self.like, likeness(facts))):
            return False
        return any(self.names(movement.feature) for movement in facts.movements) or not (
            self.features or facts.movements
        )

    def names(self, feature: str) -> bool:
        """Whether it is for this feature."""
        return not self.features or any(fnmatchcase(feature, pattern) for pattern in self.features)


class Rulebook(Section):
    """All rules. `reopen`: an alert of an entity that opens within so long after one that was told of goes on that one,
    where they share a leading feature."""

    notify_on: NotifyOn = "open"
    reopen: MaybeDuration = 0
    rules: tuple[Rule, ...] = ()

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are called {name!r}")
        return value


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether an alert passes the rules; `reason` and `rule`: what it fails by (`waits`: until something comes), empty
    where it passes. `clears`: it does not pass by itself, but may go on one that did."""

    passes: bool
    severity: Severity
    reason: Reason | None = None
    rule: str = ""
    waits: bool = False
    clears: bool = False


def judge(facts: Facts, book: Rulebook, step_ns: int) -> Ruling:
    """What the rules say of an alert, as it stands, of a stream whose slots last `step_ns`."""
    concerned = [rule for rule in book.rules if rule.concerns(facts)]
    severity = _severity(facts, concerned)
    failed = _features(facts, concerned) or _whole(facts, concerned, step_ns) or _stage(facts, concerned, book)
    if failed is None:
        return Ruling(True, severity)
    reason, rule, waits = failed
    clears = reason == "score" and all(facts.alert.score >= (r.clear_score or r.min_score or 0) for r in concerned)
    return Ruling(False, severity, reason, rule, waits, clears)


Failure = tuple[Reason, str, bool]
"""The reason, the rule's name, and whether it may still come to pass."""


def _features(facts: Facts, rules: Sequence[Rule]) -> Failure | None:
    """Whether none of the leading features counts, or too few."""
    found = [_movement(movement, rules, facts.explained) for movement in facts.movements]
    failures = [failure for failure in found if failure is not None]
    counting = len(found) - len(failures)
    if failures and not counting:
        return next((failure for failure in failures if failure[2]), failures[0])
    short = next((rule for rule in rules if found and counting < rule.min_features), None)
    return None if short is None else ("features", short.name, facts.alert.state in ("open", "confirmed"))


def _movement(movement: Movement, rules: Sequence[Rule], explained: bool) -> Failure | None:
    """By what a feature fails the first rule that it fails."""
    failures = (_feature(movement, rule, explained) for rule in rules if rule.names(movement.feature))
    return next((failure for failure in failures if failure is not None), None)


def _feature(movement: Movement, rule: Rule, explained: bool) -> Failure | None:
    """By what a feature fails a rule. What is not known holds nothing up, but for an explanation that is to come."""
    if rule.mute:
        return ("alike" if rule.like is not None else "muted"), rule.name, False
    asks = rule.direction != "any" or rule.min_deviation is not None or rule.min_relative_deviation is not None
    if asks and not explained:
        return "unexplained", rule.name, True
    if rule.direction != "any" and movement.direction not in (None, rule.direction):
        return "direction", rule.name, False
    for least, found in (
        (rule.min_deviation, movement.absolute),
        (rule.min_relative_deviation, movement.relative),
    ):
        if least is not None and found is not None and found < least:
            return "deviation", rule.name, False
    return None


def _whole(facts: Facts, rules: Iterable[Rule], step_ns: int) -> Failure | None:
    """By what the alert as a whole fails a rule."""
    going = facts.alert.state in ("open", "confirmed")
    for rule in rules:
        if rule.min_duration is not None and facts.slots * step_ns < rule.min_duration:
            return "duration", rule.name, going
        if rule.k is not None and rule.n is not None and not _k_of_n(facts, rule.k, rule.n):
            return "k_of_n", rule.name, going
        if rule.min_score is not None and facts.alert.score < rule.min_score:
            return "score", rule.name, going
    return None


def _k_of_n(facts: Facts, k: int, n: int) -> bool:
    """Whether `k` of some `n` slots in a row were anomalous. Where nobody counted, the first and the last were."""
    alert = facts.alert
    slots = sorted(facts.flagged if facts.flagged is not None else {alert.first_slot, alert.last_slot})
    return any(last - first < n for first, last in zip(slots, slots[k - 1 :], strict=False))


def _stage(facts: Facts, rules: Sequence[Rule], book: Rulebook) -> Failure | None:
    """Whether it is too early."""
    told = [rule for rule in rules if rule.notify_on is not None]
    when = told[-1].notify_on if told else book.notify_on
    early = when == "confirmed" and facts.alert.state == "open"
    return ("unconfirmed", told[-1].name if told else "", True) if early else None


def _severity(facts: Facts, rules: Sequence[Rule]) -> Severity:
    """That of the last rule that says one, else its own."""
    said = [rule.severity for rule in rules if rule.severity is not None]
    return said[-1] if said else facts.alert.severity
