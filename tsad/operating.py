"""The tables `[http]`, `[api]` and `[log]` of `tsad.toml`: where it answers, and what it tells its operators."""

from typing import Literal

from pydantic import Field, field_validator

from tsad.section import Section

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class HttpConfig(Section):
    """Where `tsad run` answers for its health and figures (None: nowhere), and the score of how many entities it
    tells."""

    bind: str | None = None
    series: int = Field(default=1000, ge=0, le=1_000_000)

    @field_validator("bind")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else address(value)


class ApiConfig(Section):
    """Where `tsad serve` answers, and how much it bears."""

    bind: str = "127.0.0.1:8450"
    processes: int = Field(default=1, ge=1, le=64)
    requests_per_second: float = Field(default=500.0, gt=0, le=1e6)
    max_body: int = Field(default=1 << 20, ge=1024, le=1 << 30)
    max_push: int = Field(default=8 << 20, ge=1024, le=64 << 20)

    @field_validator("bind")
    @classmethod
    def _address(cls, value: str) -> str:
        return address(value)


class LoggingConfig(Section):
    """What goes to standard error, and in which form."""

    format: LogFormat = "console"
    level: LogLevel | None = Field(default=None)


def address(value: str) -> str:
    """`value` as "host:port"; ValueError where it is none. Port 0 is any free one."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 65_536:
        raise ValueError(f"an address such as '127.0.0.1:9464' is needed, got {value!r}")
    return value
