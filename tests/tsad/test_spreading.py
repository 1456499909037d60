"""`tsad fit` with an engine: the same version as of one process, by processes that may die."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.types import Rows
from tests.tsad import pieces
from tests.tsad.command_line import fresh_home, tsad
from tests.tsad.streams import ENTITIES
from tsad.engines.local import LocalEngine
from tsad.engines.queue import Queue
from tsad.engines.tasks import CALLS, EngineError
from tsad.spreading import EngineSpread, gpus

SETTINGS = EnsembleSettings(step_ns=60 * 10**9, window=16, detectors={"subspace": {}, "vote": {}}, max_windows=2000)
FEW_WINDOWS = """
[stream.s]
detectors = ["subspace", "linear", "vote"]
window = 16
settle = 5
quiet = 8
late_horizon = 8
max_windows = 1000
scope = "entity"
"""


def rows() -> Rows:
    draw = np.random.default_rng(1)
    codes, slots = np.repeat(np.arange(3, dtype=np.int32), 450), np.tile(np.arange(450), 3)
    values = (np.sin(slots / 20)[:, None] + draw.normal(0, 0.1, (len(codes), 3))).astype(np.float32)
    return Rows(["a", "b", "c"], codes, slots, values, ["x", "y", "z"])


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(pieces.ROOT))
        with LocalEngine(2) as opened:
            yield opened


@pytest.fixture(scope="module")
def alone() -> Any:
    """What one process fits."""
    return Ensemble.fit(rows(), SETTINGS).state()


def assert_same(one: Any, other: Any) -> None:
    assert one.meta == other.meta
    assert one.blobs == other.blobs
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)


def test_workers_fit_the_same_bits_and_rows_are_written_once(engine: LocalEngine, alone: Any, tmp_path: Path) -> None:
    spread = EngineSpread(engine, tmp_path)
    assert_same(Ensemble.fit(rows(), SETTINGS, spread=spread).state(), alone)
    written = sorted(path.name for path in tmp_path.glob("*.npy"))
    assert [name for name in written if not name.startswith("at")] == ["codes.npy", "slots.npy", "values.npy"]
    assert os.path.getsize(tmp_path / "values.npy") < rows().values.nbytes + 1000


def test_a_piece_whose_process_is_killed_is_begun_again(
    engine: LocalEngine, alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CALLS, "fit", "tests.tsad.pieces:die_then_fit")
    assert_same(Ensemble.fit(rows(), SETTINGS, spread=EngineSpread(engine, tmp_path)).state(), alone)
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("fail", ValueError, "subspace could not be fitted: ValueError: bad request"),
        ("die", EngineError, r"subspace could not be fitted: its process was killed by SIGKILL.* \(3 attempts\)"),
    ],
)
def test_what_cannot_be_fitted_is_named(
    engine: LocalEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(Queue, "pauses", (0.0, 0.0))
    place = "tests.tsad.pieces:fail" if call == "fail" else "tests.tsad.pieces:die_always"
    monkeypatch.setitem(CALLS, "fit", place)
    only = EnsembleSettings(step_ns=60 * 10**9, window=16, detectors={"subspace": {}}, max_windows=2000)
    with pytest.raises(error, match=message):
        Ensemble.fit(rows(), only, spread=EngineSpread(engine, tmp_path))


def version(home: Path, *options: str) -> Any:
    said = tsad(home, "fit", "s", "--from", "history.jsonl", "--candidate", "--json", *options)
    assert said.code == 0, said.err
    assert "Traceback" not in said.err
    return said.json[0]["version"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(pieces.ROOT))
    return fresh_home(tmp_path / "home", FEW_WINDOWS)


def test_the_command_fits_the_same_version_with_either_engine(home: Path, ray_cluster: str) -> None:
    alone = version(home)
    assert version(home, "--engine", "local", "--workers", "2") == alone
    assert version(home, "--engine", "ray", "--workers", "2", "--address", ray_cluster) == alone
    assert len(ENTITIES) > 1
    assert list((home / "tsad-history").glob("fit-*")) == [], "what nodes read goes when it is done"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--workers", "2"), 2, "--workers and --address are an engine's"),
        (("--engine", "spark"), 1, "unknown engine 'spark'; there are: local, ray"),
        (("--engine", "local", "--address", "ray://x:1"), 1, "an address is one of a Ray cluster"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    home: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    said = tsad(home, "fit", "s", "--from", "history.jsonl", *options)
    assert (said.code, message in said.err) == (code, True)


@pytest.mark.parametrize(("device", "asked"), [("cpu", 0), ("auto", 1), ("cuda", 1)])
def test_a_gpu_is_asked_for_by_a_detector_that_runs_on_one(device: str, asked: float) -> None:
    assert gpus({"vote": {}, "reconstruction": {"device": device}}) == asked
    assert gpus({"vote": {}}) == 0
