"""`tsad rekey` on a real broker: each entity on one partition, every byte as it was, however often it is begun."""

import json
import signal
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import create_topics, read_topic
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

from streaming.broker import rekey as module
from streaming.broker.entities import FieldEntities
from streaming.broker.raw import Raw, partition_of
from streaming.broker.rekey import rekey
from streaming.broker.settings import BrokerError, BrokerSettings
from tests.streaming.golden import gauge, metrics
from tests.tsad.command_line import Said, finished, fresh_home, running_until, started, tsad

_SERIAL = count()
START = 1_750_000_000_000
Message = tuple[int, bytes | None, bytes | None, int, list[tuple[str, bytes]]]
"""Partition, key, value, timestamp (ms), headers."""


def body(entity: Any, number: int) -> bytes:
    return json.dumps({"entity": entity, "time": START // 1000 + number, "values": {"cpu": number}}).encode()


def mixed(messages: int = 300) -> list[Message]:
    """Entities on whatever partition, with times that the partitions share, and every kind of message among them."""
    made: list[Message] = []
    for number in range(messages):
        entity, at = f"host-{number % 7}", START + 10 * number
        made.append((number % 3, None if number % 2 else b"k", body(entity, number), at, [("n", b"%d\xff" % number)]))
    odd: list[tuple[bytes | None, bytes | None]] = [
        (b"old", b"{broken"), (None, b"[]"), (b"gone", None), (b"old", body(None, 1)), (b"old", body("", 1)),
        (b"", b""),
    ]  # fmt: skip
    return made + [(2, key, value, START + 10 * messages + place, []) for place, (key, value) in enumerate(odd)]


class Cluster:
    """Topics of one test."""

    def __init__(self, address: str, home: Path) -> None:
        self.address, self.home = address, fresh_home(home)
        self.settings = BrokerSettings((address,))
        (self.home / "tsad.toml").write_text(f"[kafka]\nbootstrap = {address!r}\n")

    def topic(self, partitions: int, messages: list[Message] | None = None) -> str:
        name = f"rekey-{next(_SERIAL)}-{id(self)}"
        create_topics(self.address, [name], partitions)
        self.send(name, messages or [])
        return name

    def send(self, topic: str, messages: list[Message]) -> None:
        with closing(KafkaProducer(bootstrap_servers=self.address, acks="all")) as producer:
            for partition, key, value, at, headers in messages:
                producer.send(topic, value, key, headers, partition, at)

    def tsad(self, *arguments: str) -> Said:
        return tsad(self.home, "rekey", *arguments)

    def committed(self, topic: str) -> list[Any]:
        """What a reader of whole transactions finds, by partition and offset."""
        with closing(
            KafkaConsumer(
                bootstrap_servers=self.address, auto_offset_reset="earliest", isolation_level="read_committed"
            )
        ) as consumer:
            places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
            consumer.assign(places)
            ends, found = consumer.end_offsets(places), []
            while any(consumer.position(place) < ends[place] for place in places):
                for records in consumer.poll(timeout_ms=500).values():
                    found += records
        return sorted(found, key=lambda record: (record.partition, record.offset))


@pytest.fixture
def cluster(kafka_server: str, tmp_path: Path) -> Cluster:
    return Cluster(kafka_server, tmp_path / "home")


def content(records: list[Any]) -> list[tuple[Any, ...]]:
    """Everything but key and place."""
    return sorted(((r.value, r.timestamp, list(r.headers)) for r in records), key=repr)


def test_each_entity_lies_on_one_partition_and_every_byte_is_as_it_was(cluster: Cluster) -> None:
    source, target = cluster.topic(3, mixed()), cluster.topic(4)
    said = cluster.tsad(source, target, "--entity", "entity", "--json")
    assert said.code == 0, said.err
    assert said.json | {"source": 0, "target": 0} == {
        "source": 0, "target": 0, "messages": 306, "keyed": 300, "unreadable": 6, "several": 0, "ended": True
    }  # fmt: skip
    assert "6 messages name no entity that can be read" in said.err
    copies = cluster.committed(target)
    assert content(copies) == content(read_topic(cluster.address, source))
    places, times = defaultdict(set), defaultdict(list)
    for copy in copies:
        times[copy.partition].append(copy.timestamp)
        if copy.value and b"host-" in copy.value:
            assert copy.key == json.loads(copy.value)["entity"].encode()
            places[copy.key].add(copy.partition)
    assert {key: {partition_of(key, 4)} for key in places} == places
    assert len(places) == 7
    assert all(stamps == sorted(stamps) for stamps in times.values()), "merged by time"
    kept = {copy.value: (copy.key, copy.partition) for copy in copies if copy.value in (b"{broken", b"[]", None)}
    assert kept == {
        b"{broken": (b"old", partition_of(b"old", 4)),
        b"[]": (None, 2),
        None: (b"gone", partition_of(b"gone", 4)),
    }


def test_a_rerun_adds_what_came_since(cluster: Cluster) -> None:
    source, target = cluster.topic(3, mixed(40)), cluster.topic(2)
    assert cluster.tsad(source, target, "--entity", "entity").code == 0
    assert cluster.tsad(source, target, "--entity", "entity", "--json").json["messages"] == 0
    cluster.send(source, [(0, b"x", body("late", 1), START, [])])
    assert cluster.tsad(source, target, "--entity", "entity", "--json").json["messages"] == 1
    assert content(cluster.committed(target)) == content(read_topic(cluster.address, source))
    # and a copy of the copy, which has markers of transactions in it
    third = cluster.topic(1)
    assert cluster.tsad(target, third, "--entity", "entity", "--json").json["messages"] == 47
    assert content(cluster.committed(third)) == content(read_topic(cluster.address, source))


class Died(Exception):
    """The process dies here."""


def dies_at(messages: int) -> Callable[[Any], Any]:
    """Names entities until so many were named."""
    fields, seen = FieldEntities("entity"), count()

    def entities(batch: list[Raw]) -> Any:
        if next(seen) * module.BATCH >= messages:
            raise Died
        return fields(batch)

    return entities


def test_a_copy_that_died_goes_on_where_it_was(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 50)
    source, target = cluster.topic(3, mixed()), cluster.topic(4)
    for moment in (0, 100, 50):
        with pytest.raises(Died):
            rekey(cluster.settings, source, target, dies_at(moment))
    assert rekey(cluster.settings, source, target, FieldEntities("entity")).messages == 306 - 150
    assert content(cluster.committed(target)) == content(read_topic(cluster.address, source))


def test_a_killed_copy_goes_on_too(cluster: Cluster) -> None:
    source, target = cluster.topic(3, mixed(20_000)), cluster.topic(4)
    process = started(cluster.home, "rekey", source, target, "--entity", "entity")
    running_until(process, lambda: len(cluster.committed(target)) > 0)
    process.kill()
    process.wait()
    last = cluster.tsad(source, target, "--entity", "entity", "--json")
    assert last.code == 0, last.err
    assert content(cluster.committed(target)) == content(read_topic(cluster.address, source))


def test_sigterm_ends_it_between_two_transactions(cluster: Cluster) -> None:
    source, target = cluster.topic(3, mixed(60_000)), cluster.topic(1)
    process = started(cluster.home, "rekey", source, target, "--entity", "entity", "--json")
    running_until(process, lambda: len(cluster.committed(target)) > 0)
    process.send_signal(signal.SIGTERM)
    said = finished(process)
    assert said.code == 130, said.err
    assert "run it again, and it goes on from here" in said.err
    assert 0 < said.json["messages"] == len(cluster.committed(target)) < 60_006


def test_messages_of_several_entities_are_counted(cluster: Cluster) -> None:
    (cluster.home / "tsad.toml").write_text(
        f"[kafka]\nbootstrap = {cluster.address!r}\n[stream.s.telemetry]\nformat = 'auto'\n"
    )
    alone = metrics(({"service.name": "shop"}, [gauge("cpu", (0, 1.0))])).SerializeToString()
    both = metrics(
        ({"service.name": "shop"}, [gauge("cpu", (0, 1.0))]), ({"service.name": "cart"}, [gauge("cpu", (0, 1.0))])
    ).SerializeToString()
    now = 1_700_000_100_000
    source = cluster.topic(2, [(0, b"x", alone, now, []), (1, b"x", both, now, []), (1, None, b"{", now, [])])
    target = cluster.topic(3)
    said = cluster.tsad(source, target, "--stream", "s", "--json")
    assert {name: said.json[name] for name in ("keyed", "several", "unreadable")} == {
        "keyed": 1, "several": 1, "unreadable": 1
    }  # fmt: skip
    assert "1 messages hold several entities" in said.err
    assert {(copy.value, copy.key) for copy in cluster.committed(target)} == {
        (alone, b"shop"), (both, b"x"), (b"{", None)
    }  # fmt: skip


def test_logs_are_read_as_the_stream_reads_them(cluster: Cluster) -> None:
    lines = [(0, None, f"2025-06-15T15:06:40Z web-{n % 3} INFO up".encode(), START, []) for n in range(6)]
    source = cluster.topic(1, lines)  # type: ignore[arg-type]
    (cluster.home / "tsad.toml").write_text(
        f"[kafka]\nbootstrap = {cluster.address!r}\n[stream.s.telemetry]\nsource = 'kafka'\ntopic = 'm'\n"
        f"[stream.s.logs]\nsource = 'kafka'\ntopic = {source!r}\nlayout = 'text'\n"
        r"pattern = '(?P<time>\S+) (?P<entity>\S+) (?P<severity>\w+) (?P<message>.*)'"
    )
    target = cluster.topic(5)
    assert cluster.tsad(source, target, "--stream", "s", "--json").json["keyed"] == 6
    assert {copy.key for copy in cluster.committed(target)} == {b"web-0", b"web-1", b"web-2"}


def test_a_missing_target_is_made_like_the_source(cluster: Cluster) -> None:
    source, target = cluster.topic(3, mixed(10)), f"made-{next(_SERIAL)}-{id(cluster)}"
    admin = KafkaAdminClient(bootstrap_servers=cluster.address)
    kept = {"retention.ms": "86400000000", "message.timestamp.type": "LogAppendTime"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, source, kept)])
    said = cluster.tsad(source, target, "--entity", "entity")
    assert (said.code, said.error) == (1, f"topic '{target}' does not exist; --partitions N makes it")
    assert cluster.tsad(source, target, "--entity", "entity", "--partitions", "6").code == 0
    assert {copy.partition for copy in cluster.committed(target)} <= set(range(6))
    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, target)], config_filter="all")
    admin.close()
    made = {name: part["value"] for name, part in described["topic"][target].items()}
    assert (made["retention.ms"], made["message.timestamp.type"]) == ("86400000000", "CreateTime")
    again = cluster.tsad(source, target, "--entity", "entity", "--partitions", "5")
    assert (again.code, again.error) == (1, f"topic '{target}' is there, with 6 partitions and not 5")


