"""What is said of an anomalous session: its score, what raised it in words, and the alert that is kept of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from detectors.sessionmodel import FittedSessions, SessionVerdicts
from storage.types import Alert, AlertState, Explanation, Severity, alert_id
from streaming.sessions import Sessions
from streaming.settings import SECOND
from streaming.templates import template_id
from streaming.types import SEVERITIES
from tsad.explaining import OTHERS
from tsad.rows import NEGLIGIBLE, utc

TEMPLATE, UNKNOWN = "session.template.", "session.unknown"
"""What raises a session's score is called: a template of the model, or all others."""
SHOWN, SPOKEN, EXAMPLES = 8, 3, 5
EXPLAINED_BY = "sessions"
ERROR = SEVERITIES.index("error")
Reason = Literal["opened", "confirmed", "amended", "reopened", "retracted", "resolved"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One session as it was judged: `parts` are (feature, share) of its score, `texts` the templates of features,
    `said` masked lines behind them, `counts` and `usual` how often each came and commonly comes."""

    start: int
    end: int
    lines: int
    errors: int
    score: float
    p: float
    version: str
    votes: dict[str, bool]
    parts: list[list[Any]]
    texts: dict[str, str]
    said: dict[str, list[str]]
    counts: dict[str, int]
    usual: dict[str, int]

    @classmethod
    def of(
        cls, model: FittedSessions, version: str, sessions: Sessions, verdicts: SessionVerdicts, place: int,
        quoted: Sequence[str],
    ) -> "Finding":  # fmt: skip
        """Session `place` of `sessions`, of which `verdicts` were given; `quoted`: lines unknown to the model."""
        lines = slice(int(sessions.bounds[place]), int(sessions.bounds[place + 1]))
        shares = verdicts.shares[place]
        order = [code for code in np.argsort(-shares, kind="stable")[:SHOWN].tolist() if shares[code] > NEGLIGIBLE]
        names = {code: TEMPLATE + template_id(model.texts[code - 1]) if code else UNKNOWN for code in order}
        counts = np.bincount(sessions.templates[lines], minlength=len(shares))
        usual = model.commonly
        return cls(
            start=int(sessions.starts[place]),
            end=int(sessions.ends[place]),
            lines=lines.stop - lines.start,
            errors=int((sessions.severities[lines] >= ERROR).sum()),
            score=float(verdicts.score[place]),
            p=float(verdicts.p[place]),
            version=version,
            votes={name: bool(verdicts.ratios[d, place] > 1) for d, name in enumerate(model.scorers)},
            parts=[[names[code], round(float(shares[code]), 6)] for code in order],
            texts={names[code]: model.texts[code - 1] for code in order if code},
            said={UNKNOWN: list(quoted[:EXAMPLES])} if quoted and 0 in names else {},
            counts={names[code]: int(counts[code]) for code in order},
            usual={} if usual is None else {names[code]: int(usual[code]) for code in order},
        )

    @property
    def sentence(self) -> str:
        """What is strange, in words."""
        phrases = [self._phrase(name) for name, _ in self.parts[:SPOKEN]]
        voters = [name for name, voted in self.votes.items() if voted]
        said = (
            f"{', '.join(voters)} say{'' if len(voters) > 1 else 's'} so" if voters else "all scorers together say so"
        )
        span = (self.end - self.start) / SECOND
        whole = f"{self.lines} line{'' if self.lines == 1 else 's'} in {span:,.3g} s"
        return "; ".join([whole, *phrases, said]) + "."

    def _phrase(self, name: str) -> str:
        count = self.counts[name]
        if name == UNKNOWN:
            example = f' ("{self.said[UNKNOWN][0]}")' if UNKNOWN in self.said else ""
            return f"{count} of templates that the history hardly knows{example}"
        times = "no line" if count == 0 else "1 line" if count == 1 else f"{count} lines"
        usual = self.usual.get(name, count)
        beside = "" if usual == count else f", usually {usual or 'none'}"
        return f'{times} "{self.texts[name]}"{beside}'


@dataclass(slots=True)
class SessionCase:
    """An alert about a session that can still change; `entity` is its key, with the number of a part behind it."""

    number: int
    entity: str
    opened: int
    finding: Finding
    state: AlertState
    reason: Reason
    detected_ns: int
    ingested_ns: int
    amended_ns: int | None = None
    changes: int = 0

    def becomes(self, state: AlertState, reason: Reason) -> None:
        """It changes by more than lines alone."""
        self.state, self.reason, self.changes = state, reason, self.changes + 1

    def meta(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def restored(cls, meta: dict[str, Any]) -> "SessionCase":
        """What `meta` gave."""
        return cls(**(meta | {"finding": Finding(**meta["finding"])}))


def severity_of(finding: Finding) -> Severity:
    """A point each for a far tail (score >= 2) and for lines that say error."""
    levels: tuple[Severity, ...] = ("info", "warning", "critical")
    return levels[(finding.score >= 2) + (finding.errors > 0)]


@dataclass(frozen=True, slots=True)
class SessionRows:
    """Rows of the sessions' `stream`, whose slots last `step` ns."""

    run: str
    stream: str
    partition: int
    step: int

    def id(self, case: SessionCase) -> str:
        """The identity of the case's alert."""
        return alert_id(self.run, self.stream, case.entity, case.opened)

    def alert(self, case: SessionCase) -> Alert:
        """The case as it stands."""
        found = case.finding
        first, last = found.start // self.step, found.end // self.step
        evidence = {
            "slot": case.opened, "features": [name for name, _ in found.parts], "texts": found.texts,
            "said": found.said, "counts": found.counts, "usual": found.usual, "length": found.lines,
            "contributions": [[name, share * found.score] for name, share in found.parts],
        }  # fmt: skip
        return Alert(
            run=self.run, stream=self.stream, partition=self.partition, entity=case.entity, opened_slot=case.opened,
            first_slot=first, last_slot=last, peak_slot=last, first_time=utc(found.start), last_time=utc(found.end),
            peak_time=utc(found.end), state=case.state, severity=severity_of(found), score=found.score, p=found.p,
            confidence=1.0, model_version=found.version, detected_at=utc(case.detected_ns),
            ingested_at=utc(case.ingested_ns),
            amended_at=None if case.amended_ns is None else utc(case.amended_ns),
            votes={name: {"p": None, "voted": voted} for name, voted in found.votes.items()},
            attribution=dict(found.parts), explanation="done", explained_by=EXPLAINED_BY,
            sentence=found.sentence, evidence=evidence, reason=case.reason,
        )  # fmt: skip

    def explanations(self, case: SessionCase) -> list[Explanation]:
        """A row for each part of the score; at least one, so that none stays of what was said before."""
        found = case.finding
        alert = self.id(case)
        residual = found.score * (1 - sum(share for _, share in found.parts))
        return [
            Explanation(
                alert, case.opened, name, share * found.score, share, 0.0, found.score, residual, None, EXPLAINED_BY
            )
            for name, share in found.parts or [[OTHERS, 0.0]]
        ]
