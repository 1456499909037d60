"""From what a partition found to the rows that are kept: names, UTC times, JSON."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isnan

import numpy as np

from storage.arrays import pack
from storage.documents import Document
from storage.types import Alert, Audit, EntityRow, EvictedState, Rollup, Severity, Vote, alert_id
from streaming.roster import Roster
from streaming.types import Floats
from tsad.cases import Case, Evidence, Shown
from tsad.episodes import severity
from tsad.findings import Event, Findings
from tsad.overlap import Overlap

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEGLIGIBLE = float(np.float32(0.001))
"""Shares up to this are not listed."""
SHOWN = 8
"""Channels of an alert whose observed values and band are kept."""


def utc(ns: int) -> datetime:
    """Nanoseconds since the epoch as an aware datetime (to the microsecond)."""
    return EPOCH + timedelta(microseconds=ns // 1000)


def votes_of(detectors: Sequence[str], tails: Sequence[float], votes: Sequence[bool]) -> dict[str, Vote]:
    """Each detector's own tail probability and vote; NaN is no opinion."""
    opinions = zip(detectors, tails, votes, strict=True)
    return {name: {"p": None if isnan(tail) else tail, "voted": vote} for name, tail, vote in opinions}


def strongest(evidence: Evidence, count: int) -> list[int]:
    """The channels with the largest shares, strongest first."""
    places: list[int] = np.argsort(-evidence.shares, kind="stable")[:count].tolist()
    return places


def attribution(evidence: Evidence) -> dict[str, float]:
    """Shares by feature that are not negligible, largest first."""
    shares = evidence.shares.tolist()
    return {
        evidence.features[place]: round(shares[place], 6)
        for place in strongest(evidence, 20)
        if shares[place] > NEGLIGIBLE
    }


def observed_of(evidence: Evidence, places: Sequence[int]) -> list[list[float | None]]:
    """Observed values, one list for each of the channels `places`; None = missing."""
    return [_numbers(evidence.observed[:, place]) for place in places]


def _numbers(values: Floats) -> list[float | None]:
    return [None if isnan(value) else value for value in values.tolist()]


def shown_of(case: Case) -> Shown:
    """What is shown of the case's strongest evidence."""
    evidence = case.strongest
    if case.shown is None or case.shown.of is not evidence:
        votes = votes_of(evidence.detectors, evidence.tails.tolist(), evidence.votes.tolist())
        case.shown = Shown(evidence, Document(votes), Document(attribution(evidence)), evidence.channels)
    return case.shown


def severity_of(case: Case) -> Severity:
    """The severity of the case as it stands: what a context event explains away is for information."""
    if case.account is not None and case.account.explains:
        return "info"
    episode, features = case.track.episode, len(case.strongest.features)
    return severity(episode.score, shown_of(case).channels, features, episode.last - episode.first + 1)


class RowWriter:
    """Rows of one run, stream and partition, whose slots last `step` ns."""

    def __init__(self, run: str, stream: str, partition: int, step: int) -> None:
        self.run = run
        self.stream = stream
        self.partition = partition
        self.step = step

    def time(self, slot: int) -> datetime:
        """The event time at which a slot begins."""
        return utc(slot * self.step)

    def alert_id(self, case: Case) -> str:
        """The identity of the case's alert."""
        return alert_id(self.run, self.stream, case.entity, case.track.identity)

    def alert(self, case: Case) -> Alert:
        """The case as it stands."""
        episode, evidence, told, shown = case.track.episode, case.strongest, case.told, shown_of(case)
        merged = case.track.merged_into
        return Alert(
            run=self.run,
            stream=self.stream,
            partition=self.partition,
            entity=case.entity,
            opened_slot=case.track.identity,
            first_slot=episode.first,
            last_slot=episode.last,
            peak_slot=episode.peak,
            first_time=self.time(episode.first),
            last_time=self.time(episode.last),
            peak_time=self.time(episode.peak),
            state=episode.state,
            severity=severity_of(case),
            score=episode.score,
            p=episode.p,
            confidence=evidence.confidence,
            model_version=evidence.version,
            detected_at=utc(case.detected_ns),
            ingested_at=utc(case.ingested_ns),
            amended_at=None if case.amended_ns is None else utc(case.amended_ns),
            votes=shown.votes,
            attribution=shown.attribution,
            explanation="pending" if told.pending else "done",
            explained_by=told.explained_by,
            sentence=told.sentence,
            window=told.window,
            evidence=told.evidence,
            merged_into=None if merged is None else alert_id(self.run, self.stream, case.entity, merged),
            reason=case.reason,
            explained_by_event={} if case.account is None else case.account.told,
        )

    def rollups(self, findings: Findings) -> list[Rollup]:
        """Hourly roll-ups."""
        return [
            Rollup(name, utc(hour), maximum, mean, count)
            for names, part in findings.rollups
            for name, hour, maximum, mean, count in zip(
                names,
                part.hours.tolist(),
                part.maxima.tolist(),
                part.means.tolist(),
                part.counts.tolist(),
                strict=True,
            )
        ]

    def audit(self, events: Sequence[Event], now_ns: int) -> list[Audit]:
        """Audit rows, dated by the wall clock."""
        return [
            Audit(
                event.kind,
                utc(now_ns),
                event.entity,
                None
                if event.identity is None or event.entity is None
                else alert_id(self.run, self.stream, event.entity, event.identity),
                event.slot,
                dict(event.detail),
            )
            for event in events
        ]


def evicted_rows(findings: Findings) -> list[EvictedState]:
    """What evicted entities had learnt."""
    return [EvictedState(entity, slot, pack(state.arrays, state.meta)) for entity, slot, state in findings.evicted]


def entity_rows(findings: Findings, labels: Mapping[str, dict[str, str]]) -> list[EntityRow]:
    """Those that came (again), and those that go: a row that is there keeps its first slot."""
    spans: dict[str, tuple[int, int]] = {}
    for name, slot in [*findings.born, *((name, learnt.meta["seen"]) for name, _, learnt in findings.evicted)]:
        first, last = spans.get(name, (slot, slot))
        spans[name] = min(first, slot), max(last, slot)
    return [EntityRow(name, labels.get(name, {}), first, last) for name, (first, last) in spans.items()]


def every_entity(roster: Roster, overlap: Overlap | None = None) -> list[EntityRow]:
    """Every entity with its last slot, within what a part answers for; a first one that is stored stays."""
    known = [(name, int(seen)) for name, seen in zip(roster.names, roster.seen, strict=False) if name is not None]
    met = [(name, overlap.met(name, seen) if overlap else (seen, seen)) for name, seen in known if seen > 0]
    return [EntityRow(name, roster.labels.get(name, {}), *span) for name, span in met if span is not None]
