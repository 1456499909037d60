"""The table `[kafka]` of `tsad.toml`: the cluster that `source = "kafka"` reads, and who we are there."""

import re
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from streaming.broker.settings import BrokerSettings
from streaming.settings import SECOND
from tsad.section import Duration, Section


class KafkaConfig(Section):
    """The cluster that `source = "kafka"` reads, and how this process appears there."""

    bootstrap: tuple[str, ...] = Field(default=("localhost:9092",), min_length=1)
    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    sasl: Literal["plain", "scram-sha-256", "scram-sha-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    client: Literal["kafka-python", "confluent"] = "kafka-python"
    group: str = "tsad"
    instance: str | None = None
    session_timeout: Duration = 30 * SECOND
    max_poll_interval: Duration = 300 * SECOND
    alerts_topic: str | None = None
    dead_letter_topic: str | None = None

    @field_validator("bootstrap", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        """ "a:9092,b:9092" is a list too."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("bootstrap")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ValueError(f"an address such as 'broker:9092' is needed, got {address!r}")
        return value

    @field_validator("alerts_topic", "dead_letter_topic")
    @classmethod
    def _topic_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", value):
            raise ValueError("a topic's name has up to 249 letters, digits, dots, dashes and underscores")
        return value

    @model_validator(mode="after")
    def _sasl_has_a_user(self) -> "KafkaConfig":
        if self.sasl and not (self.username and self.password):
            raise ValueError(f"sasl = {self.sasl!r} needs username and password (such as '${{KAFKA_PASSWORD}}')")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if not self.tls and (self.ca or self.certificate):
            raise ValueError("ca, certificate and key need tls = true")
        if self.alerts_topic and self.alerts_topic == self.dead_letter_topic:
            raise ValueError("alerts_topic and dead_letter_topic are the same; alerts and dead letters need one each")
        return self

    @property
    def told(self) -> tuple[str, ...]:
        """The topics that are written."""
        return tuple(topic for topic in (self.alerts_topic, self.dead_letter_topic) if topic)

    def whole(self) -> dict[str, Any]:
        """As JSON with the password, for a process of our own."""
        password = self.password.get_secret_value() if self.password else None
        return self.model_dump(mode="json") | {"password": password}

    def settings(self) -> BrokerSettings:
        """The plain value for `streaming`."""
        password = self.password.get_secret_value() if self.password else None
        ours = {
            "group", "instance", "password", "session_timeout", "max_poll_interval", "alerts_topic",
            "dead_letter_topic",
        }  # fmt: skip
        given = self.model_dump(exclude=ours)
        session, poll = (ns // (SECOND // 1000) for ns in (self.session_timeout, self.max_poll_interval))
        return BrokerSettings(**given, password=password, session_ms=session, poll_ms=poll)
