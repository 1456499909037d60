"""Triage of a database as it is configured: once, or as alerts come."""

from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread

import structlog

from storage.engine import Database
from storage.gathered import SILENT, Tell
from storage.incidents import Incidents
from storage.leases import Clock, utc_now
from storage.read import Reader
from storage.types import LIVE, StoreError
from streaming.settings import SECOND
from tsad.triage.passes import Passed, Triage
from tsad.triage.settings import TriageConfig
from tsad.triage.standing import Standings


def triage_of(database: Database, config: TriageConfig, clock: Clock = utc_now, tell: Tell = SILENT) -> Triage:
    """Triage of what a database holds; `tell` says what decisions make to be told."""
    reader, standings = Reader(database), Standings.of(database, clock, tell)

    def steps(run: str) -> dict[str, int]:
        return {row.stream: row.step_ns for row in reader.streams(run)}

    return Triage(Incidents(database, clock), config.bonds(), steps, config.labels, standings)


def follow(
    triage: Triage, every: float, stopping: Callable[[], bool], pause: Callable[[float], object], run: str = LIVE
) -> Passed:
    """Take up what has changed, and again after a `pause` of so many seconds, until `stopping`; what all of it did. A
    fault of the database is told, and the next round tries again."""
    log, done, faulty = structlog.get_logger(), Passed(), False
    while not stopping():
        try:
            found = triage.all(run, stopping=stopping)
            done = replace(done, alerts=done.alerts + found.alerts, incidents=done.incidents + found.incidents)
            faulty = False
        except StoreError as error:
            if not faulty:
                log.warning("triage waits for the database", reason=str(error))
            faulty = True
        if not stopping():
            pause(every)
    return done


class Follower:
    """`follow` on a thread of its own, while the block runs."""

    def __init__(self, triage: Triage, config: TriageConfig) -> None:
        self._stopped = Event()
        arguments = (triage, config.every / SECOND, self._stopped.is_set, self._stopped.wait)
        self._thread = Thread(target=follow, args=arguments, name="triage", daemon=True)

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
