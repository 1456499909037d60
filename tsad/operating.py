"""The tables `[http]` and `[log]` of `tsad.toml`: what a run tells those who look after it."""

from typing import Literal

from pydantic import Field, field_validator

from tsad.section import Section

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class HttpConfig(Section):
    """Where `tsad run` answers for its health and figures; None: nowhere."""

    bind: str | None = None

    @field_validator("bind")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else address(value)


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
