"""Snapshots: what was written comes back bit for bit, a block at a time, or not at all."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from storage import snapshots
from storage.arrays import Part, pack, unpack
from storage.types import FileRefusedError


def parts() -> list[Part]:
    ring = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    learnt = {
        "names": np.array(["web-1", "ünïcödé 日本"]),
        "seen": np.array([True, False]),
        "odd": np.array([np.nan, -0.0, np.inf]),
        "one": np.array(7, np.int64),
    }
    return [
        ("clock", {}, {"watermark": 12, "names": ["a", "b"]}),
        ("entities/0", {"ring/values": ring, "empty": np.empty((0, 5))}, {}),
        ("entities/1", learnt, {"first": None}),
    ]


def write(url: str, content: list[Part] | Iterator[Part], slot: int = 40, stream: str = "fleet") -> tuple[str, str]:
    return snapshots.write(url, "live", stream, 3, slot=slot, parts=content)


def same(one: list[Part], two: list[Part]) -> bool:
    """Equal bit for bit, types, shapes and order included."""

    def key(part: Part) -> object:
        name, arrays, meta = part
        return name, meta, [(k, a.dtype.str, a.shape, a.tobytes()) for k, a in arrays.items()]

    return [key(part) for part in one] == [key(part) for part in two]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("remote", [False, True])
def test_a_round_trip(tmp_path: Path, remote: bool) -> None:
    url = f"memory://{tmp_path}" if remote else str(tmp_path)
    file, checksum = write(url, parts())
    assert file == f"snapshots/live/fleet/3/{40:020d}-{checksum[:16]}.zip"
    assert same(list(snapshots.read(url, file, checksum)), parts())


def test_a_file_url_is_a_local_folder(tmp_path: Path) -> None:
    file, checksum = write(f"file://{tmp_path}/models", parts())
    assert files(tmp_path / "models") == [file]
    assert same(list(snapshots.read(str(tmp_path / "models"), file, checksum)), parts())


def test_equal_content_is_the_same_file(tmp_path: Path) -> None:
    assert write(str(tmp_path), parts()) == write(str(tmp_path), parts())
    assert write(str(tmp_path), parts(), slot=41)[1] == write(str(tmp_path), parts())[1]
    assert len(files(tmp_path)) == 2


def test_streams_and_runs_with_odd_names_do_not_meet_or_escape(tmp_path: Path) -> None:
    odd = ["../../etc", "a/b", "a", "b.c", ".", "..", "日本", "a b%2F"]
    made = {write(str(tmp_path / "models"), parts(), stream=name)[0] for name in odd}
    assert len(made) == len(odd)
    assert files(tmp_path) == sorted(f"models/{file}" for file in made)


def test_a_changed_byte_is_refused_by_name(tmp_path: Path) -> None:
    file, checksum = write(str(tmp_path), parts())
    path = tmp_path / file
    whole = path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(FileRefusedError, match=f"{path.name} was changed"):
            list(snapshots.read(str(tmp_path), file, checksum))
    path.write_bytes(whole[:-10])
    with pytest.raises(FileRefusedError, match="was changed"):
        list(snapshots.read(str(tmp_path), file, checksum))
    path.unlink()
    with pytest.raises(FileRefusedError, match=f"{path.name} is missing"):
        list(snapshots.read(str(tmp_path), file, checksum))


def test_a_foreign_file_is_refused_even_with_its_checksum(tmp_path: Path) -> None:
    import hashlib
    import zipfile

    (tmp_path / "letter.txt").write_bytes(b"Dear reader")
    with pytest.raises(FileRefusedError, match=r"letter\.txt is not an archive"):
        list(snapshots.read(str(tmp_path), "letter.txt", hashlib.sha256(b"Dear reader").hexdigest()))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("0/part.json", '{"name": 1}')
    data = (tmp_path / "other.zip").read_bytes()
    with pytest.raises(FileRefusedError, match=r"other\.zip is not an archive"):
        list(snapshots.read(str(tmp_path), "other.zip", hashlib.sha256(data).hexdigest()))


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    for name in ("../secret", "a/../../secret", "/etc/passwd"):
        with pytest.raises(FileRefusedError, match="not a file below"):
            list(snapshots.read(str(tmp_path), name, "00"))


def test_objects_are_refused_on_the_way_in_and_out(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'things' of part 'x' holds Python objects"):
        write(str(tmp_path), [("x", {"things": np.array([{}, None])}, {})])
    assert files(tmp_path) == []


def test_pickled_arrays_from_elsewhere_are_not_loaded(tmp_path: Path) -> None:
    import hashlib
    import zipfile

    np.save(tmp_path / "evil.npy", np.array([print], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("0/part.json", '{"name": "x", "meta": {}, "arrays": ["evil"]}')
        archive.write(tmp_path / "evil.npy", "0/0.npy")
    checksum = hashlib.sha256((tmp_path / "evil.zip").read_bytes()).hexdigest()
    with pytest.raises(FileRefusedError, match="allow_pickle=False"):
        list(snapshots.read(str(tmp_path), "evil.zip", checksum))


def test_a_fault_amid_writing_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Part]:
        yield from parts()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(str(tmp_path), failing())
    assert files(tmp_path) == []


def test_stale_files_go_and_orphans_are_swept(tmp_path: Path) -> None:
    url = str(tmp_path)
    made = [write(url, parts(), slot=slot)[0] for slot in (10, 20, 30)]
    snapshots.delete(url, [made[0], made[0], "snapshots/never/was/0/there.zip"])
    assert files(tmp_path) == made[1:]
    (tmp_path / made[1]).with_name("half-written.tmp").write_bytes(b"PK")
    assert snapshots.sweep(url, "live", "fleet", 3, keep=made[2:]) == [
        made[1],
        f"{made[1].rpartition('/')[0]}/half-written.tmp",
    ]
    assert files(tmp_path) == made[2:]
    assert snapshots.sweep(url, "live", "never", 3, keep=[]) == []


def test_blocks_are_never_held_twice(tmp_path: Path) -> None:
    """Eight blocks of 4 MB: neither writing nor reading takes much more than one of them."""

    def blocks() -> Iterator[Part]:
        for index in range(8):
            yield f"block {index}", {"values": np.full((1024, 1024), index, np.float32)}, {}

    tracemalloc.start()
    file, checksum = write(str(tmp_path), blocks())
    total = sum(float(arrays["values"][0, 0]) for _, arrays, _ in snapshots.read(str(tmp_path), file, checksum))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == sum(range(8))
    assert (tmp_path / file).stat().st_size > 32 << 20
    assert peak < 14 << 20


TYPES = st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.boolean_dtypes())
ARRAYS = hnp.arrays(TYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(
        st.tuples(NAMES, st.dictionaries(NAMES, ARRAYS, max_size=3), st.dictionaries(NAMES, JSON, max_size=3)),
        max_size=3,
    )
)
def test_any_content_comes_back(tmp_path: Path, content: list[Part]) -> None:
    file, checksum = write(str(tmp_path), content)
    assert same(list(snapshots.read(str(tmp_path), file, checksum)), content)


@settings(max_examples=40, deadline=None)
@given(arrays=st.dictionaries(NAMES, ARRAYS, max_size=3), meta=st.dictionaries(NAMES, JSON, max_size=3))
def test_packed_values_come_back_and_equal_ones_are_equal_bytes(arrays: dict, meta: dict) -> None:
    found, said = unpack(pack(arrays, meta))
    assert same([("", found, said)], [("", arrays, meta)])
    assert pack(arrays, meta) == pack({key: array.copy() for key, array in arrays.items()}, meta)


def test_other_bytes_are_not_unpacked() -> None:
    good = pack({"window": np.zeros((64, 38), np.float32)})
    assert len(good) < 1000, "packed values are compressed"
    for data in (b"", b"PK", good[: len(good) // 2], good[:-1], b"x" * 1000):
        with pytest.raises(FileRefusedError, match="packed value"):
            unpack(data)
