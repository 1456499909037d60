"""Context events from a topic on a real broker: every partition obeys them, replays too, and what is none is kept."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import create_topics, publish

from storage.read import AlertFilter
from storage.types import Changes
from streaming.broker.settings import BrokerError
from streaming.settings import SECOND
from tests.tsad.deploys import DEPLOYS, deployed, event
from tests.tsad.kafka_streams import KafkaStream, died, read_out, rows_read, step_until
from tests.tsad.streams import FIT_SLOTS, NOW, START, STREAM, differences, final_rows, payloads
from tsad.config import ConfigError, parse_config
from tsad.happenings import EVENT
from tsad.runner import Limits

_SERIAL = count()
FIRST = 180
LIVING = (1, 2)
"""The partitions that the entities are of."""
CELLS = {key: values for key, values in deployed().items() if key[1] < 480}
LIVE = payloads(CELLS, FIT_SLOTS)
BAD = {
    b"": "empty",
    b'{"time": 1': "broken_json",
    b'{"time": 1700000000}': "missing_values",
    b'{"time": 1700000000, "kind": 7}': "wrong_type",
    b'{"time": "soon", "kind": "deploy"}': "bad_time",
    b'{"time": 1700000000, "end": 1600000000, "kind": "deploy"}': "bad_time",
    b'{"time": 1700000000, "kind": "\xff"}': "bad_encoding",
    b'{"time": 1700000000, "kind": "a\\u0000b"}': "missing_values",
    b'{"time": 1700000000, "kind": "deploy", "title": "' + b"x" * (1 << 17) + b'"}': "too_long",
}
GOOD = [event(slot, entity="a", title=f"shop {slot}").strip().encode() for slot in DEPLOYS[:3]]


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    """The beginning of some telemetry, on two partitions."""
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, partitions=3)
    made.fill({"telemetry": LIVE[:FIRST]})
    yield made
    made.close()


def told(stream: KafkaStream, messages: list[bytes], topic: str | None = None) -> str:
    """Send events to a topic, made where none is named: to one partition after the other."""
    if topic is None:
        topic = f"events-{next(_SERIAL)}-{id(stream)}"
        create_topics(stream.address, [topic], 3)
    for number in range(3):
        publish(stream.address, topic, [(None, value) for value in messages[number::3]], partition=number)
    return topic


def app_on(stream: KafkaStream, topic: str, **more: Any) -> Any:
    return stream.app(context={"topic": topic, "after": "5m", "rules": [{"kind": "deploy"}]}, **more)


def explained(app: Any) -> dict[int, str | None]:
    found = app.reader.alerts(AlertFilter(stream=STREAM, entity="a", limit=None))
    opened = {one.opened_slot - START // 60: one.explained_by_event.get("title") for one in found}
    return {slot: title for slot, title in sorted(opened.items()) if slot > DEPLOYS[0]}


def orders(app: Any, partition: int) -> dict[str, int]:
    """By title the first slot that knows the event."""
    found = app.store.restore("live", STREAM, partition).orders
    return {one.detail["title"]: one.first_slot for one in found if one.kind == EVENT}


def test_what_is_in_the_topic_is_known_from_the_beginning_to_every_partition(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[FIRST:]})
    topic = told(stream, [*GOOD, *BAD, *GOOD])
    app = app_on(stream, topic)
    read_out(app)
    assert explained(app) == {331: "shop 330", 401: "shop 400", 471: "shop 470"}
    assert orders(app, 0) == orders(app, 1) == orders(app, 2) == dict.fromkeys(["shop 330", "shop 400", "shop 470"], 0)
    listed = app.context_events.listing(STREAM)
    assert [(one.title, one.source) for one in listed] == [
        (f"shop {slot}", f"kafka:{topic}") for slot in (470, 400, 330)
    ]  # fmt: skip
    dead = app.reader.dead_letters(STREAM, limit=100)
    assert sorted(row["reason"] for row in dead) == sorted(BAD.values())
    assert {(row["topic"], row["partition"]) for row in dead} == {("context", 0), ("context", 1), ("context", 2)}
    read_out(stream.again(app))
    assert app.reader.dead_letters(STREAM, limit=100) == dead
    assert app.context_events.listing(STREAM) == listed


def test_one_that_comes_later_is_an_order_from_the_next_slot_on_which_a_replay_obeys(stream: KafkaStream) -> None:
    """Two workers; one dies, and its successor replays from the start."""
    topic = told(stream, GOOD[:1])
    app = app_on(stream, topic)
    ticks = count(NOW, 2 * SECOND)
    app.clock = lambda: next(ticks)
    limits = Limits(poll=20, snapshot_every=10_000)
    first = app.worker(STREAM, limits=limits)
    step_until([first], lambda: rows_read([first]) == FIRST)
    told(stream, GOOD[1:], topic)
    step_until([first], lambda: len(app.context_events.listing(STREAM)) == 3)
    stream.fill({"telemetry": LIVE[FIRST:]})
    step_until([first], lambda: all(len(orders(app, number)) == 3 for number in LIVING))
    known = [orders(app, number) for number in LIVING]
    assert all(0 == one["shop 330"] < one["shop 400"] == one["shop 470"] for one in known)
    died(first)
    read_out(stream.again(app), limits)
    assert [orders(app, number) for number in LIVING] == known
    calm = app_on(stream, topic)
    epochs = {number: calm.leases.acquire(STREAM, [number], "orders")[number] for number in LIVING}
    obeyed = {number: app.store.restore("live", STREAM, number).orders for number in LIVING}
    calm.store.save([Changes("live", STREAM, number, epochs[number], orders=list(obeyed[number])) for number in LIVING])
    read_out(calm)
    assert differences(final_rows(calm), final_rows(app)) == []
    assert explained(app) == explained(calm)


def test_a_topic_that_does_not_exist_is_named(stream: KafkaStream) -> None:
    app = app_on(stream, "nowhere")
    with pytest.raises(BrokerError, match="topic 'nowhere' does not exist"):
        read_out(app)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"stream": {"s": {"context": {"topic": "x"}}}}, "workers of a stream from Kafka"),
        ({"stream": {"s": {"context": {"topic": "a b"}}}}, "pattern"),
        (
            {
                "kafka": {"alerts_topic": "x"},
                "stream": {"s": {"telemetry": {"source": "kafka", "topic": "t"}, "context": {"topic": "x"}}},
            },
            "is what stream 's' reads",
        ),
    ],
)
def test_a_topic_that_cannot_be_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(json.loads(json.dumps(config)))
