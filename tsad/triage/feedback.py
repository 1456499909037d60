"""What answers teach: rules are proposed, tried on history, and put in force by a person, never by themselves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.marks import Mark
from storage.read import AlertFilter
from storage.rulings import DecisionRow
from storage.types import Alert
from tsad.triage.facts import Facts, Movement
from tsad.triage.likeness import Likeness
from tsad.triage.rules import Rule, Rulebook
from tsad.triage.standing import Standings

ABOVE = 1.05
"""A least deviation is proposed so far above those that were no alerts."""
TWICE = 2
"""So many false alerts of one feature and direction make more than a proposal about one of them."""


@dataclass(frozen=True, slots=True)
class Change:
    """One alert that other rules would treat in another way."""

    alert: Alert
    before: DecisionRow
    after: DecisionRow


@dataclass(frozen=True, slots=True)
class Replay:
    """What rules would change on history: alerts that people were told of and would not be, and the other way round;
    `lost` are those that vanish though somebody said that they are true. `looked_at` alerts in all."""

    looked_at: int
    vanish: list[Change]
    appear: list[Change]
    lost: list[Change]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A rule that answers speak for: `why`, and the alerts whose answers those are."""

    rule: Rule
    why: str
    alerts: tuple[str, ...]


def replay(standings: Standings, book: Rulebook, which: AlertFilter) -> Replay:
    """What `book` in place of the rules in force would change of the alerts that `which` lets through."""
    alerts = {alert.id: alert for alert in standings.reader.alerts(which)}
    before, after = standings.decided(None, which), standings.decided(book, which)
    true = {mark.target for mark in _last(standings.marks.answers()) if mark.answer == "true"}
    changes = [
        Change(alerts[key], before[key], after[key])
        for key in sorted(alerts, key=lambda key: (alerts[key].first_time, key))
        if (before[key].standing == "notify") != (after[key].standing == "notify")
    ]
    vanish = [one for one in changes if one.before.standing == "notify"]
    appear = [one for one in changes if one.after.standing == "notify"]
    return Replay(len(alerts), vanish, appear, [one for one in vanish if one.alert.id in true])


def proposals(answers: Iterable[Mark], alerts: Iterable[Alert]) -> list[Proposal]:
    """Rules that the answers on `alerts` speak for. Where several false alerts of a stream were led by one feature, and
    went less far than each true one: a least deviation. For each other one: to mute what is alike."""
    said = {mark.target: mark for mark in _last(answers)}
    facts = {alert.id: Facts.of(alert) for alert in alerts if alert.id in said}
    groups: dict[tuple[str, str], list[tuple[Mark, Movement]]] = {}
    for identity, one in facts.items():
        for movement in one.movements[:1]:
            if movement.absolute is not None:
                groups.setdefault((one.alert.stream, movement.feature), []).append((said[identity], movement))
    wide = [found for key, members in sorted(groups.items()) if (found := _least(*key, members)) is not None]
    covered = {identity for proposal in wide for identity in proposal.alerts}
    narrow = [_mute(said[identity]) for identity in sorted(facts) if identity not in covered]
    return wide + [proposal for proposal in narrow if proposal is not None]


def _least(stream: str, feature: str, members: Sequence[tuple[Mark, Movement]]) -> Proposal | None:
    none = [(mark, movement.absolute or 0.0) for mark, movement in members if mark.answer != "true"]
    true = [movement.absolute or 0.0 for mark, movement in members if mark.answer == "true"]
    farthest = max((off for _, off in none), default=0.0)
    least = float(f"{ABOVE * farthest:.4g}")
    if len(none) < TWICE or not least or any(off < least for off in true):
        return None
    name = f"{feature} by {least:g}"[:200]
    rule = Rule(name=name, stream=_literal(stream), features=(_literal(feature),), min_deviation=least)
    why = f"{len(none)} alerts led by {feature} were none, and went at most {farthest:.4g} off"
    more = f"; the {len(true)} true ones went {min(true):.4g} and more" if true else ""
    return Proposal(rule, why + more, tuple(sorted(mark.target for mark, _ in none)))


def _mute(mark: Mark) -> Proposal | None:
    if mark.answer == "true" or "likeness" not in mark.detail:
        return None
    like = Likeness.model_validate(mark.detail["likeness"])
    rule = Rule(name=f"like {mark.target[:12]}", stream=_literal(like.stream), mute=True, like=like, note=mark.note)
    return Proposal(rule, f"{mark.by} said {mark.answer} of alert {mark.target[:12]}", (mark.target,))


def _last(answers: Iterable[Mark]) -> list[Mark]:
    return list({mark.target: mark for mark in answers}.values())


def _literal(name: str) -> str:
    """A glob that only `name` fits."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
