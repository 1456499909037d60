"""Permutation SHAP over the ensemble itself: each player's mean marginal effect over random orders of joining.

Antithetic sampling (each order is also walked backwards: Mitchell et al., JMLR 23, 2022; as in shap's permutation
explainer). Exactly additive: along every order the effects add up to score - base.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.surrogate import Scoring
from streaming.types import Floats, Ints, Windows

CHUNK = 1024
"""Windows built at once: 10 MB at 64 slots of 38 channels; fresh memory costs more than the calls."""


def players(shares: Floats, count: int) -> Ints:
    """Who plays (B x F): channel -> player. The `count` strongest by share play alone, the rest as one, the last.

    Ties go to the first channel.
    """
    order = np.argsort(-shares, axis=1, kind="stable")
    place = np.argsort(order, axis=1, kind="stable")
    return np.minimum(place, count).astype(np.int64)


def shapley(
    windows: Windows, reference: Floats, player: Ints, score: Scoring, *, seeds: list[int], pairs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shapley values of the players (B x P) and the base (B): the score of `reference` (B x T x F) itself.

    A player that has not joined shows the reference's values instead of the window's. `pairs` orders and their
    reverses for each window, drawn with its own seed, so that neither batch nor moment matters. Where the score has no
    opinion (NaN) it counts as 0.
    """
    count = int(player.max(initial=0)) + 1
    games = [_Game(seed, count, pairs) for seed in seeds]
    of, codes = _flat(games)
    scores = np.empty(len(codes))
    for start in range(0, len(codes), CHUNK):
        part = slice(start, start + CHUNK)
        joined = (codes[part, None] >> player[of[part]]) & 1
        seen = windows.take(of[part])
        mixed = np.where(joined[:, None, :] > 0, seen.values, reference[of[part]]).astype(np.float32)
        scores[part] = np.nan_to_num(score(replace(seen, values=mixed)))
    values, bases, start = np.zeros((len(games), count)), np.zeros(len(games)), 0
    for number, game in enumerate(games):
        stop = start + len(game.codes)
        values[number], bases[number] = game.settle(scores[start:stop])
        start = stop
    return values, bases


class _Game:
    """The orders of one window's players, and the distinct coalitions that they pass, as bit masks (`codes`)."""

    def __init__(self, seed: int, count: int, pairs: int) -> None:
        rng = np.random.default_rng(seed)
        forward = np.array([rng.permutation(count) for _ in range(pairs)], np.int64)
        self.orders = np.concatenate([forward, forward[:, ::-1]])
        passed = np.pad(np.cumsum(np.left_shift(1, self.orders), axis=1), ((0, 0), (1, 0)))
        self.codes, inverse = np.unique(passed, return_inverse=True)
        self.visits = inverse.reshape(passed.shape)

    def settle(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """The players' mean marginal effects (P), and the score of nobody, from the coalitions' scores."""
        effects = np.diff(scores[self.visits], axis=1)
        places = np.argsort(self.orders, axis=1)
        return np.take_along_axis(effects, places, axis=1).mean(axis=0), float(scores[0])


def _flat(games: list[_Game]) -> tuple[Ints, Ints]:
    """All coalitions of all games in one list, with the number of the game of each."""
    of = np.repeat(np.arange(len(games)), [len(game.codes) for game in games])
    codes = np.concatenate([game.codes for game in games]) if games else np.zeros(0, np.int64)
    return of, codes
