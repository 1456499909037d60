"""A journal of pushed messages: files of entries, each on disk before it is acknowledged, read as a topic is.

A segment begins with `SEGMENT_HEAD` (magic, the journal's identity, the number of its first entry, a checksum of that)
and goes on with entries: `ENTRY_HEAD` (checksum of all behind it, length, number, ingest timestamp, format), then the
message as its decoder reads it. Numbers rise by one, so an entry's number is its position for good. One process writes
(it holds a lock); any may read. What is cut off or was written half is no entry: the next writer cuts it away.
"""

import fcntl
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import Literal, get_args

Pushed = Literal["otlp", "otlp-json", "remote-write"]
FORMATS: tuple[Pushed, ...] = get_args(Pushed)
MAGIC = b"tsadjrn1"
SEGMENT_HEAD = Struct("<8s16sqI")
ENTRY_HEAD = Struct("<IIqqB")
SUFFIX = ".journal"
SEGMENT_BYTES = 16 << 20
"""Bytes from which on the next entry begins another segment; only whole segments are dropped."""
BLOCK = 4 << 20
REMEMBERED = 50_000
"""Messages, at most, that are known again: the newest of those since the beginning of the segment before the last."""


class JournalError(Exception):
    """The journal cannot be written now: another process writes it, or the disk refuses."""


class JournalFullError(JournalError):
    """It holds as much as it may: what reads it has to go on first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as it was pushed: its number, its ingest timestamp (ns), its format."""

    number: int
    ingested: int
    format: Pushed
    payload: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """An open file of entries from number `base` on."""

    fd: int
    base: int
    identity: bytes


@dataclass(slots=True)
class _Waiting:
    """A message that waits for its place on the disk."""

    format: Pushed
    payload: bytes
    digest: bytes = b""
    done: bool = False
    fault: JournalError | None = None


