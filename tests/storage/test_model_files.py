"""Model versions: files that are what their row says, and which of them is active."""

import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import fsspec
import numpy as np
import pytest
from stored_samples import START, Clock

from storage.engine import Database
from storage.model_files import ModelContent, read_model, write_model
from storage.models import Models
from storage.types import FileRefusedError, ModelRow, StoreError


def content(seed: int = 0) -> ModelContent:
    rng = np.random.default_rng(seed)
    return ModelContent(
        arrays={
            "subspace/basis": rng.normal(size=(4, 6)).astype(np.float32),
            "subspace/transposed": rng.normal(size=(4, 6)).T,
            "vote/seen": np.array([True, False]),
            "empty": np.empty((0, 3), np.float16),
            "count": np.array(5, np.int64),
        },
        blobs={"forecast/cpu": b"\x7bL\x00\x00ubj" * 30, "forecast/memory": b""},
        meta={"features": ["cpu", "memory"], "alpha": 1e-5, "nested": {"settings": [1, None, {"x": True}]}},
    )


def same(one: ModelContent, two: ModelContent) -> bool:
    def key(c: ModelContent) -> object:
        return c.blobs, c.meta, {k: (a.dtype, a.shape, a.tobytes()) for k, a in c.arrays.items()}

    return key(one) == key(two)


def write(url: str, version: str | None = "m1", seed: int = 0, stream: str = "fleet") -> ModelRow:
    return write_model(url, stream, version, content(seed), START)


@pytest.mark.parametrize("remote", [False, True])
def test_a_round_trip(tmp_path: Path, remote: bool) -> None:
    url = f"memory://{tmp_path}" if remote else str(tmp_path)
    row = write(url)
    assert (row.stream, row.version, row.state, row.file) == ("fleet", "m1", "candidate", "models/fleet/m1.zip")
    assert same(read_model(url, row), content())


def test_without_a_name_the_content_is_the_name(tmp_path: Path) -> None:
    one, again, other = write(str(tmp_path), None), write(str(tmp_path), None), write(str(tmp_path), None, seed=1)
    assert one == again
    assert len(one.version) == 12 and one.version != other.version


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    row = write(str(tmp_path))
    assert write(str(tmp_path)) == row, "the same one again is no error"
    with pytest.raises(FileRefusedError, match=r"models/fleet/m1\.zip holds another model"):
        write(str(tmp_path), seed=1)
    assert same(read_model(str(tmp_path), row), content())


def test_odd_names_do_not_escape(tmp_path: Path) -> None:
    for name in ("../../up", "a/b", "..", "m 1"):
        row = write(str(tmp_path / "root"), name, stream=name)
        assert same(read_model(str(tmp_path / "root"), row), content())
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([{}]), np.array([1 + 2j])])
def test_arrays_that_are_not_numbers_are_refused_by_name(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="'bad' has type"):
        write_model(str(tmp_path), "fleet", "m1", ModelContent({"bad": array}, {}, {}), START)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_changed_file_is_refused_by_name(tmp_path: Path) -> None:
    row = write(str(tmp_path))
    path = tmp_path / row.file
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"cpu", b"gpu"))
    with pytest.raises(FileRefusedError, match=r"models/fleet/m1\.zip was changed"):
        read_model(str(tmp_path), row)
    path.unlink()
    with pytest.raises(FileRefusedError, match=r"m1\.zip is missing"):
        read_model(str(tmp_path), row)


def rewritten(path: Path, changes: dict[str, bytes | None]) -> str:
    """The zip with other entries (None: left out), and its new checksum: a forger with access to the row."""
    import hashlib

    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(name, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blobs/0": b"other"}, "its part blobs/0 was changed"),
        ({"arrays.safetensors": b"other"}, "its part arrays.safetensors was changed"),
        ({"blobs/1": None}, "is not a model file"),
        ({"manifest.json": None}, "is not a model file"),
        ({"manifest.json": b"{"}, "is not a model file"),
        ({"manifest.json": b"[]"}, "is not a model file"),
        (
            {"manifest.json": b'{"format": "tsad-model-9", "stream": "fleet", "version": "m1"}'},
            "is tsad-model-9 fleet m1",
        ),
    ],
)
def test_a_forged_file_is_refused_by_its_parts(tmp_path: Path, changes: dict[str, bytes | None], message: str) -> None:
    row = write(str(tmp_path))
    checksum = rewritten(tmp_path / row.file, changes)
    with pytest.raises(FileRefusedError, match=message) as caught:
        read_model(str(tmp_path), replace(row, checksum=checksum))
    assert "models/fleet/m1.zip" in str(caught.value)


