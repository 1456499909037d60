"""The bundled data are what their README says: logs and metrics of the same pods, no labels where a model looks."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.miner import Miner
from streaming.types import SEVERITIES

FOLDER = Path(__file__).resolve().parent.parent / "tsad" / "demo_data"


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / name).read_text())
    return found


@cache
def lines() -> list[dict[str, str]]:
    with gzip.open(FOLDER / "nezha-logs.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(("name", "count"), [("smd-train", 8000), ("smd-test", 7000)])
def test_smd_is_38_channels_a_minute_without_labels(name: str, count: int) -> None:
    table = pq.read_table(FOLDER / f"{name}.parquet")
    assert table.num_rows == count
    assert table.column_names[:2] == ["time", "cpu_r"]
    assert [str(field.type) for field in table.schema] == ["timestamp[ms, tz=UTC]", *["float"] * 38]
    assert not {"label", "timestamp"} & set(table.column_names)
    steps = np.diff(table["time"].to_numpy().astype("datetime64[m]").astype(np.int64))
    assert set(steps.tolist()) == {1}
    values = np.column_stack([table[column].to_numpy() for column in table.column_names[1:]])
    assert np.isfinite(values).all()


def test_the_test_stretch_begins_where_the_training_stretch_ends() -> None:
    train, test = (pq.read_table(FOLDER / f"smd-{name}.parquet")["time"] for name in ("train", "test"))
    assert test[0].as_py() - train[-1].as_py() == timedelta(minutes=1)


def test_smd_events_name_channels_and_do_not_overlap() -> None:
    names = set(pq.read_schema(FOLDER / "smd-test.parquet").names)
    events = rows("smd-events.json")
    assert len(events) == 11
    assert all(event["channels"] and set(event["channels"]) <= names - {"time"} for event in events)
    edges = [when(edge) for event in events for edge in (event["start"], event["end"])]
    assert edges == sorted(set(edges))


def test_nezha_logs_and_metrics_speak_of_the_same_pods_and_hours() -> None:
    table = pq.read_table(FOLDER / "nezha-metrics.parquet")
    pods = set(table["entity"].to_pylist())
    assert 8 <= len(pods) <= 12
    assert {line["entity"] for line in lines()} == pods
    assert {fault["entity"] for fault in rows("nezha-faults.json")} < pods
    assert table.schema.field("time").type == pa.timestamp("ms", tz="UTC")
    assert not {"label", "label_system", "timestamp"} & set(table.column_names)
    assert table.num_columns == 2 + 19
    first, last = table["time"][0].as_py(), table["time"][-1].as_py()
    assert all(first < when(line["time"]) < last for line in (lines()[0], lines()[-1]))


def test_nezha_lines_are_in_order_and_whole() -> None:
    times = [line["time"] for line in lines()]
    assert times == sorted(times, key=when)
    assert {line["severity"] for line in lines()} <= set(SEVERITIES)
    assert {len(line) for line in lines()} == {4}
    assert max(len(line["message"]) for line in lines()) == 500
    assert not any("TraceID" in line["message"].split("\n")[0][:80] for line in lines())


def test_nezha_lines_cover_the_minutes_around_faults_alone() -> None:
    covered = {line["time"][:16] for line in lines()}
    assert 100 <= len(covered) <= 120
    for fault in rows("nezha-faults.json"):
        assert when(fault["end"]) - when(fault["start"]) == timedelta(seconds=240)
        start = when(fault["start"]).astimezone(UTC)
        assert covered & {(start + timedelta(minutes=minute)).isoformat()[:16] for minute in (-1, 0, 1)}


def test_nezha_lines_have_a_few_templates() -> None:
    miner = Miner()
    ids, _ = miner.learn([line["message"] for line in lines()[:20_000]])
    assert 20 < len(miner.templates()) < 200
    frequent = np.sort(np.bincount(ids))[::-1][:20].sum()
    assert frequent > 0.5 * len(ids)
