"""Root cause: do the channels that bear most of the score belong to those that experts named?"""

import numpy as np

from tsad.evaluation.extents import Bools, Doubles, Ints


def ranking(shares: Doubles, scores: Doubles) -> Ints:
    """Channels by falling part of the score over a stretch of N rows: shares N x F, weighted by the row's score."""
    weight = np.maximum(np.nan_to_num(scores), 0)[:, None]
    return np.argsort(-(shares * weight).sum(axis=0), kind="stable")


def hit_rate(order: Ints, causes: Bools, percent: int) -> float:
    """Share of the causes (F) among the first `percent`% x number of causes of the ranking (Su et al., KDD 2019)."""
    count = int(causes.sum())
    return float(causes[order[: percent * count // 100]].sum() / count)


def ndcg(order: Ints, causes: Bools, first: int = 5) -> float:
    """Discounted gain of the first channels, over that of the best order."""
    gains = causes[order[:first]].astype(np.float64)
    discount = 1 / np.log2(np.arange(2, first + 2))
    ideal = discount[: min(int(causes.sum()), first)].sum()
    return float((gains * discount[: len(gains)]).sum() / ideal)
