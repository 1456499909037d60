"""Alerts that belong together and that do not, stored as a worker would, and what triage made of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from storage import served
from storage.engine import Database
from storage.incidents import Incidents
from storage.leases import Leases
from storage.store import Store
from storage.types import Alert, EntityRow, StreamRow
from tests.storage.stored_samples import Clock, alert, at, empty
from tsad.triage.passes import Triage
from tsad.triage.settings import Bonds

MINUTE = 60 * 10**9
WINDOW = 16
BONDS = Bonds(timedelta(minutes=5), timedelta(minutes=60))


def evidence(slot: int, moved: dict[str, int], said: list[str] | None = None, falls: bool = False) -> dict[str, Any]:
    """Of a window that ends with `slot`: each of these channels leaves its range, 0 to 1, at a slot, by a shape of its
    own that goes by the onset alone; the first one pushes most."""
    features = list(moved)
    sign = -1 if falls else 1
    series = [
        [0.5 if s < onset else sign * (2.0 + (s * 7 + onset) % 3) for s in range(slot - WINDOW + 1, slot + 1)]
        for onset in moved.values()
    ]  # fmt: skip
    return {
        "slot": slot, "features": features, "observed": series, "lower": [0.0] * len(features),
        "upper": [1.0] * len(features), "texts": {}, "said": {features[0]: said} if said else {}, "lines": [],
        "contributions": [[name, 1.0 / (place + 1)] for place, name in enumerate(features)],
    }  # fmt: skip


def moved(
    entity: str, slot: int, channels: dict[str, int], last: int | None = None, said: list[str] | None = None,
    falls: bool = False, **changes: Any,
) -> Alert:  # fmt: skip
    """An explained alert that began at `slot`."""
    last = slot + 3 if last is None else last
    made = alert(entity, slot, explanation="done", evidence=evidence(slot, channels, said, falls), **changes)
    return replace(made, last_slot=last, last_time=at(last), window=None, merged_into=changes.get("merged_into"))


class Desk:
    """A database with the stream `fleet`, its worker and its triage."""

    def __init__(self, database: Database, bonds: Bonds = BONDS, labels: tuple[str, ...] = ()) -> None:
        self.clock = Clock(at(0))
        self.database = database
        self.store = Store(database, self.clock)
        self.incidents = Incidents(database, self.clock)
        self.triage = Triage(self.incidents, bonds, lambda _: {"fleet": MINUTE}, labels)
        self.epoch = Leases(database, self.clock).acquire("fleet", [0], "host")[0]
        self.store.put_stream(StreamRow("live", "fleet", MINUTE))

    def save(self, *alerts: Alert, entities: tuple[EntityRow, ...] = ()) -> None:
        """Each save is a second later."""
        self.clock.now += timedelta(seconds=1)
        self.store.save([empty(0, self.epoch, alerts=list(alerts), entities=list(entities))])

    def told(self, *alerts: Alert) -> list[list[str]]:
        """What comes of these alerts, saved and taken up at once."""
        self.save(*alerts)
        self.triage.all()
        return self.groups()

    def groups(self) -> list[list[str]]:
        """The entities of the alerts of each incident, by beginning; retracted incidents are left out."""
        table = served.incidents
        query = sa.select(table.c.id).where(table.c.state != "retracted").order_by(table.c.first_time, table.c.id)
        names = self.database.read(lambda c: c.execute(query).scalars().all())
        return [[one.entity for one in self.incidents.alerts(name, 100)] for name in names]

    def only(self) -> Any:
        """The one incident."""
        (row,) = self.rows()
        return row

    def rows(self) -> list[Any]:
        """Incidents by number."""
        query = sa.select(served.incidents).order_by(served.incidents.c.number)
        return list(self.database.read(lambda c: c.execute(query).mappings().all()))

    def outcome(self) -> dict[str, Any]:
        """What must not depend on how alerts were cut into passes."""
        return outcome(self.database)


def outcome(database: Database, *skipped: str) -> dict[str, Any]:
    """Where each alert is, incidents but for those columns, types: nothing that says what people have seen."""
    left_out = {"number", "saved_at", *skipped}

    def work(connection: sa.Connection) -> dict[str, Any]:
        placed = connection.execute(sa.select(served.incident_alerts)).mappings().all()
        rows = connection.execute(sa.select(served.incidents)).mappings().all()
        kinds = connection.execute(sa.select(served.incident_types)).mappings().all()
        standing = [row for row in rows if row["state"] != "retracted"]
        return {
            "placed": {row["alert_id"]: (row["incident"], row["started"], row["end_time"]) for row in placed},
            "incidents": {
                row["id"]: {name: value for name, value in row.items() if name not in left_out} for row in standing
            },
            "types": {row["id"]: (row["signature"], row["title"], row["first_time"]) for row in kinds},
        }

    return database.read(work)
