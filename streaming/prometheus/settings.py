"""How a server with Prometheus' HTTP API is reached, and what it is asked. Plain values, validated by the caller."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from streaming.broker.settings import BrokerError, OutageError
from streaming.settings import SECOND
from streaming.settings import Mapping as EntityMapping

MS = SECOND // 1000
"""Nanoseconds in a millisecond: the API tells times so."""


class QueryError(BrokerError):
    """The server cannot be asked like this: one line that names the address or the query and what is wrong."""


class TooMuchError(QueryError):
    """An answer that is refused or too large: a shorter range may be answered. `wrong`: the query itself may be."""

    def __init__(self, said: str, *, wrong: bool = False) -> None:
        super().__init__(said)
        self.wrong = wrong


class UnansweredError(OutageError):
    """The server does not answer for now, or not in words that can be read; asked again later it may."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server at `url`, and how much it may answer at once.

    `headers` go with each request, `parameters` into its form. `ca` is a PEM file (None: the system's). `timeout` (s)
    is of a whole request. An answer has `max_bytes` (unpacked), `max_series` and `max_points` of a series at most.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None
    timeout: float = 30.0
    max_bytes: int = 32 << 20
    max_series: int = 20_000
    max_points: int = 11_000


@dataclass(frozen=True, slots=True)
class Questions:
    """`queries`: PromQL by the feature that its values are. They are evaluated at the multiples of `step` (ns, whole
    milliseconds). `mapping.entity` says which labels name the entity; series without any label are `default_entity`'s.
    """

    queries: Mapping[str, str]
    step: int
    mapping: EntityMapping = field(default_factory=EntityMapping)
    default_entity: str = "main"
