"""Distance to the nearest window of training or of the entity's own past: what resembles neither is strange.

A subsequence far from every one before it is a left discord (Keogh, Lin and Fu, "HOT SAX", ICDM 2005; Lu et al.,
"Matrix profile XXIV", KDD 2022, arXiv 2207.05286). Kept: the distance to the past alone, so that nothing looks ahead.
Changed: distances are in training ranges, not z-normalised (which is worse on real series: measured); the past is
bounded; and it is screened. A strange stretch is no past to be compared with, so that the second outage alarms like the
first, unless it goes on for `persist` slots: then it is the new state, and normal.

Values are kept as whole numbers, 256 to a training range, and sums of squares are whole numbers too. So a slot's
distances to the whole past follow from those of the slot before (add the newest difference, take off the one that
leaves), and no rounding adds up, however long a stream is.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors import registry
from detectors.entity_arrays import EntityArrays, Field
from detectors.options import count
from detectors.types import Detector, Fitted, Memory, Scores, Within
from streaming.types import Codes, Floats, Ints, State, Windows

_STEPS = 256
"""Whole numbers in a training range. Inputs lie within 4 of those, so that a difference of squares fits 32 bits."""
_REACH = 4
_APART = 100
"""A window's past begins so many slots back at least: before that are its own neighbours."""
_QUIET = 10
"""Slots without a strange one that end a strange stretch."""
_USUAL, _BEYOND = 0.98, 1.2
"""Strange is what lies a fifth beyond the 98% quantile of distances of held-out training windows."""
_EARLY = 0.7
_FAR = float(1 << 40)
_LATE = 64
"""So many slots back a window can be read again with all of its past."""
_CHUNK = 64
"""Entities that are judged together."""

Known = dict[str, NDArray[Any]]


