"""Alerts as triage meets them: explained, with what their features did."""

from datetime import UTC, datetime, timedelta
from typing import Any

from storage.types import LIVE, Alert

STEP = 60_000_000_000
START = datetime(2026, 3, 1, tzinfo=UTC)


def at(slot: int) -> datetime:
    """The event time of a slot of a minute."""
    return START + timedelta(minutes=slot)


def episode(
    slot: int = 100,
    slots: int = 4,
    entity: str = "web-1",
    moved: dict[str, list[float | None]] | None = None,
    shares: dict[str, float] | None = None,
    **changes: Any,
) -> Alert:
    """An alert from `slot` on. `moved`: what was observed of its features up to its last slot, where 9 to 11 was
    expected; `shares` are even unless said."""
    moved = {"cpu": [10.0] * 12 + [20.0] * slots} if moved is None else moved
    last = slot + slots - 1
    evidence = {
        "slot": last, "features": list(moved), "observed": list(moved.values()),
        "lower": [9.0] * len(moved), "upper": [11.0] * len(moved),
    }  # fmt: skip
    said = {
        "run": LIVE, "stream": "fleet", "partition": 0, "entity": entity, "opened_slot": slot, "first_slot": slot,
        "last_slot": last, "peak_slot": slot, "first_time": at(slot), "last_time": at(last), "peak_time": at(slot),
        "state": "confirmed", "severity": "warning", "score": 1.5, "p": 1e-6, "confidence": 1.0, "model_version": "m1",
        "detected_at": at(last), "attribution": shares or {name: 1 / len(moved) for name in moved},
        "explanation": "done", "evidence": evidence,
    }  # fmt: skip
    return Alert(**(said | changes))
