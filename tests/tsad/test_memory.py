"""While the database stands still, records keep coming, and what a worker holds of them is bounded."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import create_topics, publish
from servers import free_port

from streaming.broker.consumer import open_consumer
from streaming.broker.feed import FULL, LEAST, Feed
from streaming.broker.settings import BrokerSettings
from tests.tsad.command_line import running_until, started
from tests.tsad.kafka_streams import KafkaStream
from tests.tsad.streams import FEATURES, SLOTS, STREAM, record
from tests.tsad.test_outages import HALF, LIVE, family, frozen, home, saved, stopped, wait

CLIENTS = pytest.mark.parametrize("client", ["kafka-python", "confluent"])
SERIAL = count()
PARTITIONS, FETCH = 2, 5000
FLOOD = [
    record(f"host-{number}", SLOTS + slot, dict.fromkeys(FEATURES, 0.5)) for slot in range(50) for number in range(2000)
]
LARGE, TIMES = 900_000, 60


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, partitions=PARTITIONS)
    made.fill({"telemetry": LIVE[:HALF]})
    yield made
    made.close()


def waiting(port: int) -> dict[str, float]:
    """What the worker says that it holds: messages and bytes."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return {
            name: float(value) for name, value in re.findall(r"(?m)^tsad_inbox_(\w+) (\S+)$", answer.read().decode())
        }


@CLIENTS
def test_an_outage_of_the_database_fills_no_memory(
    stream: KafkaStream, postgresql_server: str, postgresql_url: str, tmp_path: Path, client: str
) -> None:
    """100,000 records come; a full inbox for each partition is held, and the rest stays with the broker."""
    app, port = stream.app(postgresql_url), free_port()
    at = home(app, stream, tmp_path / "home", client=client)
    process = started(at, "run", STREAM, "--http", f"127.0.0.1:{port}")
    running_until(process, lambda: saved(app) == HALF)
    held: list[dict[str, float]] = []

    def bounded() -> bool:
        held.append(waiting(port))
        return held[-1]["messages"] <= PARTITIONS * (FULL + FETCH)

    with frozen(family(postgresql_server)):
        stream.fill({"telemetry": FLOOD})
        running_until(process, lambda: bounded() and held[-1]["messages"] >= PARTITIONS * FULL)
        wait(3, process, bounded)
    assert len(FLOOD) > 1.9 * held[-1]["messages"]
    assert held[-1]["bytes"] == pytest.approx(held[-1]["messages"] * len(FLOOD[0]), rel=0.1)
    running_until(process, lambda: saved(app) > HALF)
    assert stopped(process).code == 0


@CLIENTS
def test_large_messages_are_held_by_their_bytes(kafka_server: str, client: Any) -> None:
    """54 MB come; each message is given once, and in order."""
    topic = f"large-{next(SERIAL)}-{id(client)}"
    create_topics(kafka_server, [topic])
    publish(kafka_server, topic, [(None, f"{number:04}".encode() * (LARGE // 4)) for number in range(TIMES)])
    settings = BrokerSettings((kafka_server,), client=client)
    feed = Feed(open_consumer(settings, [topic], topic), held=LEAST)
    place = (topic, 0)
    pump_until(feed, lambda: place in feed.consumer.assigned())
    feed.open(place, None)
    pump_until(feed, lambda: feed.held()[1] >= LEAST)
    for _ in range(20):
        feed.pump(0.05)
        assert feed.held()[1] <= 3 * LEAST
    found: list[bytes] = []
    while len(found) < TIMES:
        feed.pump(0.05)
        found += feed.take(place, TIMES, 5).values
        assert feed.held()[1] <= 3 * LEAST
    assert [int(value[:4]) for value in found] == list(range(TIMES))
    assert feed.held() == (0, 0)
    feed.consumer.close()


def pump_until(feed: Feed, reached: Callable[[], bool]) -> None:
    for _ in range(400):
        if reached():
            return
        feed.pump(0.1)
    raise AssertionError("not reached")
