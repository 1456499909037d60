"""From a decision to a receiver: forms, signatures, what is tried again, and which addresses are never reached."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_string, policy
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from receivers import Receiver, mail, web
from triaged import STEP, at, episode

from storage.deliveries import Deliveries
from storage.engine import Database
from storage.leases import Leases
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tests.storage.stored_samples import Clock
from tests.tsad.command_line import tsad
from tsad.config import Config, ConfigError, parse_config
from tsad.delivery.messages import telling
from tsad.delivery.sending import Deliverer, sender_of
from tsad.delivery.template import FIELDS, filled
from tsad.delivery.web import permitted
from tsad.triage.answers import Answers

EVENT = {"id": "e", "kind": "deploy", "title": "", "time": "", "why": "rule"}
POST = {"kind": "email", "tls": "none", "sender": "tsad@x.org", "to": ["a@x.org"]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with web() as found:
        yield found


def configured(allow: Any = ("127.0.0.1",), **routes: Any) -> Config:
    return parse_config({"delivery": {"allow": list(allow), "routes": routes, "link": "https://tsad.example/"}})


class House:
    """Alerts that are kept and decided, and routes that are told."""

    def __init__(self, database: Database, config: Config) -> None:
        self.clock = Clock(at(5000))
        self.database, self.config = database, config
        self.answers = Answers.of(database, self.clock, telling(config.delivery))
        self.deliveries = Deliveries(database, self.clock)
        self.deliverer = Deliverer(self.deliveries, config.delivery, sender_of(config, self.clock))

    def keep(self, *alerts: Alert, run: str = LIVE) -> int:
        """Store alerts, decide, deliver; how many messages were taken."""
        store = Store(self.database)
        store.put_stream(StreamRow(run, "fleet", STEP, {}))
        epoch = Leases(self.database).acquire("fleet", [0], "host", run)[0]
        store.save([Changes(run, "fleet", 0, epoch, alerts=list(alerts))])
        self.answers.standings.settle(alerts)
        return self.deliver()

    def deliver(self) -> int:
        """Until nothing more is taken."""
        total = 0
        while taken := self.deliverer.once():
            total += taken
        return total

    def states(self) -> list[str]:
        return [row["state"] for row in reversed(self.deliveries.listing(100))]


def test_a_webhook_hears_what_happens_to_an_alert_and_can_trust_it(database: Database, receiver: Receiver) -> None:
    house = House(database, configured(ops={"kind": "webhook", "url": receiver.url, "secret": "s3cret"}))
    assert house.keep(episode(state="open", sentence="cpu rose <b>")) == 1
    house.clock.now += timedelta(minutes=5)
    assert house.keep(episode(state="confirmed")) == 0, "nothing that people need to hear again"
    assert house.keep(episode(state="resolved")) == 1
    first, second = receiver.bodies
    assert (first["status"], first["severity"], first["entity"], first["version"]) == ("firing", "warning", "web-1", 1)
    assert first["text"] == "warning: web-1 (fleet): cpu rose <b>"
    assert first["link"] == f"https://tsad.example/#/alerts/{first['id']}"
    assert (second["status"], second["key"]) == ("resolved", first["key"])
    _, headers, body = receiver.requests[0]
    at_ = headers["x-tsad-timestamp"]
    signed = hmac.new(b"s3cret", at_.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["x-tsad-signature"] == f"sha256={signed}"
    assert headers["idempotency-key"] != receiver.requests[1][1]["idempotency-key"]


def test_what_was_told_and_is_none_is_corrected(database: Database, receiver: Receiver) -> None:
    house = House(database, configured(ops={"kind": "webhook", "url": receiver.url}))
    house.keep(episode(state="open"), episode(slot=500, entity="web-2", state="open"))
    house.keep(episode(state="retracted"))
    mark = house.answers.say(episode(slot=500, entity="web-2"), "feedback", "anna", answer="false")
    house.deliver()
    house.answers.unsay(mark.id, "anna")
    house.deliver()
    told = [(body["entity"], body["status"]) for body in receiver.bodies]
    assert told == [
        ("web-1", "firing"), ("web-2", "firing"), ("web-1", "withdrawn"), ("web-2", "withdrawn"), ("web-2", "firing"),
    ]  # fmt: skip


def test_nobody_is_told_of_what_is_explained_small_or_of_another_run(database: Database, receiver: Receiver) -> None:
    route = {"kind": "webhook", "url": receiver.url, "min_severity": "critical", "entity": "web-*"}
    house = House(database, configured(ops=route))
    quiet = [
        episode(severity="warning"),
        episode(
            slot=500,
            severity="critical",
            explained_by_event=EVENT,
        ),
        episode(slot=700, severity="critical", entity="db-1"),
        episode(slot=900, severity="critical", state="retracted"),
    ]
    assert house.keep(*quiet) == 0
    assert house.keep(episode(slot=300, severity="critical", run="past"), run="past") == 0
    assert house.keep(episode(severity="critical")) == 1
    assert house.keep(episode(severity="warning")) == 1
    assert [body["status"] for body in receiver.bodies] == ["firing", "withdrawn"]


def test_the_end_of_what_was_too_small_to_be_told_is_not_told_either(database: Database, receiver: Receiver) -> None:
    house = House(database, configured(ops={"kind": "webhook", "url": receiver.url}))
    assert house.keep(episode(severity="info", state="open"), episode(slot=500, severity="info", state="resolved")) == 0
    assert house.keep(episode(severity="info", state="resolved")) == 0
    assert receiver.requests == []


def test_a_receiver_that_is_down_hears_it_later_and_one_that_refuses_never(
    database: Database, receiver: Receiver
) -> None:
    house = House(database, configured(ops={"kind": "webhook", "url": receiver.url}))
    receiver.answers = [500, 429, 200, 404]
    assert house.keep(episode(state="open")) == 0
    for seconds in (5, 10):
        house.clock.now += timedelta(seconds=seconds)
        house.deliver()
    assert (house.states(), len(receiver.requests)) == (["sent"], 3)
    assert len({headers["idempotency-key"] for _, headers, _ in receiver.requests}) == 1, "one thing, told three times"
    house.keep(episode(state="resolved"))
    assert house.states() == ["sent", "failed"]
    assert house.deliveries.listing(1)[0]["error"] == "404: said"


def test_no_redirect_is_followed(database: Database, receiver: Receiver) -> None:
    house = House(database, configured(ops={"kind": "webhook", "url": receiver.url}))
    receiver.status = 307
    house.keep(episode())
    assert [path for path, _, _ in receiver.requests] == ["/hook"]
    assert house.states() == ["failed"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433"])
def test_an_address_that_is_not_allowed_is_never_reached(database: Database, receiver: Receiver, host: str) -> None:
    url = f"http://{host}:{receiver.port}/hook"
    house = House(database, configured(allow=["10.0.0.0/8"], ops={"kind": "webhook", "url": url}))
    house.keep(episode())
    assert receiver.requests == []
    assert house.states() == ["failed"]
    assert "which delivery.allow does not name" in house.deliveries.listing(1)[0]["error"]


@pytest.mark.parametrize(
    ("address", "allow", "reached"),
    [
        ("93.184.216.34", [], True),
        ("2606:2800:220:1::1", [], True),
        ("10.1.2.3", [], False),
        ("10.1.2.3", ["10.1.0.0/16"], True),
        ("10.1.2.3", ["10.2.0.0/16"], False),
        ("10.1.2.3", ["10.1.2.3"], True),
        ("10.1.2.3", ["hook.internal"], True),
        ("10.1.2.3", ["other.internal"], False),
        ("169.254.169.254", [], False),
        ("127.0.0.1", ["10.0.0.0/8"], False),
        ("::1", [], False),
        ("::ffff:10.1.2.3", ["10.1.0.0/16"], True),
        ("::ffff:169.254.169.254", [], False),
        ("fe80::1", [], False),
        ("224.0.0.1", [], False),
        ("100.64.0.1", [], False),
    ],
)
def test_which_addresses_may_be_reached(address: str, allow: list[str], reached: bool) -> None:
    assert permitted(ip_address(address), "hook.internal", allow) == reached


def test_slack_pagerduty_and_alertmanager(database: Database, receiver: Receiver) -> None:
    base = f"http://127.0.0.1:{receiver.port}"
    house = House(database, configured(
        chat={"kind": "slack", "url": f"{base}/chat", "template": "{severity} on <{entity}>: {sentence}"},
        page={"kind": "pagerduty", "url": f"{base}/page", "key": "k1"},
        am={"kind": "alertmanager", "url": f"{base}/am/", "token": "t1"},
    ))  # fmt: skip
    house.keep(episode(entity="<!channel>", sentence="a & b"))
    house.keep(episode(entity="<!channel>", state="resolved"))
    told: dict[str, list[Any]] = {}
    for path, _, body in receiver.requests:
        told.setdefault(path, []).append(json.loads(body))
    chat, page, am = told["/chat"], told["/page"], told["/am/api/v2/alerts"]
    assert chat[0]["text"].startswith("warning on &lt;&lt;!channel&gt;&gt;: a &amp; b <https://tsad.example/#/alerts/")
    assert chat[1]["text"].startswith("Resolved: ")
    assert chat[0]["attachments"][0]["color"] != chat[1]["attachments"][0]["color"]
    key = page[0]["dedup_key"]
    assert (page[0]["event_action"], page[0]["routing_key"], page[0]["payload"]["severity"]) == (
        "trigger", "k1", "warning",
    )  # fmt: skip
    assert page[1] == {"routing_key": "k1", "event_action": "resolve", "dedup_key": key}
    now = house.clock.now.isoformat()
    assert [(one["endsAt"] > now, one["labels"]["severity"]) for one in am[0]] == [
        (False, "info"), (True, "warning"), (False, "critical"),
    ]  # fmt: skip
    assert not any(one["endsAt"] > now for one in am[1])
    assert am[0][1]["labels"] == am[1][1]["labels"]
    headers = {path: headers for path, headers, _ in receiver.requests}
    assert headers["/am/api/v2/alerts"]["authorization"] == "Bearer t1"


def test_mail(database: Database) -> None:
    with mail() as (port, messages):
        route = {
            "kind": "email",
            "server": f"127.0.0.1:{port}",
            "tls": "none",
            "sender": "tsad@x.org",
            "to": ["a@x.org"],
        }
        house = House(database, configured(post=route))
        house.keep(episode(entity="web\r\nBcc: eve@x.org", sentence="ü" * 300))
        house.keep(episode(entity="web\r\nBcc: eve@x.org", state="resolved"))
    first, second = (message_from_string(text, policy=policy.default) for text in messages)
    assert first["Bcc"] is None
    assert first["Subject"].startswith("[tsad] firing: warning: web")
    assert first["Message-ID"] != second["Message-ID"]
    assert first["References"] == second["References"], "mail programs show them as one thread"
    assert "https://tsad.example/#/alerts/" in first.get_content()


def test_mail_that_nobody_takes(database: Database) -> None:
    with mail(refuse="a@x.org") as (port, messages):
        route = {
            "kind": "email",
            "server": f"127.0.0.1:{port}",
            "tls": "none",
            "sender": "tsad@x.org",
            "to": ["a@x.org"],
        }
        house = House(database, configured(post=route))
        house.keep(episode())
        assert (house.states(), messages) == (["failed"], [])
    house.keep(episode(slot=900))
    assert house.states() == ["failed", "pending"], "the server is away: later"


def test_kafka(database: Database, kafka_server: str, serial: Iterator[int]) -> None:
    topic = f"told-{next(serial)}"
    config = parse_config({
        "kafka": {"bootstrap": [kafka_server]},
        "delivery": {"routes": {"bus": {"kind": "kafka", "topic": topic}}},
    })  # fmt: skip
    house = House(database, config)
    assert house.keep(episode(state="resolved")) == 2
    consumer = KafkaConsumer(
        topic, bootstrap_servers=kafka_server, auto_offset_reset="earliest", consumer_timeout_ms=10_000
    )  # fmt: skip
    found = [next(consumer), next(consumer)]
    consumer.close()
    assert [json.loads(one.value)["status"] for one in found] == ["firing", "resolved"]
    assert {one.key.decode() for one in found} == {episode().id}


def test_alerts_of_one_group_are_one_thing(database: Database, receiver: Receiver) -> None:
    route = {"kind": "webhook", "url": receiver.url, "group_by": "stream"}
    house = House(database, configured(ops=route))
    assert house.keep(episode(state="open"), episode(entity="web-2", state="open")) == 1
    assert house.keep(episode(state="resolved")) == 0
    assert house.keep(episode(entity="web-2", state="resolved")) == 1
    assert [body["status"] for body in receiver.bodies] == ["firing", "resolved"]


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"kind": "webhook"}, "a route of kind 'webhook' needs url"),
        ({"kind": "email", "server": "x:25"}, "needs sender, to"),
        ({"kind": "pigeon"}, "'webhook', 'slack'"),
        ({"kind": "slack", "url": "ftp://x"}, "an address that begins with http:// or https://"),
        ({"kind": "slack", "url": "http://a:b@x"}, "without a name or password in it"),
        ({"kind": "slack", "url": "http://x", "template": "{entitty}"}, "there is no field 'entitty'"),
        (
            {"kind": "slack", "url": "http://x", "urls": "y"},
            "delivery.routes.ops.urls is unknown; allowed here: kind",
        ),
        ({"kind": "email", "server": "x", "sender": "a", "to": ["b"]}, "a server such as 'mail.example.org:587'"),
    ],
)
def test_a_route_that_cannot_be_is_refused(route: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        configured(ops=route)


def test_a_network_that_is_none_is_refused_and_no_secret_is_repeated() -> None:
    with pytest.raises(ConfigError, match="neither a host nor a network"):
        configured(allow=["10.0.0.0/99"])
    with pytest.raises(ConfigError) as refused:
        configured(ops={"kind": "webhook", "url": "http://x", "secret": ["s3cret"]})
    assert "s3cret" not in str(refused.value)


def test_a_template_looks_into_nothing() -> None:
    fields = dict.fromkeys(FIELDS, "{entity.__class__}")
    assert filled("{{x}} {entity} {sentence}", fields) == "{x} {entity.__class__} {entity.__class__}"
    with pytest.raises(KeyError):
        filled("{}", fields)


def test_a_route_is_tried_and_what_was_told_is_listed(tmp_path: Path, receiver: Receiver, sqlite_url: str) -> None:
    (tmp_path / "tsad.toml").write_text(
        f'database = "{sqlite_url}"\n[delivery]\nallow = ["127.0.0.1"]\n'
        f'[delivery.routes.ops]\nkind = "webhook"\nurl = "{receiver.url}"\n'
    )
    said = tsad(tmp_path, "notify", "test", "ops")
    assert (said.code, [body["status"] for body in receiver.bodies]) == (0, ["firing", "resolved"])
    assert "nothing is wrong" in receiver.bodies[0]["text"]
    assert tsad(tmp_path, "notify", "test", "op").error == "there is no route 'op'; there is: ops"
    receiver.status = 403
    assert tsad(tmp_path, "notify", "test", "ops").error == "ops: 403: said"
    assert "0 taken" in tsad(tmp_path, "notify", "once").err
    assert tsad(tmp_path, "notify", "list", "--json").json == []
