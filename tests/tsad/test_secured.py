"""Clusters that encrypt and ask who is there: the whole way in and out, and one line where they refuse us."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import create_topics, publish, read_topic
from secured import PASSWORDS, STRANGER, USER, Secured

from streaming.broker.consumer import reading
from streaming.broker.settings import BrokerError, OutageError
from tests.tsad.command_line import CONFIGURATION, Said, fresh_home, tsad
from tsad.cluster import KafkaConfig

SERIAL = count()
WORDS = json.dumps([*PASSWORDS.values(), "not-it"])
CLIENTS = ("kafka-python", "confluent")
BROKEN = b'{"entity":"a","time":'


def written(value: Any) -> str:
    """As TOML has it."""
    return str(value).lower() if isinstance(value, bool) else json.dumps(value)


@dataclass
class Home:
    """A folder with a configuration that reaches a broker as `told`, and all that its commands have said."""

    folder: Path
    broker: Secured
    told: dict[str, Any]
    topics: dict[str, str] = field(default_factory=dict)
    heard: str = ""

    def configure(self) -> None:
        serial = next(SERIAL)
        self.topics = {name: f"{name}-{serial}-{id(self)}" for name in ("metrics", "alerts", "letters")}
        create_topics(self.broker.open, self.topics.values())
        told = {
            "group": f"g{serial}-{id(self)}", "alerts_topic": self.topics["alerts"],
            "dead_letter_topic": self.topics["letters"], **self.told,
        }  # fmt: skip
        (self.folder / "tsad.toml").write_text(
            "patience = '1h'\n[kafka]\n"
            + "".join(f"{name} = {written(value)}\n" for name, value in told.items())
            + CONFIGURATION
            + f"[stream.s.telemetry]\nsource = 'kafka'\ntopic = {self.topics['metrics']!r}\n"
        )

    def tsad(self, *arguments: str) -> Said:
        said = tsad(self.folder, *arguments)
        self.heard += said.out + said.err
        return said

    def silent(self) -> None:
        """No command has said a password, and none is kept."""
        kept = b"".join(path.read_bytes() for path in self.folder.glob("tsad.db*"))
        for word in json.loads(WORDS):
            assert word not in self.heard
            assert word.encode() not in kept


@pytest.fixture(scope="module")
def fitted_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fitted stream. Not to be changed."""
    home = fresh_home(tmp_path_factory.mktemp("secured"))
    said = tsad(home, "fit", "s", "--from", "history.jsonl")
    assert said.code == 0, said.err
    return home


@pytest.fixture
def home(fitted_home: Path, tmp_path: Path, secured_kafka: Secured) -> Callable[..., Home]:
    """Makes a home that reaches the broker in some way; a password that is asked for comes from the environment."""

    def make(told: dict[str, Any]) -> Home:
        made = Home(tmp_path / "home", secured_kafka, told)
        shutil.copytree(fitted_home, made.folder)
        made.configure()
        return made

    return make


def certified(broker: Secured) -> dict[str, Any]:
    """By a certificate of ours."""
    ours = {"certificate": str(broker.certificate), "key": str(broker.key)}
    return {"bootstrap": broker.mutual, "tls": True, "ca": str(broker.ca), **ours}


@pytest.mark.parametrize(
    ("way", "client"),
    [
        *((way, client) for way in ("plain", "scram-sha-512") for client in CLIENTS),
        ("scram-sha-256", "kafka-python"),
        ("certificate", "confluent"),
    ],
)
def test_records_go_in_and_alerts_come_out(
    secured_kafka: Secured, home: Callable[..., Home], monkeypatch: pytest.MonkeyPatch, way: str, client: str
) -> None:
    """Topics are filled, read, and told of what was found, and none of it shows a password."""
    told = certified(secured_kafka)
    if way in PASSWORDS:
        monkeypatch.setenv("KAFKA_PASSWORD", PASSWORDS[way])
        told = secured_kafka.told(way) | {"password": "${KAFKA_PASSWORD}"}
    at = home(told | {"client": client})
    metrics = at.topics["metrics"]
    assert at.tsad("produce", "live.jsonl", "--topic", metrics, "--stream", "s").code == 0
    publish(secured_kafka.open, metrics, [(b"a", BROKEN)])
    assert at.tsad("check").code == 0
    said = at.tsad("run", "s", "--until-end", "--json", "--log-format", "json")
    assert (said.code, said.json["ended"], said.json["dead_letters"]) == (0, True, 1), said.err
    alerts = at.tsad("alerts", "--json").json
    assert len(alerts) > 2
    announced = [json.loads(message.value) for message in read_topic(secured_kafka.open, at.topics["alerts"])]
    assert {row["id"] for row in announced} == {row["id"] for row in alerts}
    assert [message.value for message in read_topic(secured_kafka.open, at.topics["letters"])] == [BROKEN]
    again = f"again-{metrics}"
    copied = at.tsad("rekey", metrics, again, "--entity", "entity", "--partitions", "2", "--json")
    assert (copied.code, copied.json["unreadable"]) == (0, 1), copied.err
    at.silent()


