"""Queries over HTTP: bounded in time and size, and every way in which they fail in words."""

import ssl
import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

import httpcore
import msgspec

from streaming.json_records import RecordError
from streaming.prometheus.settings import QueryError, Server, TooMuchError, UnansweredError
from streaming.unpacking import gunzipped

SHORTER = (400, 413, 422)
"""Answers that a shorter range may spare: too many points, too much to load."""
LATER = (408, 425, 429)
"""Answers after which the same request may be taken, as after all from 500 on."""
SAID = 300
"""Characters of a refusal that are told."""


class Refusal(msgspec.Struct):
    """What an answer says that is none."""

    error: str = ""
    errorType: str = ""  # noqa: N815 - as the API has it


class Client:
    """Asks `server`. From any thread."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._pool = httpcore.ConnectionPool(_trust(server.ca), max_connections=8, keepalive_expiry=30)
        self._timeout = dict.fromkeys(("connect", "read", "write", "pool"), server.timeout)

    def over(self, query: str, first_ms: int, last_ms: int, step_ms: int) -> bytes:
        """The JSON of `query` at each `step_ms` from `first_ms` to `last_ms`, both included."""
        times = {"start": _seconds(first_ms), "end": _seconds(last_ms), "step": _seconds(step_ms)}
        return self._ask("query_range", query, times)

    def at(self, query: str, ms: int) -> bytes:
        """The JSON of `query` at one time."""
        return self._ask("query", query, {"time": _seconds(ms)})

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.close()

    def _ask(self, what: str, query: str, times: Mapping[str, str]) -> bytes:
        """UnansweredError, TooMuchError or QueryError where there is no answer."""
        server = self.server
        form = {**server.parameters, "query": query, **times, "timeout": f"{server.timeout:g}s"}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
            "Accept-Encoding": "gzip", "User-Agent": "tsad", **server.headers,
        }  # fmt: skip
        try:
            with self._pool.stream(
                "POST", f"{server.url.rstrip('/')}/api/v1/{what}", content=urlencode(form).encode(),
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                extensions={"timeout": self._timeout},
            ) as answer:  # fmt: skip
                body = self._body(answer)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise UnansweredError(f"{server.url} does not answer: {said}") from error
        if answer.status != 200:
            raise self._refusal(answer.status, body)
        return body

    def _body(self, answer: httpcore.Response) -> bytes:
        """The whole body, unpacked."""
        most, until = self.server.max_bytes, time.monotonic() + self.server.timeout
        parts, size = [], 0
        for part in answer.iter_stream():
            parts.append(part)
            size += len(part)
            if size > most:
                raise TooMuchError(f"{self.server.url}: an answer of more than {most} bytes")
            if time.monotonic() > until:
                raise UnansweredError(f"{self.server.url}: the answer takes longer than {self.server.timeout:g} s")
        body = b"".join(parts)
        if _header(answer.headers, b"content-encoding") != b"gzip":
            return body
        try:
            return gunzipped(body, most)
        except RecordError as error:
            said = f"{self.server.url}: {error.detail}"
            raise TooMuchError(said) if error.reason == "too_long" else UnansweredError(said) from error

    def _refusal(self, status: int, body: bytes) -> QueryError | UnansweredError:
        try:
            told = msgspec.json.decode(body, type=Refusal)
            said = ": ".join(part for part in (told.errorType, told.error) if part)
        except msgspec.DecodeError:
            said = ""
        said = " ".join((said or body[: 4 * SAID].decode("utf-8", "replace")).split())[:SAID]
        said = f"{self.server.url} answers {status}" + (f": {said}" if said else "")
        if status in SHORTER:
            return TooMuchError(said, wrong=status == 400)
        return UnansweredError(said) if status in LATER or status >= 500 else QueryError(said)


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value.strip().lower() for key, value in headers if key.lower() == name), None)


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"


def _trust(ca: str | None) -> ssl.SSLContext:
    """Whose certificates are trusted; QueryError where the file cannot be read."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise QueryError(f"prometheus.ca = {ca!r} holds no certificates in PEM: {error}") from error
