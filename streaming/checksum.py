"""Whether files are still those that a position belongs to."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from streaming.types import SourceChanged

PREFIX_BYTES = 1 << 16
"""Bytes at the start of a growing file that its checksum covers."""
_CHUNK_BYTES = 1 << 20


class Identity(Protocol):
    """What tells whether an input is the one that a position belongs to."""

    def text(self) -> str:
        """What a position remembers of it."""

    def check(self, expected: str) -> None:
        """SourceChanged, by name, unless it is still what had this text."""


class Checksum:
    """Of every byte and every name of some files; read once, when first asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._text: str | None = None

    def text(self) -> str:
        """The checksum of the files as they were when it was first asked for."""
        if self._text is None:
            self._text = self._compute()
        return self._text

    def check(self, expected: str) -> None:
        """SourceChanged, by name, unless the files have this checksum now."""
        self._text = self._compute()
        if self._text != expected:
            names = ", ".join(str(path) for path in self._paths[:5])
            raise SourceChanged(f"{names}: changed since it was read (checksum {self._text}, was {expected})")

    def _compute(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for path in self._paths:
            digest.update(f"{path.name}:{path.stat().st_size}:".encode())
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()


class PrefixChecksum:
    """Of a file that may grow: its first 64 KiB, less while it is shorter. Its text: bytes covered, size, digest.

    A file that is shorter than it was, or begins otherwise, has changed; an edit behind the start is not seen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def text(self) -> str:
        """The checksum of the file as it is now."""
        size = self._path.stat().st_size
        covered = min(size, PREFIX_BYTES)
        return f"{covered}:{size}:{self._digest(covered)}"

    def check(self, expected: str) -> None:
        """SourceChanged, by name, if the file has shrunk or begins otherwise."""
        covered, size, digest = expected.split(":")
        now = self._path.stat().st_size
        if now < int(size):
            raise SourceChanged(f"{self._path}: has shrunk from {size} to {now} bytes since it was read")
        if self._digest(int(covered)) != digest:
            raise SourceChanged(f"{self._path}: its first {covered} bytes have changed since it was read")

    def _digest(self, covered: int) -> str:
        with self._path.open("rb") as stream:
            return hashlib.blake2b(stream.read(covered), digest_size=16).hexdigest()
