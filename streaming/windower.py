"""Polls of a partition's topics in, closed slots out: the rules of event time.

What comes out is a function of each topic's records in their order, not of poll sizes or of the topics' interleaving.
A slot closes once the watermark of every topic has passed it, slots close in order, and the first one is the least
watermark over the topics' first records: before each topic has delivered one (or ended), nothing is fed. A record below
its own topic's watermark is late. It takes effect with all others that met the same watermark, right before the slot at
that watermark closes, when all of them are known.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.admission import Admission
from streaming.cells import COUNTED, SCORE, SCORES, Samples
from streaming.derive import Derivation
from streaming.inlet import Held, Inlet, Reject
from streaming.logfeatures import is_log_feature
from streaming.quotes import Quotes
from streaming.ring import ALWAYS, EVERY, NEVER, Mask, SlotRing
from streaming.roster import Roster
from streaming.settings import FeatureRules, Timing
from streaming.stretches import Amended, Closed, ClosedSlot, LogCounts, Stretch
from streaming.types import Codes, Floats, Ints, Records, State, Topic
from streaming.writer import CellWriter, LogCoverage

TOPICS: tuple[Topic, ...] = ("telemetry", "logs")


class Windower:
    """The slots of one partition with the given `topics`.

    `features` are columns that count from the beginning; others are appended when a batch names them, and are missing
    before the first slot in which they came. Batches name a prefix-stable list of columns and are taken over (not
    copied). `reject` is told of records that are too late. At the end slots close up to `through`, also where the last
    record lies before it: other partitions' may lie there. Duplicates are counted in the slots `own`.
    """

    def __init__(
        self,
        timing: Timing,
        rules: FeatureRules,
        reject: Reject,
        *,
        topics: Sequence[Topic] = ("telemetry",),
        features: Sequence[str] = (),
        log_coverage: LogCoverage = "stream",
        is_log: Callable[[str], bool] = is_log_feature,
        through: int | None = None,
        own: range = EVERY,
    ) -> None:
        self.features: list[str] = []
        self.roster = Roster()
        self.ring = SlotRing(timing.ring_slots)
        self._admission = Admission(self.roster, self.ring, timing.max_entities)
        self._timing = timing
        self._lead = timing.ring_slots - timing.window - timing.late_horizon
        self._silent_slots = timing.forget_after if timing.on_silence == "alert" else 0
        self._derive = Derivation(rules, timing.step, timing.window, is_log)
        self._writer = CellWriter(
            self.ring,
            self.roster,
            self._derive,
            is_log=is_log,
            coverage=log_coverage,
            keep=timing.late_horizon,
            own=own,
        )
        # late telemetry takes effect before late lines, whatever the order of `topics`
        self._inlets = {topic: Inlet(topic, timing, reject) for topic in TOPICS if topic in topics}
        self._next: int | None = None
        self._through = NEVER if through is None else through
        self.declare(features)

    @property
    def closed_through(self) -> int | None:
        """The last closed slot (perhaps one without entities); None before the first."""
        return None if self._next is None else self._next - 1

    @property
    def duplicates(self) -> int:
        """Values of a repeated (entity, feature, time) so far: the first counted, these did not."""
        return self._writer.duplicates

    @property
    def late(self) -> int:
        """Late records so far that took or will take effect."""
        return sum(inlet.late for inlet in self._inlets.values())

    @property
    def taken_through(self) -> int | None:
        """The newest slot of any record taken, closed or not; None before the first record."""
        newest = max(inlet.newest_slot for inlet in self._inlets.values())
        return None if newest == NEVER else newest

    def fed(self, topic: Topic) -> int | None:
        """The position up to which records of `topic` were fed: the place to go on from. None before the first."""
        return self._inlets[topic].fed

    def paused(self, topic: Topic) -> bool:
        """Whether the last batch of `topic` waits for another topic to come on: poll that one."""
        return self._inlets[topic].paused

    def declare(self, features: Sequence[str], first: int | None = None) -> None:
        """Let `features` count from the slot `first` on (None = the next to close), whether values have come or not."""
        known = set(self.features)
        self._extend([*self.features, *(name for name in features if name not in known)])
        wanted = set(features)
        declared = np.array([name in wanted for name in self.features], np.bool_)
        if first is None:
            first = ALWAYS if self._next is None else self._next
        self.ring.since[declared] = np.minimum(self.ring.since[declared], first)

    def begin(self, features: Sequence[str], first: int) -> None:
        """Append columns that count from the slot `first` on; their values in earlier slots are dropped."""
        fresh = np.arange(len(self.features) + len(features)) >= len(self.features)
        self.declare(features, first)
        self._writer.begin(fresh, first)

    def widen(self, names: Sequence[str]) -> None:
        """Append the columns that `names` (prefix-stable, as a batch's `features`) has more."""
        self._extend(names)

    def process(self, topic: Topic, batch: Records | LogCounts) -> Iterator[Stretch]:
        """Take a poll; yields what closes and what changes by it. RuntimeError when `topic` is paused.

        The stretches must be read to the end before anything else is called; an entity's row is not given to another
        one before the stretch that names it as evicted was left.
        """
        inlet = self._inlets[topic]
        values: NDArray[Any]
        texts: Sequence[str] = ()
        quotes = Quotes()
        self._extend(batch.features)
        if isinstance(batch, Records):
            values = batch.values
            self.roster.label(batch.labels, 4 * self._timing.max_entities)
        else:
            scored = batch.said[:, SCORES:COUNTED:SCORE]
            if not all(self._writer.log_columns[into[into >= 0]].all() for into in (batch.columns, scored)):
                raise ValueError("log lines can only be counted in log columns")
            values, texts = np.concatenate([batch.said, batch.columns], axis=1), batch.texts
            quotes = batch.quotes
        if inlet.mark.ended:
            inlet.mark.ended = False
            inlet.mark.floor = max(inlet.mark.floor, NEVER if self._next is None else self._next)
        held = Held(batch.names, batch.codes, batch.times // self._timing.step, batch.times, values, texts, quotes)
        inlet.accept(held, batch.positions, batch.next_position)
        return self._advance()

    def end(self, topic: Topic) -> Iterator[Stretch]:
        """Take the end of `topic`: it holds nothing back any more, and when all have ended every open slot closes.

        A topic that goes on after its end finds the slots closed by then passed.
        """
        self._inlets[topic].mark.ended = True
        return self._advance()

    def held_back(self, topic: Topic) -> int | None:
        """The slot that only `topic` keeps from closing, having delivered nothing that waits; None where none is."""
        inlet = self._inlets[topic]
        others = [other for other in self._inlets.values() if other is not inlet and not other.exhausted]
        if not others or inlet.paused or inlet.exhausted:
            return None
        if self._next is None:
            firsts = [other.first_mark for other in others]
            return None if None in firsts else min(first for first in firsts if first is not None)
        passed = min(other.mark.slot for other in others)
        return self._next if inlet.mark.slot <= self._next < passed else None

    def idle(self, topic: Topic) -> Iterator[Stretch]:
        """Let `topic` hold nothing back until its next record, which finds passed what was closed by then."""
        self._inlets[topic].mark.idle = True
        return self._advance()

    def is_idle(self, topic: Topic) -> bool:
        """Whether `topic` is idle."""
        return self._inlets[topic].mark.idle

    def lift(self, topic: Topic, position: int, slot: int) -> None:
        """The idleness of `topic` ends at `position`: its records from there on find the slots below `slot` passed."""
        self._inlets[topic].lift(position, slot)

    def derived(self, rows: Codes, slots: Ints) -> Floats:
        """B x F: the derived values of B cells; those of the last T + late_horizon closed slots can be had."""
        return self._derive(self.ring, rows, slots)

    def said(self, row: int, first: int, last: int) -> dict[str, list[str]]:
        """What an entity's strange log lines said in the closed slots `first` to `last` (`RareLines.of`)."""
        return self._writer.rare.of(row, first, last, self.features)

    def quoted(self, row: int, first: int, last: int) -> dict[str, list[str]]:
        """Some of an entity's log lines of the closed slots `first` to `last`, by feature (`Examples.of`)."""
        return self._writer.examples.of(row, first, last, self.features)

    def state(self) -> State:
        """Everything taken in, fed or waiting. Its arrays are views that the next call alters: store them before it."""
        state = State(meta={"features": list(self.features), "next": self._next})
        state.put("ring", self.ring.state(len(self.roster.names)))
        state.put("roster", self.roster.state())
        state.put("writer", self._writer.state())
        for topic, inlet in self._inlets.items():
            state.put(topic, inlet.state())
        return state

    def restore(self, state: State) -> None:
        """Go on exactly where `state` was taken; the sources go on behind the last batch. Only on a new windower."""
        known = len(self.features)
        if list(self.features) != state.meta["features"][:known]:
            raise ValueError("the state's columns are not those of this windower")
        self._extend(state.meta["features"])
        self._next = state.meta["next"]
        self.ring.restore(state.part("ring"))
        self.roster.restore(state.part("roster"))
        self._writer.restore(state.part("writer"))
        for topic, inlet in self._inlets.items():
            inlet.restore(state.part(topic))

    def _extend(self, names: Sequence[str]) -> None:
        fresh = list(names[len(self.features) :])
        if fresh:
            self.features += fresh
            self._writer.extend(fresh)

    def _advance(self) -> Iterator[Stretch]:
        if self._next is None:
            self._next = self._first()
        while self._next is not None:
            for inlet in self._inlets.values():
                inlet.feed(self._next + self._lead)
            before = self._next
            yield from self._close(self._limit())
            if self._next == before or not any(inlet.paused for inlet in self._inlets.values()):
                return

    def _first(self) -> int | None:
        """The first slot to close, once every topic has delivered a record or ended."""
        inlets = self._inlets.values()
        firsts = [inlet.first_mark for inlet in inlets if not inlet.exhausted]
        known = [first for first in firsts if first is not None]
        return min(known) if known and len(known) == len(firsts) else None

    def _limit(self) -> int:
        """The first slot that may not close."""
        going = [inlet.mark.slot for inlet in self._inlets.values() if not inlet.exhausted]
        if going:
            return min(going)
        return max(self._through, *(inlet.mark.newest_slot for inlet in self._inlets.values())) + 1

    def _close(self, limit: int) -> Iterator[Stretch]:
        while self._next is not None and self._next < limit:
            amended = self._amend(self._next)
            if amended is not None:
                yield amended
            end = self._end(self._next, limit)
            data = min((slot for inlet in self._inlets.values() if (slot := inlet.next_slot) is not None), default=end)
            if data > self._next and not len(self.roster.active(self._next, self._silent_slots)):
                self._next = min(end, data)
                continue
            closed, evicted = self._run(self._next, min(end, self._next + self._timing.max_lead))
            yield Closed(closed)
            if evicted:
                self._writer.erase(np.array([row for _, row in evicted], np.int32))
                self.roster.release([name for name, _ in evicted])
        # a topic that went on after its end may have left late records at the place where the input ends again
        if all(inlet.exhausted for inlet in self._inlets.values()) and self._next is not None:
            amended = self._amend(self._next)
            if amended is not None:
                yield amended

    def _end(self, start: int, limit: int) -> int:
        """Slots from `start` up to the one returned can close with nothing late between them."""
        waiting = [slot for inlet in self._inlets.values() for slot in inlet.waiting if slot > start]
        return min([limit, *waiting])

    def _run(self, start: int, end: int) -> tuple[list[ClosedSlot], Sequence[tuple[str, int]]]:
        """Close the slots from `start` up to `end`, or to the first that needs an eviction, whom it returns."""
        parts = [inlet.until(end) for inlet in self._inlets.values()]
        births, cut = self._admission.births([part for held in parts for part in held], start, end)
        if cut < end:
            parts = [inlet.until(cut) for inlet in self._inlets.values()]
        touched = self._writer.write(*self._placed(parts))
        rows, slots = self.roster.living(*touched, range(start, cut), self._silent_slots)
        self.ring.blank(rows, slots)
        self._writer.fill(rows, slots)
        values = self._derive(self.ring, rows, slots)
        for inlet in self._inlets.values():
            inlet.drop(cut)
        self._next = cut
        self._writer.forget(cut)
        evicted = self._admission.excess()
        closed = []
        edges = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(slots)] if len(slots) else []
        for first, last in pairwise(edges):
            slot, span = int(slots[first]), slice(first, last)
            gone = evicted if slot == cut - 1 else ()
            closed.append(ClosedSlot(slot, rows[span], values[span], births.get(slot, ()), gone))
        return closed, evicted

    def _amend(self, slot: int) -> Amended | None:
        """Let the late records that met watermark `slot` take effect, before that slot closes."""
        parts = [inlet.waiting.pop(slot, []) for inlet in self._inlets.values()]
        unknown = self._admission.unknown([part for held in parts for part in held])
        if not any(parts):
            return None
        births = self._admission.admit(unknown)
        telemetry, lines = self._placed(parts)
        named = np.unique(np.concatenate([samples.rows for samples in (telemetry, lines) if samples is not None]))
        span = np.arange(slot - self._timing.late_horizon, slot)
        rows, slots = np.repeat(named, len(span)), np.tile(span, len(named))
        had, before = self.ring.has(rows, slots), self._derive(self.ring, rows, slots)
        late_rows, late_slots = self._writer.merge(telemetry, lines)
        self.roster.mark(late_rows, late_slots)
        alive = self._revived(np.searchsorted(named, late_rows), late_slots - span[0], (len(named), len(span)))
        self.ring.blank(rows[alive], slots[alive])
        there = self.ring.has(rows, slots)
        self._writer.fill(rows[there], slots[there])
        after = self._derive(self.ring, rows, slots)
        same = ((after == before) | (np.isnan(after) & np.isnan(before))).all(axis=1)
        changed = there & ~(had & same)
        born = [entity for _, entities in sorted(births.items()) for entity in entities]
        if not changed.any():
            return None
        return Amended(slot - 1, rows[changed], slots[changed], after[changed], born)

    def _revived(self, rows: Ints, slots: Ints, shape: tuple[int, int]) -> Mask:
        """Which cells of a table of `shape` (flat) are kept alive by the late ones at (rows, slots)."""
        place = np.arange(shape[1])
        last = np.full(shape, NEVER, np.int64)
        last[rows, slots] = slots
        alive: Mask = place - np.maximum.accumulate(last, axis=1) <= self._silent_slots
        return alive.reshape(-1)

    def _placed(self, parts: Sequence[Sequence[Held]]) -> tuple[Samples | None, Samples | None]:
        """The records of each inlet, telemetry and log lines, at their rows."""
        placed: dict[Topic, Samples] = {}
        for topic, held_parts in zip(self._inlets, parts, strict=True):
            if held_parts:
                samples = [
                    Samples(
                        self.roster.rows(held.names)[held.codes],
                        held.slots,
                        held.times,
                        held.values,
                        held.texts,
                        held.quotes,
                    )
                    for held in held_parts
                ]
                placed[topic] = Samples.joined(samples)
        return placed.get("telemetry"), placed.get("logs")
