"""Who is to blame for an incident: its channels, ranked by how much of the deviation is theirs and how early they
moved."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tsad.triage.digests import Channel, Member

SUSPECTS = 10
HALF = 5
"""A channel that moved so many slots after the first one weighs half."""


class Suspect(NamedTuple):
    """A channel of an entity. `share` of the incident's deviation (0 to 1), `lag` seconds behind the first to move,
    `direction` 1 up, -1 down, 0 unknown; `blame`: 0 to 1, adds up to 1 over all channels."""

    stream: str
    entity: str
    feature: str
    text: str
    direction: int
    share: float
    lag: float
    blame: float

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return self._asdict()


def suspects(members: Sequence[Member]) -> list[Suspect]:
    """The channels of alerts that stand, the likeliest cause first.

    An alert's score is shared out among its channels; a channel's blame is its part, halved for each `HALF` slots that
    it moved behind the first one. Of a channel in several alerts the greatest part counts, and the earliest onset.
    """
    parts: dict[tuple[str, str, str], tuple[float, float, Channel, Member]] = {}
    for member in members:
        digest = member.digest
        for one in digest.channels:
            key, part = (digest.stream, digest.entity, one.feature), one.share * digest.weight
            most, onset, strongest, of = parts.get(key, (-1.0, one.onset, one, member))
            if part > most:
                most, strongest, of = part, one, member
            parts[key] = most, min(onset, one.onset), strongest, of
    if not parts:
        return []
    first = min(onset for _, onset, one, of in parts.values() if one in of.digest.main)
    total = sum(part for part, *_ in parts.values()) or 1.0
    blames = {
        key: part * 0.5 ** (max(onset - first, 0.0) / (HALF * of.digest.step))
        for key, (part, onset, _, of) in parts.items()
    }  # fmt: skip
    whole = sum(blames.values()) or 1.0
    found = [
        Suspect(
            *key, of.digest.texts.get(key[2], ""), one.direction, round(part / total, 4),
            round(max(onset - first, 0.0), 3), round(blames[key] / whole, 4),
        )
        for key, (part, onset, one, of) in parts.items()
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one.blame, one.lag, -one.share, one.entity, one.feature, one.stream))


def first_mover(members: Sequence[Member]) -> tuple[Member, Channel | None]:
    """The alert and the channel that moved first, of those that an alert is named for; of several at once the one with
    the largest part."""
    moved = [(one.onset, -one.share * of.digest.weight, of.place, of, one) for of in members for one in of.digest.main]
    if not moved:
        return min(members, key=lambda one: one.place), None
    *_, member, channel = min(moved, key=lambda each: each[:3])
    return member, channel
