"""Messages out: written durably, and of each is said what became of it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from streaming.broker.meeting import meet
from streaming.broker.settings import BrokerError, BrokerSettings

PATIENCE = 10.0
"""Seconds that one send may take: to find the cluster, and to be acknowledged."""
LARGEST = 16 << 20
"""Bytes of a request; what a topic takes is the broker's to say."""
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class MessageRefusedError(BrokerError):
    """The cluster will never take this message as it is; others it may."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message; equal keys of a topic go to one of its partitions, and stay in order there."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Producer:
    """Writes to a cluster: every in-sync replica has a message (acks=all) before it counts as sent, and the library's
    own repetitions leave no second copy and no other order (idempotence).

    BrokerError where the cluster cannot be reached within `patience` seconds.
    """

    def __init__(self, settings: BrokerSettings, patience: float = PATIENCE) -> None:
        self._settings, self._patience = settings, patience
        self._client = self._connected()
        self._spoilt = False

    def send(self, messages: Sequence[Outgoing]) -> list[BrokerError | None]:
        """Write `messages` in order and wait for the answers: None where one was acknowledged, else why not.

        Behind one that could not even be handed over (its topic is not there, for instance) none is tried.
        """
        outcomes = self._write(messages)
        refused = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, MessageRefusedError)]
        for place in refused if len(messages) > 1 else ():
            # a broker refuses a whole batch, and the library all that comes behind it
            outcomes[place] = self._write([messages[place]])[0]
        return outcomes

    def close(self) -> None:
        """Let go of the connections; what is not acknowledged by now is given up."""
        with suppress(KafkaTimeoutError):
            self._client.close(timeout=0)

    def _connected(self) -> Any:
        limit = int(self._patience * 1000)
        told = {
            "acks": "all",
            "enable_idempotence": True,
            "max_in_flight_requests_per_connection": 5,
            "linger_ms": 5,
            "max_request_size": LARGEST,
            "max_block_ms": limit,
            "request_timeout_ms": limit - 100,
            "delivery_timeout_ms": limit,
            **self._settings.pure(),
        }
        return meet(self._settings, lambda most: KafkaProducer(bootstrap_timeout_ms=most, **told), self._patience)

    def _write(self, messages: Sequence[Outgoing]) -> list[BrokerError | None]:
        if self._spoilt:
            self.close()
            self._client, self._spoilt = self._connected(), False
        missing = self._missing(messages)
        handed: list[Any] = []
        for message in messages:
            headers = [(name, value.encode()) for name, value in message.headers.items()]
            try:
                if message.topic in missing:
                    raise missing[message.topic]
                handed.append(self._client.send(message.topic, message.value, message.key.encode(), headers))
            except KafkaError as error:
                handed.append(error)
                if not isinstance(error, TOO_LARGE):
                    break
        handed += handed[-1:] * (len(messages) - len(handed))
        # the library gives up by itself before that
        until = time.monotonic() + self._patience + 2
        outcomes = [_outcome(message, answer, until) for message, answer in zip(messages, handed, strict=True)]
        self._spoilt = any(isinstance(outcome, MessageRefusedError) for outcome in outcomes)
        return outcomes

    def _missing(self, messages: Sequence[Outgoing]) -> dict[str, KafkaError]:
        """The first topic that cannot be found, with why. Asked before anything is sent: beside a wait for a topic,
        what was handed over before was seen to expire."""
        for topic in dict.fromkeys(message.topic for message in messages):
            try:
                self._client.partitions_for(topic)
            except KafkaError as error:
                return {topic: error}
        return {}


def _outcome(message: Outgoing, answer: Any, until: float) -> BrokerError | None:
    try:
        if isinstance(answer, KafkaError):
            raise answer
        answer.get(timeout=max(until - time.monotonic(), 0))
    except KafkaError as error:
        kind = MessageRefusedError if isinstance(error, TOO_LARGE) else BrokerError
        return kind(f"kafka ({message.topic}): {' '.join(str(error).split()) or type(error).__name__}")
    return None
