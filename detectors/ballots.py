"""Slots of the same entities, looked at together: what each variable of a vote says, and who is asked beside it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.residuals import shares_of
from streaming.types import Floats, Ints

CHUNK = 256
"""Windows that are judged together: their arrays stay in the cache."""

Peers = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What S x B x F variables say for themselves.

    `standardised`: signed error, cut to the tolerance, over its root mean square (NaN = absent); `surprise`: error /
    tolerance, `strict`: error / doubled tolerance, both capped; `ready`: present and old enough.
    """

    ready: NDArray[np.bool_]
    standardised: Floats
    surprise: Floats
    strict: Floats


@dataclass(frozen=True, slots=True)
class Peering:
    """Where each variable's peers stand (B x 2 x F places in a flattened B x F array), and whether there is one."""

    place: Ints
    exists: NDArray[np.bool_]

    @classmethod
    def of(cls, peers: Peers) -> "Peering":
        """Of `peers` (B x 2 x F places of a row, -1 = none)."""
        rows = np.arange(len(peers), dtype=np.int64)[:, None, None] * peers.shape[2]
        return cls(np.maximum(peers, 0) + rows, peers >= 0)

    def take(self, values: Floats) -> Floats:
        """S x B x 2 x F: `values` (S x B x F) of the peers; of some other variable where there is no peer."""
        return values.reshape(len(values), -1).take(self.place, axis=1, mode="clip")


@dataclass(frozen=True, slots=True)
class Seen:
    """What S slots' newest values (S x B x F) are beside what was seen before them, whatever they say.

    `whole`: all are present. `young`: too few values before it. `caution`: by how much a tolerance from so few is too
    small. `rate` and `pace`: how fast error and level learn from it.
    """

    present: NDArray[np.bool_]
    whole: bool
    young: NDArray[np.bool_]
    caution: Floats
    rate: Floats
    pace: Floats


def cut(values: NDArray[Any], limit: Floats | np.float32) -> Floats:
    """`values` within [-limit, limit]."""
    within: Floats = np.minimum(np.maximum(values, -limit), limit)
    return within


def up(flags: NDArray[np.bool_]) -> NDArray[np.int8]:
    """S x B x F: how many of the (two) peers' flags (S x B x 2 x F) are up."""
    return flags[:, :, 0].astype(np.int8) + flags[:, :, 1]


def joined(voices: Floats, ready: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Score (B) and shares (B x F) of voices: the strongest below 1, from there 1 + the sum of what exceeds 1."""
    loudest = np.maximum.reduce(voices, axis=1, initial=0)
    values = np.minimum(loudest, 1) + np.add.reduce(np.maximum(voices - 1, 0), axis=1)
    values[~np.logical_or.reduce(ready, axis=1)] = np.nan
    return values, shares_of(np.square(voices), ready)
