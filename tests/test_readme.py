"""README keeps its word: every command runs, every configuration is valid, every key exists, every record is read."""

import json
import math
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from detectors.types import Detector
from streaming.types import Windows
from tsad.cli import app
from tsad.cluster import KafkaConfig
from tsad.config import Config, StreamConfig, parse_config
from tsad.grouping import SessionConfig
from tsad.incoming import FeatureConfig, LogConfig, MappingConfig, TelemetryConfig
from tsad.operating import ApiConfig, HttpConfig, LoggingConfig
from tsad.surroundings import ContextConfig
from tsad.triage.settings import TriageConfig

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
START = datetime(2026, 1, 5, tzinfo=UTC)
SLOTS, HOSTS = 500, ("web-1", "web-2")
MAKE = {
    "make demo": "$(BIN)/tsad demo",
    "make test": "$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder",
}


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def commands() -> list[str]:
    return [line for text in blocks("sh") for line in text.splitlines() if line.strip()]


def test_readme_holds_what_the_tests_below_look_at() -> None:
    assert len(commands()) >= 20
    assert {"sh", "toml", "json", "csv", "python", "text"} == {kind for kind, _ in BLOCKS}
    assert {line for line in commands() if not line.startswith(("tsad ", "cat "))} == set(MAKE)


@pytest.mark.parametrize("command", MAKE)
def test_the_make_commands_are_targets_that_set_up_first(command: str) -> None:
    target = command.split()[1]
    makefile = (ROOT / "Makefile").read_text()
    rule = re.search(rf"^{target}: (.*?) *##.*\n\t(.*)$", makefile, re.MULTILINE)
    assert rule
    assert rule[1].split()[0] == "$(STAMP)"
    assert rule[2] == MAKE[command]


def reading(slot: int, place: int, wobble: np.ndarray) -> dict[str, float]:
    """Load and what follows it; a burst on the second host near the end."""
    load = 2 + math.sin(slot / 20) + 0.1 * wobble[0]
    burst = 40 if place == 1 and 440 <= slot < 455 else 0
    return {"cpu": 20 * load + wobble[1] + burst, "memory": 50 + wobble[2], "requests": 100 * load + wobble[3]}


def write_samples(folder: Path) -> None:
    """The files that README names, small: a table, its two parts, telemetry as JSON Lines, and a raw log."""
    noise = np.random.default_rng(3).normal(size=(SLOTS, len(HOSTS), 4))
    table, records, log = [], [], []
    for slot in range(SLOTS):
        time = (START + timedelta(minutes=slot)).isoformat()
        for place, host in enumerate(HOSTS):
            values = reading(slot, place, noise[slot, place])
            table.append(",".join([time, host, *(f"{value:.3f}" for value in values.values())]))
            records.append(json.dumps({"entity": host, "time": time, "values": values}))
            log.append(f"{time} {host} INFO GET /item/{slot} took {slot % 90} ms")
    head = "time,host,cpu,memory,requests"
    cut = 400 * len(HOSTS)
    for name, rows in (("servers", table), ("history", table[:cut]), ("today", table[cut:])):
        (folder / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "today.jsonl").write_text("\n".join([*records, "{broken"]) + "\n")
    (folder / "app.log").write_text("\n".join(log) + "\n")
    write_series(folder / "data", 1)


