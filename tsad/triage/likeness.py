"""When an alert is such a one as another, of which somebody said what it is.

Alike are alerts of one stream that the same features lead in the same directions, whose strongest feature took the same
course up to its peak, and that went no further and no longer. What goes beyond that is something else: an answer never
hides what is worse than what was answered.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from storage.types import Alert
from tsad.section import Section
from tsad.triage.facts import Facts

SAME_FEATURES = 0.9
"""Least cosine of two alerts' shares by feature and direction."""
APART = 0.5
"""How far two courses may lie apart, in parts of the larger one's distance from what was expected."""
COURSE = 16
"""Slots up to the peak that make a course."""
FURTHER, LONGER, SLACK = 1.5, 1.5, 3
"""How many times as far, and as long (and so many slots more), one may go that still is alike."""


class Likeness(Section):
    """What of an alert is compared. `features`: shares of the leading ones by "feature direction"; `course`: the
    strongest one's values up to its peak, from the middle of what was expected, in halves of that band; `score` and
    `slots`: how far it went."""

    stream: str
    features: dict[str, float]
    course: tuple[float | None, ...]
    score: float
    slots: int


def likeness(facts: Facts) -> Likeness:
    """Of an alert; without its course before it is explained."""
    named = {f"{one.feature} {one.direction or '?'}": round(one.share, 4) for one in facts.movements}
    alert = facts.alert
    return Likeness(
        stream=alert.stream, features=named, course=_course(alert, facts), score=alert.score, slots=facts.slots
    )  # fmt: skip


def alike(known: Likeness, other: Likeness) -> bool:
    """Whether `other` is such a one as `known`, and no worse."""
    return (
        known.stream == other.stream
        and cosine(known.features, other.features) >= SAME_FEATURES
        and other.score <= FURTHER * known.score
        and other.slots <= LONGER * known.slots + SLACK
        and _same_course(known.course, other.course)
    )


def cosine(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> float:
    """Of two sparse vectors (None is 0); 0 where one of them is none."""
    norms = [float(np.linalg.norm([part or 0.0 for part in vector.values()])) for vector in (one, other)]
    if not all(norms):
        return 0.0
    return sum((part or 0.0) * (other.get(name) or 0.0) for name, part in one.items()) / (norms[0] * norms[1])


def _course(alert: Alert, facts: Facts) -> tuple[float | None, ...]:
    evidence = alert.evidence
    leading = next((one.feature for one in facts.movements if one.direction is not None), None)
    if leading is None or not facts.explained:
        return ()
    place = evidence["features"].index(leading)
    low, high = evidence["lower"][place], evidence["upper"][place]
    middle, half = (low + high) / 2, max((high - low) / 2, 1e-12)
    values = evidence["observed"][place][-COURSE:]
    return tuple(None if value is None else round((value - middle) / half, 3) for value in values)


def _same_course(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Whether they lie close together, newest with newest; where either is unknown, nothing speaks against it."""
    length = min(len(one), len(other))
    pairs: NDArray[np.float64] = np.array([one[len(one) - length :], other[len(other) - length :]], np.float64)
    mine, others = pairs[:, ~np.isnan(pairs).any(axis=0)]
    size = max(float(np.linalg.norm(mine)), float(np.linalg.norm(others)))
    return float(np.linalg.norm(mine - others)) <= APART * size
