"""Ballots, one window after the other: what each variable says, whom of its peers it asks, and what it learns."""

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled
from streaming.types import Codes, Floats

PEERS = 2
VARIABLES = ("level", "error", "square", "last", "count")
Variables = tuple[Floats, ...]
"""Of E entities' F variables (E x F each): level, mean of the clipped error, its mean square, strict surprise of the
value before, and how many values were seen, up to the memory."""
Known = tuple[Variables, Floats, NDArray[np.int16], NDArray[np.int32]]
"""And running correlation with each peer (E x 2 x F), peers (E x 2 x F, -1 = none), slots lived (E)."""
_KNOWN = "Tuple((UniTuple(f4[:, ::1], 5), f4[:, :, ::1], i2[:, :, ::1], i4[::1]))"
Rules = tuple[np.float32, ...]
"""Rates of level and error, deviations, floor, cap, correlation from which a peer is heard, values before a vote."""
Peering = tuple[NDArray[np.int16], NDArray[np.int16], Floats, int]
"""The peers of one who has not lived a slot (1 x 2 x F, or 0 x 2 x F: none); those that who has lived `choose_at` slots
takes, one after the other, and the relation with them (N x 2 x F each); `choose_at`."""
_PEERING = "Tuple((i2[:, :, ::1], i2[:, :, ::1], f4[:, :, ::1], i8))"

_ONE, _ZERO, _TWO = np.float32(1), np.float32(0), np.float32(2)
_TINY, _INFINITE, _NAN = np.float32(1e-12), np.float32(np.inf), np.float32(np.nan)
_CAUTION = np.float32(8)
"""A spread learnt from few values is too small: the tolerance is doubled at 8 values, 6% wider at 128."""
_BOUND = np.float32(4)
"""Standardised errors are cut here before they enter a correlation."""
_OUTVOTED = np.float32(4)
"""An outvoted variable's surprise is divided by this: a majority damps, but cannot silence what is far beyond."""
_SMALLEST = np.float32(np.finfo(np.float32).tiny)
_RATE, _TOLERANCE, _STANDARD, _SURPRISE, _STRICT, _LAST, _TAKEN, _VOICE = range(8)
"""Rows of what is said of each variable: how fast errors learn, tolerance, signed error over its root mean square (NaN
= absent), error / tolerance (NaN = absent or too young to vote), error / doubled tolerance, that of the value before,
the error cut to the tolerance, how loud it is heard."""
_LOOP = "void(f4[::1], UniTuple(f4[:, ::1], 5), i8, UniTuple(f4, 7), f4[:, ::1])"


@compiled(_LOOP)
def _expect(newest: Floats, known: Variables, entity: int, rules: Rules, said: Floats) -> None:
    """What is expected of the newest values (F): rates and tolerances. Short loops go over many variables at once."""
    _, error_rate, deviations, floor, _, _, _ = rules
    error, square, last, count = known[1][entity], known[2][entity], known[3][entity], known[4][entity]
    rate, tolerance, strict, before = said[_RATE], said[_TOLERANCE], said[_STRICT], said[_LAST]
    for place in range(len(newest)):
        share = _ONE / max(count[place], _ONE)
        idle = np.isnan(newest[place]) or count[place] <= _ZERO
        rate[place] = _ZERO if idle else max(error_rate, share)
        spread = np.sqrt(max(square[place] - error[place] * error[place], _ZERO)) * deviations
        tolerance[place] = (error[place] + spread) * (_ONE + _CAUTION * share) + floor
        strict[place] = tolerance[place] + spread + floor
    for place in range(len(newest)):
        before[place] = last[place]


@compiled(_LOOP)
def _look(newest: Floats, known: Variables, entity: int, rules: Rules, said: Floats) -> None:
    """What each variable's newest value says for itself."""
    cap, warmup = rules[4], rules[6]
    level, square, count = known[0][entity], known[2][entity], known[4][entity]
    tolerance, standard, surprise = said[_TOLERANCE], said[_STANDARD], said[_SURPRISE]
    strict, taken = said[_STRICT], said[_TAKEN]
    for place in range(len(newest)):
        absent, young = np.isnan(newest[place]), count[place] < warmup
        away = _ZERO if absent else newest[place] - level[place]
        limit = _INFINITE if young else tolerance[place]
        taken[place] = min(max(away, -limit), limit)
        bounded = min(max(taken[place] / np.sqrt(square[place] + _TINY), -_BOUND), _BOUND)
        standard[place] = _NAN if absent else bounded
        size = min(abs(away) / tolerance[place], cap)
        surprise[place] = _NAN if absent or young else size
        strict[place] = min(abs(away) / strict[place], cap)