def test_what_is_refused(cluster: Cluster) -> None:
    source, target = cluster.topic(3, mixed(5)), cluster.topic(1, [(0, None, b"of somebody else", START, [])])
    stamping = cluster.topic(1)
    admin = KafkaAdminClient(bootstrap_servers=cluster.address)
    stamps = {"message.timestamp.type": "LogAppendTime"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, stamping, stamps)])
    admin.close()
    for arguments, code, said in (
        (("nowhere", target, "--entity", "entity"), 1, "topic 'nowhere' does not exist"),
        ((source, source, "--entity", "entity"), 1, f"topic '{source}' cannot be copied into itself"),
        ((source, target, "--entity", "entity"), 1, f"topic '{target}' holds what no tsad rekey of '{source}' wrote"),
        ((source, stamping, "--entity", "entity"), 1, f"topic '{stamping}' stamps messages itself"),
        ((source, target), 2, "say either --entity FIELD or --stream NAME"),
        ((source, target, "--entity", "e", "--stream", "s"), 2, "say either --entity FIELD or --stream NAME"),
        ((source, target, "--stream", "s"), 2, "stream 's' is not in the configuration"),
    ):
        answer = cluster.tsad(*arguments)
        assert answer.code == code, answer.err
        assert said in answer.error
    (cluster.home / "tsad.toml").write_text("[kafka]\nbootstrap = '127.0.0.1:9'\n")
    answer = cluster.tsad(source, target, "--entity", "entity")
    assert answer.code == 1
    assert "127.0.0.1:9" in answer.error


