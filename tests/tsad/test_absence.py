"""Producers that go quiet, by a clock that the tests move: told once, resolved when data come, and no final row."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from brokers import create_topics, read_topic

from storage.leases import Leases
from storage.outbox import Outbox
from storage.prune import prune
from storage.read import AlertFilter, Reader
from storage.store import Store
from storage.types import Changes, NoData, Notice
from streaming.settings import SECOND
from tests.tsad.command_line import tsad
from tests.tsad.kafka_streams import KafkaStream, died, read_out, rows_read, step_until
from tests.tsad.streams import FIT_SLOTS, NOW, STREAM, cells_with_anomalies, differences, final_rows, line, payloads
from tsad.config import ConfigError, parse_config
from tsad.rows import utc
from tsad.runner import Limits
from tsad.worker import Worker

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
HALF = len(LIVE) // 2
MINUTE = 60 * SECOND


class Wall:
    """A clock on the wall that somebody moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted)
    yield made
    made.close()


def quiet(app: Any, *states: Any) -> list[tuple[int, str, str]]:
    """Partition, topic and state of what is told, the oldest first."""
    found = app.reader.no_data(AlertFilter(states=states))
    return [(partition, row.topic, row.state) for _, partition, row in reversed(found)]


def member(app: Any, wall: Wall) -> Worker:
    app.clock = wall
    return app.worker(STREAM, limits=Limits(poll=40))


def all_read(worker: Worker, count: int) -> None:
    step_until([worker], lambda: rows_read([worker]) == count)


def steps(worker: Worker, count: int = 3) -> None:
    for _ in range(count):
        worker.step()


def test_it_is_told_once_and_resolved_when_data_come_back(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:HALF]})
    app, wall = stream.app(no_data_after="10m"), Wall()
    worker = member(app, wall)
    all_read(worker, HALF)
    wall.now += 9 * MINUTE
    steps(worker)
    assert quiet(app) == []
    wall.now += 2 * MINUTE
    steps(worker)
    assert quiet(app) == [(0, "telemetry", "open")]
    wall.now += 60 * MINUTE
    steps(worker)
    ((_, _, row),) = app.reader.no_data()
    assert (row.since, row.opened_at, row.resolved_at) == (utc(NOW), utc(NOW + 11 * MINUTE), None)
    stream.fill({"telemetry": LIVE[HALF:]})
    all_read(worker, len(LIVE))
    ((_, _, over),) = app.reader.no_data()
    assert (over.id, over.resolved_at) == (row.id, utc(wall.now))
    wall.now += 11 * MINUTE
    steps(worker)
    assert quiet(app) == [(0, "telemetry", "resolved"), (0, "telemetry", "open")]
    worker.close()


def test_it_changes_no_final_row(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:HALF]})
    app, wall = stream.app(no_data_after="10m"), Wall()
    worker = member(app, wall)
    all_read(worker, HALF)
    wall.now += 11 * MINUTE
    steps(worker)
    worker.close()
    stream.fill({"telemetry": LIVE[HALF:]})
    read_out(stream.again(app))
    assert len(quiet(app)) == 1
    calm = stream.app()
    read_out(calm)
    assert quiet(calm) == []
    assert differences(final_rows(app), final_rows(calm)) == []


def test_a_partition_that_never_had_data_is_not_missed(stream: KafkaStream) -> None:
    stream.partitions = 3
    stream.fill({"telemetry": [one for one in LIVE[:HALF] if b'"a"' in one]})
    app, wall = stream.app(no_data_after="10m"), Wall()
    worker = member(app, wall)
    step_until([worker], lambda: rows_read([worker]) == HALF // 3)
    assert len(worker.runners) == 3
    wall.now += 11 * MINUTE
    steps(worker)
    assert len(quiet(app)) == 1
    worker.close()


def test_of_two_topics_the_quiet_one_is_named(stream: KafkaStream) -> None:
    lines = [line("a", slot, "request served") for slot in range(FIT_SLOTS, FIT_SLOTS + 20)]
    stream.fill({"telemetry": LIVE[:60], "logs": lines})
    app, wall = stream.app(no_data_after="10m", on_silence="ignore"), Wall()
    worker = member(app, wall)
    all_read(worker, 60 + len(lines))
    wall.now += 6 * MINUTE
    stream.fill({"telemetry": LIVE[60:63]})
    all_read(worker, 63 + len(lines))
    wall.now += 6 * MINUTE
    steps(worker)
    assert quiet(app) == [(0, "logs", "open")]
    worker.close()


def test_what_waits_to_be_read_is_not_missing(stream: KafkaStream) -> None:
    """A worker that was away for an hour, and whose producer was not."""
    stream.fill({"telemetry": LIVE[:HALF]})
    app, wall = stream.app(no_data_after="10m"), Wall()
    first = member(app, wall)
    all_read(first, HALF)
    first.close()
    wall.now += 60 * MINUTE
    stream.fill({"telemetry": LIVE[HALF:]})
    again = stream.again(app)
    second = member(again, wall)
    all_read(second, len(LIVE) - HALF)
    steps(second)
    assert quiet(again) == []
    second.close()


@pytest.mark.parametrize("end", [Worker.close, died])
def test_a_restart_neither_forgets_nor_repeats(stream: KafkaStream, end: Any) -> None:
    """Nor is what a replay reads a sign of life: the time of the last real message is kept."""
    stream.fill({"telemetry": LIVE[:HALF]})
    app, wall = stream.app(no_data_after="10m"), Wall()
    first = member(app, wall)
    all_read(first, HALF)
    end(first)
    wall.now += 9 * MINUTE
    app = stream.again(app)
    second = member(app, wall)
    step_until([second], lambda: len(second.runners) == 1)
    steps(second)
    assert quiet(app) == []
    wall.now += 2 * MINUTE
    steps(second)
    ((_, _, row),) = app.reader.no_data()
    assert row.since == utc(NOW)
    end(second)
    app = stream.again(app)
    third = member(app, wall)
    step_until([third], lambda: len(third.runners) == 1)
    steps(third)
    assert quiet(app) == [(0, "telemetry", "open")]
    stream.fill({"telemetry": LIVE[HALF:]})
    all_read(third, len(LIVE) - HALF)
    assert quiet(app) == [(0, "telemetry", "resolved")]
    third.close()


def test_the_alerts_topic_hears_of_both(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:HALF]})
    app, wall = stream.app(no_data_after="10m"), Wall()
    name = f"alerts-{id(stream)}"
    create_topics(stream.address, [name])
    kafka = app.config.kafka.model_copy(update={"alerts_topic": name})
    app.config = app.config.model_copy(update={"kafka": kafka})
    worker = member(app, wall)
    all_read(worker, HALF)
    wall.now += 11 * MINUTE
    steps(worker)
    stream.fill({"telemetry": LIVE[HALF:]})
    all_read(worker, len(LIVE))
    assert worker.relay is not None
    while worker.relay.pump():
        pass
    told = [json.loads(message.value) for message in read_topic(stream.address, name)]
    about = [one for one in told if one["kind"] == "no_data"]
    assert [(one["state"], one["revision"]) for one in about] == [("open", 1), ("resolved", 2)]
    assert {one["topic"] for one in about} == {stream.topics["telemetry"]}
    assert {one["kind"] for one in told} == {"no_data", "anomaly"}
    worker.close()


