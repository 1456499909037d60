"""What requests are answered from: the database of one configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from storage.acts import Acts
from storage.context import ContextEvents
from storage.details import Details
from storage.engine import Database
from storage.gathered import SILENT, Tell
from storage.incidents import Incidents
from storage.leases import Clock
from storage.models import Models
from storage.overview import Overview
from storage.pages import Pages
from storage.read import Reader
from storage.tokens import Token, Tokens
from storage.types import Alert, Explanation, NotThereError, StreamRow
from tsad.api.access import needs
from tsad.api.problems import ProblemError
from tsad.pushing import Pushes
from tsad.triage.answers import Answers

REMEMBERED = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Beside:
    """What there is beside the database: the folder of closed slots, journals of what is pushed, and how routes are
    told."""

    history: Path = Path("tsad-history")
    pushes: Pushes = field(default_factory=Pushes)
    tell: Tell = SILENT


@dataclass(frozen=True, slots=True)
class Desk:
    """What is read, and `answers`, which takes down what people say."""

    reader: Reader
    pages: Pages
    details: Details
    models: Models
    events: ContextEvents
    acts: Acts
    answers: Answers
    overview: Overview
    incidents: Incidents
    tokens: Tokens
    history: Path
    clock: Clock
    _streams: dict[str, tuple[datetime, dict[str, StreamRow]]] = field(default_factory=dict)

    @classmethod
    def of(cls, database: Database, clock: Clock, beside: Beside) -> "Desk":
        """On an open database and what is beside it; `clock` is the wall's."""
        return cls(
            Reader(database), Pages(database), Details(database), Models(database), ContextEvents(database, clock),
            Acts(database), Answers.of(database, clock, beside.tell), Overview(database), Incidents(database),
            Tokens(database, clock), beside.history, clock,
        )  # fmt: skip

    def alert(self, identity: str) -> tuple[Alert, list[Explanation]]:
        """An alert by its id, or the only one that begins so, and its explanations; else ProblemError."""
        with found_only(identity):
            return self.reader.alert(identity)

    def stream(self, name: str, run: str) -> StreamRow:
        """A stream of a run, as it was at most `REMEMBERED` ago; ProblemError names those there are."""
        at, rows = self._streams.get(run, (datetime.min.replace(tzinfo=UTC), dict[str, StreamRow]()))
        if name not in rows or not timedelta(0) <= self.clock() - at < REMEMBERED:
            at, rows = self.clock(), {row.stream: row for row in self.reader.streams(run)}
            if name in rows:  # else anybody's words would be kept
                self._streams[run] = (at, rows)
        if name not in rows:
            known = ", ".join(sorted(rows)[:20]) or "none"
            raise ProblemError.of(
                "stream", f"run {run!r} has no stream {name!r}; it has: {known}", HTTPStatus.NOT_FOUND
            )
        return rows[name]


@contextmanager
def found_only(identity: str) -> Iterator[None]:
    """ProblemError where the block finds no alert of this id, or more than one."""
    try:
        yield
    except NotThereError:
        said = f"there is no alert {identity!r}, or more than one begins so"
        raise ProblemError(HTTPStatus.NOT_FOUND, said) from None


async def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


AtDesk = Annotated[Desk, Depends(_desk)]
Viewer = Annotated[Token, Depends(needs("viewer"))]
Responder = Annotated[Token, Depends(needs("responder"))]
Admin = Annotated[Token, Depends(needs("admin"))]
