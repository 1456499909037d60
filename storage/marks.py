"""What people say of alerts and incidents: seen, not now, done with, true, false, expected."""

import secrets
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.acts import record
from storage.engine import Database, chunks
from storage.leases import Clock, utc_now
from storage.served import marks
from storage.store import record_of
from storage.types import StoreError

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
    """The marks of a database; `clock` dates what undoes them."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def add(self, mark: Mark) -> None:
        """Keep a mark."""
        told = {"mark": mark.id, "answer": mark.answer, "note": mark.note, "until": mark.until}

        def work(connection: Connection) -> None:
            connection.execute(marks.insert(), asdict(mark))
            said = {name: value for name, value in told.items() if value}
            record(connection, mark.at, mark.by, f"mark {mark.kind}", f"{mark.about}:{mark.target}", said)

        self._database.write(work)

    def undo(self, identity: str, by: str) -> Mark:
        """From now on a mark says nothing; it as it is now. StoreError where none of this id stands."""

        def work(connection: Connection) -> Mark:
            now = self._clock()
            standing = sa.and_(marks.c.id == identity, marks.c.undone_at.is_(None))
            row = connection.execute(
                marks.update().where(standing).values(undone_by=by, undone_at=now).returning(marks)
            ).mappings().first()  # fmt: skip
            if row is None:
                raise StoreError(f"there is no mark {identity!r} that stands")
            found = record_of(Mark, row)
            record(connection, now, by, "undo mark", f"{found.about}:{found.target}", {"mark": identity})
            return found

        return self._database.write(work)

    def of(self, about: About, targets: Collection[str]) -> list[Mark]:
        """The marks of some alerts or incidents, the oldest first, undone ones too."""
        ordered = sorted(set(targets))
        query = sa.select(marks).where(marks.c.about == about)
        return self._read(query.where(marks.c.target.in_(part)) for part in chunks(ordered))

    def answers(self) -> list[Mark]:
        """Feedback that stands, the oldest first."""
        return self._read([sa.select(marks).where(marks.c.kind == "feedback", marks.c.undone_at.is_(None))])

    def _read(self, queries: Iterable[sa.Select[Any]]) -> list[Mark]:
        def work(connection: Connection) -> list[Mark]:
            rows = [row for query in queries for row in connection.execute(query).mappings()]
            return sorted((record_of(Mark, row) for row in rows), key=lambda mark: (mark.at, mark.id))

        return self._database.read(work)
