"""Snapshots of a partition's memory: one file each, written and read a block at a time.

The file's name holds its slot and its checksum: an owner that has lost its lease without knowing can add a file, but
never change one that a row names.
"""

from collections.abc import Iterable, Iterator

from storage.arrays import Part, read_parts, write_parts
from storage.files import Files, folder_of


def folder(run: str, stream: str, partition: int) -> str:
    """Where a partition's snapshots lie below the models' URL."""
    return folder_of("snapshots", run, stream, str(partition))


def write(url: str, run: str, stream: str, partition: int, *, slot: int, parts: Iterable[Part]) -> tuple[str, str]:
    """Write `parts` (name, arrays, JSON) as one file below `url`: its name there, and its SHA-256.

    Parts are taken one by one, so a generator of blocks of entities never holds them twice. TypeError for arrays of
    objects; then, as after any fault, no file is left. A `SnapshotRow` in a save makes it current.
    """
    place = folder(run, stream, partition)
    return Files(url).write(place, lambda file: write_parts(file, parts), lambda sha: f"{slot:020d}-{sha[:16]}.zip")


def read(url: str, file: str, checksum: str) -> Iterator[Part]:
    """The parts of a snapshot, one at a time; FileRefusedError names a file that is missing, changed or foreign."""
    with Files(url).read(file, checksum) as source:
        yield from read_parts(source, file)


def delete(url: str, stale: Iterable[str]) -> None:
    """Remove what `Saved.stale_files` named, after the save."""
    files = Files(url)
    for file in stale:
        files.delete(file)


def sweep(url: str, run: str, stream: str, partition: int, keep: Iterable[str]) -> list[str]:
    """At the start of an owner: remove the partition's files that are not in `keep` (what rows name), half ones too."""
    orphans = sorted(set(Files(url).listing(folder(run, stream, partition))) - set(keep))
    delete(url, orphans)
    return orphans


def drop(url: str, run: str) -> None:
    """Remove every snapshot of a run."""
    Files(url).delete_folder(folder_of("snapshots", run))
