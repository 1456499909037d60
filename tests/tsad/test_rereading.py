"""Refits from the topics themselves: the slots are those of the history that was not kept, and what comes of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from brokers import publish
from pydantic import SecretStr

from storage.read import AlertFilter
from storage.types import ModelRow
from streaming.settings import SECOND
from tests.tsad.kafka_streams import KafkaStream, read_out, rows_read, step_until
from tests.tsad.streams import FIT_SLOTS, NOW, STREAM, payloads, record
from tests.tsad.test_refit import DAY, FIRST, FIT_AT, JUDGED_AT, SETTINGS, cells
from tests.tsad.test_two_topics import LIVE as WITH_LOGS
from tests.tsad.test_two_topics import LOGS, fitted_with_logs
from tsad.app import App
from tsad.archive import Archive
from tsad.background import answer
from tsad.config import ConfigError, TelemetryConfig, parse_config
from tsad.refit import request_of
from tsad.rereading import reread
from tsad.runner import Limits

LIVE = payloads(cells(), FIT_SLOTS)
__all__ = ["fitted_with_logs"]
UNKEPT = SETTINGS | {"history_days": 0}


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, partitions=2)
    yield made
    made.close()


def table(archive: Archive) -> list[dict[str, Any]]:
    """All rows but their scores, by partition, slot and entity; silence is no value."""
    found = []
    for partition in archive.partitions():
        for batch in archive.batches(partition, -(1 << 60), 1 << 60):
            rows = pa.Table.from_batches([batch]).drop_columns("score").to_pylist()
            found += [{"partition": partition, **row} for row in rows]
    return [{name: None if value != value else value for name, value in row.items()} for row in found]


def test_the_slots_are_those_of_the_history(stream: KafkaStream) -> None:
    """Late, repeated and broken records among them."""
    late = [LIVE[number] for number in range(90, 900, 45)]
    lines = [*LIVE[:60], *(line for n, line in enumerate(LIVE[60:]) if (n + 60) not in range(90, 900, 45))]
    for number, line in enumerate(late):
        lines.insert(110 + 45 * number, line)
    lines[500:500] = [b"{", lines[400], lines[499]]
    stream.fill({"telemetry": lines})
    app = stream.app(**SETTINGS)
    read_out(app)
    kept = table(Archive(app.history_folder(STREAM), app.config.of(STREAM).step))
    with reread(app, STREAM) as archive:
        again = table(archive)
        assert all(np.isnan(batch.column("score").to_numpy()).all() for batch in archive.batches(0, 0, 1 << 60))
    assert len(kept) > 2000
    final = max(row["slot"] for row in kept)  # the last slots may still be amended, and wait for their hour
    assert [row for row in again if row["slot"] <= final] == kept
    assert not list(Path(app.config.history).glob(".again*")), "nothing is left"


def test_only_what_the_stream_has_saved_is_read_and_the_newest_of_it(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:900]})
    app = stream.app(**UNKEPT)
    with pytest.raises(ValueError, match="has read nothing of its topics yet"), reread(app, STREAM):
        pass
    read_out(app)
    stream.fill({"telemetry": LIVE[900:]})
    with reread(app, STREAM) as whole:
        slots = [row["slot"] for row in table(whole)]
    assert (min(slots), max(slots)) == (FIRST + FIT_SLOTS, FIRST + FIT_SLOTS + 299)
    with reread(app, STREAM, most=150) as newest:
        slots = [row["slot"] for row in table(newest)]
    assert min(slots) > FIRST + FIT_SLOTS + 200
    assert max(slots) == FIRST + FIT_SLOTS + 299


def test_what_came_on_a_wrong_partition_is_left_out(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:300]})
    app = stream.app(**UNKEPT)
    read_out(app)
    (home,) = {row["partition"] for row in app.reader.entities(STREAM) if row["entity"] == "a"}
    stray = record("a", 990, {"cpu": 99.0})
    publish(stream.address, stream.topics["telemetry"], [(b"a", stray)], partition=1 - home)
    assert read_out(stream.again(app)).counts["dead:wrong_partition"] == 1
    with reread(app, STREAM) as archive:
        assert {row["partition"] for row in table(archive) if row["entity"] == "a"} == {home}


def test_a_refit_without_history_reads_the_topic_without_incidents(stream: KafkaStream) -> None:
    """Fit, shadow and promotion: as with a history, in a process of its own, while the stream goes on."""
    split = 3 * (FIT_AT - FIT_SLOTS)
    stream.fill({"telemetry": LIVE[:split]})
    now = [NOW]
    app = stream.app(**UNKEPT)
    app.clock = lambda: now[0]
    worker = app.worker(STREAM, limits=Limits(poll=60))
    step_until([worker], lambda: rows_read([worker]) == split, 2000)
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, entity="a", limit=None))
    assert any(alert.state in ("confirmed", "resolved") for alert in alerts)

    def work(passed: int) -> None:
        now[0] += passed
        step_until([worker], lambda: app.refits.of(STREAM).child is not None)
        child = app.refits.of(STREAM).child
        assert child is not None
        child.wait()
        now[0] += 10 * SECOND
        step_until([worker], lambda: app.refits.of(STREAM).child is None)

    work(7 * DAY)
    (fitted,) = [row["detail"] for row in app.reader.audit(STREAM, limit=1000) if row["kind"] == "refit"]
    assert fitted["outcome"] == "candidate", fitted
    assert fitted["left_out"] >= 20
    assert fitted["rows"] + fitted["left_out"] >= 0.9 * split
    stream.fill({"telemetry": LIVE[split : 3 * (JUDGED_AT - FIT_SLOTS)]})
    step_until([worker], lambda: rows_read([worker]) == 3 * (JUDGED_AT - FIT_SLOTS), 2000)
    work(DAY // 12)
    (judged,) = [row["detail"] for row in app.reader.audit(STREAM, limit=1000) if row["kind"] == "shadow"]
    assert (judged["decision"], judged["wanted"]) == ("promoted", 120), judged
    assert judged["slots"] >= 100
    assert app.models.active(STREAM).version == fitted["version"]  # type: ignore[union-attr]
    worker.close()


def test_a_process_is_told_of_the_cluster_only_where_it_needs_it(stream: KafkaStream) -> None:
    """A password goes to it through its standard input alone."""
    stream.fill({"telemetry": LIVE[:3]})
    app = stream.app(**UNKEPT)
    secret = SecretStr("secret-word")
    told = app.config.kafka.model_copy(update={"sasl": "plain", "username": "me", "password": secret})
    config = app.config.model_copy(update={"kafka": told})
    assert request_of(config, STREAM, NOW, "fit", {})["config"]["kafka"]["password"] == "secret-word"
    files = config.of(STREAM).model_copy(update={"telemetry": TelemetryConfig(source="m.jsonl")})
    other = config.model_copy(update={"stream": {STREAM: files}})
    assert "secret-word" not in str(request_of(other, STREAM, NOW, "fit", {}))


def test_a_cluster_that_does_not_answer_costs_an_attempt(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:300]})
    app: App = stream.app(**UNKEPT)
    read_out(app)
    gone = app.config.model_copy(update={"kafka": app.config.kafka.model_copy(update={"bootstrap": ("127.0.0.1:9",)})})
    said = answer(request_of(gone, STREAM, NOW, "fit", {}))
    assert "ECONNREFUSED" in said["failed"]


def test_what_is_no_topic_needs_its_history() -> None:
    kafka = {"telemetry": {"source": "kafka", "topic": "m"}, "refit": "7d", "history_days": 0}
    parse_config({"stream": {"s": kafka}})
    with pytest.raises(ConfigError, match="refit needs history_days of at least shadow"):
        parse_config({"stream": {"s": kafka | {"telemetry": {"source": "m.jsonl"}}}})


@pytest.fixture
def with_logs(kafka_server: str, tmp_path: Path, fitted_with_logs: Any) -> Iterator[KafkaStream]:
    """Telemetry and log lines on two partitions."""
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted_with_logs, partitions=2)
    made.fill(dict(WITH_LOGS))  # type: ignore[arg-type]
    yield made
    made.close()


def test_log_lines_are_read_again_and_known_by_their_templates(with_logs: KafkaStream) -> None:
    """A fit has columns of templates, whatever partition saw their lines; a shadow finds them again by text."""
    logs = {"source": "kafka", "topic": with_logs.topics["logs"], **LOGS["logs"]}
    app = with_logs.app(**UNKEPT | {"fit_after": 100, "shadow": "1h"}, logs=logs)
    read_out(app)
    said = answer(request_of(app.config, STREAM, NOW, "fit", {}))
    assert "failed" not in said, said
    model = app.shelf(STREAM).read(ModelRow(STREAM, **said["model"], created_at=app.now()))
    assert {"cpu", "log.lines", "log.severity.error"} <= set(model.ensemble.features)
    assert any(text.startswith("GET") for text in model.templates.values())
    assert {"log.rare", "log.sequence"} <= set(model.ensemble.features)
    assert (said["columns"], said["anew"]) == ({}, True), "what scores lines was fitted on those of the topics"
    detail = {"model": said["model"], "columns": {}, "through": said["through"] - 61}
    judged = answer(request_of(app.config, STREAM, NOW, "shadow", detail))
    assert judged["figures"]["slots"] == judged["figures"]["wanted"] == 60, judged
    assert judged["figures"]["windows"] > 0


def test_lines_are_scored_again_by_the_version_in_force(with_logs: KafkaStream) -> None:
    app = with_logs.app(**UNKEPT | {"history_days": 30, "fit_after": 100})
    read_out(app)
    scored = [f"value:{name}" for name in ("log.lines", "log.rare", "log.sequence")]
    kept = table(Archive(app.history_folder(STREAM), app.config.of(STREAM).step))
    with reread(app, STREAM) as archive:
        again = table(archive)
    cells = [{(row["entity"], row["slot"]): [row[name] for name in scored] for row in rows} for rows in (kept, again)]
    final = {cell for cell in cells[0] if cell[1] < max(row["slot"] for row in kept) - 20}
    assert len(final) > 200
    assert sum(cells[0][cell][1] or 0 for cell in final) > 30
    assert {cell: cells[1][cell] for cell in final} == {cell: cells[0][cell] for cell in final}
