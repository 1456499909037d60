"""The same records through topics, files and standard input: one stream, one set of final rows."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brokers import create_topics, publish

from storage.types import LIVE
from tests.tsad import histories
from tests.tsad.command_line import CONFIGURATION, finished, started, tsad
from tests.tsad.kafka_streams import key_of
from tests.tsad.streams import FIT_SLOTS, SLOTS, START, STREAM, cells_with_anomalies, differences, payloads
from tests.tsad.test_two_topics import cells, log_lines
from tsad.backfill.spec import Wanted

SERIAL = count()
LATE = {"late": (1, 7), "too_late": (20, 40)}
"""How many slots late: within `late_horizon` (8), and beyond it."""
BROKEN = (
    b'{"entity":"a","time":',
    b'{"entity":"a","time":1700000000,"values":{"cpu":"high"},"message":7}',
    b'{"entity":"b","values":{"cpu":1},"message":"x"}',
    b'{"entity":"c","time":"yesterday","values":{"cpu":1},"message":"x"}',
    b'{"entity":"a","time":1700000000,"values":{"cpu":1},"message":"x","labels":{"a":"\xff\xfe"}}',
)


def slot_of(payload: bytes) -> int:
    return int(json.loads(payload)["time"] - START) // 60


def disturbed(lines: Sequence[bytes], seed: int) -> list[bytes]:
    """The lines slot by slot, where some come late, some twice, and broken ones lie between. What is late follows the
    whole slot in which it comes, so that it is as late beside its own entity as beside all of them."""
    rng = random.Random(seed)
    slots: dict[int, list[bytes]] = {}
    for payload in lines:
        slots.setdefault(slot_of(payload), []).append(payload)
    behind: dict[int, list[bytes]] = {}
    found: list[bytes] = []
    last = max(slots)
    for slot in sorted(slots):
        for payload in slots[slot]:
            kind = rng.choices(["on time", "late", "too_late"], [0.93, 0.06, 0.01])[0]
            if kind != "on time" and slot + LATE[kind][1] < last:
                behind.setdefault(slot + rng.randint(*LATE[kind]), []).append(payload)
                continue
            found += [payload] * (1 + (rng.random() < 0.02))
            found += [rng.choice(BROKEN)] * (rng.random() < 0.01)
        found += behind.pop(slot, [])
    return found


def busy_cells() -> dict[tuple[str, int], np.ndarray]:
    """The anomalies of the other tests, and single slots between them that stand out, much or hardly."""
    found = cells_with_anomalies()
    for number, slot in enumerate(range(FIT_SLOTS + 12, SLOTS - 10, 9)):
        channels, jump = (3, 3.5) if number % 2 else (2, 1.5)
        found["abc"[number % 3], slot][:channels] += jump
    return found


TELEMETRY = disturbed(payloads(busy_cells(), FIT_SLOTS), 1)
LINES = disturbed(log_lines(range(FIT_SLOTS, SLOTS)), 2)


@pytest.fixture(scope="module")
def fitted_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stream of both topics, fitted, and files of what comes next. Not to be changed."""
    home = tmp_path_factory.mktemp("parity")
    (home / "tsad.toml").write_text(f"{CONFIGURATION}[stream.s.logs]\ntemplates = 8\n")
    calm = {key: values for key, values in cells().items() if key[1] < FIT_SLOTS}
    for name, lines in {
        "history.jsonl": payloads(calm), "history-logs.jsonl": log_lines(range(FIT_SLOTS)), "live.jsonl": TELEMETRY,
        "live-logs.jsonl": LINES,
    }.items():  # fmt: skip
        (home / name).write_bytes(b"".join(line + b"\n" for line in lines))
    said = tsad(home, "fit", STREAM, "--from", "history.jsonl", "--logs", "history-logs.jsonl")
    assert said.code == 0, said.err
    return home


