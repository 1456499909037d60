"""Alerts held against labelled events: how many were found, how many were false, how long it took."""

from collections.abc import Sequence
from datetime import datetime
from statistics import median

import msgspec

from storage.types import Alert
from tsad.wording import counted


class Event(msgspec.Struct):
    """A labelled event: `start` to `end` (exclusive); `entity` None = any."""

    start: datetime
    end: datetime
    entity: str | None = None
    type: str | None = None
    channels: tuple[str, ...] = ()


class Outcomes(msgspec.Struct):
    """Counts over a stretch. `delays` in seconds from an event's start to the first alert that overlaps it (0 when it
    was open already); `false` episodes overlap no event; retracted alerts count only as such.
    """

    events: int
    found: int
    alerts: int
    false: int
    retracted: int
    delays: list[float]

    @property
    def median_delay(self) -> float | None:
        """In seconds; None where nothing was found."""
        return median(self.delays) if self.delays else None

    def figures(self) -> dict[str, object]:
        """As plain values."""
        return {
            "events": self.events, "events_found": self.found, "false_episodes": self.false, "alerts": self.alerts,
            "retracted": self.retracted, "median_delay_seconds": self.median_delay,
        }  # fmt: skip

    def sentence(self) -> str:
        """In words."""
        delay = "" if self.median_delay is None else f", median delay {self.median_delay / 60:.0f} min"
        return (
            f"{self.found} of {self.events} labelled events found{delay}; {counted(self.alerts, 'alert')}, "
            f"{self.false} false; {self.retracted} retracted."
        )


def outcomes(alerts: Sequence[Alert], events: Sequence[Event]) -> Outcomes:
    """Match by overlap in time and, where the event names one, by entity."""
    standing = [alert for alert in alerts if alert.state != "retracted"]
    delays = []
    for event in events:
        met = [alert for alert in standing if _meets(alert, event)]
        if met:
            first = min(alert.first_time for alert in met)
            delays.append(max(0.0, (first - event.start).total_seconds()))
    false = sum(not any(_meets(alert, event) for event in events) for alert in standing)
    return Outcomes(len(events), len(delays), len(standing), false, len(alerts) - len(standing), delays)


def _meets(alert: Alert, event: Event) -> bool:
    if event.entity is not None and alert.entity != event.entity:
        return False
    return alert.first_time < event.end and alert.last_time >= event.start
