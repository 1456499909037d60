"""Who asks, what they may, and how often."""

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from threading import Lock
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from storage.tokens import Role, Token, Tokens
from tsad.api.problems import ProblemError

INCLUDES: dict[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "responder": frozenset({"viewer", "responder"}),
    "admin": frozenset({"viewer", "responder", "admin", "ingest"}),
    "ingest": frozenset({"ingest"}),
}
"""What each role may: all that these may. Who sends data need not read any."""
CLIENTS = 10_000
"""Buckets that are held at most; the least recently used go."""
BEARER = HTTPBearer(auto_error=False, description="A token of `tsad tokens add`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
COOKIE = "tsad_session"
SESSION = APIKeyCookie(name=COOKIE, auto_error=False, description="A browser's, of `POST /api/v1/session`.")
Session = Annotated[str | None, Security(SESSION)]
PAGE_HEADER = "x-tsad-page"
"""What a browser's request that changes something carries: pages of other origins cannot send it."""
READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Buckets:
    """Token buckets by client: `rate` requests a second, of which those of `burst` seconds may come at once.

    `clock` is monotonic, in seconds."""

    rate: float
    clock: Callable[[], float]
    burst: float = 2.0
    _levels: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def take(self, client: str) -> float:
        """Seconds to wait for the next request; 0 where this one is free to go."""
        now, most = self.clock(), max(self.rate * self.burst, 1.0)
        with self._lock:
            level, at = self._levels.pop(client, (most, now))
            level = min(most, level + (now - at) * self.rate)
            going = level >= 1
            self._levels[client] = (level - going, now)
            if len(self._levels) > CLIENTS:
                del self._levels[next(iter(self._levels))]
        return 0.0 if going else (1 - level) / self.rate


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets requests in. Those without a token that holds are counted by address, all others by token."""

    tokens: Tokens
    buckets: Buckets

    def admit(self, request: Request, credentials: HTTPAuthorizationCredentials | None, role: Role) -> Token:
        """The token of a request that needs `role`; ProblemError 401, 403 or 429."""
        token = None if credentials is None else self.tokens.bearer(credentials.credentials)
        address = request.client.host if request.client else ""
        wait = self.buckets.take(f"token:{token.name}" if token else f"address:{address}")
        if wait:
            said = f"too many requests; the next one in {ceil(wait)} s"
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, said, {"Retry-After": str(ceil(wait))})
        if token is None:
            said = (
                "a bearer token is needed"
                if credentials is None
                else "the token is unknown, has expired or was revoked"
            )
            raise ProblemError(HTTPStatus.UNAUTHORIZED, said, {"WWW-Authenticate": "Bearer"})
        if role not in INCLUDES[token.role]:
            raise ProblemError(
                HTTPStatus.FORBIDDEN, f"this needs the role {role}; the token {token.name!r} is {token.role}"
            )
        return token


def needs(role: Role) -> Callable[[Request, Credentials, Session], Token]:
    """A dependency: the request's token, which must have `role`."""

    def admitted(request: Request, credentials: Credentials, session: Session) -> Token:
        gate: Gate = request.app.state.gate
        if credentials is None and session is not None:
            if request.method not in READS and PAGE_HEADER not in request.headers:
                said = "with a session's cookie, the header X-Tsad-Page is needed to change anything"
                raise ProblemError(HTTPStatus.FORBIDDEN, said)
            credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=session)
        return gate.admit(request, credentials, role)

    return admitted
