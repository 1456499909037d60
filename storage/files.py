"""Files under the models' URL (a folder, or whatever fsspec knows): written whole or not at all, with a checksum."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote

import fsspec
from fsspec.implementations.local import LocalFileSystem

from storage.types import FileRefusedError

CHUNK = 1 << 20


class HashingWriter:
    """A file to write to that hashes what passes. It cannot seek: what is hashed is what lies in the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write and hash."""
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    @property
    def checksum(self) -> str:
        """SHA-256 of all that was written, in hex."""
        return self._digest.hexdigest()


class Files:
    """The files below `url`. Names are relative, their parts joined by "/"."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = fsspec.core.url_to_fs(url)

    @property
    def local(self) -> bool:
        """Whether the files lie on this machine."""
        return isinstance(self._fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """Where `name` lies, for `fsspec`; FileRefusedError for a name that leads out of the folder."""
        if name.startswith("/") or ".." in name.split("/"):
            raise FileRefusedError(f"{name!r} is not a file below {self.url}")
        return f"{self._root.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self._fs.exists(self.path(name)))

    def write(self, folder: str, fill: Callable[[IO[bytes]], None], name: Callable[[str], str]) -> tuple[str, str]:
        """Let `fill` write a file in `folder` and call it `name(its SHA-256)`: (folder/name, SHA-256).

        Until it is whole it has another name. A file of that name is replaced; names that contain the checksum are
        therefore safe from other writers.
        """
        temporary = self.path(f"{folder}/{uuid.uuid4().hex}.tmp")
        self._fs.makedirs(self.path(folder), exist_ok=True)
        try:
            with self._fs.open(temporary, "wb") as file:
                writer = HashingWriter(file)
                fill(writer)  # type: ignore[arg-type]
            final = f"{folder}/{name(writer.checksum)}"
            self._fs.mv(temporary, self.path(final))
        except BaseException:
            if self._fs.exists(temporary):
                self._fs.rm(temporary)
            raise
        return final, writer.checksum

    @contextmanager
    def read(self, name: str, checksum: str) -> Iterator[IO[bytes]]:
        """The file, open at its start, once its SHA-256 is found to be `checksum`; else FileRefusedError names it."""
        path = self.path(name)
        try:
            file = self._fs.open(path, "rb")
        except FileNotFoundError as error:
            raise FileRefusedError(f"{self.url}: {name} is missing") from error
        with file:
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            if digest.hexdigest() != checksum:
                found, wanted = digest.hexdigest()[:16], checksum[:16]
                raise FileRefusedError(f"{self.url}: {name} was changed: its SHA-256 is {found}..., not {wanted}...")
            file.seek(0)
            yield file

    def listing(self, folder: str) -> list[str]:
        """The names of the files in `folder`, sorted; none where it does not exist."""
        path = self.path(folder)
        if not self._fs.isdir(path):
            return []
        return sorted(f"{folder}/{found.rpartition('/')[2]}" for found in self._fs.ls(path, detail=False))

    def delete(self, name: str) -> None:
        """Remove the file; one that is gone already is no error."""
        path = self.path(name)
        if self._fs.exists(path):
            self._fs.rm(path)

    def delete_folder(self, name: str) -> None:
        """Remove the folder and all that is in it; one that is gone already is no error."""
        path = self.path(name)
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)


def folder_of(*parts: str) -> str:
    """A folder's name of parts that may hold any character."""
    return "/".join(quote(part, safe="").replace(".", "%2E") for part in parts)