@dataclass
class Journal:
    """Writes the journal in `folder`, up to `most` bytes. `clock` (ns) gives ingest timestamps; `sync` makes a file's
    content last. `once`: a message that is there already, byte for byte, is not written again, as far as it is
    remembered; that outlasts the writer.

    It is opened by the first message: then it takes the lock, and cuts what a killed writer left half written.
    """

    folder: Path
    most: int
    clock: Callable[[], int] = time.time_ns
    segment_bytes: int = SEGMENT_BYTES
    sync: Callable[[int], None] = os.fdatasync
    once: bool = False
    _lock: int | None = None
    _segment: Segment | None = None
    _next: int = 0
    _end: int = 0
    _held: int = 0
    _known: dict[bytes, None] = field(default_factory=dict)
    _queue: list[_Waiting] = field(default_factory=list)
    _queuing: Lock = field(default_factory=Lock)
    _committing: Lock = field(default_factory=Lock)

    def put(self, format: Pushed, payload: bytes) -> None:
        """Return once the message is on disk. Asked from many threads: those that come together share one write.

        JournalFullError where there is no room; JournalError where it cannot be written, and then nothing is promised.
        """
        mine = _Waiting(format, payload, _digest(format, payload) if self.once else b"")
        with self._queuing:
            self._queue.append(mine)
        with self._committing:
            if not mine.done:
                with self._queuing:
                    batch, self._queue = self._queue, []
                self._commit(batch)
        if mine.fault is not None:
            raise mine.fault

    def close(self) -> None:
        """Let others write."""
        with self._committing:
            self._let_go()

    def _commit(self, batch: list[_Waiting]) -> None:
        fault: JournalError | None = JournalError(f"{self.folder}: it was not written")
        try:
            self._write(batch)
            fault = None
        except JournalError as error:
            fault = error
        except OSError as error:
            # what is in the file now is not known: the next message opens it anew, and looks
            self._let_go()
            fault = JournalError(f"{self.folder}: {error.strerror or error}")
        finally:
            for one in batch:
                one.done, one.fault = True, one.fault or fault

    def _write(self, batch: list[_Waiting]) -> None:
        segment = self._segment or self._open()
        now, parts, size, number = self.clock(), [], 0, self._next
        fresh = dict[bytes, None]()
        for one in batch:
            if self.once and (one.digest in self._known or one.digest in fresh):
                continue
            entry = packed(Entry(number, now, one.format, one.payload))
            if self._full(size + len(entry)):
                one.fault = JournalFullError(f"{self.folder} holds {self._held} bytes, and {self.most} are allowed")
                continue
            parts.append(entry)
            fresh[one.digest] = None
            size, number = size + len(entry), number + 1
        if not parts:
            return
        if self._end >= self.segment_bytes:
            os.close(segment.fd)
            self._segment = None
            segment = self._begin(self._next, segment.identity)
        _write_all(segment.fd, b"".join(parts))
        self.sync(segment.fd)
        self._next, self._end, self._held = number, self._end + size, self._held + size
        self._remember(fresh)

    def _remember(self, digests: Iterable[bytes]) -> None:
        """Know messages again that are on disk."""
        if self.once:
            self._known |= dict.fromkeys(digests)
            for old in list(islice(self._known, max(len(self._known) - REMEMBERED, 0))):
                del self._known[old]

    def _full(self, size: int) -> bool:
        if self._held + size > self.most:
            self._held = held_in(self.folder)  # a reader may have dropped what it needs no longer
        return self._held + size > self.most

    def _open(self) -> Segment:
        """Take the lock, and go on behind the last whole entry."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._let_go()
            raise JournalError(f"{self.folder} is written by another process") from None
        self._held = held_in(self.folder)
        self._known.clear()
        bases = bases_in(self.folder)
        while bases:
            found = opened(self.folder, bases[-1], os.O_RDWR)
            if found is not None:
                self._recall(bases[-2:-1])
                return self._go_on(found)
            if len(bases) == 1:
                self._next = bases[0]
            place_of(self.folder, bases.pop()).unlink()  # killed while it began: nothing is in it
        return self._begin(self._next, uuid.uuid4().bytes)

    def _recall(self, bases: Iterable[int]) -> None:
        """Know the messages of whole segments again."""
        for base in bases if self.once else ():
            found = opened(self.folder, base)
            if found is not None:
                held = entries(found.fd, SEGMENT_HEAD.size, base)
                self._remember([_digest(entry.format, entry.payload) for entry, _ in held])
                os.close(found.fd)

    def _go_on(self, segment: Segment) -> Segment:
        self._segment = segment
        self._next, self._end = segment.base, SEGMENT_HEAD.size
        digests = []
        for entry, end in entries(segment.fd, self._end, self._next):
            self._next, self._end = entry.number + 1, end
            if self.once:
                digests.append(_digest(entry.format, entry.payload))
        self._remember(digests)
        if os.fstat(segment.fd).st_size > self._end:
            os.ftruncate(segment.fd, self._end)
        os.lseek(segment.fd, self._end, os.SEEK_SET)
        self.sync(segment.fd)
        return segment

    def _begin(self, base: int, identity: bytes) -> Segment:
        """A new segment, whose name is on disk before anything is in it."""
        fd = os.open(place_of(self.folder, base), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._segment = segment = Segment(fd, base, identity)
        head = SEGMENT_HEAD.pack(MAGIC, identity, base, 0)[:-4]
        _write_all(fd, head + zlib.crc32(head).to_bytes(4, "little"))
        self.sync(fd)
        for folder in (self.folder, self.folder.parent):
            _sync_folder(folder)
        self._next, self._end, self._held = base, SEGMENT_HEAD.size, self._held + SEGMENT_HEAD.size
        return segment

    def _let_go(self) -> None:
        for fd in (self._lock, self._segment.fd if self._segment else None):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        self._lock = self._segment = None


def _digest(format: Pushed, payload: bytes) -> bytes:
    return blake2b(payload, digest_size=16, person=format.encode()).digest()


def packed(entry: Entry) -> bytes:
    """An entry as it lies in a segment."""
    head = ENTRY_HEAD.pack(0, len(entry.payload), entry.number, entry.ingested, FORMATS.index(entry.format))[4:]
    checksum = zlib.crc32(entry.payload, zlib.crc32(head))
    return b"".join((checksum.to_bytes(4, "little"), head, entry.payload))


def entries(fd: int, offset: int, number: int) -> Iterator[tuple[Entry, int]]:
    """The whole entries of a segment from `offset` on, where that of `number` begins, each with the offset behind it.

    The file's own size bounds what is read, whatever an entry says of its length."""
    size, block, start = os.fstat(fd).st_size, b"", offset
    while offset + ENTRY_HEAD.size <= size:
        if offset + ENTRY_HEAD.size > start + len(block):
            block, start = os.pread(fd, BLOCK, offset), offset
        at = offset - start
        if len(block) - at < ENTRY_HEAD.size:
            return
        checksum, length, told, ingested, form = ENTRY_HEAD.unpack_from(block, at)
        end = offset + ENTRY_HEAD.size + length
        if told != number or form >= len(FORMATS) or end > size:
            return
        if end > start + len(block):
            block, start, at = os.pread(fd, max(BLOCK, end - offset), offset), offset, 0
        if zlib.crc32(memoryview(block)[at + 4 : at + end - offset]) != checksum:
            return
        yield Entry(number, ingested, FORMATS[form], block[at + ENTRY_HEAD.size : at + end - offset]), end
        offset, number = end, number + 1


def opened(folder: Path, base: int, flags: int = os.O_RDONLY) -> Segment | None:
    """The segment whose first entry is `base`; None where it is gone, or was only begun."""
    try:
        fd = os.open(place_of(folder, base), flags | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    head = os.pread(fd, SEGMENT_HEAD.size, 0)
    if len(head) == SEGMENT_HEAD.size:
        magic, identity, told, checksum = SEGMENT_HEAD.unpack(head)
        if magic == MAGIC and told == base and checksum == zlib.crc32(head[:-4]):
            return Segment(fd, base, identity)
    os.close(fd)
    return None


def bases_in(folder: Path) -> list[int]:
    """The first numbers of the segments, rising."""
    try:
        names = [place.name for place in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(stem) for name in names if (stem := name.removesuffix(SUFFIX)) != name and stem.isdecimal())


def place_of(folder: Path, base: int) -> Path:
    """Where the segment lies whose first entry is `base`."""
    return folder / f"{base:020d}{SUFFIX}"


def held_in(folder: Path) -> int:
    """Bytes of all segments."""
    total = 0
    for base in bases_in(folder):
        with suppress(FileNotFoundError):
            total += place_of(folder, base).stat().st_size
    return total


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