REFUSALS: dict[str, tuple[Callable[[Secured], dict[str, Any]], str]] = {
    "wrong password, plain": (
        lambda broker: broker.told("plain") | {"password": "not-it"},
        f"kafka.username = '{USER}'",
    ),
    "wrong password, scram": (
        lambda broker: broker.told("scram-sha-512") | {"password": "not-it"},
        f"kafka.username = '{USER}'",
    ),
    "unknown user": (lambda broker: broker.told("scram-sha-512") | {"username": "no"}, "kafka.username = 'no'"),
    "unknown authority": (
        lambda broker: broker.told("plain") | {"ca": str(broker.other)},
        "other.pem': none of its authorities has signed the cluster's certificate",
    ),
    "no authority": (
        lambda broker: {name: value for name, value in broker.told("plain").items() if name != "ca"},
        "kafka.ca is not set, and no authority that this machine trusts has signed",
    ),
    "no TLS where there is some": (
        lambda broker: {"bootstrap": broker.sasl},
        "kafka.tls = false, but the cluster speaks TLS",
    ),
    "a password without TLS": (
        lambda broker: broker.told("plain") | {"tls": False, "ca": False},
        "kafka.tls = false, but the cluster speaks TLS",
    ),
    "TLS where there is none": (
        lambda broker: {"bootstrap": broker.open, "tls": True, "ca": str(broker.ca)},
        "kafka.tls = true, but the cluster does not speak TLS",
    ),
    "no name": (
        lambda broker: {"bootstrap": broker.sasl, "tls": True, "ca": str(broker.ca)},
        "kafka.sasl is not set, and the cluster closes the connection",
    ),
    "a name where none is asked": (
        lambda broker: broker.told("plain") | certified(broker),
        "kafka.sasl = 'plain': this address asks for no password",
    ),
    "no certificate": (
        lambda broker: {"bootstrap": broker.mutual, "tls": True, "ca": str(broker.ca)},
        "kafka.certificate is not set: the cluster wants a certificate",
    ),
    "somebody else's certificate": (
        lambda broker: (
            certified(broker) | {"certificate": str(broker.other), "key": str(broker.other.with_suffix(".key"))}
        ),
        "other.pem': the cluster wants a certificate that it trusts",
    ),
    "somebody else's key": (
        lambda broker: certified(broker) | {"key": str(broker.other.with_suffix(".key"))},
        "are not a certificate in PEM and its key (without a passphrase): KEY_VALUES_MISMATCH",
    ),
    "no certificates in the file": (
        lambda broker: broker.told("plain") | {"ca": str(broker.key)},
        "holds no certificates in PEM",
    ),
    "may do nothing": (
        lambda broker: broker.told("scram-sha-512") | {"username": STRANGER},
        f"kafka.username = '{STRANGER}' may not see it (topic authorization failed)",
    ),
}


def refused(case: str, broker: Secured) -> tuple[dict[str, Any], str]:
    """What is configured, and what must be said."""
    how, said = REFUSALS[case]
    return {name: value for name, value in how(broker).items() if value is not False or name == "tls"}, said


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_line_that_names_the_setting(
    secured_kafka: Secured, home: Callable[..., Home], case: str
) -> None:
    """At once: patience is an hour here."""
    told, said = refused(case, secured_kafka)
    at = home(told)
    answer = at.tsad("run", "s")
    assert (answer.code, said in answer.error) == (1, True), answer.err
    at.silent()


@pytest.mark.parametrize("case", ["wrong password, scram", "no TLS where there is some", "no certificate"])
def test_confluent_says_the_same_of_its_own(secured_kafka: Secured, case: str) -> None:
    told, said = refused(case, secured_kafka)
    with pytest.raises(BrokerError) as met, reading(KafkaConfig(**told, client="confluent").settings()):
        pass
    assert (said in str(met.value), isinstance(met.value, OutageError)) == (True, False), met.value


@pytest.mark.parametrize("command", ["produce", "rekey", "check"])
def test_other_commands_say_the_same(secured_kafka: Secured, home: Callable[..., Home], command: str) -> None:
    at = home(secured_kafka.told("scram-sha-512") | {"password": "not-it"})
    more = {"produce": ["live.jsonl", "--topic", "t"], "rekey": ["a", "b", "--entity", "entity"], "check": ["--json"]}
    answer = at.tsad(command, *more[command])
    assert answer.code == 1
    if command == "check":
        (line,) = [row["detail"] for row in answer.json if row["check"] == "s topics"]
    else:
        line = answer.error
    assert f"kafka.username = '{USER}'" in line
    at.silent()


def test_a_password_that_is_no_text_is_not_repeated(home: Callable[..., Home], secured_kafka: Secured) -> None:
    at = home(secured_kafka.told("plain") | {"password": 73111})
    answer = at.tsad("run", "s")
    assert (answer.code, "kafka.password: " in answer.error) == (2, True), answer.err
    assert "73111" not in answer.err
