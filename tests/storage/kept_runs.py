"""A run as it is stored, with rows in every table that may have some."""

import sqlalchemy as sa

from storage import served
from storage.backfills import Backfills, UnitRow
from storage.context import ContextEvents
from storage.engine import Database
from storage.events import ContextEvent
from storage.homes import Homes
from storage.incidents import Incidents
from storage.leases import Leases
from storage.marks import Mark, Marks
from storage.places import Places
from storage.store import Store
from storage.types import Changes, StreamRow
from tests.storage.stored_samples import START, Clock, alert, at, bundle, explanation
from tsad.triage.passes import Triage
from tsad.triage.settings import Bonds

MINUTE = 60 * 10**9


def whole(run: str, epoch: int = 1, entities: tuple[str, ...] = ("web-1", "web-2")) -> Changes:
    """A save of one row of every kind, and an alert of each entity."""
    alerts = [alert(name, run=run, state="resolved", explanation="done") for name in entities]
    parts = [explanation(one) for one in alerts]
    return bundle(epoch=epoch, run=run, alerts=alerts, explanations=parts, announcements=[])


def fill(database: Database, run: str, marked: bool = True) -> None:
    """Rows of `run` in every table that may have some; with or without what people say of its alerts."""
    clock = Clock()
    store = Store(database, clock)
    if run != "live":
        Backfills(database, clock).add(run, "fleet", "m1", {"input": "x"}, [UnitRow(run, 0, {})])
    store.put_stream(StreamRow(run, "fleet", MINUTE))
    Leases(database, clock).acquire("fleet", [0], "host", run)
    store.save([whole(run)])
    Homes(database, clock).claim("fleet", 0, ["web-1"], run)
    Places(database, clock).numbers("fleet", [("telemetry", 0)], run=run)
    ContextEvents(database, clock).add("fleet", [ContextEvent("deploy", at(3))], run=run)
    bonds = Bonds(START - START.replace(hour=0), at(60) - at(0))
    Triage(Incidents(database, clock), bonds, lambda _: {"fleet": MINUTE}, ()).all(run)
    table = served.incidents
    incident = database.read(lambda c: c.execute(sa.select(table.c.id).where(table.c.run == run).limit(1)).scalar_one())
    one = alert("web-1", run=run)
    for mark in (
        ()
        if not marked
        else (
            Mark(kind="feedback", about="alert", target=one.id, by="ann", at=START, answer="false"),
            Mark(kind="note", about="incident", target=incident, by="ann", at=START, note="look"),
        )
    ):
        Marks(database).add(mark, {one.id: {}} if mark.about == "incident" else None)
