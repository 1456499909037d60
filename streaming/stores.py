"""Where data sets lie: folders and object stores, through pyarrow's file systems and whatever else fsspec knows."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib.parse import unquote

import pyarrow as pa
from fsspec.core import url_to_fs
from fsspec.utils import glob_translate
from pyarrow import fs as pafs

from streaming.types import SourceChanged

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_STREAM_BYTES = 1 << 20
PATIENCE = 60
"""Seconds that Google's store may stay away, of its own 15 minutes."""
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in a store. `modified`: when it was written, in ns (0 where the store does not say)."""

    files: Any
    path: str
    size: int
    modified: int

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """Its name in its folder."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """What its name ends with, from the last dot."""
        return PurePosixPath(self.path).suffix

    @property
    def remote(self) -> bool:
        """Whether each read costs a trip."""
        return bool(self.files.type_name != "local")

    def open(self) -> IO[bytes]:
        """The file to read at any place."""
        return cast(IO[bytes], self.files.open_input_file(self.path))

    def stream(self) -> IO[bytes]:
        """The file to read from its start to its end."""
        return cast(IO[bytes], self.files.open_input_stream(self.path, compression=None, buffer_size=_STREAM_BYTES))

    def partitions(self) -> dict[str, str | None]:
        """The columns that the folders of its path name (`host=web-1/`); a column without a value is None."""
        pairs = (part.split("=", 1) for part in PurePosixPath(self.path).parent.parts if "=" in part)
        return {unquote(key): None if value == _NULL else unquote(value) for key, value in pairs}


class Store:
    """The files at a URL: `place` is one of them, a folder or a pattern. ValueError says what cannot be reached."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.files, self.place = _open(url)
        except (ImportError, ValueError, OSError, pa.ArrowException) as error:
            raise ValueError(f"{url}: cannot be reached: {error}") from error

    def listing(self) -> list[Stored]:
        """Every file at the URL, by path, but those that a dot or an underscore begins; ValueError where it is nothing.

        Of a pattern, each file that it says, and those in a folder that it says.
        """
        try:
            base = self._base()
            info = self.files.get_file_info(base)
            if info.type == pafs.FileType.NotFound:
                raise ValueError(f"{self.url}: there is no such file or folder")
            single = info.type == pafs.FileType.File
            found = [info] if single else self._below(base)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{self.url}: cannot be listed: {error}") from error
        pattern = re.compile(glob_translate(self.place)) if base != self.place else None
        files = [one for one in found if one.type == pafs.FileType.File and _matches(one.path, base, pattern)]
        return sorted(map(self._stored, files), key=str)

    def _below(self, folder: str) -> Any:
        """What lies in a folder and those below it."""
        if self.files.type_name != "local":
            return self.files.get_file_info(pafs.FileSelector(folder, recursive=True))
        return self.files.get_file_info(list(_walked(folder, frozenset([os.path.realpath(folder)]))))

    def file(self, path: str, size: int, modified: int) -> Stored:
        """The file at `path` as it was planned; SourceChanged if it is gone, or another by size or time."""
        try:
            info = self.files.get_file_info(path)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{path}: cannot be read: {error}") from error
        if info.type != pafs.FileType.File:
            raise SourceChanged(f"{path}: is gone; it was there when the data set was listed")
        found = self._stored(info)
        if (found.size, found.modified) != (size, modified):
            raise SourceChanged(
                f"{path}: changed since the data set was listed: {found.size} bytes of time {found.modified}, "
                f"was {size} bytes of time {modified}"
            )
        return found

    def _stored(self, info: Any) -> Stored:
        return Stored(self.files, info.path, info.size or 0, info.mtime_ns or 0)

    def _base(self) -> str:
        """The folder above the first part with a wildcard; the place itself where it has none, or is there as named."""
        parts = self.place.split("/")
        wild = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), None)
        if wild is None or self.files.get_file_info(self.place).type != pafs.FileType.NotFound:
            return self.place
        return "/".join(parts[:wild]) or "/"


def _walked(folder: str, above: frozenset[str]) -> Iterator[str]:
    """The files in a folder of this machine and below it, but what a dot or an underscore begins. Links are followed
    but where they lead back to one of the folders `above` (as they really lie). ValueError for a name that cannot be
    told."""
    with os.scandir(folder) as listed:
        entries = [entry for entry in listed if not entry.name.startswith((".", "_"))]
    for entry in entries:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{folder}: holds a name that is not UTF-8: {entry.name!a}; rename it") from error
        if not entry.is_dir():
            yield entry.path
        elif (real := os.path.realpath(entry.path)) not in above:
            yield from _walked(entry.path, above | {real})


def _matches(path: str, base: str, pattern: re.Pattern[str] | None) -> bool:
    """Whether a file below `base` belongs: it, or a folder that it lies in, is what the pattern says."""
    below = PurePosixPath(path).relative_to(base).parts
    if any(part.startswith((".", "_")) for part in below):
        return False
    above = [path, *(str(folder) for folder in list(PurePosixPath(path).parents)[: len(below) - 1])]
    return pattern is None or any(pattern.match(place) for place in above)


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Credentials come from the environment."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return pafs.LocalFileSystem(), str(Path(url).absolute())
    rest = url[scheme.end() :].rstrip("/")
    if scheme[1] == "file":
        return pafs.LocalFileSystem(), unquote(rest)
    container, _, key = rest.partition("/")
    if scheme[1] == "s3":
        return _s3(container), f"{container}/{key}".rstrip("/")
    if scheme[1] in ("gs", "gcs"):
        store = pafs.FileSystem.from_uri(f"gs://{container}?retry_limit_seconds={PATIENCE}")[0]
        return store, f"{container}/{key}".rstrip("/")
    if scheme[1] in ("az", "abfs", "abfss"):
        return _azure(container), f"{container.partition('@')[0]}/{key}".rstrip("/")
    files, place = url_to_fs(url)
    return pafs.PyFileSystem(pafs.FSSpecHandler(files)), str(place).rstrip("/")


def _s3(bucket: str) -> Any:
    """Amazon's S3, or what AWS_ENDPOINT_URL names: MinIO, Ceph and others that speak it."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint:
        return pafs.S3FileSystem(region=region or pafs.resolve_s3_region(bucket))
    scheme, _, host = endpoint.rpartition("://")
    return pafs.S3FileSystem(region=region or "us-east-1", endpoint_override=host.rstrip("/"), scheme=scheme or "https")


def _azure(container: str) -> Any:
    """Azure Blob Storage: the account of `CONTAINER@ACCOUNT.dfs.core.windows.net`, or of the environment."""
    _, _, host = container.partition("@")
    account = host.partition(".")[0] or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise ValueError("no account is named: set AZURE_STORAGE_ACCOUNT_NAME")
    return pafs.AzureFileSystem(account_name=account, account_key=os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"))
