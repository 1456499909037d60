"""From the table of what is to be told to its receivers, on a thread of its own."""

import hashlib
import hmac
import smtplib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any, Protocol

import structlog

from storage.deliveries import Deliveries, Delivery
from storage.documents import dump_json
from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.types import StoreError
from streaming.broker.producer import MessageRefusedError, Outgoing, Producer
from streaming.broker.settings import BrokerError
from streaming.settings import SECOND
from tsad.config import Config
from tsad.delivery import messages
from tsad.delivery.settings import PAGERDUTY, DeliveryConfig, RouteConfig
from tsad.delivery.targets import RefusedError, TargetError
from tsad.delivery.web import Web

BATCH = 50
"""Messages of a round."""


class Sends(Protocol):
    """What a Kafka producer does."""

    def send(self, messages: Sequence[Outgoing]) -> list[BrokerError | None]:
        """Write, and say what became of each."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Sender:
    """Brings single messages to their receivers; `connect` makes a producer of the configured cluster."""

    def __init__(self, config: DeliveryConfig, connect: Callable[[], Sends], clock: Clock) -> None:
        self._config, self._connect, self._clock = config, connect, clock
        self._web = Web(config.allow, config.timeout / SECOND)
        self._producer: Sends | None = None

    def send(self, route: RouteConfig, one: Delivery) -> None:
        """Bring one. TargetError where it was not taken."""
        kinds: dict[str, Callable[[RouteConfig, Delivery], None]] = {
            "webhook": self._webhook, "slack": self._slack, "pagerduty": self._pagerduty,
            "alertmanager": self._alertmanager, "email": self._email, "kafka": self._kafka,
        }  # fmt: skip
        kinds[route.kind](route, one)

    def close(self) -> None:
        """Let go of connections."""
        self._web.close()
        if self._producer is not None:
            self._producer.close()

    def _webhook(self, route: RouteConfig, one: Delivery) -> None:
        body, at = dump_json(messages.generic(route, one)).encode(), str(int(self._clock().timestamp()))
        headers = {"X-Tsad-Timestamp": at, "Idempotency-Key": f"{one.key}-{one.sequence}"}
        if route.secret is not None:
            secret = route.secret.get_secret_value().encode()
            digest = hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers["X-Tsad-Signature"] = f"sha256={digest}"
        self._post(route.url, body, headers, route)

    def _slack(self, route: RouteConfig, one: Delivery) -> None:
        self._post(route.url, dump_json(messages.slack(route, one)).encode(), {}, route)

    def _pagerduty(self, route: RouteConfig, one: Delivery) -> None:
        self._post(route.url or PAGERDUTY, dump_json(messages.pagerduty(route, one)).encode(), {}, route)

    def _alertmanager(self, route: RouteConfig, one: Delivery) -> None:
        url = f"{(route.url or '').rstrip('/')}/api/v2/alerts"
        self._post(url, dump_json(messages.alertmanager(route, one)).encode(), {}, route)

    def _post(self, url: str | None, body: bytes, headers: Mapping[str, str], route: RouteConfig) -> None:
        known = {} if route.token is None else {"Authorization": f"Bearer {route.token.get_secret_value()}"}
        self._web.post(url or "", body, dict(headers) | known)

    def _email(self, route: RouteConfig, one: Delivery) -> None:
        mail, text = EmailMessage(), messages.text_of(route, one)
        mail["Subject"] = f"[tsad] {one.status}: {text}"[:200]
        mail["From"], mail["To"] = route.sender, ", ".join(route.to)
        mail["Message-ID"] = f"<{one.key}.{one.sequence}@tsad>"
        mail["References"] = f"<{one.key}@tsad>"
        mail.set_content("\n".join([text, "", *(f"{name}: {value}" for name, value in one.body.items() if value)]))
        host, _, port = (route.server or "").rpartition(":")
        try:
            with _mail_server(route.tls, host, int(port), self._config.timeout / SECOND) as server:
                if route.username is not None and route.password is not None:
                    server.login(route.username, route.password.get_secret_value())
                server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            raise RefusedError(f"no recipient is taken: {error.recipients}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise TargetError(f"{type(error).__name__}: {error}") from None

    def _kafka(self, route: RouteConfig, one: Delivery) -> None:
        try:
            self._producer = self._producer or self._connect()
            message = Outgoing(route.topic or "", one.key, dump_json(messages.generic(route, one)).encode())
            [outcome] = self._producer.send([message])
        except BrokerError as error:
            outcome = error
        if isinstance(outcome, MessageRefusedError):
            raise RefusedError(str(outcome))
        if outcome is not None:
            raise TargetError(str(outcome))


def _mail_server(tls: str, host: str, port: int, timeout: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
    server = smtplib.SMTP(host, port, timeout=timeout)
    if tls == "starttls":
        server.starttls(context=context)
    return server


class Deliverer:
    """Delivers what is due while the block runs; `once` is a round of it."""

    def __init__(self, deliveries: Deliveries, config: DeliveryConfig, sender: Sender) -> None:
        self._deliveries, self._config, self._sender = deliveries, config, sender
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deliverer", daemon=True)
        self._log: Any = structlog.get_logger()

    def once(self) -> int:
        """Bring what is due; how many messages were taken."""
        taken = 0
        for one in self._deliveries.claim(BATCH, list(self._config.routes)):
            try:
                self._sender.send(self._config.routes[one.route], one)
            except TargetError as error:
                given_up = self._deliveries.failed(one, str(error), isinstance(error, RefusedError))
                said = "message given up" if given_up else "message not taken"
                self._log.warning(
                    said, route=one.route, alert=one.alert_id, attempt=one.attempts + 1, reason=str(error)
                )
            else:
                self._deliveries.sent(one)
                taken += 1
        return taken

    def __enter__(self) -> "Deliverer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(30)
        self._sender.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                taken = self.once()
            except StoreError as error:
                self._log.warning("delivery waits for the database", reason=str(error))
                taken = 0
            if not taken:
                self._stopped.wait(self._config.every / SECOND)


def sender_of(config: Config, clock: Clock = utc_now) -> Sender:
    """For the routes of a configuration."""
    return Sender(config.delivery, lambda: Producer(config.kafka.settings()), clock)


@contextmanager
def delivering(database: Database, config: Config) -> Iterator[None]:
    """Deliver what is due while the block runs, where there are routes."""
    if not config.delivery.routes:
        yield
        return
    with Deliverer(Deliveries(database), config.delivery, sender_of(config)):
        yield
