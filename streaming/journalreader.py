"""What reads a journal while another process writes it: only what is on disk, each entry once."""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from streaming.journal import (
    SEGMENT_HEAD,
    Entry,
    Segment,
    bases_in,
    entries,
    held_in,
    opened,
    place_of,
)
from streaming.types import SourceChanged

READ_BYTES = 4 << 20
"""Bytes of entries that one read gives at most (one entry more): packed, they hold some 400,000 samples."""


class JournalReader:
    """Reads the journal in `folder`, which need not be there yet. `number` is that of the next entry.

    `lost`: numbers (from, to) that a damaged segment held; nobody can read them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.lost: list[tuple[int, int]] = []
        self._segment: Segment | None = None
        self._offset = 0
        self._fruitless: tuple[int, int, int, int] | None = None

    @property
    def identity(self) -> str | None:
        """Which journal it is; None before it has a segment."""
        return None if self._segment is None else self._segment.identity.hex()

    @property
    def begun(self) -> int:
        """The number of the first entry of the segment that is open."""
        return 0 if self._segment is None else self._segment.base

    def open(self, number: int | None, identity: str | None = None) -> int:
        """Go to the entry of `number` (None: the first that is kept), or where that was dropped to the first behind it.

        SourceChanged where the journal holds less than was read from it, or is not the one of that `identity`."""
        self.close()
        bases = bases_in(self.folder)
        start = max([base for base in bases if number is not None and base <= number], default=min(bases, default=0))
        self.number = start
        if self._enter(start) and identity not in (None, self.identity):
            raise SourceChanged(f"{self.folder}: another journal than the one that was read from; name another stream")
        while number is not None and self.number < number and self._segment is not None:
            for entry, end in self._ahead():
                self.number, self._offset = entry.number + 1, end
                if self.number == number:
                    return number
            if not self._go_on():
                break
        if number is not None and self.number < number:
            said = f"{self.folder}: ends at entry {self.number}, but was read up to {number}: it was made anew"
            raise SourceChanged(f"{said}; name another stream for it, or another database")
        self.lost.clear()  # told when it was read
        return self.number

    def read(self, most: int, most_bytes: int = READ_BYTES) -> list[Entry]:
        """Entries that are whole, at most `most` and of as many numbers; each lasts when it is given."""
        found: list[Entry] = []
        below, size = self.number + most, 0
        standing = self._standing()
        while self.number < below and size < most_bytes and (self._segment is not None or self._go_on()):
            before = len(found)
            for entry, end in self._ahead():
                found.append(entry)
                self.number, self._offset, size = entry.number + 1, end, size + len(entry.payload)
                if self.number >= below or size >= most_bytes:
                    break
            if len(found) > before:
                self._make_last()
            elif (found and self._gap()) or not self._go_on():
                break
        self._fruitless = None if found else standing
        return found

    @property
    def waiting(self) -> bool:
        """Whether a read may find something."""
        standing = self._standing()
        size, _, later, _ = standing
        return (size > self._offset or bool(later)) and standing != self._fruitless

    def end(self) -> int:
        """The number behind the last whole entry that is there now."""
        base, held = self._last()
        return max(self.number, base, *(entry.number + 1 for entry in held))

    def newest(self) -> int | None:
        """The ingest timestamp (ns) of the last whole entry; None where there is none in the last segment."""
        return max((entry.ingested for entry in self._last()[1]), default=None)

    def held(self) -> int:
        """Bytes of all segments."""
        return held_in(self.folder)

    def drop(self, number: int) -> int:
        """Delete segments all of whose entries come before `number`, never the last one; how many."""
        bases = bases_in(self.folder)
        gone = [base for base, following in pairwise(bases) if following <= number]
        for base in gone:
            with suppress(FileNotFoundError):
                place_of(self.folder, base).unlink()
        return len(gone)

    def close(self) -> None:
        """Close the segment that is open."""
        if self._segment is not None:
            os.close(self._segment.fd)
        self._segment, self._fruitless = None, None

    def _ahead(self) -> Iterator[tuple[Entry, int]]:
        return iter(()) if self._segment is None else entries(self._segment.fd, self._offset, self.number)

    def _make_last(self) -> None:
        """A writer that is killed may not have synced what it wrote, and no position may outlive what it counts."""
        if self._segment is not None:
            os.fdatasync(self._segment.fd)

    def _later(self) -> list[int]:
        """Segments behind the one that is open."""
        return [base for base in bases_in(self.folder) if self._segment is None or base > self._segment.base]

    def _gap(self) -> bool:
        """Whether the next segment begins behind what comes next: what is lost is told at the beginning of a read."""
        later = self._later()
        return bool(later) and later[0] > self.number

    def _go_on(self) -> bool:
        """Enter the next segment, where this one gives no more; whether there may be something to read."""
        later = self._later()
        if not later:
            return False
        if next(self._ahead(), None):
            return True  # written before the next segment was begun, but after we looked
        return self._enter(later[0])

    def _enter(self, base: int) -> bool:
        """Open the segment of `base`; whether that is there and whole."""
        found = opened(self.folder, base)
        if found is None:
            return False
        self.close()
        if base > self.number:
            self.lost.append((self.number, base))
        self._segment, self._offset, self.number = found, SEGMENT_HEAD.size, max(base, self.number)
        return True

    def _standing(self) -> tuple[int, int, int, int]:
        """What changes with whatever is written: of the open segment, how many come behind it, and of the next one."""
        later = self._later()
        size = modified = following = 0
        if self._segment is not None:
            told = os.fstat(self._segment.fd)
            size, modified = told.st_size, told.st_mtime_ns
        if later:
            with suppress(FileNotFoundError):
                following = place_of(self.folder, later[0]).stat().st_size
        return size, modified, len(later), following

    def _last(self) -> tuple[int, list[Entry]]:
        """The last segment: the number it begins with, and its entries."""
        bases = bases_in(self.folder)
        found = opened(self.folder, bases[-1]) if bases else None
        if found is None:
            return 0, []
        try:
            return found.base, [entry for entry, _ in entries(found.fd, SEGMENT_HEAD.size, found.base)]
        finally:
            os.close(found.fd)
