"""Who asks, what they may, and how often."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from threading import Lock
from typing import Annotated

from fastapi import Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from storage.tokens import Role, Token, Tokens, digest_of
from tsad.api.problems import ProblemError

INCLUDES: dict[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "responder": frozenset({"viewer", "responder"}),
    "admin": frozenset({"viewer", "responder", "admin", "ingest"}),
    "ingest": frozenset({"ingest"}),
}
"""What each role may: all that these may. Who sends data need not read any."""
REMEMBERED = 1.0
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


@dataclass(slots=True)
class Bearers:
    """Tokens that were looked up in the last `REMEMBERED` seconds: who asks often costs the database little.

    A revocation by `tokens` itself is heeded at once, one from elsewhere when these are over."""

    tokens: Tokens
    clock: Callable[[], float]
    _known: dict[str, tuple[float, int, Token]] = field(default_factory=dict)

    def remembered(self, said: str) -> Token | None:
        """The token that is `said`, where that is known without asking; it asks nobody."""
        at, revocations, token = self._known.get(digest_of(said), (0.0, -1, None))
        fresh = revocations == self.tokens.revocations and self.clock() - at < REMEMBERED
        return token if fresh and token is not None and self.tokens.holds(token) else None

    def look_up(self, said: str) -> Token | None:
        """The token that is `said`, by the database; None where none is, or not any more."""
        at, revocations = self.clock(), self.tokens.revocations
        token = self.tokens.bearer(said)
        if token is not None:
            self._known[digest_of(said)] = (at, revocations, token)
            if len(self._known) > CLIENTS:
                self._known.clear()
        return token


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets requests in. Those without a token that holds are counted by address, all others by token."""

    bearers: Bearers
    buckets: Buckets

    def admit(self, request: Request, token: Token | None, said: bool, role: Role) -> Token:
        """The `token` of a request that needs `role`, if one was `said` that holds; ProblemError 401, 403 or 429."""
        address = request.client.host if request.client else ""
        wait = self.buckets.take(f"token:{token.name}" if token else f"address:{address}")
        if wait:
            why = f"too many requests; the next one in {ceil(wait)} s"
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, why, {"Retry-After": str(ceil(wait))})
        if token is None:
            why = "the token is unknown, has expired or was revoked" if said else "a bearer token is needed"
            raise ProblemError(HTTPStatus.UNAUTHORIZED, why, {"WWW-Authenticate": "Bearer"})
        if role not in INCLUDES[token.role]:
            raise ProblemError(
                HTTPStatus.FORBIDDEN, f"this needs the role {role}; the token {token.name!r} is {token.role}"
            )
        return token


def needs(role: Role) -> Callable[[Request, Credentials, Session], Awaitable[Token]]:
    """A dependency: the request's token, which must have `role`."""

    async def admitted(request: Request, credentials: Credentials, session: Session) -> Token:
        gate: Gate = request.app.state.gate
        if credentials is None and session is not None:
            if request.method not in READS and PAGE_HEADER not in request.headers:
                said = "with a session's cookie, the header X-Tsad-Page is needed to change anything"
                raise ProblemError(HTTPStatus.FORBIDDEN, said)
            credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=session)
        if credentials is None:
            return gate.admit(request, None, False, role)
        said = credentials.credentials
        token = gate.bearers.remembered(said) or await run_in_threadpool(gate.bearers.look_up, said)
        return gate.admit(request, token, True, role)

    return admitted
