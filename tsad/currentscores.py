"""The score of each entity at a partition's last closed slot, and which of many are worth being told."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.documents import storable
from streaming.types import Codes, Floats
from tsad.partition import Partition


@dataclass(frozen=True, slots=True)
class CurrentScores:
    """Scores (N, in thresholds) of the entities at `rows` (N) of `names`; `alerting` (N): those whose episode runs."""

    names: Sequence[str]
    rows: Codes
    scores: Floats
    alerting: NDArray[np.bool_]


def current_scores(partition: Partition) -> CurrentScores:
    """Of who has a score at the last closed slot: not of who has gone, or of whom no detector has an opinion."""
    readings, closed = partition.readings, partition.windower.closed_through
    rows = np.zeros(0, np.int32) if closed is None else readings.at(closed)
    scores = readings.scores(rows, closed or 0)
    known = ~np.isnan(scores)
    running = np.array([row for row, _ in partition.judge.running()], np.int32)
    return CurrentScores(partition.windower.roster.filled, rows[known], scores[known], np.isin(rows[known], running))


def foremost(parts: Sequence[CurrentScores], limit: int) -> tuple[list[tuple[str, float]], int]:
    """Entity and score of at most `limit`: those whose episode runs first, then by score; and how many are left out."""
    if not parts:
        return [], 0
    scores = np.concatenate([part.scores for part in parts])
    alerting = np.concatenate([part.alerting for part in parts])
    of = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    first = np.lexsort((-scores, ~alerting))[:limit]
    told = zip(of[first].tolist(), rows[first].tolist(), scores[first].tolist(), strict=True)
    return [(storable(parts[part].names[row]), score) for part, row, score in told], len(scores) - len(first)
