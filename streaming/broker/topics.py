"""Topics as such: what they are told, and new ones like those that are there."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAuthorizationFailedError

from streaming.broker.consumer import MILLISECOND, broker_faults
from streaming.broker.meeting import meet
from streaming.broker.settings import BrokerError, BrokerSettings

_OF_TOPIC = "DYNAMIC_TOPIC_CONFIG"
STAMPS = "message.timestamp.type"


class Topics:
    """The topics of a cluster. Every fault is a BrokerError."""

    def __init__(self, client: Any, settings: BrokerSettings) -> None:
        self._client = client
        named = settings.username or settings.certificate
        which = "username" if settings.username else "certificate"
        self._me = f"kafka.{which} = {named!r}" if named else "who has no kafka.username"

    def partitions(self, name: str) -> int:
        """How many partitions a topic has; 0 where it does not exist. BrokerError where we may not see it."""
        with broker_faults(name):
            found = self._client.describe_topics([name])
        if any(topic["error_code"] == TopicAuthorizationFailedError.errno for topic in found):
            raise BrokerError(f"topic {name!r}: {self._me} may not see it (topic authorization failed)")
        return sum(len(topic["partitions"]) for topic in found if not topic["error_code"])

    def matching(self, pattern: str) -> dict[str, int]:
        """How many partitions each topic has whose whole name `pattern` matches, by name; Kafka's own are left out."""
        wanted = re.compile(pattern)
        with broker_faults(f"topics like {pattern}"):
            found = self._client.describe_topics()
        return {
            topic["name"]: len(topic["partitions"])
            for topic in sorted(found, key=lambda topic: str(topic["name"]))
            if not topic["is_internal"] and wanted.fullmatch(topic["name"])
        }

    def told(self, name: str) -> dict[str, str]:
        """What the topic has been told itself: configuration that is not the broker's."""
        return {key: part["value"] for key, part in self._described(name).items() if part["config_source"] == _OF_TOPIC}

    def stamps_itself(self, name: str) -> bool:
        """Whether the topic replaces the time that a producer says by its own."""
        return bool(self._described(name)[STAMPS]["value"] == "LogAppendTime")

    def kept(self, name: str) -> int | None:
        """For how long (ns) a topic keeps what it has got; None: without end. BrokerError where it is compacted: then
        what is read again is not what was read."""
        told = self._described(name)
        if "compact" in told["cleanup.policy"]["value"]:
            raise BrokerError(f"topic {name!r} is compacted: a start that reads it again would miss what has gone")
        kept = int(told["retention.ms"]["value"])
        return None if kept < 0 else kept * MILLISECOND

    def create(self, name: str, partitions: int, told: Mapping[str, str] | None = None) -> None:
        """Make a topic; it is there on return. As many replicas as the broker makes unasked."""
        wanted = {"num_partitions": partitions, "configs": {**(told or {}), STAMPS: "CreateTime"}}
        with broker_faults(name):
            self._client.create_topics({name: wanted}, wait_for_metadata=True)

    def need(self, name: str, partitions: int | None, like: str | None = None) -> int:
        """How many partitions the topic `name` has, which is made with `partitions` where it is not there, and told
        what the topic `like` was told. BrokerError where it is missing and must not be made, or has another number."""
        there = self.partitions(name)
        if not there and partitions is None:
            raise BrokerError(f"topic {name!r} does not exist; --partitions N makes it")
        if not there and partitions is not None:
            self.create(name, partitions, self.told(like) if like else None)
            return partitions
        if partitions not in (None, there):
            raise BrokerError(f"topic {name!r} is there, with {there} partitions and not {partitions}")
        return there

    def _described(self, name: str) -> dict[str, Any]:
        with broker_faults(name):
            found = self._client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
        return dict(found["topic"][name])


@contextmanager
def topics(settings: BrokerSettings) -> Iterator[Topics]:
    """A look at the topics of a cluster."""
    client = meet(settings, lambda limit: KafkaAdminClient(bootstrap_timeout_ms=limit, **settings.pure()))
    try:
        yield Topics(client, settings)
    finally:
        client.close()