def test_a_file_of_another_stream_or_version_is_foreign(tmp_path: Path) -> None:
    row = write(str(tmp_path))
    for wrong in (replace(row, stream="other"), replace(row, version="m2")):
        with pytest.raises(FileRefusedError, match="is tsad-model-1 fleet m1, not"):
            read_model(str(tmp_path), wrong)


def test_a_letter_is_no_model(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "letter.txt").write_bytes(b"Dear reader")
    row = ModelRow("fleet", "m1", "letter.txt", hashlib.sha256(b"Dear reader").hexdigest(), START)
    with pytest.raises(FileRefusedError, match=r"letter\.txt is not a model file"):
        read_model(str(tmp_path), row)


def test_a_remote_version_is_fetched_once_and_the_cache_is_checked(tmp_path: Path) -> None:
    url, cache = f"memory://{tmp_path}/remote", tmp_path / "cache"
    row = write(url)
    kept = cache / "models" / f"{row.checksum}.zip"
    assert same(read_model(url, row, cache), content())
    assert kept.is_file()
    kept.write_bytes(b"damaged")
    assert same(read_model(url, row, cache), content()), "a damaged copy is fetched anew"
    fsspec.filesystem("memory").rm(f"{tmp_path}/remote/{row.file}")
    assert same(read_model(url, row, cache), content()), "and then the remote file is not asked for"
    kept.unlink()
    with pytest.raises(FileRefusedError, match=r"m1\.zip is missing"):
        read_model(url, row, cache)


def test_local_versions_are_used_where_they_are(tmp_path: Path) -> None:
    row = write(str(tmp_path / "models"))
    assert same(read_model(str(tmp_path / "models"), row, tmp_path / "cache"), content())
    assert not (tmp_path / "cache").exists()


def row_of(version: str, stream: str = "fleet", age: int = 0) -> ModelRow:
    created = START - timedelta(days=age)
    return ModelRow(stream, version, f"models/{version}.zip", "ab" * 32, created, meta={"events": 3})


def states(models: Models, stream: str = "fleet") -> dict[str, str]:
    return {row.version: row.state for row in models.listing(stream)}


def test_versions_are_listed_oldest_first_and_added_once(database: Database) -> None:
    models = Models(database, Clock())
    for row in (row_of("new"), row_of("old", age=9), row_of("x", stream="other")):
        models.add(row)
    models.add(replace(row_of("new"), file="elsewhere", state="active"))
    assert models.listing("fleet") == [row_of("old", age=9), row_of("new")]
    assert len(models.listing()) == 3
    assert models.active("fleet") is None


def test_promotion_and_rollback(database: Database) -> None:
    clock = Clock()
    models = Models(database, clock)
    for version in ("m1", "m2", "m3", "m4"):
        models.add(row_of(version))

    def promote(version: str) -> None:
        clock.now += timedelta(hours=1)
        promoted = models.promote("fleet", version)
        assert promoted == models.active("fleet")
        assert (promoted.version, promoted.activated_at) == (version, clock.now)

    for version in ("m1", "m2", "m3"):
        promote(version)
    assert states(models) == {"m1": "retired", "m2": "retired", "m3": "active", "m4": "candidate"}
    assert models.rollback("fleet").version == "m2"
    promote("m4")
    assert models.rollback("fleet").version == "m2", "m3 was rolled back from: it is not gone back to"
    assert models.rollback("fleet") == models.active("fleet")
    assert states(models) == {"m1": "active", "m2": "retired", "m3": "retired", "m4": "retired"}
    with pytest.raises(StoreError, match="no model was active before 'm1'"):
        models.rollback("fleet")
    assert models.active("fleet") is not None
    promote("m3")
    assert models.rollback("fleet").version == "m1"


def test_promoting_the_active_version_changes_nothing(database: Database) -> None:
    clock = Clock()
    models = Models(database, clock)
    models.add(row_of("m1"))
    first = models.promote("fleet", "m1")
    clock.now += timedelta(hours=1)
    assert models.promote("fleet", "m1") == first == models.active("fleet")


def test_what_cannot_be_promoted_or_rolled_back_is_named(database: Database) -> None:
    models = Models(database, Clock())
    with pytest.raises(StoreError, match="'fleet' has no model version 'm9'; it has: none"):
        models.promote("fleet", "m9")
    for version in ("m2", "m1"):
        models.add(row_of(version))
    with pytest.raises(StoreError, match="it has: m1, m2"):
        models.promote("fleet", "m9")
    with pytest.raises(StoreError, match="no active model to roll back from"):
        models.rollback("fleet")


def test_streams_do_not_meet(database: Database) -> None:
    models = Models(database, Clock())
    models.add(row_of("m1"))
    models.add(row_of("m1", stream="other"))
    models.promote("fleet", "m1")
    assert models.active("other") is None
    models.promote("other", "m1")
    assert states(models) == states(models, "other") == {"m1": "active"}
