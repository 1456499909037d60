"""The made worlds of operations that look like faults, and what is counted in them and in TrainTicket."""

import gzip
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import deceptive, scenarios, trainticket
from benchmarks.deceptive import Alert, figures
from benchmarks.scenarios import DEVELOP, FAULTS, OPERATIONS, REPORT, SCENARIOS, Maker, Occurrence, Setting, World

SMALL = Setting(5, "develop", (0.9, 1.1), services=2, again=(2, 1), history=400, faults=2, operations=2)
FAST = 'detectors = ["subspace", "vote"]\nmax_windows = 300\n'


@pytest.fixture(scope="module")
def small() -> World:
    return Maker(SMALL).world()


def test_there_are_as_many_scenarios_as_cloudanobench_describes() -> None:
    assert len(OPERATIONS) == 16
    assert len(FAULTS) + len(scenarios.DURING) == 28
    assert scenarios.STEP * scenarios.LENGTH == 450
    assert set(scenarios.DURING) <= set(FAULTS)
    known = {channel for one in SCENARIOS.values() for channel, _, _ in one.effects}
    assert known <= set(scenarios.CHANNELS)
    assert all(one.like is None or one.like in OPERATIONS for one in SCENARIOS.values())


def test_the_same_setting_makes_the_same_world(small: World) -> None:
    again, other = Maker(SMALL).world(), Maker(replace(SMALL, seed=6)).world()
    assert np.array_equal(again.values, small.values)
    assert (again.lines, again.occurrences) == (small.lines, small.occurrences)
    assert other.lines != small.lines


def test_what_is_reported_differs_from_what_was_developed_with_in_every_line() -> None:
    words = [Maker(setting).words for setting in (DEVELOP, REPORT)]
    said = [
        {text for one in each["scenarios"].values() for part in one.values() for text in part}
        | {text for text, _ in each["background"]}
        for each in words
    ]
    assert not said[0] & said[1]
    assert DEVELOP.seed != REPORT.seed
    assert DEVELOP.heights != REPORT.heights
    assert not set(words[0]["services"]) & set(words[1]["services"])
    assert all(set(each["scenarios"]) == set(SCENARIOS) for each in words)


@pytest.mark.parametrize("setting", [DEVELOP, REPORT])
def test_faults_use_the_words_of_operations(setting: Setting) -> None:
    """A fault that begins with an operation's lines, or says its words itself."""
    told = Maker(setting).words["scenarios"]
    words = {word for name in OPERATIONS for text in told[name]["begin"] for word in text.lower().split()[1:]}
    for name in FAULTS:
        lines = [text for part in told[name].values() for text in part]
        shared = words & {word for text in lines for word in text.lower().split()[1:]}
        assert SCENARIOS[name].like or shared, name


def test_services_never_stop_logging_and_faults_lie_apart(small: World) -> None:
    assert small.lines == sorted(small.lines)
    slots = small.values.shape[1]
    quiet = [line for line in small.lines if line[0] < small.history]
    assert 30 < len(quiet) / 2 / small.history * scenarios.LENGTH < 80
    assert small.history == SMALL.history < small.measured < slots
    assert (small.values >= 0).all()
    counts = Counter((one.name, one.during) for one in small.occurrences if not one.fault)
    assert sum(counts.values()) >= 2 * 3
    by_service: dict[int, list[Occurrence]] = {}
    for one in sorted(small.occurrences, key=lambda one: one.start):
        by_service.setdefault(one.service, []).append(one)
    for mine in by_service.values():
        for before, after in pairwise(mine):
            assert after.start - before.start >= scenarios.APART[0] or after.during


def test_records_are_those_of_the_product(small: World) -> None:
    (first, *_), (line, *_) = list(small.telemetry(0, 1)), list(small.logs(0, 50))
    record, said = json.loads(first), json.loads(line)
    assert set(record) == {"entity", "time", "values"}
    assert set(record["values"]) == set(scenarios.CHANNELS)
    assert set(said) == {"entity", "time", "message", "severity"}
    assert "{" not in said["message"]


def test_only_what_is_delivered_and_meets_no_fault_is_false() -> None:
    deploy, leak = Occurrence("rolling deploy", 0, 1000, 1040), Occurrence("memory leak", 1, 1100, 1180, True)
    before = Occurrence("cpu hog", 0, 300, 380)
    world = World(["a", "b"], np.zeros((2, 2000, 1), np.float32), 200, 900, [deploy, leak, before])
    alerts = [
        Alert("a", 310, 320, ""), Alert("b", 320, 330, ""), Alert("a", 1002, 1020, ""),
        Alert("a", 1500, 1501, "retracted"),
        Alert("b", 1191, 1195, ""), Alert("b", 1600, 1601, "explained"), Alert("b", 1300, 1310, ""),
    ]  # fmt: skip
    found = figures(world, alerts)
    assert (found["false"], found["false_retracted"], found["false_before"], found["explained"]) == (3, 1, 1, 1)
    assert (found["faults"], found["recall"], found["recall_during_deploys"], found["operations"]) == (1, 1, 1, 1)
    assert figures(world, [replace(one, why="retracted") for one in alerts])["recall"] == 0
    assert figures(world, [replace(one, why="explained") for one in alerts])["recall"] == 0