def test_a_source_made_anew_is_refused_and_a_target_made_anew_is_filled(cluster: Cluster) -> None:
    source, target = cluster.topic(3, mixed(20)), cluster.topic(1)
    rekey(cluster.settings, source, target, FieldEntities("entity"))
    admin = KafkaAdminClient(bootstrap_servers=cluster.address)
    remade(cluster, admin, target, 2)
    assert rekey(cluster.settings, source, target, FieldEntities("entity")).messages == 26
    with closing(KafkaConsumer(bootstrap_servers=cluster.address, group_id=f"tsad.rekey.{source}:{target}")) as group:
        group.commit({TopicPartition(source, 1): OffsetAndMetadata(1000, "", -1)})
    with pytest.raises(BrokerError, match=r"\[1\] ends at 7, but was read up to 1000: it was made anew"):
        rekey(cluster.settings, source, target, FieldEntities("entity"))
    remade(cluster, admin, source, 3)  # with it goes what groups had read of it
    admin.close()
    cluster.send(source, mixed(1)[:1])
    with pytest.raises(BrokerError, match=r"holds what no tsad rekey of 'rekey\S+' wrote, or not of this"):
        rekey(cluster.settings, source, target, FieldEntities("entity"))


def remade(cluster: Cluster, admin: Any, topic: str, partitions: int) -> None:
    """Delete a topic and make it again; it goes within moments."""
    admin.delete_topics([topic])
    for _ in range(100):
        try:
            create_topics(cluster.address, [topic], partitions)
        except Exception as error:  # noqa: BLE001 -- still there
            last = error
        else:
            break
    else:
        raise last
    while any(one["error_code"] for one in admin.describe_topics([topic])):
        pass  # the broker has not heard of it yet


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("host", b'{"host":"a"}', ["a"]),
        ("host", b'{"host":7}', ["7"]),
        ("host.name", b'{"host":{"name":"a"}}', ["a"]),
        ("host.name", b'{"host.name":"b","host":{"name":"a"}}', ["b"]),
        ("host.name", b'{"host":"a"}', []),
        ("host", b'{"host":true}', []),
        ("host", b'{"host":null}', []),
        ("host", b'{"host":""}', []),
        ("host", b'{"host":["a"]}', []),
        ("host", b'["host"]', []),
        ("host", b"\xff\xfe", []),
        ("host", b"[" * 100_000, []),
        ("host", None, []),
    ],
)
def test_a_field_names_an_entity(field: str, value: bytes | None, found: list[str]) -> None:
    assert FieldEntities(field)([Raw(0, 0, None, None, value)]) == [found]
