"""Lines of a file or a pipe, of bounded length, without ever holding a long one."""

import zlib
from typing import IO

CHUNK_BYTES = 1 << 20
POLL_BYTES = 32 << 20
"""Bytes of lines that one read gives at most (one chunk more)."""

_MARK = b"\xef\xbb\xbf"


class LineReader:
    """Splits a binary stream at line feeds; a line is stripped of a carriage return, blank ones are passed over.

    A line longer than `max_bytes` is given cut to `max_bytes + 1` bytes, so that its reader sees that it is too long;
    the rest of it is read and thrown away chunk by chunk. A byte order mark at the start is dropped.
    """

    def __init__(self, stream: IO[bytes], name: str, max_bytes: int = CHUNK_BYTES) -> None:
        self._stream = stream
        self._name = name
        self._max = max_bytes
        self._ready: list[bytes] = []
        self._tail = b""
        self._skipping = False
        self._started = False
        self._ended = False

    def read(self, max_lines: int, *, wait: bool = True) -> list[bytes]:
        """Up to `max_lines` lines, [] at the end.

        With `wait`, as many as there are; without (a pipe), those that have come, blocking for the first one only.
        """
        held = sum(map(len, self._ready))
        while not self._ended and len(self._ready) < max_lines and held < POLL_BYTES:
            if self._ready and not wait:
                break
            held += self._fill()
        lines = self._ready[:max_lines]
        del self._ready[:max_lines]
        return lines

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    def _chunk(self) -> bytes:
        try:
            return bytes(self._stream.read1(CHUNK_BYTES))  # type: ignore[attr-defined]
        except (EOFError, zlib.error) as error:
            raise ValueError(f"{self._name}: the compressed file is damaged or cut off: {error}") from error

    def _fill(self) -> int:
        chunk = self._chunk()
        if not chunk:
            self._ended = True
            chunk = b"\n"  # closes the last line
        parts = chunk.split(b"\n")
        if self._skipping:
            if len(parts) == 1:
                return 0
            self._skipping = False
            parts = parts[1:]
        else:
            parts[0] = self._tail + parts[0]
            if not self._started and (len(parts) > 1 or len(parts[0]) >= len(_MARK)):
                self._started = True
                parts[0] = parts[0].removeprefix(_MARK)
        self._tail = parts.pop()
        if len(self._tail) > self._max:
            parts.append(self._tail)
            self._tail, self._skipping = b"", True
        most = self._max + 1
        if b"\r" not in chunk and b"\r" not in b"".join(parts[:1]) and max(map(len, parts), default=0) < most:
            lines = [part for part in parts if part]
        else:
            lines = [line[:most] for part in parts if (line := part.removesuffix(b"\r"))]
        self._ready += lines
        return sum(map(len, lines))