def write_series(folder: Path, seed: int) -> None:
    """One labelled series: the second host, whose first 400 rows are the train part."""
    folder.mkdir()
    noise = np.random.default_rng(seed).normal(size=(SLOTS, 4))
    rows = [reading(slot, 1, noise[slot]) | {"label": int(440 <= slot < 455)} for slot in range(SLOTS)]
    for name, part in (("train", rows[:400]), ("test", rows[400:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"web.{name}.parquet")


class Session:
    """A new user's folder and the commands typed in it; ID and VERSION are looked up as the user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def type(self, line: str) -> str:
        """Run one line of README; what it wrote to standard output."""
        if " | " in line:
            done = subprocess.run(
                line.replace("tsad ", f"{Path(sys.executable).with_name('tsad')} "),
                shell=True, cwd=self.folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            return done.stdout
        result = self.invoke(self.filled(line).split()[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        return result.stdout

    def invoke(self, arguments: list[str]) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    def filled(self, line: str) -> str:
        if "ID" in line.split():
            line = line.replace("ID", json.loads(self.invoke(["alerts", "--json"]).stdout)[0]["id"][:12])
        if "VERSION" in line.split():
            versions = json.loads(self.invoke(["models", "--json"]).stdout)
            line = line.replace("VERSION", next(row["version"] for row in versions if row["state"] == "candidate"))
        return line


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What each of README's commands wrote, typed one after the other in one folder."""
    folder = tmp_path_factory.mktemp("readme")
    write_samples(folder)
    session = Session(folder)
    written: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in commands():
            if line in MAKE:
                continue
            quick = f"{line} --profile fast" if line.startswith(("tsad try", "tsad evaluate data")) else line
            quick = f"{quick} --workers 1" if line.startswith("tsad evaluate") else quick
            written[line] = session.type(quick)
            if line.startswith("tsad init"):
                settle(folder / "tsad.toml")
        yield written


def test_an_evaluation_stands_beside_its_peers_and_leaves_a_report(said: dict[str, str]) -> None:
    (line,) = [line for line in said if line.startswith("tsad evaluate data")]
    assert all(name in said[line] for name in ("VUS-PR", "k-means", "isolation-forest"))
    (line,) = [line for line in said if line.startswith("tsad evaluate servers.csv")]
    assert "servers" in said[line]


def settle(file: Path) -> None:
    """README's other two streams beside the one of `tsad init`; the profile without networks and trees, for speed."""
    text = file.read_text()
    assert '#profile = "default"' in text
    (example,) = blocks("toml")
    others = example[example.index("[stream.live]") :]
    file.write_text(text.replace('#profile = "default"', 'profile = "fast"') + "\n" + others)


def test_every_command_runs(said: dict[str, str]) -> None:
    assert list(said) == list(dict.fromkeys(line for line in commands() if line not in MAKE))


@pytest.mark.parametrize("command", ["tsad try servers.csv", "tsad alerts", "tsad explain ID --png why.png"])
def test_the_burst_is_found_and_named(said: dict[str, str], command: str) -> None:
    assert "web-2" in said[command]
    assert re.search(r"\+\d+\.\d+ cpu", said[command])


def test_json_is_json(said: dict[str, str]) -> None:
    found = [json.loads(text) for line, text in said.items() if "--json" in line]
    assert found
    assert all(isinstance(rows, list) for rows in found)


def test_the_broken_record_is_a_dead_letter(said: dict[str, str]) -> None:
    assert "broken_json" in said["tsad dead-letters live"]


def test_the_detectors_that_readme_describes_are_those_that_there_are(said: dict[str, str]) -> None:
    described = README[README.index("- Eight detectors") : README.index("- One decision")]
    listed = re.findall(r"^│ (\w+)", said["tsad detectors"], re.MULTILINE)
    assert len(listed) == 8
    assert all(f"`{name}`" in described for name in listed)


def test_the_example_configuration_is_valid() -> None:
    (text,) = blocks("toml")
    config = parse_config(tomllib.loads(text))
    assert {name: stream.topics for name, stream in config.stream.items()} == {
        "fleet": ("telemetry",), "servers": ("telemetry",), "live": ("telemetry",), "app": ("logs",),
    }  # fmt: skip


def keys() -> list[tuple[str, str]]:
    """Key and default of each row of README's table of keys."""
    return re.findall(r"^\| `([\w.]+)` \| (.*?) \|", README[README.index("| key |") :], re.MULTILINE)


def field_of(path: str) -> tuple[type[BaseModel], str]:
    section, names = Config, path.split(".")
    if names[:2] == ["stream", "NAME"]:
        section, names = StreamConfig, names[2:]
    match names:
        case ["features", "FEATURE", name]:
            return FeatureConfig, name
        case ["logs", name]:
            return LogConfig, name
        case ["sessions", name]:
            return SessionConfig, name
        case ["telemetry", "mapping", name]:
            return MappingConfig, name
        case ["context", name]:
            return ContextConfig, name
        case ["telemetry", name]:
            return TelemetryConfig, name
        case ["kafka", name]:
            return KafkaConfig, name
        case ["http", name]:
            return HttpConfig, name
        case ["api", name]:
            return ApiConfig, name
        case ["triage", name]:
            return TriageConfig, name
        case ["log", name]:
            return LoggingConfig, name
        case [name]:
            return section, name
    raise AssertionError(f"README names {path}")


@pytest.mark.parametrize(("path", "default"), keys())
def test_each_key_exists_and_has_that_default(path: str, default: str) -> None:
    section, name = field_of(path)
    assert name in section.model_fields
    quoted = re.fullmatch(r"`(.*)`", default)
    if quoted:
        written = tomllib.loads(f"value = {quoted[1]}")["value"]
        # read as the file would be: durations become nanoseconds
        needed = {"key": "(x)"} if section is SessionConfig and name != "field" else {}
        assert (
            getattr(section.model_validate(needed | {name: written}), name) == section.model_fields[name].get_default()
        )


def test_the_table_of_keys_is_long_enough_to_be_of_use() -> None:
    assert len(keys()) >= 20
    assert len({path for path, _ in keys()}) == len(keys())


def watched(folder: Path, name: str, configuration: str, extra: list[str]) -> dict[str, object]:
    """The figures of a run over one file, without a model."""
    (folder / "tsad.toml").write_text(configuration)
    result = CliRunner().invoke(app, ["run", name, *extra, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    figures: dict[str, object] = json.loads(result.stdout)
    return figures


@pytest.mark.parametrize("place", range(4))
def test_each_json_example_is_read(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = blocks("json")[place]
    (tmp_path / "sample.jsonl").write_text(text)
    packed, message = 'telemetry.features = ["cpu", "memory"]', 'telemetry.format = "auto"'
    section = ["", packed, message, "telemetry = false\nlogs = {}"][place]
    option = "--logs" if place == 3 else "--source"
    figures = watched(tmp_path, "s", f"[stream.s]\n{section}\n", [option, "sample.jsonl"])
    assert figures["rows"] == len(text.splitlines())
    assert figures["dead_letters"] == 0
    assert not figures["unknown_features"]


@pytest.mark.parametrize(("place", "layout"), [(0, "wide"), (1, "long")])
def test_each_table_example_is_read(place: int, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample.csv").write_text(blocks("csv")[place])
    configuration = f'[stream.s.telemetry]\nlayout = "{layout}"\n'
    figures = watched(tmp_path, "s", configuration, ["--source", "sample.csv"])
    assert (figures["rows"], figures["dead_letters"]) == (1, 0)


def test_the_example_detector_is_one() -> None:
    (text,) = blocks("python")
    module = ModuleType("level")
    exec(compile(text, "level.py", "exec"), module.__dict__)
    detector = module.Level()
    assert isinstance(detector, Detector)
    values = np.random.default_rng(1).normal(size=(6, 8, 3)).astype(np.float32)
    values[1, -1], values[2, -1, 0] = np.nan, np.nan
    windows = Windows(np.zeros(6, np.int32), np.arange(6), values, ["a", "b", "c"], ["host"])
    detector.fit(windows)
    scores = detector.score(windows)
    assert scores.values.dtype == scores.shares.dtype == np.float32
    assert np.isnan(scores.values).tolist() == [False, True, False, False, False, False]
    np.testing.assert_allclose(scores.shares.sum(axis=1), [1, 0, 1, 1, 1, 1], rtol=1e-6)
    again = module.Level()
    again.restore(detector.state())
    np.testing.assert_array_equal(again.score(windows).values, scores.values)


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert "docs/screenshot.png" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_demos_output_is_that_of_the_demo() -> None:
    """The words are those that the code prints; the figures are a run's."""
    shown = "\n".join(blocks("text"))
    assert re.search(r"smd: \d+ of 11 labelled events found", shown)
    assert re.search(r"trainticket: \d+ of 4 labelled events found", shown)
    assert "picture: tsad-alert-1.png" in shown
