"""Both client libraries behind one protocol: the same messages, offsets and answers from a real broker."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from brokers import create_topics, publish
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions
from secured import Secured

from streaming.broker.consumer import Consumer, Place, open_consumer, reading
from streaming.broker.feed import Feed
from streaming.broker.settings import BrokerError, BrokerSettings

SERIAL = count()
CLIENTS = ("kafka-python", "confluent")
STAMP = 1_700_000_000_000
SEEN = [(None, f"m{n}".encode()) for n in range(40)]


@pytest.fixture(params=CLIENTS)
def settings(request: pytest.FixtureRequest, kafka_server: str) -> BrokerSettings:
    return BrokerSettings((kafka_server,), client=request.param, session_ms=6000)


@pytest.fixture
def topic(kafka_server: str) -> str:
    """Two partitions, 40 messages in the first, a second apart by Kafka's clock; none in the other."""
    name = f"read-{next(SERIAL)}"
    create_topics(kafka_server, [name], 2)
    stamps = iter(range(STAMP, STAMP + 10**6, 1000))
    for half in (SEEN[:20], SEEN[20:]):  # two batches: the client may give a whole one at a time
        publish(kafka_server, name, half, partition=0, stamp=lambda _: next(stamps))
    return name


@pytest.fixture
def member(settings: BrokerSettings, topic: str) -> Iterator[Consumer]:
    """The only member of a group, which has both partitions, sought to their beginning."""
    consumer = joined(settings, topic, f"g{next(SERIAL)}")
    yield consumer
    consumer.close()


def joined(settings: BrokerSettings, topic: str, group: str, instance: str | None = None) -> Consumer:
    consumer = open_consumer(settings, [topic], group, instance)
    polled_until(consumer, consumer.moved)
    for place in consumer.assigned():
        consumer.seek(place, 0)
    return consumer


def polled_until(consumer: Consumer, reached: Callable[[], bool], most: int = 5000) -> list[Any]:
    """Messages of the first partition that came until `reached`."""
    found: list[Any] = []
    for _ in range(400):
        if reached():
            return found
        for (_, number), messages in consumer.poll(0.1, most).items():
            assert len(messages) <= most + len(SEEN)  # a batch is not cut
            if number:
                continue
            found += zip(messages.values, messages.offsets.tolist(), messages.timestamps.tolist(), strict=True)
    raise AssertionError(f"not reached; came: {found}")


def read(consumer: Consumer, upto: int, most: int = 5000) -> list[Any]:
    """Messages that come until one of offset `upto` or more has."""
    found: list[Any] = []

    def reached() -> bool:
        return bool(found) and found[-1][1] >= upto

    for _ in range(400):
        if reached():
            break
        found += polled_until(consumer, iter([False, True]).__next__, most)
    assert reached(), found
    return found


def test_messages_come_with_offsets_and_kafkas_time(member: Consumer) -> None:
    expected = [(value, n, (STAMP + 1000 * n) * 1_000_000) for n, (_, value) in enumerate(SEEN)]
    assert read(member, 39) == expected


def test_a_poll_gives_about_as_many_as_asked(member: Consumer) -> None:
    assert [value for value, *_ in read(member, 39, most=7)] == [value for _, value in SEEN]


def test_a_seek_goes_back_and_forth_and_no_message_of_before_comes_behind_it(member: Consumer, topic: str) -> None:
    for offset in (30, 5, 39, 0, 12):
        member.seek((topic, 0), offset)
        assert [at for _, at, _ in read(member, 39)] == list(range(offset, 40))


def test_a_paused_place_gives_nothing_until_it_is_resumed(member: Consumer, topic: str) -> None:
    read(member, 39)
    member.pause([(topic, 0)])
    member.seek((topic, 0), 10)
    assert not any(member.poll(0.1, 100) for _ in range(5))
    member.resume([(topic, 0)])
    assert [at for _, at, _ in read(member, 39)] == list(range(10, 40))


def test_what_was_fetched_of_a_place_that_was_paused_then_comes_after_all(
    member: Consumer, topic: str, kafka_server: str
) -> None:
    """Though nothing else comes meanwhile, and what came last was of another place."""
    for _ in range(3):
        publish(kafka_server, topic, SEEN, partition=0)
    first = read(member, 6, most=40)
    member.pause([(topic, 0)])
    publish(kafka_server, topic, [(None, b"other")], partition=1)
    others = next(found for _ in range(400) if (found := member.poll(0.1, 100)))
    assert list(others) == [(topic, 1)]
    member.resume([(topic, 0)])
    rest = read(member, 159)
    assert [at for _, at, _ in first + rest] == list(range(160))


def test_what_a_topic_holds_is_told(member: Consumer, topic: str, kafka_server: str) -> None:
    places: list[Place] = [(topic, 0), (topic, 1)]
    assert member.span(places) == {(topic, 0): (0, 40), (topic, 1): (0, 0)}
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    admin.delete_records({TopicPartition(topic, 0): 15})
    admin.close()
    assert member.span(places) == {(topic, 0): (15, 40), (topic, 1): (0, 0)}
    assert member.span([]) == {}


