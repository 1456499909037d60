"""Why a cluster refuses us: what the client libraries say of connections, in the words of the configuration."""

import re
import socket
import ssl
from collections.abc import Sequence

from streaming.broker.settings import BrokerSettings

LOOK = 2.0
"""Seconds that a look at an address may take."""
_CHECKED = r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|could not be verified"
_SAID = (
    (
        r"SaslAuthenticationFailed|SASL authentication error",
        "kafka.username = {username!r} or kafka.password is refused (kafka.sasl = {sasl!r})",
    ),
    (
        r"IllegalSaslState|not valid in current SASL state",
        "kafka.sasl = {sasl!r}: this address asks for no password; leave kafka.sasl out, or name another address",
    ),
    (
        r"UnsupportedSaslMechanism|Unsupported SASL mechanism",
        "kafka.sasl = {sasl!r} is not what the cluster offers",
    ),
    (r"not valid for|[Mm]ismatch, certificate", "kafka.bootstrap: the cluster's certificate is for another name"),
    (r"certificate has expired", "the cluster's certificate has expired"),
    (_CHECKED, "{authority} has signed the cluster's certificate for this address"),
    (
        r"(?i)alert.(bad.certificate|certificate.unknown|certificate.required|unknown.ca)|certificate_required",
        "{ours}: the cluster wants a certificate that it trusts",
    ),
)
_AT_A_BROKER = r"broker_version=\(.*Connection lost.*(disconnected|closed)"
"""A broker had answered before it closed the connection."""
_UNANSWERED = r"Bootstrap attempt to .*disconnected"
"""A broker had answered, and closed the connection at the first question."""


def refusal(settings: BrokerSettings, said: Sequence[str]) -> str | None:
    """Which setting a cluster refuses, by what was `said` of attempts to reach it; None where it may be none."""
    ours, ca = settings.certificate, settings.ca
    told = {
        "username": settings.username,
        "sasl": settings.sasl,
        "ours": "kafka.certificate is not set" if ours is None else f"kafka.certificate = {ours!r}",
        "authority": "kafka.ca is not set, and no authority that this machine trusts"
        if ca is None
        else f"kafka.ca = {ca!r}: none of its authorities",
    }
    for pattern, words in _SAID:
        if any(re.search(pattern, line) for line in said):
            return words.format(**told)
    return _by_looking(settings) or _by_silence(settings, said)


def _by_looking(settings: BrokerSettings) -> str | None:
    """What the first address that answers says of `kafka.tls`."""
    spoken = next((found for found in map(speaks_tls, settings.bootstrap) if found is not None), settings.tls)
    if spoken and not settings.tls:
        return "kafka.tls = false, but the cluster speaks TLS at this address"
    if settings.tls and not spoken:
        return "kafka.tls = true, but the cluster does not speak TLS at this address"
    return None


def _by_silence(settings: BrokerSettings, said: Sequence[str]) -> str | None:
    """Brokers that dislike how we say who we are may close the connection without a word; one time may be chance."""
    if settings.sasl is None and sum(bool(re.search(_UNANSWERED, line)) for line in said) > 1:
        return "kafka.sasl is not set, and the cluster closes the connection: it may ask who we are"
    if settings.sasl is not None and sum(bool(re.search(_AT_A_BROKER, line)) for line in said) > 1:
        return (
            f"kafka.username = {settings.username!r}, kafka.password or kafka.sasl = {settings.sasl!r}: "
            "the cluster closes the connection while we say who we are"
        )
    return None


def speaks_tls(address: str) -> bool | None:
    """Whether whoever listens at `address` ("host:port") answers a handshake of TLS; None where nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        plain = socket.create_connection((host.strip("[]"), int(port)), LOOK)
    except OSError:
        return None
    look = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a look: nothing is said, so whom we speak to is all the same
    look.check_hostname, look.verify_mode = False, ssl.CERT_NONE
    with plain:
        try:
            look.wrap_socket(plain).close()
        except ssl.SSLError as error:
            # who wants to see a certificate of ours speaks TLS, too
            return "alert" in str(error).lower() or "ALERT" in (error.reason or "")
        except TimeoutError:
            return None
        except OSError:
            return False
    return True
