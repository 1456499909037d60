"""How a Kafka cluster is reached. Plain values, validated by the caller, in the words of each client."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Sasl = Literal["plain", "scram-sha-256", "scram-sha-512"]
Client = Literal["kafka-python", "confluent"]


class BrokerError(Exception):
    """The cluster cannot be used as it is: one line that names the address or topic and what is wrong."""


class OutageError(BrokerError):
    """The cluster does not answer for now; asked again later it may."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """A cluster: `bootstrap` addresses, TLS (`ca`, `certificate`, `key` are PEM files; None: the system's), SASL.

    `client` says which library reads; everything else goes through kafka-python. A member of a group that is not heard
    of for `session_ms`, or does not poll for `poll_ms`, loses its partitions.
    """

    bootstrap: tuple[str, ...]
    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    sasl: Sasl | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    client: Client = "kafka-python"
    session_ms: int = 30_000
    poll_ms: int = 300_000

    @property
    def protocol(self) -> str:
        """Kafka's name of TLS and SASL together."""
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    def _check_files(self) -> None:
        """The libraries name the key or the file, or wait for the cluster; never both."""
        for name in ("ca", "certificate", "key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise BrokerError(f"kafka.{name}: there is no file {path!r}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:
            raise BrokerError(f"kafka.ca = {self.ca!r} holds no certificates in PEM: {_short(error)}") from error
        try:
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise BrokerError(
                f"kafka.certificate = {self.certificate!r} and kafka.key = {self.key!r} are not a certificate in PEM "
                f"and its key (without a passphrase): {_short(error)}"
            ) from error

    def pure(self) -> dict[str, Any]:
        """Options of kafka-python. BrokerError for a file that is not there."""
        self._check_files()
        options: dict[str, Any] = {"bootstrap_servers": list(self.bootstrap), "security_protocol": self.protocol}
        if self.tls:
            options |= {"ssl_cafile": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        if self.sasl:
            options |= {
                "sasl_mechanism": self.sasl.upper(),
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options

    def librdkafka(self) -> dict[str, Any]:
        """Options of confluent-kafka. BrokerError for a file that is not there."""
        self._check_files()
        options: dict[str, Any] = {
            "bootstrap.servers": ",".join(self.bootstrap),
            "security.protocol": self.protocol.lower(),
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.certificate,
            "ssl.key.location": self.key,
            "sasl.mechanism": self.sasl.upper() if self.sasl else None,
            "sasl.username": self.username,
            "sasl.password": self.password,
        }
        return {name: value for name, value in options.items() if value is not None}


def _short(error: Exception) -> str:
    return error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
