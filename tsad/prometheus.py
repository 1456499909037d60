"""The table `telemetry.prometheus` of a stream: a server with Prometheus' HTTP API, and what it is asked."""

import base64
import re

from pydantic import Field, SecretStr, field_validator, model_validator

from streaming.prometheus.settings import Server
from streaming.settings import SECOND
from tsad.delivery.settings import WebAddress
from tsad.section import Duration, Section

PROMETHEUS = "prometheus"
"""The source that is what a server answers to queries."""
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A name of a header."""


class PrometheusConfig(Section):
    """The server of `source = "prometheus"`, the query of each feature, and how far behind the clock and back in time
    it is asked."""

    url: WebAddress
    queries: dict[str, str] = Field(min_length=1)
    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    parameters: dict[str, str] = Field(default_factory=dict)
    ca: str | None = None
    timeout: Duration = 30 * SECOND
    delay: Duration = 30 * SECOND
    begin: Duration = 3600 * SECOND
    past: Duration = 7 * 86_400 * SECOND
    max_series: int = Field(default=20_000, ge=1, le=1_000_000)
    max_points: int = Field(default=11_000, ge=1, le=1_000_000)
    max_mib: int = Field(default=32, ge=1, le=1024)

    @field_validator("queries")
    @classmethod
    def _named(cls, value: dict[str, str]) -> dict[str, str]:
        for name, query in value.items():
            if not 0 < len(name) <= 240 or "\0" in name:
                raise ValueError(f"feature {name!r:.80}: a name of 1 to 240 characters is needed")
            if not query.strip():
                raise ValueError(f"feature {name!r:.80} has no query")
        return value

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, said in value.items():
            if not HEADER.fullmatch(name):
                raise ValueError(f"{name!r:.80} is no name of a header")
            _printable(f"header {name}", said)
        return value

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, value: int) -> int:
        if not 0 < value <= 600 * SECOND:
            raise ValueError("a timeout of at most 10m, and more than 0s, is needed")
        return value

    @model_validator(mode="after")
    def _one_name(self) -> "PrometheusConfig":
        if self.token and (self.username or self.password):
            raise ValueError("token excludes username and password")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        for name in ("token", "password"):
            _printable(name, getattr(self, name))
        return self

    def server(self) -> Server:
        """The plain value for `streaming`."""
        headers = {name: said.get_secret_value() for name, said in self.headers.items()}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
        if self.username is not None and self.password is not None:
            both = f"{self.username}:{self.password.get_secret_value()}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(both).decode()}"
        return Server(
            self.url, headers, self.parameters, self.ca, self.timeout / SECOND, self.max_mib << 20, self.max_series,
            self.max_points,
        )  # fmt: skip


def _printable(name: str, said: SecretStr | None) -> None:
    """ValueError where `said` cannot be the value of a header."""
    text = "" if said is None else said.get_secret_value()
    if not text.isascii() or not (text.isprintable() or not text) or text != text.strip():
        raise ValueError(f"{name} must be printable ASCII, without spaces at its ends")
