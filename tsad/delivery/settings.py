"""`[delivery]` of `tsad.toml`: routes, and which addresses they may reach."""

from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from storage.types import Severity
from streaming.settings import SECOND
from tsad.delivery.template import FIELDS, filled
from tsad.section import Duration, Section


def _web(value: str) -> str:
    """`value`; ValueError where it is no address of the web."""
    scheme, _, rest = value.partition("://")
    if scheme not in ("http", "https") or not rest or "@" in rest.split("/")[0]:
        raise ValueError("an address that begins with http:// or https:// is needed, without a name or password in it")
    return value


WebAddress = Annotated[str, AfterValidator(_web)]
Kind = Literal["webhook", "slack", "pagerduty", "alertmanager", "email", "kafka"]
NEEDED: dict[str, tuple[str, ...]] = {
    "webhook": ("url",), "slack": ("url",), "pagerduty": ("key",), "alertmanager": ("url",),
    "email": ("server", "sender", "to"), "kafka": ("topic",),
}  # fmt: skip
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"


class RouteConfig(Section):
    """Where alerts of some streams, entities (globs) and severities go. `template` says what in words; of alerts of one
    group the first and what is worse is told, and that all of them are over; of an incident its own words."""

    kind: Kind
    stream: str = "*"
    entity: str = "*"
    min_severity: Severity = "warning"
    group_by: Literal["alert", "entity", "stream", "incident"] = "alert"
    url: WebAddress | None = None
    secret: SecretStr | None = None
    key: SecretStr | None = None
    token: SecretStr | None = None
    topic: str | None = None
    server: str | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    sender: str | None = None
    to: tuple[str, ...] = ()
    template: str = Field(default="{severity}: {entity} ({stream}): {sentence}", max_length=4000)

    def lets_through(self, stream: str, entity: str) -> bool:
        """Whether alerts of this stream and entity go there."""
        return fnmatchcase(stream, self.stream) and fnmatchcase(entity, self.entity)

    @model_validator(mode="after")
    def _whole(self) -> "RouteConfig":
        missing = [name for name in NEEDED[self.kind] if not getattr(self, name)]
        if missing:
            raise ValueError(f"a route of kind {self.kind!r} needs {', '.join(missing)}")
        return self

    @field_validator("template")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        try:
            filled(value, dict.fromkeys(FIELDS, ""))
        except KeyError as error:
            raise ValueError(f"there is no field {error.args[0]!r}; there are: {', '.join(FIELDS)}") from None
        return value

    @field_validator("server")
    @classmethod
    def _server(cls, value: str | None) -> str | None:
        host, _, port = (value or "").rpartition(":")
        if value is not None and (not host or not port.isdecimal()):
            raise ValueError(f"a server such as 'mail.example.org:587' is needed, got {value!r}")
        return value


class DeliveryConfig(Section):
    """`allow`: hosts and networks that routes may reach beside public ones; loopback, private and link-local addresses
    only if named. `link`: the address of the dashboard, for people. `every`: how often is looked for what is due."""

    routes: dict[str, RouteConfig] = Field(default_factory=dict)
    allow: tuple[str, ...] = ()
    link: WebAddress | None = None
    timeout: Duration = 10 * SECOND
    every: Duration = 2 * SECOND

    @field_validator("allow")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if "/" in one:
                try:
                    ip_network(one)
                except ValueError as error:
                    raise ValueError(
                        f"{one!r} is neither a host nor a network such as '10.1.0.0/16': {error}"
                    ) from None
        return value

    @field_validator("timeout")
    @classmethod
    def _below_the_claim(cls, value: int) -> int:
        if not 0 < value <= 30 * SECOND:
            raise ValueError("a timeout of at most 30s, and more than 0s, is needed")
        return value
