"""Checkpoints, snapshots and leases together: a small partition that counts, killed and taken over at every step."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from stored_samples import Clock, at, empty, stored

from storage import snapshots
from storage.arrays import Part
from storage.engine import Database
from storage.leases import Leases
from storage.store import Store
from storage.types import Checkpoint, FileRefusedError, ScoreRow, SnapshotRow

INPUT = np.arange(1, 41)
"""Forty records; a slot each."""


@dataclass
class Partition:
    """A stand-in for a pipeline: its memory is a running sum, its rows the sum at each slot."""

    store: Store
    url: str
    epoch: int
    position: int = 0
    total: float = 0.0

    def recover(self) -> None:
        """Newest snapshot that can be read, then replay up to the checkpoint with writes off."""
        restored = self.store.restore("live", "fleet", 0)
        for row in restored.snapshots:
            try:
                ((_, arrays, meta),) = snapshots.read(self.url, row.file, row.checksum)
            except FileRefusedError:
                continue
            self.position, self.total = meta["position"], float(arrays["total"][0])
            break
        snapshots.sweep(self.url, "live", "fleet", 0, [row.file for row in restored.snapshots])
        end = restored.checkpoint.positions["telemetry"] if restored.checkpoint else 0
        while self.position < end:
            self.step()

    def step(self) -> ScoreRow:
        self.total += float(INPUT[self.position])
        self.position += 1
        return ScoreRow("web-1", self.position, at(self.position), self.total, 0.1, {}, "m1")

    def poll(self) -> bool:
        """A step and its save; every fifth is followed by a snapshot. False when the partition is another's."""
        row = self.step()
        point = Checkpoint({"telemetry": self.position}, self.position)
        if self.store.save([empty(epoch=self.epoch, scores=[row], checkpoint=point)]).lost:
            return False
        if self.position % 5 == 0:
            self.snapshot()
        return True

    def snapshot(self) -> None:
        file, checksum = snapshots.write(self.url, "live", "fleet", 0, slot=self.position, parts=self.parts())
        row = SnapshotRow(self.position, {"telemetry": self.position}, file, checksum)
        saved = self.store.save([empty(epoch=self.epoch, snapshots=[row])])
        snapshots.delete(self.url, saved.stale_files)

    def parts(self) -> Iterator[Part]:
        yield "sum", {"total": np.array([self.total])}, {"position": self.position}


@pytest.fixture
def models(tmp_path: Path) -> str:
    """The models' URL: a folder that holds nothing else."""
    return str(tmp_path / "models")


def start(database: Database, url: str) -> Partition:
    epoch = Leases(database, Clock()).acquire("fleet", [0], "host")[0]
    made = Partition(Store(database, Clock()), url, epoch)
    made.recover()
    return made


def files(url: str) -> list[Path]:
    return sorted(path for path in Path(url).rglob("*") if path.is_file())


def finished(database: Database) -> list[tuple[int, float]]:
    return sorted((row[4], row[6]) for row in stored(database)["scores"])


EXPECTED = [(slot + 1, float(total)) for slot, total in enumerate(np.cumsum(INPUT))]


@pytest.mark.parametrize("every", [1, 2, 3, 7, 40])
def test_rows_do_not_depend_on_how_often_it_was_killed(database: Database, models: str, every: int) -> None:
    running = start(database, models)
    for turn in range(len(INPUT)):
        if turn % every == every - 1:
            running = start(database, models)
        assert running.poll()
    assert finished(database) == EXPECTED
    assert len(files(models)) == 2, "two snapshots are kept"


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_snapshot_falls_back_to_the_older_or_to_the_start(
    database: Database, models: str, damaged: int
) -> None:
    running = start(database, models)
    for _ in range(22):
        assert running.poll()
    for path in files(models)[-damaged:]:
        path.write_bytes(path.read_bytes()[:-1])
    running = start(database, models)
    assert (running.position, running.total) == (22, float(INPUT[:22].sum()))
    while running.position < len(INPUT):
        assert running.poll()
    assert finished(database) == EXPECTED
    restored = running.store.restore("live", "fleet", 0)
    for row in restored.snapshots:
        assert list(snapshots.read(models, row.file, row.checksum)), "new snapshots took their place"


def test_the_older_owner_cannot_disturb_the_newer(database: Database, models: str) -> None:
    older = start(database, models)
    for _ in range(9):
        assert older.poll()
    newer = start(database, models)
    for _ in range(6):
        assert newer.poll()
    # It writes a file of a slot that the newer one's rows name, with other content; then its save is refused.
    older.total = -1.0
    older.position = 10
    older.snapshot()
    assert not older.poll()
    again = start(database, models)
    assert (again.position, again.total) == (15, float(INPUT[:15].sum()))
    assert len(files(models)) == 2, "the start of the next owner sweeps the orphan"
    while again.position < len(INPUT):
        assert again.poll()
    assert finished(database) == EXPECTED
