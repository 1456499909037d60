"""What every answer carries, and how much a request may hold."""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tsad.api.problems import ProblemError

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
"""Nothing of it is kept, framed or guessed at, unless an answer says otherwise (the dashboard's own files)."""


class Hardened:
    """Adds `HEADERS`, and refuses bodies of more than `most` bytes, whatever length they say; `larger`: by path."""

    def __init__(self, app: ASGIApp, most: int, larger: Mapping[str, int] | None = None) -> None:
        self._app, self._most, self._larger = app, most, larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._larger.get(scope["path"], self._most)
        told, held, begun, over = Headers(scope=scope).get("content-length", "0"), 0, False, False

        async def heard() -> Message:
            nonlocal held, over
            message = await receive()
            held += len(message.get("body", b""))
            over = held > most
            if over:
                raise _TooLargeError
            return message

        async def said(message: Message) -> None:
            nonlocal begun
            if over and not begun:  # who reads the body takes its end for a fault of the body
                return
            begun = True
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                named = {name for name, _ in headers}
                headers += [pair for pair in RAW if pair[0] not in named]
            await send(message)

        if told.isdecimal() and int(told) > most:
            await _refusal(most)(scope, receive, said)
            return
        with suppress(_TooLargeError):
            await self._app(scope, heard, said)
        if over and not begun:
            over = False
            await _refusal(most)(scope, receive, said)


def _refusal(most: int) -> Response:
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {most} bytes").response()


class _TooLargeError(Exception):
    """The body goes on beyond what is allowed."""
