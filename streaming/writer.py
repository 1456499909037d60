"""What goes into the cells of the ring: telemetry joined, log lines counted, and zero where logs are covered."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streaming.cells import Samples, aggregate, collapse, count_lines
from streaming.derive import Derivation
from streaming.examples import Examples
from streaming.logfeatures import is_grave
from streaming.rarelines import RareLines
from streaming.ring import ALWAYS, EVERY, NEVER, Mask, SlotRing
from streaming.roster import Roster
from streaming.types import Codes, Floats, Ints, State

LogCoverage = Literal["stream", "entity", "always"]


class CellWriter:
    """Writes samples into `ring` by the aggregates of `derivation`; columns for which `is_log` holds count log lines.

    `coverage` says where logs are covered, so that a log column without a line is 0 and not missing: "stream", in slots
    with a line on time of any entity; "entity", in slots with a line of that entity; "always", from the first closed
    slot with a line on. An entity that has had no line so far has missing log columns in every case. `keep` (slots)
    is how long samples stay to be joined with late ones; `duplicates` counts repeated (entity, feature, time) in the
    slots `own`.
    """

    def __init__(
        self,
        ring: SlotRing,
        roster: Roster,
        derivation: Derivation,
        *,
        is_log: Callable[[str], bool],
        coverage: LogCoverage,
        keep: int,
        own: range = EVERY,
    ) -> None:
        self.duplicates = 0
        self.rare = RareLines()
        self.examples = Examples()
        self._ring, self._roster, self._derivation = ring, roster, derivation
        self._is_log, self._coverage, self._keep, self._own = is_log, coverage, keep, own
        self._kept: dict[int, Samples] = {}
        self._covered: Ints = np.full(ring.size, NEVER, np.int64)
        self._origin: int | None = None
        self._log: Mask = np.empty(0, np.bool_)
        self._grave: Codes = np.empty(0, np.int32)
        self._begin: Ints = np.empty(0, np.int64)

    @property
    def log_columns(self) -> Mask:
        """Which columns count log lines (F)."""
        return self._log

    def extend(self, names: Sequence[str]) -> None:
        """Append columns."""
        self._log = np.append(self._log, [self._is_log(name) for name in names]).astype(np.bool_)
        self._begin = np.append(self._begin, np.full(len(names), ALWAYS))
        self._derivation.extend(names)
        grave = [len(self._log) - len(names) + place for place, name in enumerate(names) if is_grave(name)]
        self._grave = np.append(self._grave, np.array(grave, np.int32))
        self._ring.widen(len(self._log))

    def begin(self, columns: Mask, first: int) -> None:
        """Drop the values that `columns` have in slots before `first`."""
        self._begin[columns] = first

    def write(self, telemetry: Samples | None, lines: Samples | None) -> tuple[Codes, Ints]:
        """Write slots at their close, with all that came on time; returns the cells (rows, slots) by (slot, row)."""
        touched = []
        if telemetry is not None:
            samples = self._joined(telemetry)
            rows, slots, values = aggregate(samples, self._kinds(samples))
            self._activate(slots, ~np.isnan(values), ~self._log)
            self._ring.write(rows, slots, values)
            # older ones would be forgotten as soon as the newest has closed
            kept = range(int(samples.slots[-1]) - self._keep + 1, int(samples.slots[-1]) + 1)
            bounds = samples.slots.searchsorted([*kept, kept.stop]).tolist()
            for slot, start, stop in zip(kept, bounds, bounds[1:], strict=False):
                if stop > start:
                    self._kept[slot] = samples.take(slice(start, stop))
            touched.append((rows, slots))
        if lines is not None:
            rows, slots = self._count(lines)
            self._covered[slots % self._ring.size] = slots
            self._origin = int(slots.min()) if self._origin is None else self._origin
            touched.append((rows, slots))
        return _union(touched)

    def merge(self, telemetry: Samples | None, lines: Samples | None) -> tuple[Codes, Ints]:
        """Join late samples with those of closed slots; returns the cells (rows, slots) that they belong to."""
        touched = []
        if telemetry is not None:
            self._merge(telemetry)
            touched.append((telemetry.rows, telemetry.slots))
        if lines is not None:
            touched.append(self._count(lines))
        return _union(touched)

    def fill(self, rows: Codes, slots: Ints) -> None:
        """Set the missing log columns of B cells that are there to 0 where logs are covered."""
        columns = np.flatnonzero(self._log)
        if not len(columns) or not (self._roster.first_line[rows] <= slots).any():
            return
        block = self._ring.read(rows, slots)[:, columns]
        absent = np.isnan(block)
        covered = (~absent).any(axis=1) | self._covers(slots)
        covered &= self._roster.first_line[rows] <= slots
        block[absent & covered[:, None] & (self._ring.since[columns] <= slots[:, None])] = 0
        self._ring.put(rows, slots, columns, block)

    def forget(self, before: int) -> None:
        """Drop the samples that no late record can join any more: those of slots below `before` - `keep`."""
        for slot in [slot for slot in self._kept if slot < before - self._keep]:
            del self._kept[slot]
        for told in (self.rare, self.examples):
            told.forget(before - self._ring.size)

    def erase(self, rows: Codes) -> None:
        """Forget everything of `rows`."""
        self._ring.erase(rows)
        for told in (self.rare, self.examples):
            told.erase(rows)
        gone = self._flags(rows)
        self._kept = {slot: kept.take(~gone[kept.rows]) for slot, kept in self._kept.items()}

    def state(self) -> State:
        """Everything but the ring."""
        meta = {"duplicates": self.duplicates, "origin": self._origin, "kept": list(self._kept)}
        state = State({"covered": self._covered, "begin": self._begin}, meta)
        state.put("rare", self.rare.state())
        state.put("examples", self.examples.state())
        for slot, kept in self._kept.items():
            state.put(f"kept{slot}", kept.state())
        return state

    def restore(self, state: State) -> None:
        """Take over what `state` gave; the ring is restored and the columns are appended already."""
        self.duplicates, self._origin = state.meta["duplicates"], state.meta["origin"]
        self.rare.restore(state.part("rare"))
        if "examples" in state.meta:  # snapshots of older versions have none
            self.examples.restore(state.part("examples"))
        self._covered = state.arrays["covered"].copy()
        self._begin = state.arrays["begin"].copy()
        parts = state.parts()
        self._kept = {slot: Samples.restored(parts[f"kept{slot}"]) for slot in state.meta["kept"]}

    def _joined(self, telemetry: Samples) -> Samples:
        ordered = telemetry.ordered()
        samples, duplicates = collapse(ordered)
        if duplicates and self._own != EVERY:
            first, last = ordered.slots.searchsorted([self._own.start, self._own.stop]).tolist()
            _, duplicates = collapse(ordered.take(slice(first, last)))
        self.duplicates += duplicates
        begin = self._begin[: samples.values.shape[1]]
        if not (begin > ALWAYS).any():
            return samples
        values = np.where(samples.slots[:, None] < begin, np.float32(np.nan), samples.values)
        return replace(samples, values=values)

    def _kinds(self, samples: Samples) -> NDArray[np.str_]:
        return self._derivation.aggregates[: samples.values.shape[1]]

    def _merge(self, telemetry: Samples) -> None:
        hit = self._flags(telemetry.rows)
        slots = np.unique(telemetry.slots).tolist()
        old = {slot: self._kept[slot] for slot in slots if slot in self._kept}
        joined = [kept.take(hit[kept.rows]) for kept in old.values()]
        samples = self._joined(Samples.joined([*joined, telemetry]))
        rows, at, values = aggregate(samples, self._kinds(samples))
        columns = np.flatnonzero(~self._log[: values.shape[1]])
        self._activate(at, ~np.isnan(values), ~self._log)
        self._ring.blank(rows, at)
        self._ring.put(rows, at, columns, values[:, columns])
        for slot in slots:
            rest = [old[slot].take(~hit[old[slot].rows])] if slot in old else []
            self._kept[slot] = Samples.joined([*rest, samples.take(samples.slots == slot)])

    def _count(self, lines: Samples) -> tuple[Codes, Ints]:
        """Add log lines to their cells, which are made where they are not there."""
        self.rare.add(lines)
        self.examples.add(lines, self._grave)
        rows, slots, counts = count_lines(lines, len(self._log))
        self._activate(slots, counts > 0, self._log)
        self._roster.mark_lines(rows, slots)
        self._ring.blank(rows, slots)
        columns = np.flatnonzero(self._log)
        held: Floats = np.nan_to_num(self._ring.read(rows, slots)[:, columns], nan=0) + counts[:, columns]
        held[self._ring.since[columns] > slots[:, None]] = np.nan
        self._ring.put(rows, slots, columns, held)
        return rows, slots

    def _activate(self, slots: Ints, present: Mask, allowed: Mask) -> None:
        """Let columns that have not counted so far count from their first present value on."""
        width = present.shape[1]
        waiting = np.flatnonzero(allowed[:width] & (self._ring.since[:width] > ALWAYS))
        if len(waiting):
            first = np.where(present[:, waiting], slots[:, None], np.iinfo(np.int64).max).min(axis=0)
            self._ring.since[waiting] = np.minimum(self._ring.since[waiting], first)

    def _covers(self, slots: Ints) -> Mask:
        if self._coverage == "entity" or self._origin is None:
            return np.zeros(len(slots), np.bool_)
        if self._coverage == "always":
            return slots >= self._origin
        covers: Mask = self._covered[slots % self._ring.size] == slots
        return covers

    def _flags(self, rows: Codes) -> Mask:
        flags = np.zeros(len(self._roster.names), np.bool_)
        flags[rows] = True
        return flags


def _union(cells: Sequence[tuple[Codes, Ints]]) -> tuple[Codes, Ints]:
    """The distinct cells (rows, slots) of `cells`, by (slot, row)."""
    if not cells:
        return np.empty(0, np.int32), np.empty(0, np.int64)
    rows, slots = (np.concatenate(part) for part in zip(*cells, strict=True))
    order = np.lexsort((rows, slots))
    rows, slots = rows[order], slots[order]
    fresh = np.concatenate([[True], (np.diff(rows) != 0) | (np.diff(slots) != 0)])[: len(rows)]
    return rows[fresh], slots[fresh]
