"""The producer: durable, in order, and of each message it says what became of it."""

from collections.abc import Iterator
from itertools import count

import pytest
from brokers import create_topics, read_topic
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streaming.broker.producer import MessageRefusedError, Outgoing, Producer
from streaming.broker.settings import BrokerError, BrokerSettings

SERIAL = count()


@pytest.fixture
def topic(kafka_server: str) -> str:
    name = f"out-{next(SERIAL)}"
    create_topics(kafka_server, [name], 3)
    return name


@pytest.fixture
def producer(kafka_server: str) -> Iterator[Producer]:
    made = Producer(BrokerSettings((kafka_server,)), patience=5)
    yield made
    made.close()


def test_what_is_sent_is_there(producer: Producer, kafka_server: str, topic: str) -> None:
    sent = [Outgoing(topic, f"key-{n % 7}", f"välue {n}".encode(), {"reason": "grün", "n": str(n)}) for n in range(500)]
    assert producer.send(sent) == [None] * 500
    found = read_topic(kafka_server, topic)
    assert sorted((m.key.decode(), m.value, dict(m.headers)["n"]) for m in found) == sorted(
        (m.key, m.value, m.headers["n"].encode()) for m in sent
    )
    assert dict(found[0].headers)["reason"] == "grün".encode()


def test_equal_keys_keep_their_order_over_sends(producer: Producer, kafka_server: str, topic: str) -> None:
    for start in range(0, 60, 10):
        assert not any(producer.send([Outgoing(topic, f"k{n % 4}", str(n).encode()) for n in range(start, start + 10)]))
    by_key: dict[bytes, list[int]] = {}
    for message in read_topic(kafka_server, topic):
        by_key.setdefault(message.key, []).append(int(message.value))
    assert by_key == {f"k{n}".encode(): list(range(n, 60, 4)) for n in range(4)}


def test_nothing_to_send_is_nothing_sent(producer: Producer) -> None:
    assert producer.send([]) == []


def test_one_that_is_too_large_is_refused_alone(producer: Producer, kafka_server: str) -> None:
    small = f"small-{next(SERIAL)}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    admin.create_topics([NewTopic(small, 1, 1, topic_configs={"max.message.bytes": "2000"})])
    admin.close()
    sent = [Outgoing(small, "k", bytes(size)) for size in (100, 900, 5000, 900, 900, 17 << 20, 100)]
    outcomes = producer.send(sent)
    assert [type(outcome) for outcome in outcomes] == [
        type(None), type(None), MessageRefusedError, type(None), type(None), MessageRefusedError, type(None)
    ]  # fmt: skip
    assert [len(message.value) for message in read_topic(kafka_server, small)].count(900) == 3


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:9"):
        Producer(BrokerSettings(("127.0.0.1:9",)), patience=0.5)
