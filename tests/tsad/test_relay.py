"""From the outbox to a real broker: at least once, in order, through kills and outages, beside the stream."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import Node, cluster, create_topics, java, read_topic
from servers import NoServerError
from structlog.testing import capture_logs

from storage.engine import Database
from storage.leases import Leases
from storage.outbox import Outbox
from storage.store import Store
from storage.types import LIVE, Announcement, Changes, DeadLetter, Forward
from streaming.broker.producer import Outgoing, Producer
from streaming.broker.settings import BrokerError, BrokerSettings
from tests.tsad.kafka_streams import KafkaStream, cycle, read_out, rows_read, step_until
from tests.tsad.streams import FIT_SLOTS, STREAM, cells_with_anomalies, payloads
from tsad.announcing import alert_body
from tsad.cli.registers import write_letters
from tsad.config import ConfigError, parse_config
from tsad.relay import BATCH, Relay
from tsad.runner import Limits

SERIAL = count()
MESSAGES = list(cycle(payloads(cells_with_anomalies(), FIT_SLOTS), b'{"entity":"a","time":', 40))


def letters(*positions: int) -> list[DeadLetter]:
    return [DeadLetter("telemetry", n, "broken_json", "", str(n).encode()) for n in positions]


class Desk:
    """An outbox with a relay, and the topic that it feeds."""

    def __init__(self, database: Database, address: str, patience: float = 5) -> None:
        self.database, self.address = database, address
        self.topic = f"dead-{next(SERIAL)}-{id(self)}"
        create_topics(address, [self.topic])
        self.epochs = Leases(database).acquire("fleet", [0, 1], "me")
        self.connected = 0
        self.patience = patience
        self.relay = self.another()

    def another(self, connect: Callable[[], Producer] | None = None) -> Relay:
        made = Relay(Outbox(self.database), connect or self.connect, "fleet")
        made.serve(self.epochs)
        return made

    def connect(self) -> Producer:
        self.connected += 1
        return Producer(BrokerSettings((self.address,)), self.patience)

    def save(self, *positions: int, partition: int = 0, topic: str | None = None) -> None:
        changes = Changes(LIVE, "fleet", partition, self.epochs[partition], dead_letters=letters(*positions))
        changes.forwards = [
            Forward(one, topic or self.topic, str(one.position), {"p": str(partition)}) for one in letters(*positions)
        ]
        assert Store(self.database).save([changes]).lost == ()

    def waiting(self) -> list[int]:
        return [int(message.key) for message in Outbox(self.database).take("fleet", self.epochs, 10_000)]

    def read(self) -> list[int]:
        return [int(message.value) for message in read_topic(self.address, self.topic)]


@pytest.fixture
def desk(database: Database, kafka_server: str) -> Desk:
    return Desk(database, kafka_server)


def test_messages_go_out_in_order_and_leave_the_table(desk: Desk) -> None:
    desk.save(5, 3)
    desk.save(9, 1)
    assert desk.relay.pump() == 4
    assert (desk.read(), desk.waiting()) == ([5, 3, 9, 1], [])
    assert desk.relay.pump() == 0
    desk.save(9, 1, 2)  # a replay, and one more
    assert desk.relay.pump() == 1
    assert desk.read() == [5, 3, 9, 1, 2]
    assert desk.connected == 1


def test_a_kill_between_send_and_mark_sends_the_same_again(desk: Desk) -> None:
    """The first relay sends and dies: its database is not asked any more."""
    desk.save(1, 2)

    class Dying(Producer):
        def send(self, messages: Sequence[Outgoing]) -> Any:
            super().send(messages)
            raise KeyboardInterrupt

    dying = desk.another(lambda: Dying(BrokerSettings((desk.address,))))
    with pytest.raises(KeyboardInterrupt):
        dying.pump()
    assert desk.waiting() == [1, 2]
    desk.save(3)
    assert desk.relay.pump() == 3
    found = read_topic(desk.address, desk.topic)
    assert [m.value for m in found] == [b"1", b"2", b"1", b"2", b"3"]
    assert {(m.key, m.value, tuple(m.headers)) for m in found[:2]} == {
        (m.key, m.value, tuple(m.headers)) for m in found[2:4]
    }


def test_many_batches(desk: Desk) -> None:
    desk.save(*range(BATCH + 70))
    desk.save(*range(1000, 1030), partition=1)
    assert [desk.relay.pump(), desk.relay.pump(), desk.relay.pump()] == [BATCH, 100, 0]
    assert desk.read() == [*range(BATCH + 70), *range(1000, 1030)]


def test_only_what_is_served_and_still_ours_is_sent(desk: Desk) -> None:
    desk.save(1)
    desk.save(2, partition=1)
    desk.relay.serve({1: desk.epochs[1]})
    assert desk.relay.pump() == 1
    Leases(desk.database).acquire("fleet", [0], "another worker")
    desk.relay.serve(desk.epochs)
    assert desk.relay.pump() == 0
    assert desk.read() == [2]


def test_a_lease_lost_during_the_send_leaves_the_rest_to_the_new_owner(desk: Desk) -> None:
    desk.save(1)
    taken: dict[int, int] = {}

    class Robbed(Producer):
        def send(self, messages: Sequence[Outgoing]) -> Any:
            taken.update(Leases(desk.database).acquire("fleet", [0], "another worker"))
            return super().send(messages)

    assert desk.another(lambda: Robbed(BrokerSettings((desk.address,)))).pump() == 0
    desk.epochs = desk.epochs | taken
    assert desk.waiting() == [1]
    assert desk.another().pump() == 1
    assert desk.read() == [1, 1]


def test_a_message_that_is_too_large_holds_nothing_up(desk: Desk) -> None:
    large = DeadLetter("telemetry", 2, "too_long", "", bytes(2 << 20))  # brokers take 1 MiB
    changes = Changes(LIVE, "fleet", 0, desk.epochs[0], dead_letters=[large])
    changes.forwards = [Forward(large, desk.topic, "2", {})]
    desk.save(1)
    Store(desk.database).save([changes])
    desk.save(3)
    with capture_logs() as said:
        assert desk.relay.pump() == 3
    assert (desk.read(), desk.waiting()) == ([1, 3], [])
    assert [(line["event"], line["key"]) for line in said] == [("message refused for good", "2")]


def test_the_thread_delivers_while_others_save_and_empties_the_outbox_at_the_end(desk: Desk) -> None:
    with desk.relay:
        for turn in range(30):
            desk.save(turn, partition=turn % 2)
            desk.relay.serve(desk.epochs)
    assert desk.waiting() == []
    assert sorted(desk.read()) == list(range(30))


def test_a_failing_stream_does_not_wait_for_what_is_left(desk: Desk) -> None:
    with pytest.raises(ZeroDivisionError), desk.relay:
        desk.save(*range(5))
        raise ZeroDivisionError
    assert sorted({*desk.read(), *desk.waiting()}) == list(range(5)), "in the topic or in the table"


def test_a_thread_that_died_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", met.append)

    def broken() -> Producer:
        raise ZeroDivisionError

    relay = desk.another(broken)
    desk.save(1)
    with relay:
        while not met:
            pass
        with pytest.raises(RuntimeError, match="the relay has ended"):
            while True:
                relay.serve(desk.epochs)
    assert desk.waiting() == [1]


# --- outages, on a cluster of our own that makes no topic by itself


@pytest.fixture(scope="module")
def own_node() -> Iterator[Node]:
    try:
        java()
    except NoServerError as error:
        pytest.skip(str(error))
    with cluster(properties={"auto.create.topics.enable": "false"}) as (node,):
        yield node


def test_a_topic_that_is_missing_holds_up_what_is_behind_it_in_its_partition(
    own_node: Node, database: Database
) -> None:
    desk = Desk(database, own_node.address, patience=3)
    desk.save(1)
    desk.save(2, topic=f"later-{desk.topic}")
    desk.save(3)
    with pytest.raises(BrokerError, match=f"later-{desk.topic}"):
        desk.relay.pump()
    assert (desk.read(), desk.waiting()) == ([1], [2, 3])
    create_topics(own_node.address, [f"later-{desk.topic}"])
    for _ in range(10):  # a busy broker needs longer than the patience to tell of a new topic
        with suppress(BrokerError):
            assert desk.relay.pump() == 2
            break
    assert (desk.read(), desk.waiting()) == ([1, 3], [])


def test_an_outage_loses_nothing_and_never_blocks_a_save(
    own_node: Node, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsad.relay.LONGEST", 0.5)
    desk = Desk(database, own_node.address, patience=3)
    desk.save(1)
    assert desk.relay.pump() == 1
    desk.save(2)
    own_node.kill()
    for _ in range(2):  # with the old connection, then without any
        with pytest.raises(BrokerError):
            desk.relay.pump()
    assert desk.waiting() == [2]
    with desk.relay:  # the thread meets the outage, and the return
        desk.save(3)
        desk.save(4, partition=1)
        assert desk.waiting() == [2, 3, 4]
        own_node.start()
        own_node.ready()
        while desk.waiting():
            desk.relay.serve(desk.epochs)
    assert set(desk.read()) == {1, 2, 3, 4}
    assert [value for value in desk.read() if value != 4] == sorted(value for value in desk.read() if value != 4)


# --- the worker


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted)
    yield made
    made.close()


def telling(stream: KafkaStream, url: str | None = None) -> Any:
    """An application that tells alerts and dead letters to topics of its own."""
    app = stream.app(url)
    names = {key: f"{key}-{next(SERIAL)}-{id(stream)}" for key in ("alerts_topic", "dead_letter_topic")}
    create_topics(stream.address, names.values(), 2)
    app.config = app.config.model_copy(update={"kafka": app.config.kafka.model_copy(update=names)})
    return app


def alerts_told(app: Any) -> dict[str, list[dict[str, Any]]]:
    """The messages of each alert, in the order of the topic."""
    found: dict[str, list[dict[str, Any]]] = {}
    for message in read_topic(app.config.kafka.bootstrap[0], app.config.kafka.alerts_topic):
        body = json.loads(message.value)
        assert message.key.decode() == body["id"]
        found.setdefault(body["id"], []).append(body)
    return found


def check_told(app: Any) -> None:
    """The topics say what the database says: every alert's last word, every dead letter, and nothing waits."""
    told = alerts_told(app)
    alerts = {alert.id: alert for alert in app.reader.alerts()}
    assert told.keys() == alerts.keys() and len(alerts) > 3
    for identity, messages in told.items():
        revisions = [message["revision"] for message in messages]
        assert set(revisions) == set(range(1, max(revisions) + 1)), "none is missing"
        newest = max(messages, key=lambda message: message["revision"])
        alert = alert_body(alerts[identity])
        assert [newest[name] for name in ("state", "severity", "sentence", "explanation", "reason")] == [
            alert[name] for name in ("state", "severity", "sentence", "explanation", "reason")
        ]
    letters = read_topic(app.config.kafka.bootstrap[0], app.config.kafka.dead_letter_topic)
    rows = app.reader.dead_letters(STREAM, limit=10_000)
    assert len(rows) > 5
    assert {(m.key, m.value) for m in letters} == {
        (f"{dict(m.headers)['tsad.topic'].decode()}:{r['partition']}:{r['position']}".encode(), r["payload"])
        for m, r in zip([letters[0]] * len(rows), rows, strict=True)
    }
    assert {dict(m.headers)["tsad.reason"] for m in letters} == {b"broken_json"}
    assert Outbox(app.database).take(STREAM, app.leases.epochs(STREAM), 10) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_tells_what_it_saves(stream: KafkaStream, kind: str, request: pytest.FixtureRequest) -> None:
    stream.partitions = 3
    stream.fill({"telemetry": MESSAGES})
    app = telling(stream, request.getfixturevalue(f"{kind}_url"))
    read_out(app, Limits(poll=40))
    check_told(app)
    assert any(len(messages) > 1 for messages in alerts_told(app).values())
    assert write_letters(app.reader, stream.folder / "letters", STREAM, LIVE, None) == 9
    exported = [json.loads(line) for line in (stream.folder / "letters").read_text().splitlines()]
    assert {row["origin"] for row in exported} == {stream.topics["telemetry"]}
    before = alerts_told(app)
    read_out(stream.again(app))
    assert alerts_told(app) == before, "nothing new, nothing said"


