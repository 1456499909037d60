"""What a stream is said to need is what it then takes, and what a start reads again is what the topics must keep."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brokers import configure_topic

from streaming.settings import SECOND
from tests.tsad.kafka_streams import KafkaStream
from tests.tsad.streams import FIT_SLOTS, STREAM, cells_with_anomalies, payloads
from tsad.checks import check_all
from tsad.config import StreamConfig
from tsad.runner import Limits
from tsad.sizing import LEARNT, PROGRAM, need, replayed

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)


def sizing(config: Any, check: str = "sizing") -> tuple[bool, str]:
    (row,) = [row for row in check_all(config) if row["check"] == f"{STREAM} {check}"]
    return row["ok"], row["detail"]


def test_an_entity_takes_what_the_formula_says(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": LIVE})
    runner = app.runner(STREAM, {}, limits=Limits())
    while runner.step():
        pass
    partition, config = runner.partition, app.config.of(STREAM)
    features = len(partition.era.ensemble.features)
    rings = partition.windower.ring.bytes_per_row + partition.era.plane.bytes_per_row
    # the raw ring may have spare columns
    assert 0 <= rings + LEARNT - need(config, 1, features).entity_bytes <= rings // 3
    one = next(iter(partition.era.scorer.rows(np.zeros(1, np.int32)).values()))
    assert one.nbytes < LEARNT


def test_memory_grows_by_entity_and_channel_and_cores_by_the_step() -> None:
    fast, default = StreamConfig(profile="fast"), StreamConfig()
    small, large = need(fast, 1000, 38), need(fast, 10_000, 38)
    assert large.memory - PROGRAM == pytest.approx(10 * (small.memory - PROGRAM))
    assert large.cores == pytest.approx(10 * small.cores)
    assert need(fast, 1000, 76).entity_bytes > 1.9 * (small.entity_bytes - LEARNT)
    assert need(fast, 1000, 76).core < small.core
    assert need(default, 1000, 38).cores > 2 * small.cores
    assert need(StreamConfig.model_validate({"profile": "fast", "step": "1s"}), 1000, 38).arriving == 1000
    assert need(StreamConfig(profile="fast", window=128), 1000, 38).entity_bytes > 1.3 * small.entity_bytes


def test_a_check_says_it_for_the_entities_that_are_known(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": LIVE})
    ok, said = sizing(app.config)
    assert ok
    assert said.startswith("20,000 entities (max_entities) of 4 features: ")
    app.runner(STREAM, {}, limits=Limits()).run()
    known = len(app.reader.entities(STREAM))
    assert sizing(app.config)[1].startswith(f"{known} entities of 4 features: ")
    expected = app.config.of(STREAM).model_copy(update={"expected_entities": 1000})
    _, said = sizing(app.config.model_copy(update={"stream": {STREAM: expected}}))
    assert said.startswith("1,000 entities of 4 features: ")
    assert " GiB in one process; 16.67 rows/s, of which a core does about " in said


def test_without_a_model_or_named_channels_nothing_is_guessed(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": LIVE}, cold=True)
    assert sizing(app.config) == (True, "told once there is a model, or telemetry.features names the channels")


# --- what topics keep


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted)
    made.fill({"telemetry": LIVE[:3]})
    yield made
    made.close()


def test_a_topic_must_keep_what_a_start_reads_again(stream: KafkaStream) -> None:
    app, topic = stream.app(snapshot_every=1440), stream.topics["telemetry"]
    span = replayed(app.config.of(STREAM))
    assert span > 1440 * 60 * SECOND
    assert sizing(app.config, "topics")[0]  # without end
    for kept, well in ((span, True), (span - SECOND, False)):
        configure_topic(stream.address, topic, {"retention.ms": str(kept // 1_000_000)})
        ok, said = sizing(app.config, "topics")
        assert ok == well
    assert f"topic {topic!r} keeps " in said
    assert "give the topic more, or the stream a smaller snapshot_every" in said


def test_a_compacted_topic_is_refused(stream: KafkaStream) -> None:
    app, topic = stream.app(), stream.topics["telemetry"]
    configure_topic(stream.address, topic, {"cleanup.policy": "compact"})
    ok, said = sizing(app.config, "topics")
    assert not ok
    assert f"topic {topic!r} is compacted" in said


def test_few_channels_keep_a_past_and_cost_more() -> None:
    config = StreamConfig()
    few, many = need(config, 100, 3), need(config, 100, 4)
    assert few.entity_bytes > many.entity_bytes + 100_000
    assert few.core < many.core / 2
    assert need(StreamConfig(profile="few"), 100, 3) == few
    assert need(StreamConfig(profile="fast"), 100, 3).entity_bytes < many.entity_bytes