class Discord:
    """The lesser of two mean distances: to the `nearest` prototypes of training (detector `neighbours`, which takes the
    other options), and to the `nearest` windows of the entity's own last `history` slots.

    Only those windows of the past count that were not strange themselves, or whose strange stretch has lasted for
    `persist` slots, and that ended 100 slots (or two windows) ago at least. Missing values are carried forward in the
    past. State: some 15 bytes for each slot of `history`, entity and channel.
    """

    name: ClassVar[str] = "discord"
    memory: ClassVar[Memory] = "online"

    def __init__(
        self,
        *,
        slots: int = 40,
        nearest: int = 5,
        level: bool = True,
        history: int = 1024,
        persist: int = 200,
        look_ahead: int = 20,
        whole: bool = False,
        prototypes: int = 512,
        components: int = 64,
    ) -> None:
        count(1, history=history, persist=persist)
        self.slots, self.nearest, self.level = slots, nearest, level
        self.history, self.persist = max(history, nearest), persist
        kind: Callable[..., Detector] = registry.load("neighbours")
        self._make = partial(
            kind, slots=slots, nearest=nearest, level=level, look_ahead=look_ahead, whole=whole, prototypes=prototypes,
            components=components,
        )  # fmt: skip
        self._bank: Detector = self._make()
        self._limit = np.inf
        self._shape(0, slots, 1)

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return self.slots

    @property
    def look_ahead(self) -> int:
        """That of the prototypes' detector."""
        return int(self._bank.look_ahead)  # type: ignore[attr-defined]

    @property
    def whole(self) -> bool:
        """Whether it wants all training windows in the end."""
        return bool(self._bank.whole)  # type: ignore[attr-defined]

    def within(self, scoped: Within) -> None:
        """Fit the prototypes per scope: `scoped` makes a detector that is from one that makes its models."""
        self._bank = scoped(self._make)

    @property
    def fitted(self) -> Fitted:
        """The part that is a pure function of the model and the window: the distance to training."""
        return self._bank.score

    def bytes(self) -> int:
        """Size of one fitted model."""
        return int(self._bank.bytes()) if hasattr(self._bank, "bytes") else 0

    def fit(self, windows: Windows) -> None:
        """Learn prototypes from B >= 1 windows, and from the first 70% of them what is usual in the rest."""
        early = windows.ends <= np.quantile(windows.ends, _EARLY)
        self._limit = np.inf
        if not early.all():
            self._bank.fit(windows.take(early))
            said = self._bank.score(windows.take(~early)).values
            if not np.isnan(said).all():
                self._limit = _BEYOND * float(np.nanquantile(said, _USUAL))
        self._bank.fit(windows)
        values = windows.values[:, -self.slots :]
        seen = int((~np.isnan(values)).any(axis=(0, 1)).sum())
        self._shape(values.shape[2], values.shape[1], max(seen, 1))

    def score(self, windows: Windows, learn: bool = True) -> Scores:
        """Judge the newest slot of each window by what was learnt up to the slot before, and learn it."""
        if not self._width:
            raise RuntimeError("discord is not fitted")
        trained = self._bank.score(windows)
        past = self._past_of(windows, trained.values) if learn else self._looked_up(windows)
        return Scores(np.minimum(trained.values, past), trained.shares)

    def state(self) -> State:
        """The prototypes, and what is strange."""
        state = State(meta={"limit": self._limit, "shape": [self._width, self._slots, self._seen]})
        state.put("bank", self._bank.state())
        return state

    def restore(self, state: State) -> None:
        """Take those of `state`; what was learnt of entities is emptied."""
        self._bank.restore(state.part("bank"))
        self._limit = float(state.meta["limit"])
        self._shape(*state.meta["shape"])

    def rows(self, entities: Codes) -> Known:
        """Copies of what was learnt of `entities`."""
        return self._learnt.rows(entities)

    def put_rows(self, entities: Codes, arrays: Known) -> None:
        """Set what `rows` gave. ValueError where its shape is not ours."""
        self._learnt.put_rows(entities, arrays)

    def forget(self, entities: Codes) -> None:
        """Empty the rows of `entities`."""
        self._learnt.forget(entities)

    def _shape(self, width: int, slots: int, seen: int) -> None:
        """Arrays for `width` channels (`seen` of them in training) and windows of `slots`. Time runs along the last
        axis of each; the newest is last."""
        self._width, self._slots, self._seen = width, slots, seen
        self._apart = max(_APART, 2 * slots)
        whole = np.int32 if slots * width * (2 * _REACH * _STEPS) ** 2 < 2**31 else np.int64
        windows = self.history + self._apart + _LATE
        self._learnt = EntityArrays(
            {
                "values": Field((width, windows + slots), np.int16),
                "sums": Field((0 if self.level else width, windows), np.int32),  # of a window's values
                "squares": Field((self.history,), whole),  # of the newest window's distance to each that counts
                "normal": Field((windows,), np.bool_),  # whether the window that ends there may be compared with
                "count": Field((), np.int32),
                "run": Field((), np.int32),  # slots of the strange stretch so far
                "calm": Field((), np.int32),  # and those since its last strange one
                "slot": Field((), np.int64),
            }
        )

    def _past_of(self, windows: Windows, trained: Floats) -> Floats:
        """B distances to the past, learnt from slot by slot."""
        self._learnt.reach(windows.entities)
        past = np.empty(len(windows), np.float32)
        held, known = np.zeros(0, np.int32), self._learnt.rows(np.zeros(0, np.int32))
        for part in _slot_runs(windows.ends):
            entities = windows.entities[part]
            if not np.array_equal(entities, held):  # the same ones slot after slot are read and written once
                self._learnt.put_rows(held, known)
                held, known = entities, self._learnt.rows(entities)
            past[part] = self._slot(known, windows.values[part, -1])
            self._screen(known, np.minimum(trained[part], past[part]))
            known["slot"][:] = windows.ends[part]
        self._learnt.put_rows(held, known)
        return past

    def _slot(self, known: Known, newest: Floats) -> Floats:
        """Take in the newest rows (B x F), and answer their distances (B)."""
        values, squares, slots = known["values"], known["squares"], self._slots
        came, left = _whole(newest, values[:, :, -1]), values[:, :, -slots].astype(np.int32)
        first = 1 + _LATE  # the oldest that counts, of windows' ends
        difference = came[:, :, None] - values[:, :, first + slots : first + slots + self.history]
        squares += np.einsum("bfh,bfh->bh", difference, difference, dtype=squares.dtype)
        difference = left[:, :, None] - values[:, :, first : first + self.history]
        squares -= np.einsum("bfh,bfh->bh", difference, difference, dtype=squares.dtype)
        _push(values, came)
        levels, counted = None, slice(first, first + self.history)
        if not self.level:
            sums = known["sums"]
            total = sums[:, :, -1] + came - left
            levels = total[:, :, None] - sums[:, :, counted]
            _push(sums, total)
        return self._distance(squares, levels, known["normal"][:, counted])

    def _distance(self, squares: NDArray[Any], levels: NDArray[Any] | None, normal: NDArray[np.bool_]) -> Floats:
        """B root mean square distances to the nearest of H windows, in training ranges; infinite where there are too
        few. `squares` B x H, differences of their sums `levels` B x F x H, which `normal` ones count."""
        apart = squares.astype(np.float64)
        if levels is not None:
            apart -= np.einsum("bfh,bfh->bh", levels, levels, dtype=np.float64) / self._slots
        apart[~normal] = _FAR
        nearest = np.partition(apart, self.nearest - 1, axis=1)[:, : self.nearest]
        nearest.sort(axis=1)  # so that they add up in one order
        mean = np.add.accumulate(np.sqrt(np.maximum(nearest, 0)), axis=1)[:, -1] / self.nearest
        mean[nearest[:, -1] >= _FAR] = np.inf
        found: Floats = (mean / (_STEPS * np.sqrt(self._slots * self._seen))).astype(np.float32)
        return found

    def _screen(self, known: Known, score: Floats) -> None:
        """Whether the newest windows (B) may be compared with later, now that their `score` is known."""
        run, calm, normal = known["run"], known["calm"], known["normal"]
        known["count"] += 1
        strange, silent = score > self._limit, np.isnan(score)
        calm[:] = np.where(strange, 0, calm + 1)
        run[:] = np.where(strange | ((run > 0) & (calm <= _QUIET)), run + 1, 0)
        normal[:, :-1] = normal[:, 1:]
        normal[:, -1] = ~strange & ~silent & (known["count"] >= self._slots)
        for row in np.flatnonzero(strange & (run >= self.persist)).tolist():
            normal[row, -min(int(run[row]), int(known["count"][row]) - self._slots + 1, normal.shape[1]) :] = True

    def _looked_up(self, windows: Windows) -> Floats:
        """B distances to what is known of the past by now; of windows that came by earlier, to what was before them."""
        self._learnt.reach(windows.entities)
        past = np.full(len(windows), np.inf, np.float32)
        values = windows.values[:, -self._slots :].transpose(0, 2, 1)
        for place, (entity, end) in enumerate(zip(windows.entities.tolist(), windows.ends.tolist(), strict=True)):
            if self._learnt["count"][entity]:
                past[place] = self._look_up(entity, end, values[place])
        return past

    def _look_up(self, entity: int, end: int, window: Floats) -> np.float32:
        """The distance of one `window` (F x S) that ends with slot `end`."""
        known, slots = {name: self._learnt[name][entity] for name in ("values", "normal", "slot")}, self._slots
        values = known["values"]
        newest = values.shape[1] - 1
        own = newest + max(min(end - int(known["slot"]), 1), -newest)  # the next place, where it has not been here yet
        stop = own - self._apart + 1
        start = max(stop - self.history, slots)
        if stop - start < self.nearest:
            return np.float32(np.inf)
        there = values[:, np.clip(np.arange(own - slots + 1, own + 1), 0, newest)]
        mine = _whole(window, there)
        others = np.lib.stride_tricks.sliding_window_view(values, slots, axis=1)[
            :, start - slots + 1 : stop - slots + 1
        ]
        difference = mine[:, None] - others.astype(np.int32)
        squares = np.einsum("fhs,fhs->h", difference, difference, dtype=np.int64)
        levels = None if self.level else difference.sum(axis=2, dtype=np.int64)[None]
        return np.float32(self._distance(squares[None], levels, known["normal"][None, start - slots : stop - slots])[0])


def _slot_runs(ends: Ints) -> Iterator[slice]:
    """Each run of equal `ends`, in parts whose arrays stay in the cache."""
    edges = np.flatnonzero(np.diff(ends, prepend=ends[:1] - 1, append=ends[-1:] + 1)).tolist()
    for start, stop in pairwise(edges):
        yield from (slice(at, min(at + _CHUNK, stop)) for at in range(start, stop, _CHUNK))


def _whole(values: Floats, before: NDArray[np.int16]) -> NDArray[np.int32]:
    """`values` in steps; `before` where they are missing."""
    steps = np.rint(np.clip(values, -_REACH, _REACH) * np.float32(_STEPS))
    return np.where(np.isnan(steps), before, np.nan_to_num(steps)).astype(np.int32)


def _push(ring: NDArray[Any], newest: NDArray[Any]) -> None:
    """Everything one place back, and `newest` behind it."""
    ring[..., :-1] = ring[..., 1:]
    ring[..., -1] = newest
