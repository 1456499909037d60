"""What a run counts as it goes, for Prometheus: once a poll, never a row."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from storage.types import Alert, Changes
from streaming.types import Topic
from tsad.findings import Findings

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
DELAYS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
ENTERED = {
    "opened": "open", "reopened": "open", "confirmed": "confirmed", "retracted": "retracted", "merged": "retracted",
    "resolved": "resolved",
}  # fmt: skip
"""The state that an alert has entered, by what happened to it."""


class Meter:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "tsad_stage_seconds", "Seconds that a poll of a partition spent in a stage.", ["stage"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._records = Counter(
            "tsad_records", "Records and lines that were read, the rejected ones too.", ["topic"],
            registry=self.registry,
        )  # fmt: skip
        self._windows = Counter("tsad_windows", "Windows that were scored.", registry=self.registry)
        self._slots = Counter("tsad_slots", "Slots that have closed.", registry=self.registry)
        self._changes = Counter(
            "tsad_alert_changes", "Alerts that entered a state, by their severity then.", ["state", "severity"],
            registry=self.registry,
        )  # fmt: skip
        self._delay = Histogram(
            "tsad_alert_delay_seconds", "From the ingest of the record that opened an alert to the alert's commit.",
            buckets=DELAYS, registry=self.registry,
        )  # fmt: skip

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name).observe(time.perf_counter() - began)

    def read(self, topic: Topic, rows: int) -> None:
        """Rows of a poll."""
        self._records.labels(topic).inc(rows)

    def saved(self, findings: Findings, alerts: Sequence[Alert], now_ns: int) -> None:
        """What was committed just now."""
        self._windows.inc(findings.windows)
        self._slots.inc(findings.closed)
        if not alerts:
            return
        severities = {(alert.entity, alert.opened_slot): alert.severity for alert in alerts}
        ingested = {(case.entity, case.track.identity): case.ingested_ns for case in findings.cases.values()}
        for event in findings.events:
            place = (event.entity or "", event.identity or 0)
            state = ENTERED.get(str(event.detail.get("reason")))
            if event.kind != "alert" or state is None or place not in severities:
                continue
            self._changes.labels(state, severities[place]).inc()
            if event.detail["reason"] == "opened":
                self._delay.observe(max(now_ns - ingested[place], 0) / 1e9)

    def sessions(self, saved: Sequence[Changes]) -> None:
        """What was committed of sessions."""
        for changes in saved:
            severities = {alert.id: alert.severity for alert in changes.alerts}
            for row in changes.audit:
                state = ENTERED.get(str(row.detail["reason"]))
                if state is not None and row.alert_id in severities:
                    self._changes.labels(state, severities[row.alert_id]).inc()
