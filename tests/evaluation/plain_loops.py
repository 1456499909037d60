"""The metrics as plain loops over rows, thresholds and buffers: what the vectorised ones are held against."""

import math
from itertools import pairwise

import numpy as np


def runs(labels):
    """Lists of (first, last) rows of each event."""
    found, start = [], None
    for row, label in enumerate([*labels, 0]):
        if label and start is None:
            start = row
        if not label and start is not None:
            found.append((start, row - 1))
            start = None
    return found


def faded(labels, width):
    """Labels that fade out around each event; two parts add up, 1 at most."""
    out = [float(label) for label in labels]
    for first, last in runs(labels):
        for row in range(last + 1, min(last + width // 2 + 1, len(labels))):
            out[row] += math.sqrt(1 - (row - last) / width)
        for row in range(max(first - width // 2, 0), first):
            out[row] += math.sqrt(1 - (first - row) / width)
    return [min(1.0, value) for value in out]


def stretches(labels, width):
    """Events half a width longer on both sides, merged where they meet."""
    half, events, merged = width // 2, runs(labels), []
    begin = max(events[0][0] - half, 0)
    for (_, last), (first, _) in pairwise(events):
        if last + half < first - half:
            merged.append((begin, last + half))
            begin = first - half
    merged.append((begin, min(events[-1][1] + half, len(labels) - 1)))
    return merged


def volume(labels, scores, buffer, thresholds=250):
    """VUS-PR and VUS-ROC: for each buffer a curve over thresholds, point by point."""
    falling = sorted(scores, reverse=True)
    points = [falling[i] for i in np.linspace(0, len(scores) - 1, thresholds).astype(int)]
    areas = [_areas(labels, scores, points, width) for width in range(buffer + 1)]
    return sum(area[0] for area in areas) / len(areas), sum(area[1] for area in areas) / len(areas)


def _areas(labels, scores, points, width):
    extended, wide, total = faded(labels, width), stretches(labels, width), sum(labels)
    curve = [(0.0, 0.0)]
    pr = 0.0
    for threshold in points:
        flags = [score >= threshold for score in scores]
        found = sum(any(flags[first : last + 1]) for first, last in wide) / len(wide)
        true = sum(weight for weight, flag in zip(extended, flags, strict=True) if flag)
        outside = sum(w for w, flag, label in zip(extended, flags, labels, strict=True) if flag and not label)
        expected = (total + total + outside) / 2
        recall = min(true / expected, 1) * found
        pr += (recall - curve[-1][1]) * true / sum(flags)
        curve.append(((sum(flags) - true) / (len(labels) - expected), recall))
    curve.append((1.0, 1.0))
    roc = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(curve))
    return pr, roc


def f1(true, flagged, total):
    return 2 * true / (flagged + total) if flagged + total else 0.0


def best_over_thresholds(labels, scores, value):
    """The highest `value(flags)` over all thresholds."""
    return max(value([score >= threshold for score in scores]) for threshold in set(scores))


def point_f1(labels, flags):
    return f1(sum(a and b for a, b in zip(labels, flags, strict=True)), sum(flags), sum(labels))


def event_f1(labels, flags):
    """Event recall against row precision."""
    events = runs(labels)
    recall = sum(any(flags[first : last + 1]) for first, last in events) / len(events)
    precision = sum(a and b for a, b in zip(labels, flags, strict=True)) / sum(flags)
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def adjusted_f1(labels, flags, percent):
    """F1 of rows where an event of which more than `percent` is flagged counts whole."""
    adjusted = list(flags)
    for first, last in runs(labels):
        if sum(flags[first : last + 1]) * 100 > percent * (last - first + 1):
            adjusted[first : last + 1] = [True] * (last - first + 1)
    return point_f1(labels, adjusted)


def pa_k_area(labels, scores):
    best = [best_over_thresholds(labels, scores, lambda flags, k=k: adjusted_f1(labels, flags, k)) for k in range(101)]
    return sum((a + b) / 2 for a, b in pairwise(best)) / 100


def affiliation(labels, flags, cells=64):
    """Precision and recall of affiliation by small cells: `cells` to a row."""
    events = [(first, last + 1) for first, last in runs(labels)]
    middles = [(a[1] + b[0]) / 2 for a, b in pairwise(events)]
    zones = list(zip([0, *middles], [*middles, len(labels)], strict=True))
    times = [(i + 0.5) / cells for i in range(len(labels) * cells)]
    precisions, recalls = [], []
    for (start, stop), (begin, end) in zip(events, zones, strict=True):
        own = [t for t in times if begin <= t < end and flags[int(t)]]
        if own:
            precisions.append(sum(_precision(t, start, stop, begin, end) for t in own) / len(own))
        inside = [t for t in times if start <= t < stop]
        recalls.append(sum(_recall(t, own, flags, begin, end) for t in inside) / len(inside) if own else 0.0)
    return (sum(precisions) / len(precisions) if precisions else 0.0), sum(recalls) / len(recalls)


def _precision(time, start, stop, begin, end):
    if start <= time < stop:
        return 1.0
    away = start - time if time < start else time - stop
    low, high = max(start - away, begin), min(stop + away, end)
    return 1 - (high - low) / (end - begin)


def _recall(time, own, flags, begin, end):
    if flags[int(time)]:
        return 1.0
    away = min(abs(time - other) for other in own)
    return 1 - (min(time + away, end) - max(time - away, begin)) / (end - begin)
