"""Named arrays with JSON beside them, as entries of a zip: `.npy` and nothing that could run.

A *part* is (name, arrays, meta); an archive is a sequence of parts. Part i lies under "i/": "part.json" holds name,
meta and the arrays' names in order, "0.npy", "1.npy" ... the arrays. Every entry has the same date, so that equal parts
give equal bytes. Unicode arrays are allowed, object arrays refused.
"""

import io
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from msgspec import MsgspecError
from numpy.typing import NDArray

from storage.documents import dump_json, load_json
from storage.types import FileRefusedError

Arrays = dict[str, NDArray[Any]]
Part = tuple[str, Arrays, dict[str, Any]]

UNREADABLE = (BadZipFile, zlib.error, KeyError, ValueError, TypeError, EOFError, NotImplementedError, MsgspecError)
"""What reading a foreign or damaged archive raises."""


def write_parts(file: IO[bytes], parts: Iterable[Part], compressed: bool = False) -> None:
    """Write `parts` one after the other into `file` (which need not be seekable); never two of them in memory.

    TypeError for an array of objects, naming it.
    """
    with ZipFile(file, "w") as archive:
        for index, (name, arrays, meta) in enumerate(parts):
            head = {"name": name, "meta": meta, "arrays": list(arrays)}
            archive.writestr(entry(f"{index}/part.json", compressed), dump_json(head))
            for place, (key, array) in enumerate(arrays.items()):
                value = np.asarray(array)
                if value.dtype.hasobject:
                    raise TypeError(f"array {key!r} of part {name!r} holds Python objects: they are not stored")
                with archive.open(entry(f"{index}/{place}.npy", compressed), "w", force_zip64=True) as target:
                    np.lib.format.write_array(target, value, allow_pickle=False)


def entry(name: str, compressed: bool) -> ZipInfo:
    """A zip entry with a fixed date."""
    info = ZipInfo(name)
    info.compress_type = ZIP_DEFLATED if compressed else ZIP_STORED
    return info


def read_parts(file: IO[bytes], name: str) -> Iterator[Part]:
    """The parts of the archive in `file` (seekable), one at a time. FileRefusedError, naming `name`, if it is none."""
    try:
        with ZipFile(file) as archive:
            total = sum(info.filename.endswith("/part.json") for info in archive.infolist())
            for index in range(total):
                head = load_json(archive.read(f"{index}/part.json"))
                arrays = {}
                for place, key in enumerate(head["arrays"]):
                    with archive.open(f"{index}/{place}.npy") as source:
                        arrays[key] = np.lib.format.read_array(source, allow_pickle=False)
                yield head["name"], arrays, head["meta"]
    except UNREADABLE as error:
        raise FileRefusedError(f"{name} is not an archive of arrays by tsad: {error}") from error


def pack(arrays: Arrays, meta: dict[str, Any] | None = None) -> bytes:
    """One part as bytes, compressed: an alert's window, an evicted entity's state."""
    buffer = io.BytesIO()
    write_parts(buffer, [("", arrays, meta or {})], compressed=True)
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """What `pack` packed; FileRefusedError for other bytes."""
    for _, arrays, meta in read_parts(io.BytesIO(data), "a packed value"):
        return arrays, meta
    raise FileRefusedError("a packed value holds no part")
