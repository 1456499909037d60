"""RoLA: one light online detector for each variable, and a majority of related variables decides.

Lee and Lin, "RoLA: a real-time online lightweight anomaly detection system for multivariate time series" (ICSOFT 2023,
arXiv 2305.16509) over RePAD2 (IoTBDS 2023, arXiv 2303.00409). Kept: one detector a variable, the threshold "mean + 3
standard deviations of the running error", and the rule that the flagged related variables must outnumber the quiet
ones. Changed: an exponentially weighted level forecasts instead of an LSTM; errors are judged on the scale of the
variable instead of relative to max(|v|, 1); correlations run along instead of being recomputed over 2,880 points; and
a variable without related peers, which in RoLA can never alert, is heard against a stricter threshold.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors import robust
from detectors.entity_arrays import EntityArrays, Field
from detectors.options import count, positive, share
from detectors.peers import correlations, strongest
from detectors.residuals import shares_of
from detectors.types import Memory, Scores
from streaming.types import Codes, Floats, Ints, State, Windows

_PEERS = 2
_OUTVOTED = 4
"""An outvoted variable's surprise is divided by this: a majority damps, but cannot silence what is far beyond."""
_BOUND = np.float32(4)
"""Standardised errors are cut here before they enter a correlation."""
_TINY = np.float32(1e-12)
_HISTORY = 8
"""Slots whose mean stands for the level where peers are chosen."""
_LEAST = 0.5
"""A channel less correlated than this is not followed as a peer."""
_CHUNK = 256
"""Entities that are judged together: their arrays stay in the cache."""

Peers = NDArray[np.int16]
Known = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Opinion:
    """What B x F variables say for themselves.

    `clipped`: signed error, cut to the tolerance; `standardised`: the same over its root mean square (NaN = absent);
    `surprise`: error / tolerance, `strict`: error / doubled tolerance, both capped; `ready`: present and old enough.
    """

    present: NDArray[np.bool_]
    ready: NDArray[np.bool_]
    clipped: Floats
    standardised: Floats
    surprise: Floats
    strict: Floats


@dataclass(frozen=True, slots=True)
class _Peering:
    """Where each variable's peers stand (B x 2 x F places in a flattened B x F array), and whether there is one."""

    place: Ints
    exists: NDArray[np.bool_]

    @classmethod
    def of(cls, peers: Peers) -> "_Peering":
        rows = np.arange(len(peers), dtype=np.int64)[:, None, None] * peers.shape[2]
        return cls(np.maximum(peers, 0) + rows, peers >= 0)

    def take(self, values: Floats) -> Floats:
        """B x 2 x F: `values` (B x F) of the peers; of some other variable where there is no peer."""
        return values.reshape(-1).take(self.place, mode="clip")


