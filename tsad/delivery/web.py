"""Posting to the web, and to no address that the configuration does not allow.

The address that is checked is the one that is connected to: a name is resolved once, and redirects are not followed,
so neither a name server nor a receiver can send a request elsewhere.
"""

import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpcore

from tsad.delivery.targets import RefusedError, TargetError

ANSWER = 2000
"""Characters of an answer that are kept, where it is a refusal."""
GONE = (400, 401, 403, 404, 405, 410, 413, 422)
"""Answers after which the same message will not be taken either."""


def permitted(address: IPv4Address | IPv6Address, host: str, allow: Sequence[str]) -> bool:
    """Whether an address of `host` may be reached: a public one, or one that is named by its host or network."""
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_global and not address.is_multicast:
        return True
    named = [ip_network(one, strict=False) for one in allow if _network(one)]
    return host in allow or any(address in network for network in named if network.version == address.version)


def _network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


class Guarded(httpcore.SyncBackend):
    """Connects to permitted addresses only."""

    def __init__(self, allow: Sequence[str]) -> None:
        super().__init__()
        self._allow = allow

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """To the first address of `host`, all of which must be permitted. RefusedError where one is not."""
        found = sorted({str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
        for one in found:
            if not permitted(ip_address(one.split("%")[0]), host, self._allow):
                raise RefusedError(f"{host} is {one}, which delivery.allow does not name")
        return super().connect_tcp(found[0], port, timeout, local_address, socket_options)


class Web:
    """Posts within `timeout` seconds."""

    def __init__(self, allow: Sequence[str], timeout: float) -> None:
        self._pool = httpcore.ConnectionPool(ssl.create_default_context(), network_backend=Guarded(allow))
        self._timeout = dict.fromkeys(("connect", "read", "write", "pool"), timeout)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post JSON. TargetError where it was not taken, RefusedError where it never will be."""
        told = {"Content-Type": "application/json", "User-Agent": "tsad"} | dict(headers)
        encoded = [(name.encode(), value.encode()) for name, value in told.items()]
        try:
            answer = self._pool.request(
                "POST", url, headers=encoded, content=body, extensions={"timeout": self._timeout}
            )
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise TargetError(f"{type(error).__name__}: {error}") from None
        if answer.status >= 300:
            said = f"{answer.status}: {answer.content[:ANSWER].decode('utf-8', 'replace')}"
            raise RefusedError(said) if answer.status in GONE or answer.status < 400 else TargetError(said)

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.close()
