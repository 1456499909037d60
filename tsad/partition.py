"""One partition's path, from decoded batches to what is to be saved: close, scale, score, judge, keep evidence.

Everything here is a function of the partition's records and orders; sources, database and clocks stay outside.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from storage.noted import NotedScores
from streaming.stretches import Amended, ClosedSlot, LogCounts, Stretch, cells_of
from streaming.types import Codes, Floats, Ints, Records, State, Topic
from streaming.windower import Windower
from tsad.cases import Case, CaseBook, Evidence, Judged, stretches_of
from tsad.circumstances import Circumstances
from tsad.era import Era
from tsad.finals import Finals
from tsad.findings import Event, Findings, Job
from tsad.history import History
from tsad.judge import EXTENDED, Change, Judge
from tsad.overlap import Core, Overlap
from tsad.readings import Readings, Rollups
from tsad.signature import Signature, signature

NEAR = 0.9
"""Scores from which on shares are looked at: those of flags (above 1) become evidence."""
NOBODY = (np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0), np.zeros(0, np.float32))
"""The readings of a slot in which no entity has a window."""


class Partition:
    """The state of one partition.

    `recall(entities, slot)` gives what evicted entities had learnt before `slot`; `next_era` is asked before a slot
    is judged and answers how to make the era that begins there (called when all slots before were judged), or None;
    `history` is told of each slot that can no longer change, `witness` of each judgement at the moment of its close;
    `circumstances` know what explains an alert away; `overlap`: it is a part of a series, and answers for some slots.
    """

    def __init__(
        self,
        windower: Windower,
        judge: Judge,
        rollups: Rollups,
        history: History,
        recall: Callable[[Sequence[str], int], dict[str, State]],
        next_era: Callable[["Partition", int], Callable[[], Era | None] | None],
        witness: Callable[[Judged], None] | None = None,
        circumstances: Circumstances | None = None,
        overlap: Overlap | None = None,
    ) -> None:
        self.windower = windower
        self.eras: list[Era] = []
        self.judge = judge
        self.rollups = rollups
        self.history = history
        self.overlap = overlap
        core = Core() if overlap is None else overlap.core
        self._finals = Finals(windower, judge.readings, rollups, history, self._era_at, core)
        self.book = CaseBook()
        self.findings = Findings()
        self.circumstances = circumstances
        self.now_ns = 0
        self.ingested_ns = 0
        self._recall = recall
        self._next_era = next_era
        self._witness = witness

    @property
    def era(self) -> Era:
        """The era in force."""
        return self.eras[-1]

    @property
    def _names(self) -> list[str]:
        """Entity names by row; empty where a row is free."""
        return self.windower.roster.filled

    @property
    def readings(self) -> Readings:
        """The judge's ring of readings."""
        return self.judge.readings

    def process(self, topic: Topic, batch: Records | LogCounts, now_ns: int, ingested_ns: int) -> None:
        """Take a batch in; the wall clock and the batch's ingest time only stamp detections."""
        self.now_ns, self.ingested_ns = now_ns, ingested_ns
        self._consume(self.windower.process(topic, batch))

    def end(self, topic: Topic, now_ns: int) -> None:
        """The end of a finite topic: closes what it held open."""
        self.now_ns = now_ns
        self._consume(self.windower.end(topic))

    def idle(self, topic: Topic, now_ns: int) -> None:
        """Until its next record `topic` holds nothing back."""
        self.now_ns = now_ns
        self._consume(self.windower.idle(topic))

    def take(self) -> Findings:
        """What has come up since the last call."""
        done, self.findings = self.findings, Findings()
        done.rollups = self._finals.take()
        return done if self.overlap is None else self.overlap.kept(done, self.judge.closed)

    def _consume(self, stretches: Iterator[Stretch]) -> None:
        for stretch in stretches:
            if isinstance(stretch, Amended):
                self._record(self._pass_empty(stretch.after), None)
                self._amend(stretch)
            else:
                for segment in self._segments(stretch.slots):
                    self._close(segment)
        if self.windower.closed_through is not None:
            self._record(self._pass_empty(self.windower.closed_through), None)

    def _segments(self, closed: Sequence[ClosedSlot]) -> Iterator[list[ClosedSlot]]:
        """Cut a stretch where an era begins."""
        segment: list[ClosedSlot] = []
        for slot in closed:
            make = self._next_era(self, slot.slot)
            if make is not None:
                if segment:
                    yield segment
                    segment = []
                self._begin(make())
            if self.eras:
                segment.append(slot)
            else:  # nothing has had a value yet
                self._welcome(slot.born, slot.slot)
        if segment:
            yield segment

    def _begin(self, era: Era | None) -> None:
        """An old era stays as long as late data may reach its slots."""
        if era is None:
            return
        keep = era.first_slot - self.readings.horizon
        ends = [following.first_slot for following in [*self.eras[1:], era]]
        self.eras = [old for old, end in zip(self.eras, ends, strict=False) if end > keep]
        self.eras.append(era)

    def _close(self, segment: list[ClosedSlot]) -> None:
        parts = []
        for run in _by_births(segment):
            self._welcome(run[0].born, run[0].slot)
            parts.append(cells_of(run))
            self.era.take_in(*parts[-1])
        rows, ends = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        near = NEAR if self._witness is None else -np.inf
        judged = self.era.judge_windows(rows, ends, self._names, learn=True, near=near)
        if self._witness is not None:
            self._witness(judged)
        self._decide(judged)
        self._note(judged, np.flatnonzero(judged.verdicts.score > 0.5))
        self.findings.closed += len(segment)
        self.findings.windows += len(judged.rows)
        if segment[-1].evicted:
            self._evict(segment[-1])

    def _welcome(self, born: Sequence[tuple[str, int]], slot: int) -> None:
        if not born:
            return
        names = [name for name, _ in born]
        self.findings.born += [(name, slot) for name in names]
        if not self.eras:  # the first era begins with everybody who is there by then
            return
        scorer = self.era.scorer
        scorer.bind(np.array([row for _, row in born], np.int32), names)
        known = self._recall(names, slot) | {name: state for name, _, state in self.findings.evicted}
        for name, row in born:
            # what was learnt beside another version does not fit this one
            if name in known and known[name].meta["version"] == self.era.version:
                scorer.put_rows(np.array([row], np.int32), known[name].arrays)

    def _decide(self, judged: Judged) -> None:
        verdicts, settled = judged.verdicts, judged.settled
        changes: list[Change] = []
        for slots, part in stretches_of(judged, self.readings.lead):
            changes += self._pass_empty(slots.start - 1)
            given = (verdicts.score[part], verdicts.p[part], settled[part])
            for slot, changed in self.judge.close_all(slots, judged.rows[part], judged.ends[part], *given):
                self._log(changed, slot)
                changes += changed
            self._finals.finish(range(slots.start - self.readings.horizon, slots.stop - self.readings.horizon))
        self._record(changes, judged)

    def _pass_empty(self, until: int) -> list[Change]:
        """Slots up to `until` that closed without any entity: time passes for what is open and what is not final."""
        changes: list[Change] = []
        for slot in self.judge.empty_slots(until):
            final = slot - self.readings.horizon
            self._finals.finish(range(final, final + 1))
            changed = self.judge.close(slot, *NOBODY)
            self._log(changed, slot)
            changes += changed
        return changes

    def _record(self, changes: Sequence[Change], judged: Judged | None) -> None:
        """Turn changed tracks into cases, with the evidence of opening and peak; of a track the last change counts."""
        last = {(change.row, change.track.identity): change for change in changes}
        for key, change in last.items():
            case = self.book.cases.get(key)
            if case is None:
                case = self._open(change, judged)
                self.book.cases[key] = case
            else:
                self._follow(case, change, judged)
            self.findings.cases[key] = case
        for change in changes:
            case = self.book.cases[change.row, change.track.identity]
            if change.reason != EXTENDED:
                case.reason, case.changes = change.reason, case.changes + 1
            if self.circumstances is not None:
                self.findings.events += self.circumstances.look(case, change, judged, self._signature)
        live = {(row, track.identity) for row, entity in self.judge.entities.items() for track in entity.tracks}
        self.book.drop([key for key in self.book.cases if key not in live])

    def _signature(self, row: int, first: int, last: int) -> Signature:
        return signature(self._era_at(last), self.windower, row, first, last)

    def _open(self, change: Change, judged: Judged | None) -> Case:
        track = change.track
        opening = self._evidence(change.row, track.episode.first, judged)
        case = Case(change.row, self._names[change.row], track, opening, None, self.now_ns, self.ingested_ns)
        self.findings.opened += 1
        self.findings.jobs.append(Job(case, opening))
        self._follow(case, change, judged)
        return case

    def _follow(self, case: Case, change: Change, judged: Judged | None) -> None:
        track = change.track
        case.track = track
        strongest = case.strongest
        if track.episode.peak != strongest.slot:
            at_opening = track.episode.peak == case.opening.slot
            case.peak = None if at_opening else self._evidence(case.row, track.episode.peak, judged)
        if not track.episode.running and case.peak is not None:
            case.asked = case.peak.slot
            self.findings.jobs.append(Job(case, case.peak))

    def _evidence(self, row: int, slot: int, judged: Judged | None) -> Evidence:
        era = self._era_at(slot)
        index = None if judged is None else judged.find(row, slot)
        one = np.array([row], np.int32)
        if judged is None or index is None:
            # its own window did not change, but late data made this slot an opening or a peak
            judged, index = era.judge_windows(one, np.array([slot], np.int64), self._names, learn=False), 0
        slots = np.arange(slot - era.window + 1, slot + 1)
        observed = self.windower.derived(np.full(era.window, row, np.int32), slots)
        window = era.plane.gather(one, np.array([slot], np.int64))[0].copy()
        origin, width = era.scorer.ranges(one, slot)
        said = self.windower.said(row, int(slots[0]), slot)
        quoted = era.called(self.windower.quoted(row, int(slots[0]), slot))
        return judged.evidence(index, window, era.project(observed), origin[0], width[0], said, quoted)

    def _era_at(self, slot: int) -> Era:
        """The era in force at `slot`: an old one stays as long as late data may reach it."""
        return next((era for era in reversed(self.eras) if era.first_slot <= slot), self.eras[0])

    def _amend(self, stretch: Amended) -> None:
        """Judge again every closed window that holds a changed slot, with the state of this moment."""
        self._welcome(stretch.born, stretch.after)
        if not self.eras:  # nothing was judged yet; the first era reads these cells from the ring
            return
        for era in self.eras:
            era.correct(stretch.rows, stretch.slots, stretch.values)
        rows, ends = self._touched(stretch)
        for era in self.eras:
            mine = np.array([self._era_at(int(end)) is era for end in ends], bool)
            if mine.any():
                self._judge_again(era.judge_windows(rows[mine], ends[mine], self._names, learn=False), stretch.after)

    def _touched(self, stretch: Amended) -> tuple[Codes, Ints]:
        """Rows and ends, by (end, row): the windows that hold a changed cell, as far as they can still change.

        Longer by `settle` than T, since a changed score moves the settled scores before it; only cells that are there
        (an entity that had not come yet, or had been forgotten, has no window).
        """
        earliest: dict[int, int] = {}
        for row, slot in zip(stretch.rows.tolist(), stretch.slots.tolist(), strict=True):
            earliest[row] = min(slot, earliest.get(row, slot))
        oldest = stretch.after - self.readings.horizon + 1
        pairs = sorted(
            (end, row) for row, first in earliest.items() for end in range(max(first, oldest), stretch.after + 1)
        )
        ends = np.array([end for end, _ in pairs], np.int64)
        rows = np.array([row for _, row in pairs], np.int32)
        there = self.windower.ring.has(rows, ends) if len(rows) else np.zeros(0, bool)
        return rows[there], ends[there]

    def _judge_again(self, judged: Judged, closed: int) -> None:
        verdicts = judged.verdicts
        before = self._scores_before(judged)
        changes = self.judge.amend(judged.rows, judged.ends, verdicts.score, verdicts.p, judged.settled, closed)
        self._log(changes, closed, late=True)
        self._record(changes, judged)
        for case in [case for row in np.unique(judged.rows).tolist() for case in self.book.of_row(row)]:
            self._explain_again(case, judged)
        self._note(judged, np.flatnonzero((verdicts.score > 0.5) | (before > 0.5)))

    def _scores_before(self, judged: Judged) -> Floats:
        pairs = zip(judged.rows.tolist(), judged.ends.tolist(), strict=True)
        return np.array([self.readings.reading(row, end).score for row, end in pairs], np.float32)

    def _explain_again(self, case: Case, judged: Judged) -> None:
        """The windows of a case's opening and peak may have changed: take their evidence anew."""
        case.amended_ns = self.now_ns
        if judged.find(case.row, case.opening.slot) is not None:
            case.opening = self._again(case, case.opening, judged)
        if case.peak is not None and judged.find(case.row, case.peak.slot) is not None:
            case.peak = self._again(case, case.peak, judged)
        self.findings.cases[(case.row, case.track.identity)] = case

    def _again(self, case: Case, old: Evidence, judged: Judged) -> Evidence:
        evidence = self._evidence(case.row, old.slot, judged)
        jobs = self.findings.jobs
        self.findings.jobs = [job for job in jobs if job.case is not case or job.evidence.slot != old.slot]
        # a peak is explained when its episode has ended, and again where that goes on: it may have been saved before
        if old is case.opening or not case.track.episode.running or old.slot == case.asked:
            self.findings.jobs.append(Job(case, evidence))
        return evidence

    def _note(self, judged: Judged, which: NDArray[np.int64]) -> None:
        """Keep the windows `which` for the table of scores."""
        verdicts, names = judged.verdicts, self._names
        if self.overlap is not None:
            which = self.overlap.note(judged, which)
        noted = NotedScores(
            [names[row] for row in judged.rows[which].tolist()],
            judged.ends[which].tolist(),
            verdicts.score[which].tolist(),
            verdicts.p[which].tolist(),
            verdicts.tails[:, which].T,
            verdicts.votes[:, which].T,
            verdicts.detectors,
            judged.version,
        )
        self.findings.scores.append(noted)

    def _evict(self, slot: ClosedSlot) -> None:
        rows = np.array([row for _, row in slot.evicted], np.int32)
        self._finals.leave(rows, slot.slot)
        self._record(changes := self.judge.evict(rows), None)
        self._log(changes, slot.slot)
        for name, row in slot.evicted:
            one = np.array([row], np.int32)
            seen = int(self.windower.roster.seen[row])
            learnt = State(self.era.scorer.rows(one), {"version": self.era.version, "seen": seen})
            self.findings.evicted.append((name, slot.slot, learnt))
            self.findings.events.append(Event("entity evicted", name, slot.slot, None, {"reason": "max_entities"}))
        for era in self.eras:
            era.scorer.forget(rows)
            era.plane.forget(rows)

    def _log(self, changes: Sequence[Change], slot: int, late: bool = False) -> None:
        names = self._names
        for change in changes:
            if change.reason == EXTENDED:
                continue
            detail: dict[str, str | int] = {"reason": change.reason, "late": int(late)}
            if change.track.merged_into is not None:
                detail["merged_into"] = change.track.merged_into
            self.findings.events.append(Event("alert", names[change.row], slot, change.track.identity, detail))

    def so_far(self) -> None:
        """At the end of the input: give out the open hours too, with what is not final yet.

        They stay open: when the stream goes on, they are given out again and replace these.
        """
        if self.judge.closed is not None:
            self._finals.so_far(self.judge.closed)

    def conclude(self) -> None:
        """Nothing more will come: every slot is final."""
        if self.judge.closed is not None:
            self._finals.conclude(self.judge.closed)


def _by_births(segment: Sequence[ClosedSlot]) -> Iterator[list[ClosedSlot]]:
    """Cut where an entity is born: before, nothing is known of it."""
    starts = [0, *(place for place, slot in enumerate(segment) if place and slot.born)]
    for start, stop in zip(starts, [*starts[1:], len(segment)], strict=True):
        yield list(segment[start:stop])
