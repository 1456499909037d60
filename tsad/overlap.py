"""A part of a series in time: the slots that it answers for, and the slots around them, which it judges as well.

Where what is said of a window follows from the model and the window alone, a part that begins some slots earlier comes
to its own with the windows and scores of the whole. Alerts take longer to agree: how a flag is read depends on whether
an alert runs already. Two foldings of the same flags agree for good behind `quiet` slots without one, whatever each
thought before; a part in front of whose slots an entity had no such pause must begin earlier.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streaming.types import Ints
from tsad.cases import Judged
from tsad.findings import Event, Findings
from tsad.judge import Judge


class TooShortError(Exception):
    """What lies around a part's slots does not tell all of them; `before`: in front of them, else behind."""

    def __init__(self, before: bool) -> None:
        super().__init__(f"the overlap {'in front of' if before else 'behind'} a part of a series is too short")
        self.before = before


@dataclass(frozen=True, slots=True)
class Core:
    """The slots from `begin` to before `end`; None: without a bound."""

    begin: int | None = None
    end: int | None = None

    def has(self, slot: int) -> bool:
        """Whether `slot` is one of them."""
        return (self.begin is None or slot >= self.begin) and (self.end is None or slot < self.end)

    def inside(self, slots: Ints) -> NDArray[np.bool_]:
        """Which of N slots are."""
        within = np.ones(len(slots), np.bool_)
        if self.begin is not None:
            within &= slots >= self.begin
        if self.end is not None:
            within &= slots < self.end
        return within

    def clip(self, slots: range) -> range:
        """Those of `slots` that are."""
        first = slots.start if self.begin is None else max(slots.start, self.begin)
        return range(first, slots.stop if self.end is None else max(first, min(slots.stop, self.end)))


@dataclass(slots=True)
class Overlap:
    """What a part keeps of what it finds. `quiet`: slots without a flag that end an alert; `whole`: from which slot on
    its windows are those of the whole series, None where it reads that from the start; `more`: whether the series goes
    on behind what it reads."""

    core: Core
    quiet: int
    whole: int | None = None
    more: bool = False
    _flags: dict[int, list[int]] = field(default_factory=dict)
    _early: set[str] = field(default_factory=set)

    def note(self, judged: Judged, which: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the windows `which` that the part answers for; flags in front of them are remembered."""
        begin = self.core.begin
        if begin is not None and self.whole is not None:
            flagged = which[(judged.verdicts.score[which] > 1) & (judged.ends[which] < begin)]
            for row, end in zip(judged.rows[flagged].tolist(), judged.ends[flagged].tolist(), strict=True):
                self._flags.setdefault(row, []).append(end)
        own: NDArray[np.int64] = which[self.core.inside(judged.ends[which])]
        return own

    def kept(self, findings: Findings, closed: int | None) -> Findings:
        """What the part answers for, once slots up to `closed` were judged. TooShortError where an entity is not known
        to be in step with the whole at its first slot."""
        core = self.core
        if core.begin is not None and closed is not None and closed >= core.begin and not self.in_step:
            raise TooShortError(before=True)
        self._early |= {name for name, slot in findings.born if core.begin is not None and slot < core.begin}
        findings.born = [(name, slot) for name, slot in findings.born if core.has(slot)]
        findings.cases = {key: case for key, case in findings.cases.items() if core.has(case.track.identity)}
        findings.jobs = [job for job in findings.jobs if core.has(job.case.track.identity)]
        findings.events = [event for event in findings.events if core.has(_slot_of(event))]
        return findings

    def met(self, name: str, seen: int) -> tuple[int, int] | None:
        """The first and the last slot in which the part may have seen an entity, last seen at all in `seen`; None where
        that was in front of its slots, or it came behind them."""
        core = self.core
        if core.begin is not None and seen < core.begin:
            return None
        last = seen if core.end is None else min(seen, core.end - 1)
        first = core.begin if core.begin is not None and name in self._early else last
        return (first, last) if name in self._early or core.has(seen) else None

    def over(self, judge: Judge) -> bool:
        """Whether the part has judged its slots, and all alerts that began in them have ended."""
        end = self.core.end
        if end is None or judge.closed is None or judge.closed < end - 1:
            return False
        return all(track.identity >= end for _, track in judge.running())

    def check_end(self, judge: Judge) -> None:
        """Nothing more is read. TooShortError where the series would tell more."""
        if self.more and not self.over(judge):
            raise TooShortError(before=False)

    @property
    def in_step(self) -> bool:
        """Whether each entity had `quiet` slots without a flag between `whole` and the part's first slot."""
        if self.core.begin is None or self.whole is None:
            return True
        edges = (self.whole - 1, self.core.begin)
        pauses = (_longest_pause(edges, flags) for flags in self._flags.values())
        return edges[1] - edges[0] > self.quiet and all(pause > self.quiet for pause in pauses)


def _slot_of(event: Event) -> int:
    return event.slot if event.identity is None else event.identity


def _longest_pause(edges: tuple[int, int], flags: list[int]) -> int:
    """From one flag to the next; a flag may lie on both edges."""
    within = [slot for slot in flags if slot > edges[0]]
    return max(later - earlier for earlier, later in pairwise([edges[0], *within, edges[1]]))
