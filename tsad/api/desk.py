"""What requests are answered from: the database of one configuration."""

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from storage.context import ContextEvents
from storage.engine import Database
from storage.incidents import Incidents
from storage.leases import Clock
from storage.models import Models
from storage.overview import Overview
from storage.pages import Pages
from storage.read import Reader
from storage.tokens import Token
from storage.types import StreamRow
from tsad.api.access import needs
from tsad.api.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Desk:
    """Reads only."""

    reader: Reader
    pages: Pages
    models: Models
    events: ContextEvents
    overview: Overview
    incidents: Incidents
    history: Path
    clock: Clock

    @classmethod
    def of(cls, database: Database, history: Path, clock: Clock) -> "Desk":
        """On an open database; `history` is the folder of closed slots, `clock` the wall's."""
        read = Reader(database), Pages(database), Models(database), ContextEvents(database), Overview(database)
        return cls(*read, Incidents(database), history, clock)

    def stream(self, name: str, run: str) -> StreamRow:
        """A stream of a run; ProblemError names those there are."""
        rows = {row.stream: row for row in self.reader.streams(run)}
        if name not in rows:
            known = ", ".join(sorted(rows)[:20]) or "none"
            raise ProblemError.of(
                "stream", f"run {run!r} has no stream {name!r}; it has: {known}", HTTPStatus.NOT_FOUND
            )
        return rows[name]


def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


AtDesk = Annotated[Desk, Depends(_desk)]
Viewer = Annotated[Token, Depends(needs("viewer"))]
Responder = Annotated[Token, Depends(needs("responder"))]