def test_whether_all_was_fetched_is_told(member: Consumer, topic: str) -> None:
    member.seek((topic, 0), 0)
    assert not member.drained((topic, 0))
    read(member, 39)
    assert member.drained((topic, 0))
    assert member.drained((topic, 1))
    member.seek((topic, 0), 39)
    assert not member.drained((topic, 0))


def test_the_marker_of_a_transaction_is_no_message_that_is_waited_for(
    member: Consumer, topic: str, kafka_server: str
) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_server, transactional_id=f"t{next(SERIAL)}", acks="all")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"within", partition=0)
    producer.commit_transaction()
    producer.close()
    for _ in range(1000):  # the broker writes the marker soon after it has said yes
        if member.span([(topic, 0)])[topic, 0] == (0, 42):
            break
    assert [value for value, *_ in read(member, 40)] == [value for _, value in SEEN] + [b"within"]
    polled_until(member, lambda: member.drained((topic, 0)))
    member.seek((topic, 0), 3)
    assert not member.drained((topic, 0))
    read(member, 40)
    polled_until(member, lambda: member.drained((topic, 0)))


def test_what_a_producer_has_taken_back_never_was(member: Consumer, topic: str, kafka_server: str) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_server, transactional_id=f"t{next(SERIAL)}", acks="all")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"taken back", partition=0)
    producer.flush()
    producer.abort_transaction()
    producer.close()
    publish(kafka_server, topic, [(None, b"behind it")], partition=0)
    assert [value for value, *_ in read(member, 42)] == [value for _, value in SEEN] + [b"behind it"]
    polled_until(member, lambda: member.drained((topic, 0)))


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_large_batches_come_whole_and_from_the_middle(
    settings: BrokerSettings, topic: str, kafka_server: str, codec: str | None
) -> None:
    """Some batches are large and some are small, with headers and empty values, and reading begins anywhere."""
    producer = KafkaProducer(
        bootstrap_servers=kafka_server, acks="all", linger_ms=500, batch_size=1 << 16, compression_type=codec
    )
    sent = [b"" if n % 50 == 7 else b"%d " % n * (n % 40) for n in range(1000)]
    for n, value in enumerate(sent):
        producer.send(topic, value or None, b"k%d" % n, [("h", b"x")] * (n % 3), 1, STAMP + n)
        if n in (3, 4, 700):
            producer.flush()
    producer.close()
    member = joined(settings, topic, f"g{next(SERIAL)}")
    for first in (0, 4, 333, 999):
        member.seek((topic, 1), first)
        found: list[tuple[bytes, int, int]] = []
        while len(found) < 1000 - first:
            got = member.poll(0.2, 100).get((topic, 1))
            if got is not None:
                found += zip(got.values, got.offsets.tolist(), got.timestamps.tolist(), strict=True)
        assert found == [(sent[n], n, (STAMP + n) * 1_000_000) for n in range(first, 1000)]
    polled_until(member, lambda: member.drained((topic, 1)))
    member.close()


def test_a_pattern_takes_up_topics_that_it_matches(settings: BrokerSettings, topic: str, kafka_server: str) -> None:
    create_topics(kafka_server, [f"not-{topic}"], 1)
    consumer = joined(settings, f"^{topic[:-1]}.$", f"g{next(SERIAL)}")
    assert {(topic, 0), (topic, 1)} <= consumer.assigned()
    assert f"not-{topic}" not in {name for name, _ in consumer.assigned()}
    consumer.close()


def test_messages_are_found_by_kafkas_time(member: Consumer, topic: str) -> None:
    newest = (STAMP + 39_000) * 1_000_000
    asked = (0, newest - 1, newest, newest + 1, newest + 10**9)
    assert [member.reaches((topic, 0), at) for at in asked] == [True, True, True, False, False]
    assert not member.reaches((topic, 1), 0)


def test_a_topic_that_is_not_there_has_no_partitions(settings: BrokerSettings, topic: str) -> None:
    with reading(settings) as consumer:
        assert (consumer.partitions(topic), consumer.partitions("nowhere")) == (2, 0)
        assert consumer.span([(topic, 0)]) == {(topic, 0): (0, 40)}


def test_where_we_stand_is_told_to_the_group(settings: BrokerSettings, topic: str, kafka_server: str) -> None:
    group = f"g{next(SERIAL)}"
    consumer = joined(settings, topic, group)
    consumer.commit({(topic, 0): 17})
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    try:
        polled_until(consumer, lambda: committed(admin, group, topic) == 17)
    finally:
        admin.close()
        consumer.close()


def committed(admin: KafkaAdminClient, group: str, topic: str) -> int | None:
    found: Any = admin.list_group_offsets(group)
    return next(
        (place.offset for part, place in found.get(group, found).items() if part == TopicPartition(topic, 0)), None
    )