def test_the_command_lists_it_among_the_alerts(stream: KafkaStream, tmp_path: Path) -> None:
    stream.fill({"telemetry": LIVE})
    app, wall = stream.app(no_data_after="10m"), Wall()
    worker = member(app, wall)
    all_read(worker, len(LIVE))
    wall.now += 11 * MINUTE
    steps(worker)
    worker.close()

    def listed(*filters: str) -> list[dict[str, Any]]:
        return tsad(tmp_path, "alerts", "--json", "--database", app.config.database, *filters).json

    kinds = [row["kind"] for row in listed()]
    assert kinds[0] == "no_data" and set(kinds[1:]) == {"anomaly"}
    assert listed()[0]["sentence"].startswith("no telemetry since ")
    assert listed()[0].keys() == listed()[1].keys()
    for filters, there in [
        (["--state", "open"], True), (["--state", "resolved"], False), (["--state", "retracted"], False),
        (["--entity", "a"], False), (["--severity", "warning"], True), (["--severity", "critical"], False),
        (["--stream", STREAM], True), (["--run", "other"], False), (["--since", "2023-01-01"], True),
        (["--limit", "1"], True),
    ]:  # fmt: skip
        assert ("no_data" in {row["kind"] for row in listed(*filters)}) is there, filters
    assert "no telemetry since" in tsad(tmp_path, "alerts", "--database", app.config.database).out


def test_how_long_is_a_time_or_nothing() -> None:
    def after(value: Any) -> Any:
        return parse_config({"stream": {"s": {"no_data_after": value}}}).of("s").no_data_after

    assert (after("10m"), after(False)) == (10 * MINUTE, None)
    with pytest.raises(ConfigError, match="no_data_after must be longer than 0s; false says that there is none"):
        after("0s")


# --- what is stored


def test_a_repeated_save_says_nothing_again(database: Any) -> None:
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    store, outbox = Store(database), Outbox(database)
    at = utc(NOW)
    row = NoData("a" * 32, "logs", at, at + timedelta(minutes=10))
    over = NoData(row.id, row.topic, row.since, at + timedelta(days=1), at + timedelta(minutes=20))
    for one in (row, row, over, over):
        changes = Changes("live", "fleet", 0, epoch, no_data=[one], notices=[Notice(one, "t", {"state": one.state})])
        store.save([changes])
        if one is row:
            assert store.restore("live", "fleet", 0).no_data == [row]
    assert [json.loads(m.payload)["state"] for m in outbox.take("fleet", {0: epoch}, 10)] == ["open", "resolved"]
    ((stream, partition, kept),) = Reader(database).no_data()
    assert (stream, partition, kept.opened_at, kept.state) == ("fleet", 0, row.opened_at, "resolved")
    assert store.restore("live", "fleet", 0).no_data == []
    stale = Changes("live", "fleet", 0, epoch - 1, no_data=[row], notices=[Notice(row, "t", {})])
    assert len(store.save([stale]).lost) == 1


def test_only_what_is_resolved_is_pruned(database: Any) -> None:
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    at = utc(NOW)
    rows = [NoData("a" * 32, "logs", at, at), NoData("b" * 32, "telemetry", at, at, at)]
    Store(database, lambda: at).save([Changes("live", "fleet", 0, epoch, no_data=rows)])
    assert prune(database, {"no_data": 1}, at + timedelta(days=2)) == {"no_data": 1}
    assert [row.topic for _, _, row in Reader(database).no_data()] == ["logs"]
