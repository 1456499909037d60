"""Records of several lines, such as stack traces: a line that begins no record belongs to the one before."""

from collections.abc import Callable

from streaming.linereader import LineReader

MOST_LINES = 500
MOST_BYTES = 64 << 10
"""Of one record; what it has beyond is passed over."""


class RecordReader:
    """Joins the lines of a reader to records by line feeds; `begins` tells the first line of a record.

    A record is given once the next one begins, or at the end. A line that begins none, where none is before it, is
    given by itself, so that a wrong pattern shows as what it is.
    """

    def __init__(self, lines: LineReader, begins: Callable[[bytes], bool]) -> None:
        self._lines = lines
        self._begins = begins
        self._held: list[bytes] = []
        self._bytes = 0

    def read(self, max_records: int, *, wait: bool = True) -> list[bytes]:
        """Up to `max_records` records, [] at the end; `wait` as in `LineReader.read`."""
        records: list[bytes] = []
        while len(records) < max_records:
            lines = self._lines.read(max_records - len(records), wait=wait)
            if not lines:
                return records + self._given()
            for line in lines:
                records += self._take(line)
            if records and not wait:
                break
        return records

    def close(self) -> None:
        """Close the lines."""
        self._lines.close()

    def _take(self, line: bytes) -> list[bytes]:
        """The record that `line` ends, if it does, or `line` itself where it belongs to none."""
        if self._begins(line):
            before, self._held, self._bytes = self._given(), [line], len(line)
            return before
        if not self._held:
            return [line]
        self._bytes += len(line) + 1
        if len(self._held) < MOST_LINES and self._bytes <= MOST_BYTES:
            self._held.append(line)
        return []

    def _given(self) -> list[bytes]:
        whole, self._held = self._held, []
        return [b"\n".join(whole)] if whole else []