@pytest.mark.parametrize(("one", "other"), [CLIENTS, CLIENTS[::-1]])
def test_members_with_either_library_share_a_group(kafka_server: str, topic: str, one: Any, other: Any) -> None:
    group = f"g{next(SERIAL)}"
    first = joined(BrokerSettings((kafka_server,), client=one, session_ms=6000), topic, group)
    second = open_consumer(BrokerSettings((kafka_server,), client=other, session_ms=6000), [topic], group)

    def shared() -> bool:
        second.poll(0.1, 1)
        return len(first.assigned()) == len(second.assigned()) == 1

    polled_until(first, shared)
    assert first.assigned() | second.assigned() == {(topic, 0), (topic, 1)}
    second.close()
    polled_until(first, lambda: len(first.assigned()) == 2)
    first.close()


def test_a_deal_that_outlasts_a_poll_is_no_less_for_a_topic_that_grew(
    kafka_server: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader begins it when it hears of the topic; it is over when the other member has come, between two polls."""
    monkeypatch.setattr("streaming.broker.consumer.REFRESH_MS", 200)
    settings, group = BrokerSettings((kafka_server,), session_ms=6000), f"g{next(SERIAL)}"
    leader = joined(settings, f"^{topic}$", group)
    other = open_consumer(settings, [f"^{topic}$"], group)

    def shares(count: int) -> bool:
        other.poll(0.1, 1)
        return len(leader.assigned()) == len(other.assigned()) == count

    polled_until(leader, lambda: shares(1))
    grown(kafka_server, topic, 4)
    for _ in range(6):
        leader.poll(0.5, 1)
    other.moved()
    polled_until(other, other.moved)
    polled_until(leader, lambda: shares(2))
    assert {number for _, number in leader.assigned() | other.assigned()} == {0, 1, 2, 3}
    other.close()
    leader.close()


def grown(address: str, topic: str, partitions: int) -> None:
    """Give the topic more partitions."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_partitions({topic: NewPartitions(partitions)})
    admin.close()


def test_a_place_that_was_paused_before_a_deal_is_fetched_after_it(
    settings: BrokerSettings, topic: str, kafka_server: str
) -> None:
    """The feed holds a full inbox back; what the group deals out anew is not held back."""
    publish(kafka_server, topic, SEEN, partition=1)
    group = f"g{next(SERIAL)}"
    feed = Feed(joined(settings, topic, group))
    for number in (0, 1):
        feed.open((topic, number), 5)
        feed.consumer.pause([(topic, number)])
    guest = open_consumer(settings, [topic], group)
    kept: set[Place] = set()
    for _ in range(400):
        feed.pump(0.1)
        guest.poll(0.1, 1)
        kept = feed.consumer.assigned()
        if feed.moved() and len(guest.assigned()) == len(kept) == 1:
            break
    (place,) = kept
    for _ in range(100):
        if feed.waiting(place) == 35:
            break
        feed.pump(0.1)
    assert feed.take(place, 1000, 1000).offsets.tolist() == list(range(5, 40))
    guest.close()
    feed.consumer.close()


def test_a_static_member_that_starts_again_keeps_its_partitions(settings: BrokerSettings, topic: str) -> None:
    group = f"g{next(SERIAL)}"
    one, two = (open_consumer(settings, [topic], group, name) for name in ("one", "two"))

    def settled() -> bool:
        two.poll(0.1, 1)
        return len(one.assigned()) == len(two.assigned()) == 1

    polled_until(one, settled)
    held, others = one.assigned(), two.assigned()
    two.moved()
    one.close()
    again = open_consumer(settings, [topic], group, "one")
    polled_until(two, lambda: bool(again.poll(0.1, 1)) or again.assigned() == held)
    assert (two.assigned(), two.moved()) == (others, False)
    again.close()
    two.close()


def test_both_libraries_are_told_the_same_of_tls_and_sasl(secured_kafka: Secured) -> None:
    files = [str(path) for path in (secured_kafka.ca, secured_kafka.certificate, secured_kafka.key)]
    told = BrokerSettings(("a:1", "b:2"), True, *files, "scram-sha-512", "me", "secret", "confluent")
    pure, native = told.pure(), told.librdkafka()
    assert native.pop("bootstrap.servers") == ",".join(pure.pop("bootstrap_servers"))
    assert native.pop("security.protocol").upper() == pure.pop("security_protocol") == "SASL_SSL"
    assert list(pure.values()) == list(native.values())
    assert "secret" not in repr(told)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_file_that_is_not_there_is_named(client: Any, kafka_server: str) -> None:
    with (
        pytest.raises(BrokerError, match=r"kafka.ca: there is no file 'nowhere.pem'"),
        reading(BrokerSettings((kafka_server,), tls=True, ca="nowhere.pem", client=client)),
    ):
        pass


def test_without_its_package_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from streaming.broker.consumer import open_consumer\n"
        "from streaming.broker.settings import BrokerSettings\n"
        "open_consumer(BrokerSettings(('a:1',), client='confluent'), (), None)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'tsad[confluent]'" in said.stderr.splitlines()[-1]
