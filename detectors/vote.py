"""RoLA: one light online detector for each variable, and a majority of related variables decides.

Lee and Lin, "RoLA: a real-time online lightweight anomaly detection system for multivariate time series" (ICSOFT 2023,
arXiv 2305.16509) over RePAD2 (IoTBDS 2023, arXiv 2303.00409). Kept: one detector a variable, the threshold "mean + 3
standard deviations of the running error", and the rule that the flagged related variables must outnumber the quiet
ones. Changed: an exponentially weighted level forecasts instead of an LSTM; errors are judged on the scale of the
variable instead of relative to max(|v|, 1); correlations run along instead of being recomputed over 2,880 points; and
a variable without related peers, which in RoLA can never alert, is heard against a stricter threshold.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors import robust
from detectors.ballots import CHUNK, Opinion, Peering, Peers, Seen, cut, joined, up
from detectors.blocks import slot_runs
from detectors.entity_arrays import EntityArrays, Field
from detectors.options import count, positive, share
from detectors.peers import correlations, strongest
from detectors.types import Memory, Scores
from streaming.types import Codes, Floats, State, Windows

_PEERS = 2
_OUTVOTED = 4
"""An outvoted variable's surprise is divided by this: a majority damps, but cannot silence what is far beyond."""
_BOUND = np.float32(4)
"""Standardised errors are cut here before they enter a correlation."""
_TINY, _ZERO = np.float32(1e-12), np.float32(0)
_HISTORY = 8
"""Slots whose mean stands for the level where peers are chosen."""
_LEAST = 0.5
"""A channel less correlated than this is not followed as a peer."""
Known = dict[str, NDArray[Any]]


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
        for run in slot_runs(windows, CHUNK):
            entities = windows.entities[run.start : run.start + run.step]
            if not np.array_equal(entities, held):  # the same ones slot after slot are read and written once
                self._keep(held, known, learn)
                held, known = entities, self._read(entities)
            start = run.start
            while start < run.stop:
                slots = min(len(range(start, run.stop, run.step)), self._until_choice(known) if learn else run.stop)
                part = slice(start, start + slots * run.step)
                values[part], shares[part] = self._stretch(known, windows.values[part], slots, learn)
                start = part.stop
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

    def _stretch(self, known: Known, values: Floats, slots: int, learn: bool) -> tuple[Floats, Floats]:
        """Score and shares of the windows of some slots, each by the same entities, of whom so much is `known`.

        Slot by slot goes only what depends on the slot before; calls of numpy cost more than what they do here.
        """
        newest = values[:, -1].reshape(slots, -1, self._width)
        peering, seen = Peering.of(known["peers"]), self._seen(known, newest, learn)
        opinion = self._opinions(known, newest, seen, learn)
        relation, last = self._relations(known, peering, opinion, seen, learn), _last(known, opinion, seen, learn)
        voices = self._voices(relation, last, peering, opinion)
        if learn:
            known["slots"] += slots
            self._choose(known, values[-len(known["slots"]) :])
        return joined(voices.reshape(-1, self._width), opinion.ready.reshape(-1, self._width))

    def _seen(self, known: Known, newest: Floats, learn: bool) -> Seen:
        present = ~np.isnan(newest)
        count = np.broadcast_to(known["count"], newest.shape)
        if learn:
            counts = np.empty((len(newest) + 1, *newest.shape[1:]), np.float32)
            counts[0] = known["count"]
            for before, after, there in zip(counts, counts[1:], present, strict=False):
                np.add(before, there, out=after)
            np.minimum(counts, 1 / self.error_rate, out=counts)
            count, known["count"] = counts[:-1], counts[-1].copy()
        few = np.maximum(count, 1)
        rate = np.maximum(self.error_rate, 1 / few)
        whole = bool(present.all())
        if not (whole and count.all()):
            np.copyto(rate, _ZERO, where=~present | (count == 0))
        # A spread learnt from few values is too small: the tolerance is doubled at 8 values, 6% wider at 128.
        pace = np.maximum(self.level_rate, 1 / (count + 1))
        return Seen(present, whole, count < self.warmup, 1 + 8 / few, rate, pace)

    def _opinions(self, known: Known, newest: Floats, seen: Seen, learn: bool) -> Opinion:
        """What each variable says; moves what is `known` of levels and errors."""
        deviation, square, spread, tolerance, clipped = self._walk(known, newest, seen, learn)
        standardised = cut(clipped / np.sqrt(square + _TINY), _BOUND)
        if not seen.whole:
            np.copyto(standardised, np.float32(np.nan), where=~seen.present)
        error = np.abs(deviation)
        return Opinion(
            seen.present & ~seen.young,
            standardised,
            np.minimum(error / tolerance, self.cap),
            np.minimum(error / (tolerance + spread + self.floor), self.cap),
        )

    def _walk(self, known: Known, newest: Floats, seen: Seen, learn: bool) -> Floats:
        """Deviation, mean square error before it, spread, tolerance and the deviation cut to that (5 x S x B x F).

        Moves what is `known` of levels and errors; what is absent stays.
        """
        path: Floats = np.empty((5, *newest.shape), np.float32)
        deviation, square, spread, tolerance, clipped = path
        level, mean_error, mean_square = known["level"], known["error"], known["square"]
        whole, fresh = np.all(seen.present, axis=(1, 2)), np.any(seen.young, axis=(1, 2))
        error, moved = np.empty_like(level), np.empty_like(level)
        for slot in range(len(newest)):
            away, wide, bound, taken = deviation[slot], spread[slot], tolerance[slot], clipped[slot]
            np.subtract(newest[slot], level, out=away)
            if not whole[slot]:
                np.copyto(away, _ZERO, where=~seen.present[slot])
            square[slot] = mean_square
            np.multiply(mean_error, mean_error, out=wide)
            np.maximum(np.subtract(mean_square, wide, out=wide), _ZERO, out=wide)
            np.multiply(np.sqrt(wide, out=wide), self.deviations, out=wide)
            np.multiply(np.add(mean_error, wide, out=bound), seen.caution[slot], out=bound)
            bound += self.floor
            limit = np.where(seen.young[slot], np.float32(np.inf), bound) if fresh[slot] else bound
            np.minimum(np.maximum(away, np.negative(limit, out=error), out=taken), limit, out=taken)
            if not learn:
                continue
            rate = seen.rate[slot]
            np.abs(taken, out=error)
            mean_error += np.multiply(np.subtract(error, mean_error, out=moved), rate, out=moved)
            np.subtract(np.multiply(error, error, out=error), mean_square, out=error)
            mean_square += np.multiply(error, rate, out=error)
            level += np.multiply(seen.pace[slot], taken, out=moved)
        return path

    def _relations(self, known: Known, peering: Peering, opinion: Opinion, seen: Seen, learn: bool) -> Floats:
        """S x B x 2 x F: the relation with each peer before each slot; moves what is `known`."""
        running = known["relation"]
        if not learn:
            return np.broadcast_to(running, (len(seen.rate), *running.shape))
        product = opinion.standardised[:, :, None] * peering.take(opinion.standardised)
        weight = seen.rate[:, :, None] * peering.exists
        if not seen.whole:
            absent = np.isnan(product)
            np.copyto(weight, _ZERO, where=absent)
            np.copyto(product, _ZERO, where=absent)
        relation, moved = np.empty_like(product), np.empty_like(running)
        for before, aim, rate in zip(relation, product, weight, strict=True):
            before[:] = running
            np.subtract(aim, running, out=moved)
            running += np.multiply(moved, rate, out=moved)
        return relation

    def _voices(self, relation: Floats, last: Floats, peering: Peering, opinion: Opinion) -> Floats:
        """How loud each variable is heard (S x B x F, > 1 = anomaly)."""
        heard = bool(opinion.ready.all())
        peers = peering.take(
            opinion.surprise if heard else np.where(opinion.ready, opinion.surprise, np.float32(np.nan))
        )
        related = (np.abs(relation) >= self.related) & peering.exists
        if not heard:
            related &= ~np.isnan(peers)
        flagged = related & (peers > 1)
        asked, agree = up(related), up(flagged) + 1
        voice = np.maximum(np.minimum(opinion.strict, last), opinion.strict / 2)
        np.copyto(voice, opinion.surprise / _OUTVOTED, where=asked > 0)
        np.copyto(voice, opinion.surprise, where=(asked > 0) & (2 * agree > asked + 1))
        if not heard:
            np.copyto(voice, _ZERO, where=~opinion.ready)
        return voice

    def _until_choice(self, known: Known) -> int:
        """Slots up to the one in which an entity chooses its peers, at least 1."""
        left = self.choose_at - known["slots"]
        return int(left[left > 0].min(initial=CHUNK)) if self._fitted is None else CHUNK

    def _choose(self, known: Known, values: Floats) -> None:
        """Where nothing was fitted: pick the peers of entities that have just lived `choose_at` slots."""
        due = np.flatnonzero(known["slots"] == self.choose_at) if self._fitted is None else ()
        if not len(due):
            return
        relation = correlations(_innovations(values[due]))
        known["peers"][due] = found = strongest(relation, _PEERS, _LEAST)
        already = np.take_along_axis(relation, np.maximum(found, 0).astype(np.int64), axis=1)
        known["relation"][due] = np.where(found >= 0, already, np.float32(0))


def _last(known: Known, opinion: Opinion, seen: Seen, learn: bool) -> Floats:
    """S x B x F: the strict surprise of the last value before each slot; moves what is `known`."""
    if not learn:
        return np.broadcast_to(known["last"], seen.rate.shape)
    last = np.concatenate([known["last"][None], opinion.strict])
    if not seen.whole:
        for before, after, present in zip(last, last[1:], seen.present, strict=False):
            np.copyto(after, before, where=~present)
    known["last"] = last[-1].copy()
    return last[:-1]


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
