"""What a stream reads, as its configuration says: which sources, and whether Kafka."""

import json
from pathlib import Path
from typing import Any

import pytest

from streaming.types import Topic
from tsad.config import ConfigError, parse_config
from tsad.inputs import Inputs

MINUTE = 60


def inputs(**stream: Any) -> Inputs:
    return Inputs("s", parse_config({"stream": {"s": stream}}).of("s"), clock=lambda: 2_000_000_000 * 10**9)


def test_what_is_given_comes_before_what_is_configured() -> None:
    both = inputs(telemetry={"source": "metrics.jsonl"}, logs={"source": "app.log"})
    assert both.paths({}) == {"telemetry": "metrics.jsonl", "logs": "app.log"}
    assert both.paths({"logs": "-"}) == {"telemetry": "metrics.jsonl", "logs": "-"}


def test_more_slots_may_close_at_a_time_never_fewer() -> None:
    given = inputs(max_lead=5)
    assert given.leading(5) is given.leading(1) is given
    assert given.leading(9).config == inputs(max_lead=9).config
    assert given.config.max_lead == 5


def test_a_topic_without_a_source_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"^stream\.s\.logs\.source is not set; name a file, a folder, or - \(stdin\)$"
    ):
        inputs(logs={}).paths({"telemetry": "metrics.jsonl"})


@pytest.mark.parametrize(
    ("stream", "topic", "reads"),
    [({}, "logs", "telemetry"), ({"telemetry": False, "logs": {}}, "telemetry", "logs")],
)
def test_a_source_of_a_topic_that_is_not_read_is_refused(stream: dict[str, Any], topic: Topic, reads: str) -> None:
    with pytest.raises(ConfigError, match=f"stream 's' is configured to read {reads} only, not {topic} 'x.jsonl'"):
        inputs(**stream).paths({topic: "x.jsonl"})


def test_kafka_is_read_where_it_is_configured_or_given() -> None:
    configured = inputs(telemetry={"source": "kafka", "topic": "metrics"})
    assert configured.on_kafka({})
    assert not configured.on_kafka({"telemetry": "metrics.jsonl"})
    assert inputs(telemetry={"topic": "metrics"}).on_kafka({"telemetry": "kafka"})
    assert inputs(telemetry={"topic_pattern": "metrics.*"}).on_kafka({"telemetry": "kafka"})
    assert not inputs().on_kafka({})


def test_kafka_for_one_of_two_is_refused() -> None:
    both = inputs(telemetry={"topic": "metrics"}, logs={"topic": "lines"})
    assert both.on_kafka({"telemetry": "kafka", "logs": "kafka"})
    with pytest.raises(ConfigError, match=r"stream\.s\.logs\.source = None: 'kafka' is needed, as the other one is"):
        both.on_kafka({"telemetry": "kafka"})


def test_kafka_without_a_topic_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^stream\.s\.telemetry\.topic is not set; name the topic to read$"):
        inputs().on_kafka({"telemetry": "kafka"})


def test_only_logs_are_mined() -> None:
    assert inputs().intake(inputs().columns(), 20) is None
    logs = inputs(telemetry=False, logs={})
    assert logs.intake(logs.columns(), 20) is not None


def test_a_models_columns_are_all_there_are() -> None:
    assert inputs().columns().open
    assert list(inputs().columns(["cpu", "mem"]).names) == ["cpu", "mem"]
    assert not inputs().columns(["cpu"]).open


def test_history_is_cut_into_slots(tmp_path: Path) -> None:
    start = 1_700_000_000 // MINUTE * MINUTE
    records = [{"entity": "a", "time": start + MINUTE * slot, "values": {"cpu": float(slot)}} for slot in range(5)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    told: list[int] = []
    rows = inputs().collect({"telemetry": str(path)}, tell=told.append).rows
    assert rows.slots.tolist() == [start // MINUTE + slot for slot in range(5)]
    assert rows.values[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert told[-1] == 5
    assert len(inputs().collect({"telemetry": str(path)}, until=2).rows.slots) < 5
