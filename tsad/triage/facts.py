"""What rules ask of an alert: which features lead it, where they went, and how far."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from storage.types import Alert

Direction = Literal["up", "down"]
LEADING = 0.5
"""A feature leads with at least this part of the strongest's share."""


@dataclass(frozen=True, slots=True)
class Movement:
    """Where a leading feature went: farthest from the middle of what was expected of it, in its own units (`absolute`),
    and in parts of that middle (`relative`). None: not known (yet)."""

    feature: str
    share: float
    direction: Direction | None = None
    absolute: float | None = None
    relative: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """An alert, as rules see it. `slots` from its first to its last, `flagged` those of them beyond the threshold (None
    where nobody counted), `explained` whether the movements can be known."""

    alert: Alert
    movements: tuple[Movement, ...]
    flagged: tuple[int, ...] | None = None

    @property
    def slots(self) -> int:
        """From the first to the last."""
        return self.alert.last_slot - self.alert.first_slot + 1

    @property
    def explained(self) -> bool:
        """Whether its explanation is there, and with it what its features did."""
        return self.alert.explanation == "done"

    @classmethod
    def of(cls, alert: Alert, flagged: tuple[int, ...] | None = None) -> "Facts":
        """Of a stored alert."""
        shares = sorted(alert.attribution.items(), key=lambda pair: (-(pair[1] or 0), pair[0]))
        least = LEADING * (shares[0][1] or 0) if shares else 0.0
        leading = [(name, share or 0.0) for name, share in shares if (share or 0) >= least]
        return cls(alert, tuple(_movement(alert, name, share) for name, share in leading), flagged)


def _movement(alert: Alert, feature: str, share: float) -> Movement:
    band = _band(alert.evidence, feature)
    values = _values(alert, feature)
    if band is None or not values:
        return Movement(feature, share)
    middle = (band[0] + band[1]) / 2
    farthest = max(values, key=lambda value: abs(value - middle))
    off = abs(farthest - middle)
    direction: Direction = "up" if farthest >= middle else "down"
    return Movement(feature, share, direction, off, off / abs(middle) if middle else None)


def _band(evidence: dict[str, Any], feature: str) -> tuple[float, float] | None:
    """Bounds of what was expected of a feature."""
    place = _place(evidence, feature)
    if place is None:
        return None
    low, high = evidence["lower"][place], evidence["upper"][place]
    known = low is not None and high is not None and isfinite(low) and isfinite(high)
    return (low, high) if known else None


def _values(alert: Alert, feature: str) -> list[float]:
    """What was observed of a feature in the alert's slots; in the newest one where its window ended before."""
    place = _place(alert.evidence, feature)
    if place is None:
        return []
    observed, end = alert.evidence["observed"][place], alert.evidence["slot"]
    count = max(end - max(alert.first_slot, end - len(observed) + 1) + 1, 1)
    return [value for value in observed[-count:] if value is not None]


def _place(evidence: dict[str, Any], feature: str) -> int | None:
    features = evidence.get("features", [])
    return features.index(feature) if feature in features and "observed" in evidence else None