class Vote:
    """Online majority vote (RoLA): one light detector for each variable; related variables must agree.

    Surprise of a variable = |value - level| / (mean + 3 sd of its running error + floor); beyond 1 it is flagged. Its
    related peers are the (at most two) variables whose errors run with its own, |r| >= `related`. It is heard in full
    when the flagged among itself and its related peers outnumber the quiet ones, damped when outvoted; without a
    related peer it must be twice as far out (6 sd) two slots running, or four times at once. The score is the strongest
    voice; from 1 (anomaly) on, what exceeds 1 is added up over the voices.

    Works without `fit`, which only finds the peers beforehand; else they are chosen from an entity's window at its
    `choose_at`-th slot. A variable votes after `warmup` values. Rates are per slot (an error is remembered for about
    1 / `error_rate` slots), `floor` is in training ranges, `deviations` is the 3 above. What is missing neither votes
    nor teaches. State: 32 bytes a variable and entity.
    """

    name: ClassVar[str] = "vote"
    memory: ClassVar[Memory] = "online"
    evidence: ClassVar[bool] = True

    def __init__(
        self,
        *,
        level_rate: float = 0.02,
        error_rate: float = 1 / 4096,
        deviations: float = 3.0,
        related: float = 0.8,
        warmup: int = 8,
        floor: float = 0.02,
        choose_at: int = 48,
        cap: float = 16.0,
    ) -> None:
        count(1, warmup=warmup, choose_at=choose_at)
        share(level_rate=level_rate, error_rate=error_rate, related=related)
        positive(deviations=deviations, floor=floor, cap=cap)
        self.level_rate, self.error_rate = np.float32(level_rate), np.float32(error_rate)
        self.deviations, self.floor, self.cap = np.float32(deviations), np.float32(floor), np.float32(cap)
        self.related, self.warmup, self.choose_at = np.float32(related), warmup, choose_at
        self._fitted: Peers | None = None
        self._reset(0)

    @property
    def span(self) -> int | None:
        """How many of a window's newest slots a score reads. None: all (peers are still to be chosen)."""
        return None if self._fitted is None else 1

    def fit(self, windows: Windows) -> None:
        """Find each variable's peers from B windows; what was learnt of entities is emptied."""
        before = robust.mean(windows.values[:, -_HISTORY - 1 : -1], axis=1)
        self._fitted = strongest(correlations((windows.values[:, -1] - before)[None]), _PEERS, _LEAST)[0]
        self._reset(len(windows.features))

    def score(self, windows: Windows, learn: bool = True) -> Scores:
        """Judge the newest slot of each window with the state of the slot before, and learn it."""
        self._reach(windows)
        values = np.empty(len(windows), dtype=np.float32)
        shares = np.empty((len(windows), len(windows.features)), dtype=np.float32)
        held = np.zeros(0, np.int32)
        known: Known = {}
        for part in _slots(windows.ends):
            entities = windows.entities[part]
            if not np.array_equal(entities, held):  # the same ones slot after slot are read and written once
                self._keep(held, known, learn)
                held, known = entities, self._read(entities)
            values[part], shares[part] = self._slot(known, windows.values[part], learn)
        self._keep(held, known, learn)
        return Scores(values, shares)

    def state(self) -> State:
        """The fitted peers."""
        return State({} if self._fitted is None else {"peers": self._fitted})

    def restore(self, state: State) -> None:
        """Take the peers of `state`; what was learnt of entities is emptied."""
        self._fitted = state.arrays.get("peers")
        self._reset(0 if self._fitted is None else self._fitted.shape[1])

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]:
        """Copies of what was learnt of `entities`."""
        return self._learnt.rows(entities)

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None:
        """Set what `rows` gave. ValueError where its shape is not ours."""
        if not self._width:
            self._reset(arrays["level"].shape[-1])
        self._learnt.put_rows(entities, arrays)

    def forget(self, entities: Codes) -> None:
        """Empty the rows of `entities`."""
        self._learnt.forget(entities)

    def _reset(self, width: int) -> None:
        self._width = width
        self._learnt = EntityArrays(
            {
                "level": Field((width,), np.float32),
                "error": Field((width,), np.float32),  # mean of the clipped error
                "square": Field((width,), np.float32),  # and its mean square
                "last": Field((width,), np.float32),  # strict surprise of the slot before
                "count": Field((width,), np.float32),  # values seen, up to the memory
                "relation": Field((_PEERS, width), np.float32),  # running correlation with each peer
                "peers": Field((_PEERS, width), np.int16, -1),
                "slots": Field((), np.int32),
            }
        )

    def _reach(self, windows: Windows) -> None:
        if not self._width:
            self._reset(len(windows.features))
        if self._width != len(windows.features):
            raise ValueError(f"vote knows {self._width} features, the windows have {len(windows.features)}")
        self._learnt.reach(windows.entities)

    def _read(self, entities: Codes) -> Known:
        """What is known of `entities`, who begin with the fitted peers."""
        known = self._learnt.rows(entities)
        if self._fitted is not None:
            known["peers"][known["slots"] == 0] = self._fitted
        return known

    def _keep(self, entities: Codes, known: Known, learn: bool) -> None:
        if learn and len(entities):
            self._learnt.put_rows(entities, known)

    def _slot(self, known: Known, values: Floats, learn: bool) -> tuple[Floats, Floats]:
        """Score and shares of one slot's windows (each entity once), of whom so much is `known`."""
        opinion, peering = self._judge(known, values[:, -1]), _Peering.of(known["peers"])
        voices = self._voices(known, peering, opinion)
        if learn:
            self._learn(known, peering, opinion)
            self._choose(known, values)
        return _joined(voices, opinion.ready)

    def _judge(self, known: Known, newest: Floats) -> _Opinion:
        count, mean, square = known["count"], known["error"], known["square"]
        present = ~np.isnan(newest)
        deviation = np.where(present, newest - known["level"], np.float32(0))
        spread = self.deviations * np.sqrt(np.maximum(square - mean * mean, 0))
        # A spread learnt from few values is too small: the tolerance is doubled at 8 values, 6% wider at 128.
        tolerance = (mean + spread) * (1 + 8 / np.maximum(count, 1)) + self.floor
        error = np.abs(deviation)
        young = count < self.warmup
        clipped = _cut(deviation, np.where(young, np.float32(np.inf), tolerance))
        standardised = _cut(clipped / np.sqrt(square + _TINY), _BOUND)
        return _Opinion(
            present,
            present & ~young,
            clipped,
            np.where(present, standardised, np.float32(np.nan)),
            np.minimum(error / tolerance, self.cap),
            np.minimum(error / (tolerance + spread + self.floor), self.cap),
        )

    def _voices(self, known: Known, peering: _Peering, opinion: _Opinion) -> Floats:
        """How loud each variable is heard (B x F, > 1 = anomaly)."""
        peers = peering.take(np.where(opinion.ready, opinion.surprise, np.float32(np.nan)))
        related = (np.abs(known["relation"]) >= self.related) & peering.exists & ~np.isnan(peers)
        flagged = related & (peers > 1)
        asked, agree = _count(related), _count(flagged) + 1
        voted = np.where(2 * agree > asked + 1, opinion.surprise, opinion.surprise / _OUTVOTED)
        lone = np.maximum(np.minimum(opinion.strict, known["last"]), opinion.strict / 2)
        return np.where(opinion.ready, np.where(asked > 0, voted, lone), np.float32(0))

    def _learn(self, known: Known, peering: _Peering, opinion: _Opinion) -> None:
        """Move what is `known` in place; what is absent stays."""
        count, present = known["count"], opinion.present
        rate = np.where(present & (count > 0), np.maximum(self.error_rate, 1 / np.maximum(count, 1)), np.float32(0))
        product = opinion.standardised[:, None] * peering.take(opinion.standardised)
        moved = rate[:, None] * (product - known["relation"])
        known["relation"] += np.where(peering.exists & ~np.isnan(moved), moved, np.float32(0))
        error = np.abs(opinion.clipped)
        known["error"] += rate * (error - known["error"])
        known["square"] += rate * (error * error - known["square"])
        known["level"] += np.maximum(self.level_rate, 1 / (count + 1)) * opinion.clipped
        np.copyto(known["last"], opinion.strict, where=present)
        np.minimum(count + present, 1 / self.error_rate, out=count)
        known["slots"] += 1

    def _choose(self, known: Known, values: Floats) -> None:
        """Where nothing was fitted: pick the peers of entities that have just lived `choose_at` slots."""
        due = np.flatnonzero(known["slots"] == self.choose_at) if self._fitted is None else ()
        if not len(due):
            return
        relation = correlations(_innovations(values[due]))
        known["peers"][due] = found = strongest(relation, _PEERS, _LEAST)
        already = np.take_along_axis(relation, np.maximum(found, 0).astype(np.int64), axis=1)
        known["relation"][due] = np.where(found >= 0, already, np.float32(0))


