"""Do scores order severities? (Cao et al., 2024: multilevel anomaly detection is measured by the concordance index.)"""

from itertools import combinations

import numpy as np

from tsad.evaluation.extents import Bools, Doubles, Extents


def concordance(levels: Doubles, scores: Doubles) -> float | None:
    """Of all pairs of different level, the part in which the higher level has the higher score; ties count half.

    `levels` and `scores` are N values without NaN. None where all levels are the same.
    """
    by_level = [np.sort(scores[levels == level]) for level in np.unique(levels)]
    agreeing = pairs = 0.0
    for lower, higher in combinations(by_level, 2):
        below = np.searchsorted(lower, higher, side="left").sum()
        not_above = np.searchsorted(lower, higher, side="right").sum()
        agreeing += (below + not_above) / 2
        pairs += len(lower) * len(higher)
    return float(agreeing / pairs) if pairs else None


def severity_figures(labels: Bools, levels: Doubles, scores: Doubles, start: str = "") -> dict[str, float | None]:
    """Concordance of events (their highest level against their highest score), and of rows, where normal ones are of
    level 0."""
    events = Extents.of(labels)
    by_event = concordance(events.maxima(levels), events.maxima(scores)) if len(events) else None
    return {f"{start}event_concordance": by_event, f"{start}row_concordance": concordance(levels, scores)}
