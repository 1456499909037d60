"""One incident from its alerts: title, state, severity, who moved first, suspects, signature."""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from storage.incidents import IncidentRow, IncidentState
from storage.types import Severity
from tsad.triage.digests import Channel, Digest, Member
from tsad.triage.ranking import SUSPECTS, first_mover, suspects
from tsad.wording import counted, one_line

LEVELS: tuple[Severity, ...] = ("info", "warning", "critical")
OPEN = {"open", "confirmed"}
SIGNED = {1: "up", -1: "down", 0: "odd"}
MANY = 3
"""So many entities at once make an incident worse than its alerts."""


def described(identity: str, run: str, members: Sequence[Member]) -> IncidentRow:
    """The incident of these alerts (one at least), without number and type. Those that were taken back say nothing,
    unless there are no others: then it was taken back itself."""
    ordered = sorted(members, key=lambda one: one.place)
    standing = [one for one in ordered if one.digest.stands]
    shown = standing or ordered
    ranked = suspects(shown)
    mover, channel = first_mover(shown)
    entities = {one.digest.entity for one in shown}
    return IncidentRow(
        id=identity, run=run, number=0, stream=ordered[0].digest.stream, state=state_of(ordered),
        severity=severity_of(shown), severity_score=round(score_of(shown), 4),
        score=max(one.digest.score for one in shown),
        first_time=min(one.first for one in shown),
        last_time=max(one.end - timedelta(seconds=one.digest.step) for one in shown),
        entity=mover.digest.entity, feature="" if channel is None else channel.feature,
        title=title_of(mover, channel, shown), alerts=len(standing),
        entities=len(entities) if standing else 0, suspects=[one.told() for one in ranked[:SUSPECTS]],
        signature=signature_of(standing), opened_at=min(one.digest.detected_at for one in ordered),
    )  # fmt: skip


def state_of(members: Sequence[Member]) -> IncidentState:
    """Open while any alert is, retracted where none stands."""
    standing = [one.digest.state for one in members if one.digest.stands]
    if not standing:
        return "retracted"
    return "open" if OPEN & set(standing) else "resolved"


def severity_of(members: Sequence[Member]) -> Severity:
    """Of an incident with these alerts."""
    return level_of((one.digest.severity for one in members), {one.digest.entity for one in members})


def level_of(severities: Iterable[Severity], entities: Collection[str]) -> Severity:
    """That of the worst alert (there is one at least), one more where many entities are in it."""
    worst = max(LEVELS.index(one) for one in severities)
    return LEVELS[min(worst + (len(entities) >= MANY), len(LEVELS) - 1)]


def score_of(members: Sequence[Member]) -> float:
    """How bad, as a number that orders: the worst alert's level, and a half for each doubling of the entities."""
    entities = len({one.digest.entity for one in members})
    return max(one.digest.level for one in members) + 0.5 * math.log2(entities)


def signature_of(members: Sequence[Member]) -> dict[str, float]:
    """What the incident is like, whoever has it: parts by feature and direction, and by log template, that add up to 1
    over what is kept; each alert counts by its score."""
    parts: dict[str, float] = {}
    for member in members:
        digest = member.digest
        for one in digest.channels:
            key = f"{digest.stream}|{one.feature}|{SIGNED[one.direction]}"
            parts[key] = parts.get(key, 0.0) + one.share * digest.weight
        for template in digest.templates:
            key = f"{digest.stream}|template|{template}"
            parts[key] = parts.get(key, 0.0) + digest.weight / (2 * len(digest.templates))
    kept = sorted(parts.items(), key=lambda pair: (-pair[1], pair[0]))[:20]
    total = sum(part for _, part in kept)
    return {key: round(part / total, 4) for key, part in kept if part / total >= 0.01} if total else {}


def title_of(mover: Member, channel: Channel | None, members: Sequence[Member]) -> str:
    """In words: "db-3: cpu and 2 more channels rise, 4 entities"."""
    entities = {one.digest.entity for one in members}
    others = f", {counted(len(entities), 'entity')}" if len(entities) > 1 else ""
    entity = one_line(mover.digest.entity, 60)
    if channel is None:
        return f"{entity}: something is unusual{others}"
    mine = [one for of in members if of.digest.entity == mover.digest.entity for one in of.digest.main]
    names = {one.feature for one in mine} | {channel.feature}
    more = f" and {counted(len(names) - 1, 'more channel')}" if len(names) > 1 else ""
    ways = {one.direction for one in mine} | {channel.direction}
    return f"{entity}: {called(channel.feature, mover.digest)}{more} {_verb(ways, len(names) > 1)}{others}"


def called(feature: str, digest: Digest) -> str:
    """A feature's name, or what the log lines behind it say."""
    text = digest.texts.get(feature)
    return one_line(feature, 60) if text is None else f'lines like "{one_line(text, 60)}"'


def _verb(ways: set[int], many: bool) -> str:
    move = "rise" if ways == {1} else "fall" if ways == {-1} else "move"
    return move if many else f"{move}s"
