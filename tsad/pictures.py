"""An alert from the database as the picture of an incident report."""

from datetime import timedelta
from pathlib import Path

import numpy as np

from storage.types import Alert
from tsad.plot import Picture, draw_alert


def draw(alert: Alert, step_ns: int, path: Path) -> Path:
    """Draw `alert` (slots of `step_ns`) to `path`, PNG. ValueError where nothing was observed yet."""
    evidence = alert.evidence
    if not evidence:
        raise ValueError(f"alert {alert.id[:12]} is not explained yet")
    if "observed" not in evidence:
        raise ValueError(f"alert {alert.id[:12]} is of a session, of which there are no curves to draw")
    observed = np.array(evidence["observed"], np.float32).T
    last, first = len(observed) - 1, evidence["slot"] - len(observed) + 1
    start = min(max(alert.first_slot - first, 0), last)
    picture = Picture(
        entity=alert.entity,
        stream=alert.stream,
        severity=alert.severity,
        state=alert.state,
        score=alert.score,
        confidence=alert.confidence,
        sentence=alert.sentence,
        step_ns=step_ns,
        end_time=alert.first_time + timedelta(microseconds=(evidence["slot"] - alert.first_slot) * step_ns // 1000),
        observed=observed,
        lower=np.array(evidence["lower"], np.float32),
        upper=np.array(evidence["upper"], np.float32),
        features=evidence["features"],
        anomalous=(start, max(start, min(alert.last_slot - first, last))),
        contributions=[(name, value) for name, value in evidence["contributions"]],
        explained_by=alert.explained_by or "",
        votes={name: vote["voted"] for name, vote in alert.votes.items()},
    )
    draw_alert(path, picture)
    return path


def strongest(alerts: list[Alert], count: int) -> list[Alert]:
    """The alerts that were not retracted, strongest first."""
    return sorted((a for a in alerts if a.state != "retracted" and a.evidence), key=lambda a: -a.score)[:count]
