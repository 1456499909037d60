"""Which alerts of a partition are explained at once, and which wait in the database until there is time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from storage.engine import Carrier
from storage.read import Reader
from storage.store import Store
from storage.types import LIVE, Alert, Announcement, Explanation, alert_id
from tsad.cases import Case, CaseBook, Evidence, Told
from tsad.director import Director
from tsad.explaining import Request, explain, packed, tells, unpacked
from tsad.findings import Job
from tsad.meter import Meter
from tsad.models import Model
from tsad.rows import RowWriter


@dataclass
class Explanations:
    """The explanations of one partition's alerts, `book` being the cases that may still change.

    At most `most` are made a poll; `announce` says what others are told of an alert that was explained later; `behind`
    is False when it is known that none waits.
    """

    writer: RowWriter
    store: Store
    reader: Reader
    director: Director
    book: CaseBook
    most: int
    announce: Callable[[Alert, Case | None], list[Announcement]]
    aside: Carrier
    meter: Meter
    behind: bool = True

    def of(self, jobs: list[Job]) -> list[Explanation]:
        """Explain the strongest now; the rest waits in the database with its window."""
        jobs = sorted(jobs, key=lambda job: -np.nan_to_num(job.evidence.score))
        now, later = jobs[: self.most], jobs[self.most :]
        requests = [self._request(job.case.entity, job.case.track.identity, job.evidence) for job in now]
        rows = []
        for job, answer in zip(now, explain(requests, self._model_of), strict=True):
            rows += answer.rows
            _tell(job.case, job.evidence, answer.told)
        for job in later:
            job.case.told.window = packed([*_waiting(job.case, job.evidence.slot), job.evidence])
        self.behind |= bool(later)
        return rows

    def of_waiting(self, most: int | None = None) -> int:
        """Explain `most` alerts whose explanation had to wait (else a poll's), strongest first; how many were."""
        most = max(self.most, 1) if most is None else most
        waiting = self.reader.pending(self.writer.stream, self.writer.run, most, self.writer.partition)
        held = {self.writer.alert_id(case): case for case in self.book.cases.values()}
        for alert in waiting:
            evidence = unpacked(alert.window)
            requests = [self._request(alert.entity, alert.opened_slot, one) for one in evidence]
            with self.meter.stage("explain"):
                answers = self.aside(partial(explain, requests, self._model_of))
            told = Told(alert.explained_by, alert.sentence, alert.evidence)
            for answer in answers:
                if tells(told.slot, answer.told.slot or 0, alert.peak_slot):
                    told = answer.told
            done = replace(
                alert, explanation="done", explained_by=told.explained_by, sentence=told.sentence,
                evidence=told.evidence, window=None,
            )  # fmt: skip
            case = held.get(alert.id)
            rows = [row for answer in answers for row in answer.rows]
            if self.store.explained(done, rows, self.announce(done, case), waited=alert.window) and case is not None:
                case.told = told
        return len(waiting)

    def wait_again(self) -> None:
        """What waits to be explained goes on waiting: a replay, whose polls are cut in another way, explains others at
        once than were explained when they were saved, and writes nothing."""
        held = {self.writer.alert_id(case): case for case in self.book.cases.values()}
        for alert, window in self.reader.waiting(held).items():
            told = held[alert].told
            again = {evidence.slot: evidence for part in (window, told.window) for evidence in unpacked(part)}
            told.window = packed(list(again.values()))

    def catch_up(self) -> bool:
        """Explain one that waits, if any: whether there was one."""
        if self.behind:
            self.behind = self.of_waiting(1) > 0
        return self.behind

    def _request(self, entity: str, opened: int, evidence: Evidence) -> Request:
        run, stream = self.writer.run, self.writer.stream
        identity, chance = (alert_id(of, stream, entity, opened) for of in (run, LIVE))
        return Request(identity, entity, evidence, chance)

    def _model_of(self, request: Request) -> Model:
        return self.director.model(request.evidence.version, request.evidence.features)


def _tell(case: Case, evidence: Evidence, told: Told) -> None:
    window = packed(_waiting(case, evidence.slot))
    if tells(case.told.slot, evidence.slot, case.track.episode.peak):
        case.told = told
    case.told.window = window


def _waiting(case: Case, but: int) -> list[Evidence]:
    return [evidence for evidence in unpacked(case.told.window) if evidence.slot != but]