def test_a_small_world_goes_through_the_product() -> None:
    report = deceptive.deceptive([SMALL], ["fused"], FAST, workers=1)
    assert {"false_fused", "recall_fused", "recall_during_deploys_fused", "explained_fused"} <= set(report)
    assert report["faults_fused"] == 2
    assert report["recall_fused"] == 1
    assert report["false_fused"] <= report["operations_fused"]


def test_worlds_are_added_up_by_way(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"metrics": {"false": 4, "recall": 1.0}, "fused": {"false": 1, "recall": 0.9}}
    monkeypatch.setattr(deceptive, "_measured", lambda job: told[job[1]])
    assert deceptive.deceptive([SMALL, replace(SMALL, seed=6)], workers=1) == {
        "false_metrics": 8, "recall_metrics": 1.0, "false_fused": 2, "recall_fused": 0.9,
    }  # fmt: skip


MINUTES = range(28_000_000, 28_000_060)
PODS = ("ts-a", "ts-b", "ts-c")


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pods; two faults, each in covered minutes; `ts-a` writes errors in its own."""
    folder = tmp_path_factory.mktemp("shop") / trainticket.NEZHA
    folder.mkdir()
    draw = np.random.default_rng(1)
    for pod in PODS:
        columns: dict[str, Any] = {"timestamp": [60 * minute + 9 for minute in MINUTES]}
        columns |= {name: draw.normal(10, 1, len(MINUTES)) for name in ("cpu", "memory")}
        pq.write_table(pa.table(columns | {"label": [0] * len(MINUTES)}), folder / f"{pod}.test.parquet")
    lines = ["time_unix_nano\tpod\tmessage\n"]
    for minute in [*MINUTES[10:20], *MINUTES[40:50]]:
        for pod in PODS[:2]:
            stamp = f"{minute // 60 % 24:02}:{minute % 60:02}:30.000"
            lines.append(
                f"{(60 * minute + 30) * 10**9}\t{pod}\t{stamp} INFO c.Foo TraceID: a SpanID: b served {minute}\n"
            )
    (folder / "logs.tsv.gz").write_bytes(gzip.compress("".join(lines).encode()))
    faults = [{"pod": "ts-a", "t0": 60 * minute + 5, "t1": 60 * minute + 185} for minute in (MINUTES[12], MINUTES[42])]
    (folder / "faults.json").write_text(json.dumps({"faults": faults}))
    return folder


def test_only_covered_minutes_behind_the_middle_count(shop_folder: Path) -> None:
    shop = trainticket.Shop.read(shop_folder)
    assert (len(shop.telemetry), len(shop.logs), len(shop.lines), shop.middle) == (180, 40, 20, MINUTES[40])
    inside, outside = {("ts-a", MINUTES[43]): 2.0}, {("ts-a", MINUTES[52]): 9.0, ("ts-b", MINUTES[12]): 9.0}
    found = trainticket.figures(shop, inside | outside)
    assert (found["events"], found["flags"], found["event_f1"], found["first"]) == (1, 1, 1, 1)
    other = trainticket.figures(
        shop, {("ts-a", MINUTES[43]): 1.5, ("ts-b", MINUTES[44]): 2.0, ("ts-b", MINUTES[48]): 3.0}
    )
    assert (other["recall"], other["precision"], other["first"]) == (1, pytest.approx(1 / 3), 0)
    assert other["event_f1_system"] == pytest.approx(0.8)
    assert trainticket.figures(shop, {})["event_f1"] == 0


def test_trainticket_goes_through_the_product(shop_folder: Path) -> None:
    short = "window = 8\nsettle = 4\nquiet = 8\n"
    found = trainticket.trainticket(shop_folder.parent, FAST + short, workers=1, ways=("fused",))
    assert list(found) == ["fused", "any_line"]
    assert {one["events"] for one in found.values()} == {1}
    assert found["any_line"]["recall"] == 1


def test_whose_score_is_the_highest_is_told_below_the_threshold_too(shop_folder: Path) -> None:
    shop = trainticket.Shop.read(shop_folder)
    scores = trainticket.scored(shop, "metrics", FAST + "window = 8\nsettle = 4\nquiet = 8\nlate_horizon = 2\n")
    final = range(shop.middle, MINUTES[-1] - 5)
    assert set(scores) == {(pod, minute) for pod in PODS for minute in final}
    low = {cell: score / 1000 for cell, score in scores.items()}
    assert trainticket.figures(shop, low)["flags"] == 0
    assert trainticket.figures(shop, low)["first"] == trainticket.figures(shop, scores)["first"]
    assert min(scores.values()) < 0.5
