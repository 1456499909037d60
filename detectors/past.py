"""The last windows of each entity: how far a new one is from them, and which of them it may be compared with.

Values are kept as whole numbers, 256 to a training range, and sums of squares are whole numbers too. So a slot's
distances to the whole past follow from those of the slot before (add the newest difference, take off the one that
leaves), and no rounding adds up, however long a stream is, or depends on how it is cut.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from detectors.blocks import least
from detectors.entity_arrays import Field
from streaming.types import Floats

STEPS = 256
"""Whole numbers in a training range. Inputs lie within 4 of those, so that a difference of squares fits 32 bits."""
REACH = 4
APART = 100
"""A window's past begins so many slots back at least: before that are its own neighbours."""
QUIET = 10
"""Slots without a strange one that end a strange stretch."""
LATE = 64
"""So many slots back a window can be read again with all of its past."""
AT_ONCE = 64
"""Windows whose distances are found together: their arrays stay in the cache."""
_FAR = float(1 << 40)

Known = dict[str, NDArray[Any]]
Whole = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Past:
    """What is done with the arrays of `fields`: windows of `slots` of F = `width` channels, `seen` of them in training.

    Compared with are the H = `history` windows that ended `apart` slots ago and before. A strange window (its score
    beyond `limit`) counts among them only once its stretch has lasted for `persist` slots.
    """

    width: int
    slots: int
    seen: int
    history: int
    nearest: int
    level: bool
    persist: int
    limit: float

    @property
    def apart(self) -> int:
        """Slots between a window and the newest that it is compared with."""
        return max(APART, 2 * self.slots)

    def fields(self) -> dict[str, Field]:
        """The arrays of an entity. Time runs along the last axis of each; the newest is last."""
        whole = np.int32 if self.slots * self.width * (2 * REACH * STEPS) ** 2 < 2**31 else np.int64
        windows = self.history + self.apart + LATE
        return {
            "values": Field((self.width, windows + self.slots), np.int16),
            "sums": Field((0 if self.level else self.width, windows), np.int32),  # of a window's values
            "squares": Field((self.history,), whole),  # of the newest window's distance to each that it may count
            "normal": Field((windows,), np.bool_),  # whether the window that ends there may be compared with
            "count": Field((), np.int32),
            "run": Field((), np.int32),  # slots of the strange stretch so far
            "calm": Field((), np.int32),  # and those since its last strange one
            "slot": Field((), np.int64),
        }

    def live(self, known: Known, newest: Floats, trained: Floats) -> Floats:
        """Distances (n x B) of the windows that end with each of n slots' `newest` rows (n x B x F) of B entities of
        whom so much is `known`, which moves on; `trained` (n x B) are their distances to training."""
        came = self._whole(known, newest)
        past = np.empty(trained.shape, np.float32)
        at, most = 0, min(max(AT_ONCE // max(trained.shape[1], 1), 1), self.apart)
        while at < len(past):
            part = slice(at, min(at + most, len(past)))
            said, squares, totals = self._distances(known, came[part])
            flags, taken, accepted = self._screened(known, np.minimum(trained[part], said))
            _push(known["values"], came[at : at + taken])
            _push(known["sums"], totals[:taken])
            _push(known["normal"], flags[:taken])
            known["squares"][:] = squares[:, taken - 1]
            for row in accepted:
                lasted = min(int(known["run"][row]), int(known["count"][row]) - self.slots + 1)
                known["normal"][row, max(known["normal"].shape[1] - lasted, 0) :] = True
            past[at : at + taken] = said[:taken]
            at += taken
        return past

    def look_up(self, known: Known, end: int, window: Floats) -> np.float32:
        """The distance of one `window` (F x S) that ends with slot `end` of an entity of whom so much is `known`, to
        what may be compared with by now and was before it."""
        values, slots = known["values"], self.slots
        newest = values.shape[1] - 1
        own = newest + max(min(end - int(known["slot"]), 1), -newest)  # the next place, where it has not been here yet
        stop = own - self.apart + 1
        start = max(stop - self.history, slots)
        if stop - start < self.nearest:
            return np.float32(np.inf)
        mine = _steps(window, values[:, np.clip(np.arange(own - slots + 1, own + 1), 0, newest)])
        first = start - slots + 1
        others = sliding_window_view(values, slots, axis=1)[:, first : first + stop - start]
        difference = mine[:, None] - others.astype(np.int32)
        squares = np.einsum("fhs,fhs->h", difference, difference, dtype=np.int64)
        levels = None if self.level else difference.sum(axis=2, dtype=np.int64)[None]
        return np.float32(self._nearest(squares[None], levels, known["normal"][None, start - slots : stop - slots])[0])

    def _whole(self, known: Known, newest: Floats) -> Whole:
        """Rows (n x B x F) in steps; what is missing stays where it was."""
        if not np.isnan(newest).any():
            return _steps(newest, None)
        came, before = np.empty(newest.shape, np.int32), known["values"][:, :, -1]
        for row, values in zip(came, newest, strict=True):
            row[:] = before = _steps(values, before)
        return came

    def _distances(self, known: Known, came: Whole) -> tuple[Floats, NDArray[Any], Whole]:
        """Of the windows that end with n rows: their distances (n x B), what those follow from (B x n x H sums of
        squares), and the sums of their values (n x B x F, none where levels count)."""
        slots = self.slots
        values = np.concatenate([known["values"], came.transpose(1, 2, 0).astype(np.int16)], axis=2)
        count = len(came)
        comes, leaves = (self._squared(values, count, last) for last in (values.shape[2], values.shape[2] - slots))
        squares = np.subtract(comes, leaves, dtype=known["squares"].dtype)
        squares[:, 0] += known["squares"]
        for at in range(1, count):  # a seventieth of what numpy's accumulate costs along this axis
            squares[:, at] += squares[:, at - 1]
        ends = sliding_window_view(known["normal"], self.history, axis=1)
        normal = ends[:, LATE + 1 : LATE + 1 + count]
        levels, totals = None, np.zeros((count, len(squares), 0), np.int32)
        if not self.level:
            left = values[:, :, -count - slots : -slots].transpose(2, 0, 1).astype(np.int32)
            totals = known["sums"][:, :, -1] + np.add.accumulate(came - left, axis=0, dtype=np.int32)
            sums = np.concatenate([known["sums"], totals.transpose(1, 2, 0)], axis=2)
            levels = self._apart_from(sums, count, sums.shape[2]).transpose(0, 2, 1, 3)
            levels = levels.reshape(-1, self.width, self.history)
        said = self._nearest(squares.reshape(-1, self.history), levels, normal.reshape(-1, self.history))
        return said.reshape(-1, count).T, squares, totals

    def _squared(self, values: NDArray[np.int16], count: int, last: int) -> NDArray[Any]:
        """B x n x H: squared differences of the n values before place `last` from those H that are compared with."""
        apart = self._apart_from(values, count, last)
        np.square(apart, out=apart)
        return apart[:, 0] if self.width == 1 else apart.sum(axis=1, dtype=apart.dtype)

    def _apart_from(self, values: NDArray[Any], count: int, last: int) -> Whole:
        """B x F x n x H differences of the n `values` (B x F x N) before place `last` from those `apart` before them
        and the H - 1 before that."""
        first = last - count - self.apart - self.history + 1
        others = sliding_window_view(values, self.history, axis=2)[:, :, first : first + count]
        apart: Whole = values[:, :, last - count : last, None].astype(np.int32) - others
        return apart

    def _nearest(self, squares: NDArray[Any], levels: NDArray[Any] | None, normal: Flags) -> Floats:
        """K root mean square distances to the nearest of H windows, in training ranges; infinite where there are too
        few. `squares` K x H, differences of their sums `levels` K x F x H, which `normal` ones count."""
        apart = np.where(normal, squares, _FAR)
        if levels is not None:
            apart -= np.einsum("kfh,kfh->kh", levels, levels, dtype=np.float64) / self.slots
        nearest = least(apart, self.nearest)
        mean = np.add.accumulate(np.sqrt(np.maximum(nearest, 0)), axis=1)[:, -1] / self.nearest
        mean[nearest[:, -1] >= _FAR / 2] = np.inf
        found: Floats = (mean / (STEPS * np.sqrt(self.slots * self.seen))).astype(np.float32)
        return found

    def _screened(self, known: Known, score: Floats) -> tuple[Flags, int, list[int]]:
        """Whether the windows of n slots, whose `score` (n x B) is known now, may be compared with later (n x B);
        how many slots were taken (up to one at which a stretch was accepted), and the rows where one was."""
        strange, count = score > self.limit, known["count"]
        grown = count + 1 + np.arange(len(score))[:, None] >= self.slots
        flags = ~strange & ~np.isnan(score) & grown
        busy = np.flatnonzero(strange.any(axis=0) | (known["run"] > 0)).tolist()
        begun = [(row, int(known["run"][row]), int(known["calm"][row])) for row in busy]
        walked = {row: _walk(strange[:, row].tolist(), run, calm, self.persist) for row, run, calm in begun}
        firsts = [at for steps in walked.values() for at, (_, _, first) in enumerate(steps) if first]
        taken = min(firsts, default=len(score) - 1) + 1
        known["calm"] += taken
        known["run"][:] = 0
        accepted = []
        for row, steps in walked.items():
            known["run"][row], known["calm"][row], now = steps[taken - 1]
            accepted += [row] if now else []
            for at in np.flatnonzero(strange[:taken, row]).tolist():
                flags[at, row] = steps[at][0] >= self.persist and grown[at, row]
        known["count"] += taken
        return flags, taken, accepted


def _walk(strange: list[bool], run: int, calm: int, persist: int) -> list[tuple[int, int, bool]]:
    """After each slot: how long its stretch is, slots since its last strange one, whether it was accepted just now."""
    found = []
    for one in strange:
        before = run - calm  # how long it was at its last strange slot
        if one:
            run, calm = run + 1, 0
        else:
            calm += 1
            run = run + 1 if run and calm <= QUIET else 0
        found.append((run, calm, one and run >= persist > before))
    return found


def _steps(values: Floats, before: NDArray[Any] | None) -> Whole:
    """`values` in steps; `before` where they are missing."""
    steps = np.rint(np.minimum(np.maximum(values, -REACH), REACH) * np.float32(STEPS))
    if before is not None:
        steps = np.where(np.isnan(steps), before, steps)
    return steps.astype(np.int32)


def _push(ring: NDArray[Any], newest: NDArray[Any]) -> None:
    """Everything n places back, and `newest` (n x B x ...) behind it."""
    count = len(newest)
    kept = ring[..., count:].copy()
    ring[..., :-count] = kept
    ring[..., -count:] = np.moveaxis(newest, 0, -1)
