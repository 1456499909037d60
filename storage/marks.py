"""What people say of alerts and incidents: seen, not now, done with, true, false, expected."""

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from storage.acts import record
from storage.engine import Database, chunks
from storage.leases import Clock, utc_now
from storage.served import mark_alerts, marks
from storage.store import record_of
from storage.types import NotThereError

MarkKind = Literal["acknowledge", "snooze", "close", "reopen", "feedback", "note"]
Answer = Literal["true", "false", "expected"]
About = Literal["alert", "incident"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """`by` said something `about` the alert or incident `target`. `until`: the end of a snooze. `answer`: of feedback.
    `detail`: what the target looked like then. It is not taken out but undone."""

    kind: MarkKind
    about: About
    target: str
    by: str
    at: datetime
    answer: Answer | None = None
    note: str = ""
    until: datetime | None = None
    undone_by: str | None = None
    undone_at: datetime | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        """ValueError where parts do not fit."""
        if (self.kind == "feedback") != (self.answer is not None):
            raise ValueError(f"an answer belongs to feedback, and to nothing else; got {self.kind}, {self.answer}")
        if (self.kind == "snooze") != (self.until is not None):
            raise ValueError(f"an end belongs to a snooze, and to nothing else; got {self.kind}, {self.until}")

    @property
    def stands(self) -> bool:
        """Whether nobody has undone it."""
        return self.undone_at is None


class Marks:
    """The marks of a database; `clock` dates what undoes them. One on an incident bears on alerts that were in it."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def add(self, mark: Mark, alerts: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Keep a mark. `alerts`: of one on an incident those that it bears on (ids), and what each looked like then."""
        bearing = sorted(alerts or {})
        told = {"mark": mark.id, "answer": mark.answer, "note": mark.note, "until": mark.until, "alerts": bearing}
        rows = [{"mark": mark.id, "alert_id": alert, "detail": (alerts or {})[alert]} for alert in bearing]

        def work(connection: Connection) -> None:
            connection.execute(marks.insert(), asdict(mark))
            if rows:
                _insert(connection, rows)
            said = {name: value for name, value in told.items() if value}
            record(connection, mark.at, mark.by, f"mark {mark.kind}", f"{mark.about}:{mark.target}", said)

        self._database.write(work)

    def undo(self, identity: str, by: str) -> Mark:
        """From now on a mark says nothing; it as it is now. NotThereError where none of this id stands."""

        def work(connection: Connection) -> Mark:
            now = self._clock()
            standing = sa.and_(marks.c.id == identity, marks.c.undone_at.is_(None))
            row = connection.execute(
                marks.update().where(standing).values(undone_by=by, undone_at=now).returning(marks)
            ).mappings().first()  # fmt: skip
            if row is None:
                raise NotThereError(f"there is no mark {identity!r} that stands")
            found = record_of(Mark, row)
            record(connection, now, by, "undo mark", f"{found.about}:{found.target}", {"mark": identity})
            return found

        return self._database.write(work)

    def join(self, places: Mapping[str, str], now: datetime) -> set[str]:
        """Have what goes on to be said of incidents (`LASTING`) bear on alerts that have come to be in them (incidents
        by alert); on which of them it did not bear before."""

        def wanting(connection: Connection) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = []
            for mark in _read(connection, _lasting(sorted(set(places.values())), now)):
                known = set(_bearing(connection, mark))
                here = (alert for alert, incident in sorted(places.items()) if incident == mark.target)
                rows += [{"mark": mark.id, "alert_id": alert, "detail": {}} for alert in here if alert not in known]
            return rows

        rows = self._database.read(wanting) if places else []
        if rows:
            self._database.write(lambda connection: _insert(connection, rows))
        return {row["alert_id"] for row in rows}

    def bearing(self, mark: Mark) -> list[str]:
        """The alerts (ids) that a mark bears on."""
        return self._database.read(lambda connection: _bearing(connection, mark))

    def of(self, about: About, targets: Collection[str]) -> list[Mark]:
        """The marks of some alerts or incidents, the oldest first, undone ones too."""
        return self._told(_of(about, targets))

    def on(self, alerts: Collection[str]) -> list[Mark]:
        """What was said of some alerts, the oldest first, undone marks too: of themselves, and of incidents, as if it
        had been said of each alert, with the incident in its `detail`."""
        return self._told(_of("alert", alerts), (JOINED.where(ALERT.in_(part)) for part in chunks(sorted(set(alerts)))))

    def answers(self) -> list[Mark]:
        """Feedback on alerts that stands, the oldest first; that on incidents as `on` has it."""
        return self._told([STANDING.where(marks.c.about == "alert")], [JOINED.where(*ANSWERED)])

    def feedback(self) -> list[Mark]:
        """Feedback that stands as it was given, the oldest first."""
        return self._told([STANDING])

    def _told(self, queries: Iterable[sa.Select[Any]], joined: Iterable[sa.Select[Any]] = ()) -> list[Mark]:
        def work(connection: Connection) -> list[Mark]:
            found = [*_read(connection, queries)]
            for query in joined:
                for row in connection.execute(query).mappings():
                    said = record_of(Mark, row)
                    detail = row["alert_detail"] | {"incident": said.target}
                    found.append(replace(said, about="alert", target=row["alert_id"], detail=detail))
            return sorted(found, key=lambda mark: (mark.at, mark.id, mark.target))

        return self._database.read(work)


LASTING = ("acknowledge", "snooze")
"""What is said of an incident for as long as it goes on: it holds for alerts that join later, too."""
ALERT = mark_alerts.c.alert_id
ANSWERED = (marks.c.kind == "feedback", marks.c.undone_at.is_(None))
STANDING = sa.select(marks).where(*ANSWERED)
JOINED = sa.select(marks, ALERT, mark_alerts.c.detail.label("alert_detail")).select_from(
    marks.join(mark_alerts, mark_alerts.c.mark == marks.c.id)
)


def _of(about: About, targets: Collection[str]) -> Iterator[sa.Select[Any]]:
    query = sa.select(marks).where(marks.c.about == about)
    return (query.where(marks.c.target.in_(part)) for part in chunks(sorted(set(targets))))


def _lasting(incidents: Sequence[str], now: datetime) -> Iterator[sa.Select[Any]]:
    going = sa.or_(marks.c.until.is_(None), marks.c.until > now)
    return (
        query.where(marks.c.kind.in_(LASTING), marks.c.undone_at.is_(None), going)
        for query in _of("incident", incidents)
    )


def _read(connection: Connection, queries: Iterable[sa.Select[Any]]) -> Iterator[Mark]:
    for query in queries:
        yield from [record_of(Mark, row) for row in connection.execute(query).mappings()]


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Another process may have been faster with some."""
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    connection.execute(insert(mark_alerts).on_conflict_do_nothing(), rows)


def _bearing(connection: Connection, mark: Mark) -> list[str]:
    if mark.about == "alert":
        return [mark.target]
    query = sa.select(ALERT).where(mark_alerts.c.mark == mark.id).order_by(ALERT)
    return list(connection.execute(query).scalars())
