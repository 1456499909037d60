"""What grouping has to know of an alert, in a few hundred bytes: which channels moved, which way, when, and by what it
can be related to others. A function of the alert, the length of its slots and its entity's labels."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import msgspec

from storage.types import Alert, AlertState, Severity
from streaming.logfeatures import is_log_feature

CHANNELS, CURVES, CURVE_SLOTS = 8, 2, 32
LEAST = 0.1
"""The least share of a channel by which an alert is related to others, or named for."""
EARLIER = 5
"""Slots before an alert's first one in which a channel may have moved first: further back it was so already."""
PAUSE = 2
"""Slots within its range that do not end a channel's excursion."""
Curve = tuple[int, list[float | None]]
"""The first slot, and a value a slot."""


class Channel(msgspec.Struct, frozen=True, array_like=True):
    """A feature's `share` of an alert (0 to 1), which way it left its range (1, -1; 0: neither), and since when
    (seconds since 1970)."""

    feature: str
    share: float
    direction: int
    onset: float


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as triage sees it. `weight`: how far it is beyond the threshold; `channels`: the largest share first;
    `curves`: of the strongest channels that left their range; `templates`: hashes of texts."""

    stream: str
    entity: str
    step: float
    state: AlertState
    severity: Severity
    score: float
    weight: float
    level: float
    detected_at: datetime
    merged_into: str | None = None
    labels: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    texts: dict[str, str] = {}
    channels: tuple[Channel, ...] = ()
    curves: dict[str, Curve] = {}

    @property
    def stands(self) -> bool:
        """Whether the alert counts: it was not taken back."""
        return self.state != "retracted"

    @property
    def main(self) -> tuple[Channel, ...]:
        """The channels that an alert is named for: those with a share worth it, the strongest at least."""
        return tuple(one for one in self.channels if one.share >= LEAST) or self.channels[:1]


@dataclass(frozen=True, slots=True)
class Member:
    """An alert among others: its first slot's time, the time at which its last one ends, and the incident it is in."""

    alert_id: str
    first: datetime
    end: datetime
    digest: Digest
    incident: str | None = None
    started: datetime | None = None

    @property
    def place(self) -> tuple[datetime, str]:
        """By which alerts are ordered."""
        return self.first, self.alert_id


def incident_of(alert: str) -> str:
    """The identity of the incident whose first alert this one is (its id), 32 hex digits."""
    return hashlib.sha256(f"incident:{alert}".encode()).hexdigest()[:32]


def member_of(
    alert: Alert, step_ns: int, labels: Mapping[str, str] | None = None, wanted: Sequence[str] = ()
) -> Member:
    """An alert of a stream of such slots, not yet among others; of its entity's `labels` those `wanted` relate."""
    step, channels = step_ns / 1e9, _channels(alert, step_ns / 1e9)
    main = {one.feature for one in channels if one.share >= LEAST}
    said = {text for name, texts in alert.evidence.get("said", {}).items() if name in main for text in texts}
    named = {name: text for name, text in alert.evidence.get("texts", {}).items() if name in main}
    digest = Digest(
        stream=alert.stream, entity=alert.entity, step=step, state=alert.state, severity=alert.severity,
        score=alert.score, weight=max(alert.score, 0.0), level=level_of(alert),
        detected_at=alert.detected_at, merged_into=alert.merged_into,
        labels=tuple(f"{key}={(labels or {})[key]}" for key in wanted if key in (labels or {})),
        templates=tuple(sorted(map(_hash, said | set(named.values())))), texts=_shown(channels, alert),
        channels=channels, curves=_curves(alert, channels),
    )  # fmt: skip
    return Member(alert.id, alert.first_time, alert.last_time + timedelta(seconds=step), digest)


def level_of(alert: Alert) -> float:
    """How bad an alert is, on one scale."""
    return level_of_episode(alert.score, alert.last_slot - alert.first_slot + 1)


def level_of_episode(score: float, slots: int) -> float:
    """How bad an episode is: its score, and a tenth for each doubling of its length."""
    return max(score, 0.0) + 0.1 * math.log2(max(slots, 1))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _shown(channels: Sequence[Channel], alert: Alert) -> dict[str, str]:
    """What to call features that have only a number or a kind: the text of their template, where it is known."""
    found, evidence = {}, alert.evidence
    for name in (one.feature for one in channels[:3] if is_log_feature(one.feature)):
        texts = [*filter(None, [evidence.get("texts", {}).get(name)]), *evidence.get("said", {}).get(name, ())]
        if texts:
            found[name] = texts[0][:200]
    return found


def _channels(alert: Alert, step: float) -> tuple[Channel, ...]:
    """The strongest channels: by what pushes the score up where it is explained, else by the vote's shares."""
    pushing = [(name, value) for name, value in alert.evidence.get("contributions", ()) if value and value > 0]
    shares = pushing or [(name, value) for name, value in alert.attribution.items() if value and value > 0]
    total = sum(value for _, value in shares)
    ordered = sorted(shares, key=lambda pair: (-pair[1], pair[0]))[:CHANNELS]
    return tuple(
        Channel(name, round(value / total, 4), *_movement(alert, name, step)) for name, value in ordered
    )  # fmt: skip


def _movement(alert: Alert, name: str, step: float) -> tuple[int, float]:
    """Which way a channel left its range, and when; neither, and the alert's beginning, where that is not known."""
    began, found = alert.first_time.timestamp(), _series(alert, name)
    if found is None:
        return 0, began
    values, beyond = found
    first = alert.evidence["slot"] - len(values) + 1
    strongest = max(range(len(beyond)), key=lambda place: (abs(beyond[place]), place))
    if not beyond[strongest]:
        return 0, began
    sign, onset = 1 if beyond[strongest] > 0 else -1, strongest
    for place in range(strongest, -1, -1):
        if beyond[place] * sign > 0:
            onset = place
        elif onset - place > PAUSE:
            break
    # where that goes back to the window's beginning, it was so before, nobody knows how long
    slot = max(first + onset, alert.first_slot - EARLIER) if onset else alert.first_slot
    return sign, began + (slot - alert.first_slot) * step


def _series(alert: Alert, name: str) -> tuple[list[float | None], list[float]] | None:
    """What was observed of a channel, and how far each value was above (or below, < 0) what was expected."""
    evidence = alert.evidence
    if "observed" not in evidence or name not in evidence.get("features", ()):
        return None
    place = evidence["features"].index(name)
    values, low, high = (evidence[part][place] for part in ("observed", "lower", "upper"))
    present = [value for value in values if value is not None]
    if not present:
        return None
    if low is None or high is None:
        low = high = median(present)
    return values, [0.0 if v is None else max(v - high, 0.0) + min(v - low, 0.0) for v in values]


def _curves(alert: Alert, channels: Sequence[Channel]) -> dict[str, Curve]:
    """The last slots of the strongest channels that left their range, on a scale of their own."""
    found: dict[str, Curve] = {}
    for one in channels:
        series = _series(alert, one.feature) if one.direction and one.share >= LEAST else None
        if series is not None and len(found) < CURVES:
            values = series[0][-CURVE_SLOTS:]
            found[one.feature] = (alert.evidence["slot"] - len(values) + 1, _scaled(values))
    return found


def _scaled(values: Sequence[float | None]) -> list[float | None]:
    """Between 0 and 1, two digits."""
    present = [value for value in values if value is not None]
    low, width = min(present, default=0.0), (max(present, default=0.0) - min(present, default=0.0)) or 1.0
    return [None if value is None else round((value - low) / width, 2) for value in values]
