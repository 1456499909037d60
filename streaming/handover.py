"""A journal has one writer: what other processes of the same server take in, they hand over to it.

Over a Unix socket that its user alone may open: a message goes there, and what has become of it comes back once it is
on disk, so that a process that answers for it answers for the disk.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from threading import Lock, Thread
from typing import Self

import msgspec

from streaming.journal import Journal, JournalError, JournalFullError, Pushed

KEPT, FULL, FAULT = b"k", b"f", b"e"
"""What an answer begins with; behind it comes the reason."""


class Handed(msgspec.Struct, array_like=True):
    """A message for the journal of that folder."""

    journal: str
    format: Pushed
    payload: bytes


class Receiver:
    """Puts into `journals` (by folder) what is handed over at `address`, while the block runs."""

    def __init__(self, journals: Mapping[str, Journal]) -> None:
        self._journals = journals
        self._heard = Listener(family="AF_UNIX", backlog=64)
        self._ended = False
        self._thread = Thread(target=self._accept, name="handover", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens: a file."""
        return str(self._heard.address)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with suppress(OSError), Client(self.address):  # who waits for somebody looks up
            pass
        self._thread.join()
        self._heard.close()

    def _accept(self) -> None:
        while True:
            line = self._heard.accept()
            if self._ended:
                line.close()
                return
            Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: "Connection[bytes, bytes]") -> None:
        with suppress(OSError, EOFError), line:
            while True:
                line.send_bytes(self._put(line.recv_bytes()))

    def _put(self, message: bytes) -> bytes:
        told = msgspec.msgpack.decode(message, type=Handed)
        try:
            self._journals[told.journal].put(told.format, told.payload)
        except JournalFullError as error:
            return FULL + str(error).encode()
        except JournalError as error:
            return FAULT + str(error).encode()
        return KEPT


@dataclass
class Remote:
    """The journal of a `folder` that the process at `address` writes. Threads may share it."""

    address: str
    folder: str
    _idle: "list[Connection[bytes, bytes]]" = field(default_factory=list)
    _taking: Lock = field(default_factory=Lock)

    def put(self, format: Pushed, payload: bytes) -> None:
        """As of `Journal`."""
        message = msgspec.msgpack.encode(Handed(self.folder, format, payload))
        try:
            line = self._line()
            line.send_bytes(message)
            told = line.recv_bytes()
        except (OSError, EOFError) as error:
            raise JournalError(f"{self.folder}: the process that writes it does not answer: {error}") from error
        with self._taking:
            self._idle.append(line)
        if told != KEPT:
            raise (JournalFullError if told[:1] == FULL else JournalError)(told[1:].decode())

    def close(self) -> None:
        """Close the lines; what is under way goes on."""
        with self._taking:
            lines, self._idle = self._idle, []
        for line in lines:
            line.close()

    def _line(self) -> "Connection[bytes, bytes]":
        with self._taking:
            if self._idle:
                return self._idle.pop()
        return Client(self.address, family="AF_UNIX")
