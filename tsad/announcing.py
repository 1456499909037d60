"""What is said outside of an alert and of a dead letter: docs/alert-message.md, schemas/*.v1.json."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from storage.documents import dump_json, storable
from storage.types import Alert, Announcement, DeadLetter, Forward, NoData, Notice
from streaming.broker.consumer import Place
from streaming.deadletters import PAYLOAD_BYTES
from streaming.types import Topic
from tsad.context import sentence_of

VERSION = 1
"""Of the message. It rises when a reader of the older one would go wrong; new members alone do not raise it."""
AS_STORED = (
    "id", "stream", "partition", "entity", "state", "severity", "reason", "score", "p", "confidence", "model_version",
    "opened_slot", "first_slot", "last_slot", "peak_slot", "first_time", "last_time", "peak_time", "detected_at",
    "ingested_at", "amended_at", "votes", "attribution", "explanation", "explained_by", "sentence", "merged_into",
)  # fmt: skip
TOLD = ("slot", "contributions", "texts", "said", "lines")
"""Of the evidence; the curves stay in the database."""
CLOCK = ("detected_at", "ingested_at", "amended_at")
STEADY = (
    "first_slot", "state", "severity", "reason", "explanation", "explained_by", "sentence", "merged_into", "evidence",
    "explained_by_event",
)  # fmt: skip
"""What one more anomalous slot does not change."""


class Announcer:
    """Makes messages of what is saved. A topic that is None is not fed; `origins` are the places that were read."""

    def __init__(self, alerts: str | None, dead_letters: str | None, origins: Mapping[Topic, Place]) -> None:
        self._alerts = alerts
        self._dead_letters = dead_letters
        self._origins = {str(topic): place for topic, place in origins.items()}

    def announce(self, alert: Alert, changes: int | None = None) -> list[Announcement]:
        """What to say of `alert` as it stands, after so many `changes` (None: it can change no more)."""
        if self._alerts is None:
            return []
        body = alert_body(alert)
        over = alert.state in ("resolved", "retracted")
        said = [name for name in body if (name not in CLOCK if over else name in STEADY)]
        content = dump_json([changes, {name: body[name] for name in said}])
        quiet = bool(alert.explained_by_event)
        return [Announcement(alert.id, self._alerts, body, hashlib.sha256(content.encode()).hexdigest()[:32], quiet)]

    def notice(self, stream: str, partition: int, rows: Iterable[NoData]) -> list[Notice]:
        """What to say of topics that have gone quiet, or come back."""
        topic = self._alerts
        return [] if topic is None else [Notice(row, topic, self._quiet(stream, partition, row)) for row in rows]

    def _quiet(self, stream: str, partition: int, row: NoData) -> dict[str, Any]:
        return {
            "version": VERSION, "kind": "no_data", "id": row.id, "revision": 1 if row.resolved_at is None else 2,
            "stream": stream, "partition": partition, "input": row.topic, "topic": self._origins[row.topic][0],
            "state": row.state, "since": row.since, "opened_at": row.opened_at, "resolved_at": row.resolved_at,
        }  # fmt: skip

    def forward(self, stream: str, letters: Iterable[DeadLetter]) -> list[Forward]:
        """Dead letters on their way to where somebody looks after them."""
        topic = self._dead_letters
        return [] if topic is None else [self._forward(topic, stream, letter) for letter in letters]

    def _forward(self, topic: str, stream: str, letter: DeadLetter) -> Forward:
        origin, partition = self._origins[letter.topic]
        headers = {
            "tsad.stream": stream,
            "tsad.reason": letter.reason,
            "tsad.detail": storable(letter.detail),
            "tsad.topic": origin,
            "tsad.partition": str(partition),
            "tsad.offset": str(letter.position),
            "tsad.payload": _extent(letter.payload),
        }
        return Forward(letter, topic, f"{origin}:{partition}:{letter.position}", headers)


def alert_body(alert: Alert) -> dict[str, Any]:
    """The message but for its revision; times are aware datetimes."""
    body = {name: getattr(alert, name) for name in AS_STORED}
    body |= {name: storable(value) for name, value in body.items() if isinstance(value, str)}
    body["sentence"] = sentence_of(body["sentence"], alert.explained_by_event)
    body["explained_by_event"] = alert.explained_by_event or None
    evidence = {name: alert.evidence[name] for name in TOLD if name in alert.evidence}
    return {"version": VERSION, "kind": "anomaly", **body, "evidence": evidence}


def _extent(payload: bytes | None) -> str:
    """How much of a payload was kept."""
    if payload is None:
        return "none"
    return "cut" if len(payload) >= PAYLOAD_BYTES else "whole"
