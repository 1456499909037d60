"""Topics by a pattern on a real broker: each partition of each is one of the stream, whatever comes, goes, or dies."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import create_topics, publish, read_topic

from streaming.broker import consumer
from streaming.broker.settings import BrokerError
from tests.tsad.command_line import tsad
from tests.tsad.kafka_streams import KafkaStream, died, key_of, read_out, rows_read, step_until
from tests.tsad.streams import FIT_SLOTS, STREAM, cells_with_anomalies, differences, final_rows, payloads
from tsad.checks import check_all
from tsad.config import ConfigError, parse_config
from tsad.runner import Limits
from tsad.watch import Watch

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
BROKEN = b'{"entity":"c","time":'
_SERIAL = count()


class Patterned:
    """Topics of one prefix: `a` of two partitions holds entities a and b, `b` of one partition the third."""

    def __init__(self, stream: KafkaStream) -> None:
        self.stream = stream
        self.prefix = f"m{next(_SERIAL)}-{id(stream)}"
        self.send("a", [one for one in LIVE if key_of(one) != b"c"], 2)
        self.send("b", [one for one in LIVE if key_of(one) == b"c"], 1)
        self.send("elsewhere", LIVE[:9], 1, prefix="x")

    def name(self, topic: str) -> str:
        return f"{self.prefix}.{topic}"

    def send(self, topic: str, values: list[bytes], partitions: int | None = None, prefix: str = "") -> None:
        """Make a topic, where its partitions are said, and send these by their entity."""
        if partitions is not None:
            create_topics(self.stream.address, [f"{prefix}{self.name(topic)}"], partitions)
        publish(self.stream.address, f"{prefix}{self.name(topic)}", [(key_of(one) or b"c", one) for one in values])

    def app(self, **more: Any) -> Any:
        pattern = rf"{self.prefix}\..*"
        return self.stream.app(telemetry={"source": "kafka", "topic_pattern": pattern}, **more)

    def again(self, app: Any) -> Any:
        return self.stream.again(app)


@pytest.fixture
def topics(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[Patterned]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted)
    yield Patterned(made)
    made.close()


def places(app: Any) -> dict[int, tuple[str, int]]:
    """Where each of the stream's partitions lies, by what was saved."""
    found = {}
    for number, row in app.reader.health(STREAM)["partitions"].items():
        place = row["positions"].get("telemetry")
        if place is not None:  # a partition without any message has none
            found[number] = place["topic"], place["partition"]
    return found


def test_every_partition_of_every_topic_is_one_of_the_stream(topics: Patterned) -> None:
    app = topics.app()
    assert read_out(app).progress.rows == len(LIVE)
    held = {(topics.name("a"), message.partition) for message in read_topic(topics.stream.address, topics.name("a"))}
    assert set(places(app).items()) >= {(part, (name, part)) for name, part in held} | {(2, (topics.name("b"), 0))}
    assert {row["entity"] for row in app.reader.entities(STREAM)} == {"a", "b", "c"}
    assert len(final_rows(app)["alerts"]) > 3


def test_deaths_and_other_workers_change_nothing(topics: Patterned, postgresql_url: str) -> None:
    calm, hasty = topics.app(), topics.app(url=postgresql_url, snapshot_every=20)
    read_out(calm)
    for poll in (7, 31):
        limits, turns = Limits(poll=poll, snapshot_every=20), count()
        workers = [topics.again(hasty).worker(STREAM, limits=limits) for _ in range(2)]
        step_until(workers, lambda turns=turns, workers=workers: all(w.runners for w in workers) and next(turns) > 3)
        assert sorted(number for worker in workers for number in worker.runners) == [0, 1, 2]
        for worker in workers:
            died(worker)
    read_out(topics.again(hasty))
    assert differences(final_rows(hasty), final_rows(calm)) == []


def test_a_topic_that_appears_later_is_taken_up(topics: Patterned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "REFRESH_MS", 500)
    app = topics.app()
    worker = app.worker(STREAM)
    step_until([worker], lambda: rows_read([worker]) == len(LIVE))
    before = dict(worker.runners)
    later = [one.replace(b'"entity":"a"', b'"entity":"z"') for one in LIVE if key_of(one) == b"a"]
    topics.send("0-comes-first-by-name", later, 1)
    step_until([worker], lambda: rows_read([worker]) == len(LIVE) + len(later))
    assert worker.runners.keys() == {0, 1, 2, 3}
    assert all(worker.runners[number] is runner for number, runner in before.items())
    worker.close()
    assert places(app)[3] == (topics.name("0-comes-first-by-name"), 0)
    assert {row["partition"] for row in app.reader.entities(STREAM) if row["entity"] == "z"} == {3}


