"""Compiled loops: where they are kept, ahead of time too, and what they do where nothing can be kept."""

import os
import subprocess
import sys
from pathlib import Path

from detectors.compiled import MODULES

LOOP = '''
import numpy as np
from detectors.compiled import compiled

@compiled("f8[::1](f8[::1], f8)")
def decayed(x, rate):
    """x (N) smoothed."""
    out, level = np.empty_like(x), 0.0
    for place in range(len(x)):
        level += rate * (x[place] - level)
        out[place] = level / 0.0 if level < 0 else level
    return out

if __name__ == "__main__":
    print(decayed(np.array([1.0, 1.0, -4.0]), 0.5).tolist())
'''


def _run(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "loop.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.nb[ic]"))


def test_a_loop_is_kept_on_disk_and_read_from_there(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    assert _run(tmp_path) == "[0.5, 0.75, -inf]"
    kept = _kept(tmp_path)
    assert len(kept) == 2
    assert _run(tmp_path) == "[0.5, 0.75, -inf]"
    assert _kept(tmp_path) == kept


def test_the_environment_says_where_it_is_kept(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    elsewhere = tmp_path / "elsewhere"
    _run(tmp_path, NUMBA_CACHE_DIR=str(elsewhere))
    assert len(_kept(elsewhere)) == 2
    assert not _kept(tmp_path / "__pycache__")


def test_where_nothing_can_be_kept_it_is_compiled_anew(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "__pycache__").write_text("no folder")
    nowhere = str(tmp_path / "__pycache__" / "below")
    found = _run(tmp_path, NUMBA_CACHE_DIR=nowhere, XDG_CACHE_HOME=nowhere, HOME=nowhere)
    assert found == "[0.5, 0.75, -inf]"
    assert not _kept(tmp_path)


def test_all_loops_can_be_compiled_ahead(tmp_path: Path) -> None:
    """Every module that holds one is named, and what the first command would compile lies there already."""
    detectors = Path(__file__).parents[2] / "detectors"
    holding = [path for path in sorted(detectors.glob("*.py")) if "@compiled(" in path.read_text()]
    assert [f"detectors.{path.stem}" for path in holding] == sorted(MODULES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "detectors.compiled"], env=environment, check=True)
    kept = {name.split("-")[0] for name in _kept(tmp_path)}
    assert {name.split(".")[0] for name in kept} >= {path.stem for path in holding}
