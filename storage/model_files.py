"""Model versions as files: arrays in safetensors, blobs (XGBoost's UBJ), and JSON that lists both with checksums.

A version is one zip, `models/STREAM/VERSION.zip`: "manifest.json" (format, stream, version, meta, SHA-256 of every
entry), "arrays.safetensors", "blobs/N". Never overwritten. Nothing in it can run when it is read.
"""

import hashlib
import io
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from storage.arrays import UNREADABLE, entry
from storage.documents import dump_json, load_json
from storage.files import CHUNK, Files, folder_of
from storage.types import FileRefusedError, ModelRow

FORMAT = "tsad-model-1"
ARRAYS = "arrays.safetensors"


@dataclass(frozen=True, slots=True)
class ModelContent:
    """What a model version holds: arrays by name, blobs by name, and JSON."""

    arrays: dict[str, NDArray[Any]]
    blobs: dict[str, bytes]
    meta: dict[str, Any]


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def tensors(arrays: dict[str, NDArray[Any]]) -> bytes:
    """`arrays` in safetensors; TypeError, naming it, for one whose type it does not know (text, objects)."""
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"model array {key!r} has type {array.dtype}: only numbers and booleans are stored")
    return safetensors.numpy.save({key: np.ascontiguousarray(a).reshape(a.shape) for key, a in arrays.items()})


def write_model(
    url: str,
    stream: str,
    version: str | None,
    content: ModelContent,
    created_at: datetime,
) -> ModelRow:
    """Write a version below `url`: its row, as a candidate. Without a `version` the content's hash (12 digits) is it.

    FileRefusedError if another model already has that version; the same one again is no error.
    """
    entries = {ARRAYS: tensors(content.arrays)}
    entries |= {f"blobs/{index}": data for index, data in enumerate(content.blobs.values())}
    listing = {
        "format": FORMAT,
        "stream": stream,
        "meta": content.meta,
        "blobs": list(content.blobs),
        "sha256": {name: sha256(data) for name, data in entries.items()},
    }
    version = version or sha256(dump_json(listing).encode())[:12]
    folder = folder_of("models", stream)
    name = f"{folder}/{folder_of(version)}.zip"
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr(entry("manifest.json", False), dump_json({**listing, "version": version}))
        for part, data in entries.items():
            archive.writestr(entry(part, False), data)
    checksum = sha256(buffer.getvalue())
    files = Files(url)
    if files.exists(name):
        try:
            with files.read(name, checksum):
                pass
        except FileRefusedError as error:
            raise FileRefusedError(f"{url}: {name} holds another model: a version is never overwritten") from error
    else:
        files.write(folder, lambda file: copy(buffer, file), lambda _: f"{folder_of(version)}.zip")
    return ModelRow(stream, version, name, checksum, created_at)


def copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy from the start of `source`."""
    source.seek(0)
    while chunk := source.read(CHUNK):
        target.write(chunk)


def read_model(url: str, row: ModelRow, cache: Path | None = None) -> ModelContent:
    """The version that `row` names. FileRefusedError, naming the file, if it is missing, changed or foreign.

    With `cache`, a remote file is fetched once and kept there under its checksum, which is verified at each read; local
    files are used where they are.
    """
    files = Files(url)
    if cache is None or files.local:
        with files.read(row.file, row.checksum) as file:
            return parse(file, row)
    near = Files(str(cache))
    kept = f"models/{row.checksum}.zip"
    try:
        with near.read(kept, row.checksum) as file:
            return parse(file, row)
    except FileRefusedError:
        with files.read(row.file, row.checksum) as file:
            content = parse(file, row)
            near.write("models", lambda target: copy(file, target), lambda sha: f"{sha}.zip")
        return content


def parse(file: IO[bytes], row: ModelRow) -> ModelContent:
    """The content of an opened version; FileRefusedError if it is not what `row` says."""
    try:
        with ZipFile(file) as archive:
            manifest = load_json(archive.read("manifest.json"))
            found = tuple(manifest[key] for key in ("format", "stream", "version"))
            if found != (FORMAT, row.stream, row.version):
                raise FileRefusedError(f"{row.file} is {' '.join(map(str, found))}, not {row.stream} {row.version}")
            entries = {name: archive.read(name) for name in manifest["sha256"]}
        for name, data in entries.items():
            if sha256(data) != manifest["sha256"][name]:
                raise FileRefusedError(f"{row.file}: its part {name} was changed")
        blobs = {name: entries[f"blobs/{index}"] for index, name in enumerate(manifest["blobs"])}
        return ModelContent(safetensors.numpy.load(entries[ARRAYS]), blobs, manifest["meta"])
    except (*UNREADABLE, SafetensorError) as error:
        raise FileRefusedError(f"{row.file} is not a model file by tsad: {error}") from error