def test_a_worker_that_dies_leaves_the_rest_to_the_next(stream: KafkaStream) -> None:
    """It has saved and not sent; the next one replays, saves nothing twice, and sends what was left."""
    stream.fill({"telemetry": MESSAGES})
    app = telling(stream)
    dying = app.worker(STREAM, limits=Limits(poll=30, snapshot_every=30))
    step_until([dying], lambda: rows_read([dying]) > 250)
    assert Outbox(app.database).take(STREAM, app.leases.epochs(STREAM), 10), "the thread was never started"
    assert dying.relay is not None
    dying.relay.serve({0: 1})
    dying.relay.pump()
    dying.feed.consumer.close()
    read_out(stream.again(app), Limits(poll=30, snapshot_every=30))
    check_told(app)


def test_other_runs_and_streams_of_files_say_nothing(stream: KafkaStream) -> None:
    stream.fill({"telemetry": MESSAGES[:60]})
    app = telling(stream)
    backfill = app.worker(STREAM, run="backfill-1")
    assert backfill.relay is None
    backfill.read_out()
    assert app.reader.dead_letters(STREAM, run="backfill-1")
    assert alerts_told(app) == {}
    assert read_topic(stream.address, app.config.kafka.dead_letter_topic) == []


def test_a_topic_that_is_not_there_is_named_at_the_start(stream: KafkaStream) -> None:
    stream.fill({"telemetry": MESSAGES[:3]})
    app = telling(stream)
    kafka = app.config.kafka.model_copy(update={"alerts_topic": "no-such-topic"})
    app.config = app.config.model_copy(update={"kafka": kafka})
    with pytest.raises(BrokerError, match="topic 'no-such-topic' does not exist"):
        app.worker(STREAM)


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"alerts_topic": "m"}, r"kafka.alerts_topic = 'm' is what stream 'x' reads"),
        ({"dead_letter_topic": "m"}, r"kafka.dead_letter_topic = 'm' is what stream 'x' reads"),
        ({"alerts_topic": "a", "dead_letter_topic": "a"}, "are the same"),
        ({"alerts_topic": "no spaces"}, "up to 249 letters"),
        ({"alerts_topic": ".."}, "up to 249 letters"),
        ({"dead_letter_topic": ""}, "up to 249 letters"),
    ],
)
def test_what_goes_out_must_not_come_in_again(kafka: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({"kafka": kafka, "stream": {"x": {"telemetry": {"source": "kafka", "topic": "m"}}}})


def test_an_announcement_under_a_lost_lease_is_not_made(desk: Desk) -> None:
    stale = Changes(LIVE, "fleet", 0, desk.epochs[0] - 1, announcements=[Announcement("a" * 32, desk.topic, {}, "x")])
    assert len(Store(desk.database).save([replace(stale)]).lost) == 1
    assert desk.waiting() == []