@pytest.fixture
def home(fitted_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(fitted_home, tmp_path / "home")
    return tmp_path / "home"


def rows_of(home: Path, run: str = LIVE) -> dict[str, list[Any]]:
    """The final rows without the places of records; of templates the texts, whose numbers are their partition's."""
    with histories.opened(home) as app:
        found = histories.rows_of(app, run)
    found["templates"] = [{"text": text} for text in sorted({row["text"] for row in found["templates"]})]
    return found


@pytest.fixture(scope="module")
def from_files(fitted_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What the two files give."""
    home = tmp_path_factory.mktemp("files") / "home"
    shutil.copytree(fitted_home, home)
    said = tsad(home, "run", STREAM, "--source", "live.jsonl", "--logs", "live-logs.jsonl", "--json")
    assert (said.code, said.json["rows"]) == (0, len(TELEMETRY) + len(LINES)), said.err
    return rows_of(home)


def test_there_is_something_to_compare(from_files: dict[str, list[Any]]) -> None:
    """Alerts of every fate, log lines among the reasons, late ones that amend, and letters of many reasons."""
    assert len(from_files["alerts"]) > 5
    assert {row["state"] for row in from_files["alerts"]} >= {"resolved", "retracted"}
    reasons = Counter(row["reason"] for row in from_files["dead_letters"])
    assert len(reasons) > 4
    assert reasons["too_late"] > 5
    assert len(from_files["explanations"]) > 5
    assert len(from_files["audit"]) > 20


@pytest.mark.parametrize("piped", ["telemetry", "logs"])
def test_standard_input(home: Path, from_files: dict[str, list[Any]], piped: str) -> None:
    sources = {"telemetry": "live.jsonl", "logs": "live-logs.jsonl"}
    given = (home / sources[piped]).read_bytes()
    sources[piped] = "-"
    arguments = ["run", STREAM, "--source", sources["telemetry"], "--logs", sources["logs"], "--json"]
    said = finished(started(home, *arguments), given)
    assert (said.code, said.json["rows"]) == (0, len(TELEMETRY) + len(LINES)), said.err
    assert differences(rows_of(home), from_files) == []


def test_a_run_over_history(home: Path, from_files: dict[str, list[Any]]) -> None:
    with histories.opened(home) as app:
        assert histories.backfilled(app, "again", Wanted("live.jsonl", "live-logs.jsonl")) == "finished"
    assert differences(rows_of(home, "again"), from_files) == []


@pytest.mark.parametrize(("client", "partitions"), [("kafka-python", 1), ("confluent", 1), ("kafka-python", 3)])
def test_topics(kafka_server: str, home: Path, from_files: dict[str, list[Any]], client: str, partitions: int) -> None:
    """With several partitions, entities lie apart, and each has the rows that it has among all of them."""
    topics = {"telemetry": TELEMETRY, "logs": LINES}
    more = [f"[kafka]\nbootstrap = {kafka_server!r}\nclient = {client!r}\n"]
    for topic, lines in topics.items():
        name = f"parity-{topic}-{next(SERIAL)}-{id(home)}"
        create_topics(kafka_server, [name], partitions)
        publish(kafka_server, name, [(key_of(line) or b"nobody", line) for line in lines])
        more.append(f"[stream.s.{topic}]\nsource = 'kafka'\ntopic = {name!r}\n")
    (home / "tsad.toml").write_text(
        f"{CONFIGURATION}{more[0]}group = 'parity-{id(home)}'\n{more[1]}{more[2]}templates = 8\n"
    )
    said = tsad(home, "run", STREAM, "--until-end", "--json")
    assert (said.code, said.json["rows"]) == (0, len(TELEMETRY) + len(LINES)), said.err
    assert differences(rows_of(home), from_files) == []
    with histories.opened(home) as app:
        assert histories.backfilled(app, "again", Wanted()) == "finished"
    assert differences(rows_of(home, "again"), from_files) == []
