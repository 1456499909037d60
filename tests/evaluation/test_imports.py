"""Of which code kept scores are a function: all that scores, and nothing that only prints, stores or reads."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_series import write

from detectors.registry import DETECTORS
from tsad.evaluation.imports import PACKAGES, reached
from tsad.evaluation.scorefile import code_mark

ROOT = Path(__file__).resolve().parents[2]
SCORING = [f"tsad.evaluation.{name}" for name in ("running", "coldstart", "series", "scorefile")]
RUN = """
import json, sys
from pathlib import Path
from tsad.config import validated
from tsad.evaluation.running import run_together
from tsad.evaluation.series import TrainPart, find_series, read_series
series = [read_series(file, TrainPart()) for file in find_series(Path(sys.argv[1]))]
config = validated({"stream": {"s": {"profile": "fast", "alert_budget": 5.0}}}, "test").of("s")
assert any(scored.alert.any() for scored in run_together(series, config))
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def scoring() -> dict[str, Path]:
    return reached(ROOT, SCORING)


def test_all_that_is_loaded_to_score_is_found(scoring: dict[str, Path], tmp_path: Path) -> None:
    write(tmp_path / "data", "one", 1)
    command = [sys.executable, "-c", RUN, str(tmp_path / "data")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name for name in json.loads(said.stdout) if name.split(".")[0] in PACKAGES}
    assert {"tsad.partition", "tsad.judge", "detectors.subspace", "streaming.ring"} <= loaded
    assert loaded <= scoring.keys()


def test_every_detector_is_found_though_a_text_names_it(scoring: dict[str, Path]) -> None:
    assert {target.partition(":")[0] for target in DETECTORS.values()} <= scoring.keys()


@pytest.mark.parametrize(
    "name",
    [
        "tsad.app", "tsad.cli", "tsad.cli.alerts", "tsad.runner", "tsad.worker", "tsad.report", "tsad.evaluation.page",
        "tsad.evaluation.measuring", "storage.schema", "storage.store", "streaming.files", "streaming.decode",
        "streaming.broker.consumer",
    ],
)  # fmt: skip
def test_what_only_reads_stores_or_prints_is_not(scoring: dict[str, Path], name: str) -> None:
    assert reached(ROOT, [name])
    assert name not in scoring


def test_imports_are_followed_wherever_they_are_written(tmp_path: Path) -> None:
    files = {
        "tsad/__init__.py": "",
        "tsad/start.py": "import os\nfrom tsad.parts import one\nfrom detectors.told import Name\n",
        "tsad/parts/__init__.py": "from storage import kept\n",
        "tsad/parts/one.py": "def later():\n    import streaming.lazy\n",
        "tsad/beside.py": "from tsad import start\n",
        "detectors/told.py": 'class Name:\n    where = "detectors.named:Class"\n    other = "see streaming: not"\n',
        "detectors/named.py": "import tsad.start\n",
        "storage/kept.py": "import numpy\n",
        "streaming/__init__.py": "",
        "streaming/lazy.py": "",
        "numpy.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = reached(tmp_path, ["tsad.start"])
    assert sorted(file.relative_to(tmp_path).as_posix() for file in found.values()) == sorted(
        files.keys() - {"tsad/beside.py", "numpy.py"}
    )
    assert list(found) == sorted(found)
    assert found["tsad.parts"] == tmp_path / "tsad/parts/__init__.py"


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no module tsad\.nowhere below "):
        reached(tmp_path, ["tsad.nowhere"])


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four packages, to be changed."""
    root = tmp_path_factory.mktemp("copied")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "demo_data"))
    return root


def marks(root: Path) -> tuple[str, str]:
    code_mark.cache_clear()
    return code_mark(False, root), code_mark(True, root)


def test_the_mark_changes_with_the_code_that_scores_alone(copied: Path) -> None:
    """The first mark is of the scores of tsad, the second of those of its peers."""
    before = marks(copied)
    for file, scores, peers in [
        ("detectors/discord.py", True, False),
        ("tsad/evaluation/series.py", True, True),
        ("tsad/evaluation/baselines.py", False, True),
        ("tsad/cli/alerts.py", False, False),
    ]:
        path = copied / file
        path.write_text(path.read_text() + "# another comment\n")
        after = marks(copied)
        assert (after[0] != before[0], after[1] != before[1]) == (scores, peers), file
        before = after


def test_a_copy_has_the_same_mark(copied: Path, tmp_path: Path) -> None:
    shutil.copytree(copied / "tsad", tmp_path / "tsad")
    for package in PACKAGES[1:]:
        (tmp_path / package).symlink_to(copied / package)
    assert marks(tmp_path) == marks(copied)
