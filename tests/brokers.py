"""A real Apache Kafka of our own: an address given, a KAFKA_HOME on free ports, or a reason why there is none."""

import base64
import logging
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaError
from servers import NoServerError, free_port

READY_SECONDS = 60
logging.getLogger("kafka").setLevel(logging.CRITICAL)  # every attempt to reach a broker that starts is a warning
ONE_NODE = {
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # fifty each else, made when a first group joins and deleted one by one with the folder
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.num.partitions": 1,
}


def java() -> tuple[Path, str]:
    """The folder `libs` of KAFKA_HOME and the `java` that runs it."""
    home, runtime = os.environ.get("KAFKA_HOME"), shutil.which("java")
    if not home or not (Path(home) / "libs").is_dir():
        raise NoServerError("no Kafka: set TSAD_TEST_KAFKA to an address, or KAFKA_HOME to a Kafka with Java 17")
    if runtime is None:
        raise NoServerError("KAFKA_HOME is set, but there is no java to run it")
    return Path(home) / "libs", runtime


def tool(*arguments: str) -> list[str]:
    """The command line of one of Kafka's classes."""
    libs, runtime = java()
    return [runtime, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{libs}/*", *arguments]


@dataclass
class Node:
    """One broker (and controller): its files, address and process; `listeners` are further ones (SSL://...)."""

    folder: Path
    number: int
    port: int
    controller: int
    properties: Mapping[str, object] = field(default_factory=dict)
    listeners: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def write(self, voters: str) -> Path:
        heard = [f"PLAINTEXT://{self.address}", *self.listeners]
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": voters,
            "listeners": ",".join([*heard, f"CONTROLLER://127.0.0.1:{self.controller}"]),
            "advertised.listeners": ",".join(heard),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self.folder / "data",
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "log.segment.delete.delay.ms": 0,
            "log.retention.ms": -1,  # records of event times long past would go within minutes
            "log.index.size.max.bytes": 1 << 16,
            "log.cleaner.dedupe.buffer.size": 4 << 20,
        }
        settings |= self.properties
        file = self.folder / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return file

    def format(self, cluster: str, *options: str) -> None:
        arguments = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self.folder / "server.properties")]
        made = subprocess.run(tool(*arguments, *options), capture_output=True, text=True, check=False, cwd=self.folder)
        if made.returncode != 0:
            raise NoServerError(f"Kafka's storage was not formatted: {made.stderr.strip()[-400:]}")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(
                tool("kafka.Kafka", str(self.folder / "server.properties")), stdout=output, stderr=output,
                cwd=self.folder,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL, as a machine that goes."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ready(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() is not None:
                raise NoServerError(f"Kafka ended at once: {(self.folder / 'log').read_text()[-600:]}")
            try:
                KafkaAdminClient(bootstrap_servers=self.address, bootstrap_timeout_ms=2000).close()
            except KafkaError:
                continue
            return
        raise NoServerError(f"Kafka did not answer in {READY_SECONDS} s: {(self.folder / 'log').read_text()[-600:]}")


def cluster_id() -> str:
    """A new one: 16 bytes in base64. One that begins with a dash would be taken for an option."""
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not made.startswith("-"):
            return made


@contextmanager
def cluster(
    nodes: int = 1,
    properties: Mapping[str, object] | None = None,
    listeners: Sequence[str] = (),
    formatting: Sequence[str] = (),
) -> Iterator[list[Node]]:
    """`nodes` brokers that know each other, ready. NoServerError where there is no Kafka.

    `listeners` are further ones (of a single broker), `formatting` what the tool that formats is told besides."""
    folder = Path(tempfile.mkdtemp(prefix="tsad-kafka-"))
    settings = (ONE_NODE if nodes == 1 else {}) | dict(properties or {})
    made = []
    try:
        for number in range(1, nodes + 1):
            (folder / str(number)).mkdir()
            made.append(Node(folder / str(number), number, free_port(), free_port(), settings, listeners))
        voters = ",".join(f"{node.number}@127.0.0.1:{node.controller}" for node in made)
        identity = cluster_id()
        for node in made:
            node.write(voters)
            node.format(identity, *formatting)
        with ExitStack() as stack:
            for node in made:
                stack.callback(node.kill)
                node.start()
            for node in made:
                node.ready()
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def broker() -> Iterator[str]:
    """The address of a broker: TSAD_TEST_KAFKA, else one of our own."""
    given = os.environ.get("TSAD_TEST_KAFKA")
    if given:
        yield given
        return
    with cluster() as (node,):
        yield node.address


def create_topics(
    address: str, names: Iterable[str], partitions: int = 1, replication: int = 1, **settings: object
) -> None:
    """Make topics, and return when they are there. `settings` are Kafka's, with underscores for dots."""
    admin = KafkaAdminClient(bootstrap_servers=address.split(","))
    configs = {key.replace("_", "."): str(value) for key, value in settings.items()}
    admin.create_topics([NewTopic(name, partitions, replication, topic_configs=configs) for name in names])
    admin.close()


def configure_topic(address: str, name: str, told: Mapping[str, str]) -> None:
    """Tell a topic, and return when it has heard."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    resource = ConfigResource(ConfigResourceType.TOPIC, name, configs=dict(told))
    admin.alter_configs([resource])
    asked = [ConfigResource(ConfigResourceType.TOPIC, name)]
    while any(admin.describe_configs(asked)["topic"][name][key]["value"] != value for key, value in told.items()):
        pass
    admin.close()


def publish(
    address: str,
    topic: str,
    pairs: Iterable[tuple[bytes | None, bytes | None]],
    partition: int | None = None,
    stamp: Callable[[bytes | None], int | None] = lambda _: None,
) -> None:
    """Send (key, value) pairs in order; by their key where no partition is said. All are written on return.

    `stamp` gives the time (ms) that the producer says of a value; None is now."""
    producer = KafkaProducer(
        bootstrap_servers=address, acks="all", linger_ms=5, max_in_flight_requests_per_connection=1
    )
    for key, value in pairs:
        producer.send(topic, key=key, value=value, partition=partition, timestamp_ms=stamp(value))
    producer.flush()
    producer.close()


def read_topic(address: str, topic: str) -> list[Any]:
    """Every message that is in a topic now, partition by partition."""
    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", enable_auto_commit=False)
    places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    found: list[Any] = []
    while any(consumer.position(place) < ends[place] for place in places):
        for records in consumer.poll(timeout_ms=500).values():
            found += records
    consumer.close()
    return sorted(found, key=lambda record: (record.partition, record.offset))
