"""Which channels run together."""

import numpy as np
from numpy.typing import NDArray

from streaming.types import Floats

_BOUND = np.float32(4)
"""Deviations are cut at this many root mean squares, so that one spike does not make two channels related."""
_CUTS = 3
"""Times that this is repeated, as the spike itself is part of the first root mean square."""


def correlations(deviations: Floats) -> Floats:
    """B x F x F correlations over the N rows of B x N x F deviations from a level (NaN = absent); 0 on the diagonal."""
    filled = np.where(np.isnan(deviations), np.float32(0), deviations)
    cut = filled
    for _ in range(_CUTS):
        scale = _BOUND * np.sqrt(np.square(cut).mean(axis=1, keepdims=True))
        cut = np.clip(filled, -scale, scale)
    size = np.sqrt(np.square(cut).sum(axis=1, keepdims=True))
    unit = cut / np.where(size > 1e-6, size, np.float32(np.inf))
    relation: Floats = np.matmul(unit.transpose(0, 2, 1), unit)
    relation[:, np.arange(relation.shape[1]), np.arange(relation.shape[1])] = 0
    return relation


def strongest(relation: Floats, count: int, least: float) -> NDArray[np.int16]:
    """B x `count` x F: the channels most correlated with each, strongest first; -1 where |r| is below `least`."""
    strength = np.abs(relation)
    peers = np.full((strength.shape[0], count, strength.shape[2]), -1, dtype=np.int16)
    for place in range(min(count, strength.shape[1] - 1)):
        best = strength.argmax(axis=1)
        size = np.take_along_axis(strength, best[:, None], axis=1)
        peers[:, place] = np.where(size[:, 0] >= least, best, -1)
        np.put_along_axis(strength, best[:, None], -1, axis=1)
    return peers
