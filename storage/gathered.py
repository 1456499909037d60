"""Incidents with what was decided of their alerts, as a transaction finds them: what routes by incident tell of.

Both the decision on an alert and the pass that places it may change what there is to tell of an incident. Each asks for
it in its own transaction, behind its changes and after `storage.deliveries.alone`: so of two at once the second sees
what the first has changed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.deliveries import Telling
from storage.engine import chunks
from storage.incidents import IncidentRow
from storage.rulings import DecisionRow, Standing
from storage.schema import alerts
from storage.served import decisions, incident_alerts, incidents
from storage.store import record_of
from storage.types import Alert, AlertState, Severity


@dataclass(frozen=True, slots=True)
class Decided:
    """An alert of an incident, as the database has it, and what was decided of it."""

    incident: str
    stream: str
    entity: str
    state: AlertState
    p: float
    standing: Standing
    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """An incident and its alerts, of those that were decided."""

    incident: IncidentRow
    alerts: list[Decided] = field(default_factory=list)


def nothing(_alert: Alert, _decision: DecisionRow) -> Iterable[Telling]:
    """Where there is no route."""
    return ()


@dataclass(frozen=True, slots=True)
class Tell:
    """What routes are to be told of a decision on an alert, and of an incident (None: no route groups by those)."""

    alert: Callable[[Alert, DecisionRow], Iterable[Telling]] = nothing
    incident: Callable[[Gathered], Iterable[Telling]] | None = None

    def of_alerts(self, connection: Connection, alerts: Collection[str]) -> Iterator[Telling]:
        """Of the incidents that these alerts are in."""
        if self.incident is None:
            return
        found: set[str] = set()
        for part in chunks(sorted(alerts)):
            query = sa.select(incident_alerts.c.incident).where(incident_alerts.c.alert_id.in_(part))
            found |= {name for name in connection.execute(query).scalars() if name is not None}
        yield from self.of_incidents(connection, found)

    def of_incidents(self, connection: Connection, incidents: Collection[str]) -> Iterator[Telling]:
        """Of these incidents, by id, the first to begin first."""
        if self.incident is None:
            return
        for one in gathered(connection, incidents):
            yield from self.incident(one)


SILENT = Tell()
"""Nobody is told."""


def gathered(connection: Connection, wanted: Collection[str]) -> list[Gathered]:
    """These incidents (ids), of those that there are, the first to begin first."""
    found: dict[str, Gathered] = {}
    members = incident_alerts.join(alerts, alerts.c.id == incident_alerts.c.alert_id)
    members = members.join(decisions, decisions.c.alert_id == alerts.c.id)
    columns = (
        incident_alerts.c.incident, alerts.c.stream, alerts.c.entity, alerts.c.state, alerts.c.p,
        decisions.c.standing, decisions.c.severity, decisions.c.reason,
    )  # fmt: skip
    for part in chunks(sorted(wanted)):
        rows = connection.execute(sa.select(incidents).where(incidents.c.id.in_(part))).mappings()
        found |= {row["id"]: Gathered(record_of(IncidentRow, row)) for row in rows}
        query = sa.select(*columns).select_from(members).where(incident_alerts.c.incident.in_(part))
        for row in connection.execute(query.order_by(incident_alerts.c.first_time, alerts.c.id)).mappings():
            if row["incident"] in found:
                found[row["incident"]].alerts.append(record_of(Decided, row))
    return sorted(found.values(), key=lambda one: (one.incident.first_time, one.incident.id))
