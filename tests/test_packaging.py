"""The distribution: four packages that belong to nobody else, a command, data beside the code, one version."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, packages_distributions, version
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("tsad", "streaming", "detectors", "storage")
LOCKS = sorted((ROOT / "requirements").glob("py*.txt"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return {canonicalize_name(name): pinned for name, pinned in PIN.findall(lock.read_text())}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_belongs_to_this_distribution_alone(package: str) -> None:
    assert set(packages_distributions()[package]) == {"tsad"}


def test_the_command_is_there() -> None:
    (command,) = entry_points(group="console_scripts", name="tsad")
    assert command.value == PROJECT["scripts"]["tsad"]
    assert callable(command.load())


def test_the_version_is_the_changelogs_newest() -> None:
    headings = re.findall(r"^## \[?v?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version("tsad") == PROJECT["version"] == headings[0]


@pytest.mark.parametrize(
    "name",
    [
        "smd-train.parquet", "smd-test.parquet", "smd-events.json", "nezha-metrics.parquet", "nezha-logs.jsonl.gz",
        "nezha-faults.json", "README.md", "LICENSE-OmniAnomaly.txt", "LICENSE-InterFusion.txt", "LICENSE-Nezha.txt",
    ],
)  # fmt: skip
def test_the_demo_data_lie_beside_the_code(name: str) -> None:
    assert (files("tsad") / "demo_data" / name).is_file()


def test_the_demo_data_are_small_and_nothing_else_is_there() -> None:
    folder = ROOT / "tsad" / "demo_data"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 * 2**20
    assert all(path.is_file() for path in folder.iterdir())


def test_the_demo_events_lie_inside_the_test_stretch() -> None:
    events = json.loads((ROOT / "tsad" / "demo_data" / "smd-events.json").read_text())
    assert len(events) >= 5
    edges = [edge for event in events for edge in (event["start"], event["end"])]
    assert edges == sorted(edges)
    assert edges[0] > "2020-01-06T13:20:00Z"
    assert edges[-1] <= "2020-01-11T10:00:00Z"


def test_the_migrations_are_package_data() -> None:
    migrations = files("storage") / "migrations"
    names = [path.name for path in (migrations / "versions").iterdir()]
    assert (migrations / "env.py").is_file()
    assert any(name.endswith(".py") and name != "__init__.py" for name in names)


def test_each_declared_python_has_a_lock() -> None:
    declared = {
        "py" + text.rsplit(" ", 1)[1].replace(".", "")
        for text in PROJECT["classifiers"]
        if re.search(r":: 3\.\d", text)
    }
    assert {lock.stem for lock in LOCKS} == declared == {"py311", "py312", "py313"}
    assert {path.stem for path in (ROOT / "requirements").glob("bench-*")} == {f"bench-{name}" for name in declared}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_what_is_declared_with_hashes_and_without_what_cuda_needs(lock: Path) -> None:
    pinned = pins(lock)
    wanted = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]]
    for requirement in wanted:
        if requirement.name != "torch":
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
    assert "setuptools" in pinned
    assert not [name for name in pinned if name in {"torch", "river"} or name.startswith("nvidia-")]
    entries = re.split(r"^(?=[A-Za-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pinned)
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_the_benchmarks_lock_adds_to_the_lock_and_repeats_nothing(lock: Path) -> None:
    extra = pins(lock.with_name(f"bench-{lock.name}"))
    assert "river" in extra
    assert not extra.keys() & pins(lock).keys()


def test_torch_is_pinned_for_the_makefile() -> None:
    (torch,) = [line for line in PROJECT["dependencies"] if line.startswith("torch")]
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", torch)
    dry = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup", f"PYTHON={sys.executable}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"install --quiet {torch}\n" in dry.stdout
    assert "--require-hashes --no-deps" in dry.stdout


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert [line.split()[1] for line in listed.splitlines()] == phony[1].split()


def test_a_python_without_a_lock_is_told_what_to_do() -> None:
    asked = subprocess.run(["make", "requirements/py310.txt"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode != 0
    assert "3.11, 3.12 and 3.13 are locked" in asked.stderr