@compiled(_LOOP)
def _learn(newest: Floats, known: Variables, entity: int, rules: Rules, said: Floats) -> None:
    """Move what is known; what is absent stays."""
    level_rate, most = rules[0], _ONE / rules[1]
    level, error, square = known[0][entity], known[1][entity], known[2][entity]
    last, count = known[3][entity], known[4][entity]
    rate, strict, taken = said[_RATE], said[_STRICT], said[_TAKEN]
    for place in range(len(newest)):
        error[place] += (abs(taken[place]) - error[place]) * rate[place]
        square[place] += (taken[place] * taken[place] - square[place]) * rate[place]
    for place in range(len(newest)):
        absent = np.isnan(newest[place])
        level[place] += max(level_rate, _ONE / (count[place] + _ONE)) * taken[place]
        last[place] = last[place] if absent else strict[place]
        count[place] = min(count[place] if absent else count[place] + _ONE, most)


@compiled("void(f4[:, ::1], i2[:, ::1], f4[:, ::1], f4, b1)")
def _ask(said: Floats, peers: NDArray[np.int16], relation: Floats, related: np.float32, learn: bool) -> None:
    """How loud each variable is heard, into `said`, by its `peers` (2 x F, -1 = none); moves the `relation` with them.

    0 where it has no vote; more than 1 is an anomaly.
    """
    for place in range(said.shape[1]):
        surprise, strict = said[_SURPRISE, place], said[_STRICT, place]
        asked, agree = 0, 1
        for which in range(PEERS):
            peer = peers[which, place]
            if peer < 0:
                continue
            if abs(relation[which, place]) >= related and not np.isnan(said[_SURPRISE, peer]):
                asked += 1
                agree += said[_SURPRISE, peer] > _ONE
            product = said[_STANDARD, place] * said[_STANDARD, peer]
            if learn and not np.isnan(product):
                relation[which, place] += (product - relation[which, place]) * said[_RATE, place]
        voice = max(min(strict, said[_LAST, place]), strict / _TWO)
        if asked > 0:
            voice = surprise if 2 * agree > asked + 1 else surprise / _OUTVOTED
        said[_VOICE, place] = _ZERO if np.isnan(surprise) else voice


@compiled("f4(f4[:, ::1], f4[::1])")
def _joined(said: Floats, shares: Floats) -> np.float32:
    """The score of the voices: the strongest below 1, from there 1 + the sum of what exceeds 1; NaN where nobody votes.

    `shares` (F) follow the voices squared; equal where all are 0, 0 where a variable has no vote.
    """
    loudest, beyond, total, votes = _ZERO, _ZERO, _ZERO, _ZERO
    for place in range(len(shares)):
        voice = said[_VOICE, place]
        shares[place] = voice * voice
        loudest = max(loudest, voice)
        beyond += max(voice - _ONE, _ZERO)
        total += shares[place]
        votes += _ZERO if np.isnan(said[_SURPRISE, place]) else _ONE
    even = total <= _SMALLEST
    for place in range(len(shares)):
        if even:
            shares[place] = _ZERO if np.isnan(said[_SURPRISE, place]) else _ONE
        shares[place] /= max(votes, _ONE) if even else total
    return min(loudest, _ONE) + beyond if votes > _ZERO else _NAN


@compiled(f"void(i4[::1], f4[:, ::1], {_KNOWN}, UniTuple(f4, 7), {_PEERING}, b1, f4[::1], f4[:, ::1])")
def cast(
    entities: Codes,
    newest: Floats,
    known: Known,
    rules: Rules,
    peering: Peering,
    learn: bool,
    values: Floats,
    shares: Floats,
) -> None:
    """Scores (`values`, B) and `shares` (B x F) of windows by their `newest` values (B x F), in the order in which they
    come; moves what is `known` of their entities, with `learn`."""
    variables, relation, peers, slots = known
    fitted, chosen, already, choose_at = peering
    said, due, fresh = np.zeros((8, newest.shape[1]), np.float32), 0, len(fitted) > 0
    for place in range(len(entities)):
        entity = entities[place]
        if learn and fresh and slots[entity] == 0:
            peers[entity] = fitted[0]
        asked = fitted[0] if fresh and slots[entity] == 0 else peers[entity]
        _expect(newest[place], variables, entity, rules, said)
        _look(newest[place], variables, entity, rules, said)
        _ask(said, asked, relation[entity], rules[5], learn)
        values[place] = _joined(said, shares[place])
        if not learn:
            continue
        _learn(newest[place], variables, entity, rules, said)
        slots[entity] += 1
        if slots[entity] == choose_at and due < len(chosen):
            peers[entity], relation[entity] = chosen[due], already[due]
            due += 1