def _slots(ends: Ints) -> list[slice]:
    """Each run of equal `ends`, in parts of at most `_CHUNK`."""
    edges = np.flatnonzero(np.diff(ends, prepend=ends[:1] - 1, append=ends[-1:] + 1)).tolist()
    runs = [range(start, stop, _CHUNK) for start, stop in pairwise(edges)]
    return [slice(start, min(start + _CHUNK, run.stop)) for run in runs for start in run]


def _cut(values: NDArray[Any], limit: Floats | np.float32) -> Floats:
    """`values` within [-limit, limit]."""
    cut: Floats = np.minimum(np.maximum(values, -limit), limit)
    return cut


def _count(flags: NDArray[np.bool_]) -> NDArray[np.int8]:
    """B x F: how many of the (two) peers' flags (B x 2 x F) are up."""
    return flags[:, 0].astype(np.int8) + flags[:, 1]


def _joined(voices: Floats, ready: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Score (B) and shares (B x F) of voices: the strongest below 1, from there 1 + the sum of what exceeds 1."""
    loudest = np.maximum.reduce(voices, axis=1, initial=0)
    values = np.minimum(loudest, 1) + np.add.reduce(np.maximum(voices - 1, 0), axis=1)
    values[~np.logical_or.reduce(ready, axis=1)] = np.nan
    return values, shares_of(np.square(voices), ready)


def _innovations(values: Floats) -> Floats:
    """B x (T - h) x F: each value less the mean of the h slots before it, h = 8 or half of a short window."""
    history = max(min(_HISTORY, values.shape[1] // 2), 1)
    present = ~np.isnan(values)
    filled = np.where(present, values, 0)
    total = np.cumsum(filled, axis=1, dtype=np.float64)
    count = np.cumsum(present, axis=1, dtype=np.float64)
    before = np.pad(total, ((0, 0), (1, 0), (0, 0)))
    seen = np.pad(count, ((0, 0), (1, 0), (0, 0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (before[:, history:-1] - before[:, : -history - 1]) / (seen[:, history:-1] - seen[:, : -history - 1])
    return (values[:, history:] - mean).astype(np.float32)
