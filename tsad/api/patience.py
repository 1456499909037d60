"""Clients that send or read slowly, or not at all: how long a connection is kept for them.

uvicorn bounds the silence between two requests and nothing else: a head that comes a byte at a time, a body that nobody
waits for since it was refused already, and an answer that is not read would each hold a connection for good.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from tsad.api.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: `head` for the first byte of a request up to its headers' end, `body` from there to the body's end,
    `unread` for a client that reads nothing of an answer. A body may be refused earlier by whom it is for."""

    head: float = 15.0
    body: float = 40.0
    unread: float = 30.0


class Patient(H11Protocol):
    """HTTP/1.1 on one connection, with an end to patience."""

    patience: ClassVar[Patience] = Patience()
    _due: asyncio.TimerHandle | None = None
    _in_body: bool = False
    _unread: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False  # whoever listens to uvicorn: an address may hold a token that was put there by mistake
        self._look()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._read()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():  # that waits for the client to read what is left
            self._wait_for_reader()

    @override
    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._wait_for_reader()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._read()

    def _look(self) -> None:
        """Wait for what a request still lacks, for as long as that may take."""
        in_body = self.conn.their_state is h11.SEND_BODY
        if not in_body and self.conn.their_state is not h11.IDLE:
            self._expect_nothing()
        elif self._due is None or in_body != self._in_body:
            self._expect_nothing()
            self._in_body = in_body
            self._due = self.loop.call_later(self.patience.body if in_body else self.patience.head, self._late)

    def _expect_nothing(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _late(self) -> None:
        """The client has not sent in time; where it was we who did not read, it gets the time again."""
        self._due = None
        if self.flow.read_paused and not self.transport.is_closing():
            self._look()
            return
        begun = self._in_body or self.conn.trailing_data[0]
        if begun and not self.transport.is_closing() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._say_late()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self._wait_for_reader()

    def _say_late(self) -> None:
        part = "body" if self._in_body else "head"
        said = f"the {part} of a request has to come in {getattr(self.patience, part):g} s"
        answer = ProblemError(HTTPStatus.REQUEST_TIMEOUT, said, {"Connection": "close"}).response()
        for event in (
            h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=b"Request Timeout"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")

    def _wait_for_reader(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.patience.unread, self.transport.abort)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def patient(patience: Patience) -> type[Patient]:
    """The protocol of a server that is as patient as that."""
    return type("Patient", (Patient,), {"patience": patience})
