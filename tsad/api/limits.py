"""What every answer carries, and how much a request may hold."""

from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tsad.api.problems import ProblemError

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing of it is kept, framed or guessed at, unless an answer says otherwise (the dashboard's own files)."""


class Hardened:
    """Adds `HEADERS`, and refuses bodies of more than `most` bytes, whatever length they say."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told, held, begun = Headers(scope=scope).get("content-length", "0"), 0, False
        refusal = ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {self._most} bytes").response()

        async def heard() -> Message:
            nonlocal held
            message = await receive()
            held += len(message.get("body", b""))
            if held > self._most:
                raise _TooLargeError
            return message

        async def said(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if told.isdecimal() and int(told) > self._most:
            await refusal(scope, receive, said)
            return
        try:
            await self._app(scope, heard, said)
        except _TooLargeError:
            if not begun:
                await refusal(scope, receive, said)


class _TooLargeError(Exception):
    """The body goes on beyond what is allowed."""
