"""Who may ask the HTTP API: bearer tokens, of which only a hash is kept, with a role each."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage.acts import record
from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.served import tokens
from storage.store import record_of
from storage.types import NotThereError, StoreError

Role = Literal["viewer", "responder", "admin", "ingest"]
PREFIX = "tsad_"
"""What a token begins with, so that scanners for leaked secrets know it."""


class TakenError(StoreError):
    """A name was used before."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token by its `name`; `digest` is the SHA-256 of what its bearer says, which has 256 bits of chance: no slow
    hash is needed."""

    name: str
    role: Role
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def valid(self, now: datetime) -> bool:
        """Whether its bearer may still ask."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class Tokens:
    """The tokens of a database; `clock` is the wall's. `revocations` counts those that went through this object."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self.revocations = 0
        self._database = database
        self._clock = clock

    def add(self, name: str, role: Role, expires_at: datetime | None = None, by: str = "") -> str:
        """Make a token: what its bearer has to say, which nobody can ask for again. A name is never used twice, so that
        what was done under it stays somebody's. TakenError where there is one of that name."""
        said = PREFIX + secrets.token_urlsafe(32)
        row = Token(name, role, digest_of(said), self._clock(), expires_at)

        def work(connection: Connection) -> None:
            if connection.execute(sa.select(tokens.c.name).where(tokens.c.name == name)).first() is not None:
                raise TakenError(f"there is, or was, a token {name!r}; take another name")
            connection.execute(tokens.insert(), {item: getattr(row, item) for item in Token.__slots__})
            record(
                connection, row.created_at, by, "add token", f"token:{name}", {"role": role, "expires_at": expires_at}
            )

        self._database.write(work)
        return said

    def revoke(self, name: str, by: str = "") -> None:
        """From now on its bearer may not ask. NotThereError where there is no such token in force."""
        in_force, now = sa.and_(tokens.c.name == name, tokens.c.revoked_at.is_(None)), self._clock()

        def work(connection: Connection) -> None:
            if connection.execute(tokens.update().where(in_force).values(revoked_at=now)).rowcount != 1:
                raise NotThereError(f"there is no token {name!r} in force")
            record(connection, now, by, "revoke token", f"token:{name}")

        self._database.write(work)
        self.revocations += 1

    def listing(self) -> list[Token]:
        """All that ever were, by name."""
        query = sa.select(tokens).order_by(tokens.c.name)
        return self._database.read(lambda c: [record_of(Token, row) for row in c.execute(query).mappings()])

    def bearer(self, said: str) -> Token | None:
        """The token that is `said`; None where none is, or not any more."""
        query = sa.select(tokens).where(tokens.c.digest == digest_of(said))

        def work(connection: Connection) -> Token | None:
            row = connection.execute(query).mappings().first()
            return None if row is None else record_of(Token, row)

        found = self._database.read(work)
        return found if found is not None and self.holds(found) else None

    def holds(self, token: Token) -> bool:
        """Whether a token that was read has not expired since."""
        return token.valid(self._clock())


def digest_of(said: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