def test_an_entity_of_two_topics_belongs_to_the_first(topics: Patterned) -> None:
    app = topics.app()
    worker = app.worker(STREAM)
    step_until([worker], lambda: rows_read([worker]) == len(LIVE))
    worker.close()
    topics.send("a", [one for one in LIVE[-30:] if key_of(one) == b"c"])
    read_out(topics.again(app))
    (stray,) = app.homes.strays(STREAM)
    assert (stray.entity, stray.partition) == ("c", 2)
    assert {row["reason"] for row in app.reader.dead_letters(STREAM)} == {"wrong_partition"}


def test_dead_letters_name_the_topic_and_its_partition(topics: Patterned, tmp_path: Path) -> None:
    told = f"dead-{topics.prefix}"
    create_topics(topics.stream.address, [told])
    topics.send("b", [BROKEN])
    app = topics.app()
    app.config = app.config.model_copy(
        update={"kafka": app.config.kafka.model_copy(update={"dead_letter_topic": told})}
    )
    read_out(app)
    (message,) = read_topic(topics.stream.address, told)
    offset = len(LIVE) // 3
    assert message.key.decode() == f"{topics.name('b')}:0:{offset}"
    headers = {name: value.decode() for name, value in message.headers}
    assert (headers["tsad.topic"], headers["tsad.partition"]) == (topics.name("b"), "0")
    (tmp_path / "tsad.toml").write_text(f"database = {app.config.database!r}\n[stream.{STREAM}]\n")
    assert tsad(tmp_path, "dead-letters", STREAM, "--export", "dead.jsonl").code == 0
    (line,) = (tmp_path / "dead.jsonl").read_text().splitlines()
    exported = json.loads(line)
    assert (exported["origin"], exported["partition"], exported["offset"]) == (topics.name("b"), 0, offset)


def test_check_names_the_topics(topics: Patterned) -> None:
    app = topics.app()
    (row,) = [row for row in check_all(app.config) if row["check"] == f"{STREAM} topics"]
    assert row["ok"]
    names = f"{topics.name('a')!r} and {topics.name('b')!r}"
    assert row["detail"].startswith(f"{names} as '{topics.prefix}\\\\..*' has it: 3 partitions on ")


def test_a_pattern_that_nothing_matches_is_named(topics: Patterned) -> None:
    app = topics.stream.app(telemetry={"source": "kafka", "topic_pattern": r"nowhere\..*"})
    with pytest.raises(BrokerError, match=r"no topic is named as topic_pattern = 'nowhere"):
        app.worker(STREAM)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"telemetry": {"source": "kafka", "topic": "m", "topic_pattern": "m.*"}}, "topic and topic_pattern exclude"),
        ({"telemetry": {"source": "kafka", "topic_pattern": "m("}}, "no regular expression: missing \\)"),
        ({"telemetry": {"source": "kafka", "topic_pattern": ""}}, "at least 1 character"),
        (
            {"telemetry": {"source": "kafka", "topic_pattern": "m.*"}, "logs": {"source": "kafka", "topic": "l"}},
            "topic_pattern serves a stream of telemetry or of logs, not of both",
        ),
        ({"telemetry": {"source": "kafka", "topic_pattern": r"tsad\..*"}}, "'tsad.alerts' is what stream 's' reads"),
    ],
)
def test_patterns_that_are_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({"kafka": {"alerts_topic": "tsad.alerts"}, "stream": {"s": section}})


def test_a_pattern_of_logs_alone_is_legal() -> None:
    section = {"telemetry": False, "logs": {"source": "kafka", "topic_pattern": "logs-.*"}}
    assert parse_config({"stream": {"s": section}}).of("s").topic_pattern == "logs-.*"


def test_the_alert_budget_is_shared_by_the_partitions_of_all_topics(topics: Patterned, postgresql_url: str) -> None:
    """The model knows three entities, and the stream has three partitions: one entity a partition is to be expected."""
    app = topics.app(url=postgresql_url)
    workers = [topics.again(app).worker(STREAM) for _ in range(2)]
    step_until(workers, lambda: rows_read(workers) == len(LIVE))
    step_until(workers, lambda: sorted(len(worker.runners) for worker in workers) == [1, 2])
    expected = {}
    for worker in workers:
        watch = Watch(STREAM, app.database, app.clock)
        watch.worker = worker
        watch.note(worker.runners)
        assert watch.standing is not None
        assert watch.standing.partitions_of == 3
        if watch.standing.budget is not None:  # a member whose partitions are empty has no model in force
            expected[len(worker.runners)] = watch.standing.budget[1]
        worker.close()
    assert expected
    assert all(count == entities for count, entities in expected.items())
