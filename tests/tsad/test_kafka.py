"""Streams from a real broker: the same rows as from a list, whoever reads, however often, and whatever dies."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import create_topics
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from storage.types import StoreError
from streaming.broker.settings import BrokerError
from streaming.types import SourceChanged
from tests.tsad.command_line import finished, running_until, started, tsad
from tests.tsad.kafka_streams import KafkaStream, cycle, read_out, rows_read, step_until
from tests.tsad.streams import (
    FIT_SLOTS,
    STREAM,
    cells_with_anomalies,
    differences,
    final_rows,
    payloads,
    run_through,
)
from tsad.config import ConfigError
from tsad.progress import Progress
from tsad.runner import Limits

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
BROKEN = list(cycle(LIVE, b'{"entity":"a","time":', 40))


@pytest.fixture(params=["kafka-python", "confluent"])
def stream(request: pytest.FixtureRequest, kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    """Topics of one partition, and applications on them, which read through either library."""
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, client=request.param)
    yield made
    made.close()


@pytest.fixture
def wide(stream: KafkaStream) -> KafkaStream:
    """Four partitions with broken messages among the others."""
    stream.partitions = 4
    stream.fill({"telemetry": BROKEN})
    return stream


@pytest.fixture
def undisturbed(wide: KafkaStream) -> dict[str, list[Any]]:
    """What one worker makes of `wide`, without anything happening to it."""
    app = wide.app()
    assert read_out(app).progress.rows == len(BROKEN)
    rows = final_rows(app)
    assert len(rows["alerts"]) > 3
    assert {row["reason"] for row in rows["dead_letters"]} == {"broken_json"}
    assert {row["partition"] for row in rows["entities"]} > {0}
    return rows


def test_a_topic_gives_the_rows_of_a_list(stream: KafkaStream, make_app: Callable[..., Any]) -> None:
    stream.fill({"telemetry": BROKEN})
    from_kafka, from_list = stream.app(), make_app({"telemetry": BROKEN})
    read_out(from_kafka)
    run_through(from_list, Limits())
    assert differences(final_rows(from_kafka), final_rows(from_list)) == []
    assert len(final_rows(from_kafka)["alerts"]) > 3


def test_a_second_run_reads_nothing_again_and_goes_on_with_what_came_since(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:200]})
    app = stream.app()
    first = app.worker(STREAM, limits=Limits(poll=37))
    step_until([first], lambda: rows_read([first]) == 200)
    first.close()
    stream.fill({"telemetry": LIVE[200:]})
    assert read_out(stream.again(app)).progress.rows == len(LIVE) - 200
    whole = stream.app()
    read_out(whole)
    assert differences(final_rows(app), final_rows(whole)) == []


def test_between_polls_one_alert_at_a_time_is_explained(stream: KafkaStream) -> None:
    """What comes meanwhile waits no longer than for one."""
    stream.fill({"telemetry": LIVE})
    app = stream.app()
    worker = app.worker(STREAM, limits=Limits(explain_per_poll=0))
    step_until([worker], lambda: rows_read([worker]) == len(LIVE))
    left = [len(app.reader.pending(STREAM))]
    while left[-1] and len(left) < 50:
        worker.step()
        left.append(len(app.reader.pending(STREAM)))
    assert left == list(range(left[0], -1, -1))
    assert left[0] > 2
    worker.close()


@pytest.mark.parametrize("polls", [1, 4])
def test_a_worker_that_dies_between_two_polls_leaves_no_trace(
    wide: KafkaStream, undisturbed: dict[str, list[Any]], polls: int
) -> None:
    """It neither saves a snapshot nor leaves the group; the next one replays what was not in the last snapshot."""
    app, limits = wide.app(), Limits(poll=17, snapshot_every=20)
    dying = app.worker(STREAM, limits=limits)
    step_until([dying], lambda: rows_read([dying]) > 60 * polls)
    again = wide.again(app)
    again.config = again.config.model_copy(
        update={"kafka": again.config.kafka.model_copy(update={"group": f"other-{again.config.kafka.group}"})}
    )
    read_out(again, limits)
    assert differences(final_rows(again), undisturbed) == []
    for _ in range(5):  # it has lost every lease, and writes nothing more
        dying.step()
    assert len(dying.runners) < 4
    assert differences(final_rows(again), undisturbed) == []
    dying.feed.consumer.close()


def test_workers_come_and_go(wide: KafkaStream, undisturbed: dict[str, list[Any]], postgresql_url: str) -> None:
    """One, two, and one worker again: each record counts once, whoever has its partition."""
    app, limits = wide.app(postgresql_url), Limits(poll=11, snapshot_every=20)
    first = app.worker(STREAM, limits=limits)
    step_until([first], lambda: rows_read([first]) > 40)
    second = wide.again(app).worker(STREAM, limits=limits)
    step_until([first, second], lambda: len(second.runners) == 2 and len(first.runners) == 2)
    assert set(first.runners) | set(second.runners) == {0, 1, 2, 3}
    first.close()
    step_until([second], lambda: len(second.runners) == 4)
    second.read_out()
    assert differences(final_rows(app), undisturbed) == []
    assert app.leases.epochs(STREAM).keys() == {0, 1, 2, 3}
    assert max(app.leases.epochs(STREAM).values()) >= 2


def test_to_the_end_means_that_of_partitions_too_that_are_dealt_on_the_way(
    stream: KafkaStream, postgresql_url: str
) -> None:
    """Another member leaves while one reads to the end: what it had is read to its end too, not closed where it was."""
    stream.partitions = 4
    stream.fill({"telemetry": []})
    app, limits = stream.app(postgresql_url), Limits(poll=11)
    first, second = app.worker(STREAM, limits=limits), stream.again(app).worker(STREAM, limits=limits)
    step_until([first, second], lambda: len(second.runners) == 2 and len(first.runners) == 2)
    stream.fill({"telemetry": BROKEN})

    def leave(_: Progress) -> None:
        if len(second.runners) == 2:
            first.close()
            step_until([second], lambda: len(second.runners) == 4)

    second.read_out(tell=leave)
    calm = stream.app()
    read_out(calm)
    assert differences(final_rows(app), final_rows(calm)) == []


def test_a_partition_that_nobody_else_had_goes_on_from_memory(wide: KafkaStream, postgresql_url: str) -> None:
    app = wide.app(postgresql_url)
    worker = app.worker(STREAM, limits=Limits(poll=11))
    step_until([worker], lambda: rows_read([worker]) > 40)
    kept = dict(worker.runners)
    guest = wide.again(app).worker(STREAM)
    step_until([worker, guest], lambda: len(guest.runners) == len(worker.runners) == 2)
    stayed = {number: runner for number, runner in worker.runners.items() if kept[number] is runner}
    assert len(stayed) == 2
    guest.close()
    step_until([worker], lambda: len(worker.runners) == 4)
    assert all(worker.runners[number] is runner for number, runner in stayed.items())
    worker.close()


def test_a_save_under_a_lease_that_is_over_is_refused(wide: KafkaStream, undisturbed: dict[str, list[Any]]) -> None:
    """The zombie: its group still says that the partition is its own, the lease does not."""
    app, limits = wide.app(), Limits(poll=13)
    zombie = app.worker(STREAM, limits=limits)
    step_until([zombie], lambda: rows_read([zombie]) > 40)
    taken = next(number for number, runner in zombie.runners.items() if runner.waiting)
    app.leases.acquire(STREAM, [taken], "somebody else")
    step_until([zombie], lambda: taken not in zombie.runners)
    zombie.close()
    read_out(wide.again(app), limits)
    assert differences(final_rows(app), undisturbed) == []


def test_sigkill_and_sigterm(wide: KafkaStream, undisturbed: dict[str, list[Any]], tmp_path: Path) -> None:
    app = wide.app(snapshot_every=20)
    home = tmp_path / "home"
    home.mkdir()
    (home / "tsad.toml").write_text(toml(app.config, wide))

    def saved() -> int:
        return sum(place["row"] for place in positions(app))

    killed = started(home, "run", STREAM)
    running_until(killed, lambda: saved() > 0)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = app.leases.epochs(STREAM)  # on a busy machine it may have read all before it was killed
    stopped = started(home, "run", STREAM, "--json")
    running_until(stopped, lambda: saved() == len(BROKEN) and app.leases.epochs(STREAM) != before)
    stopped.send_signal(signal.SIGTERM)
    said = finished(stopped)
    assert said.code == 0, said.err
    assert said.json["ended"] is False
    assert tsad(home, "run", STREAM, "--until-end", "--json").json["ended"] is True
    assert differences(final_rows(app), undisturbed) == []


def positions(app: Any) -> list[dict[str, Any]]:
    """Where every partition stands in every topic."""
    kept = [app.store.restore("live", STREAM, number).checkpoint for number in range(4)]
    return [place for one in kept if one is not None for place in one.positions.values() if isinstance(place, dict)]


def toml(config: Any, stream: KafkaStream) -> str:
    """The configuration as a file."""
    of = config.of(STREAM)
    keys = ("window", "late_horizon", "settle", "quiet", "max_lead", "forget_after", "max_windows", "snapshot_every")
    return "\n".join(
        [
            *(f"{name} = {getattr(config, name)!r}" for name in ("database", "models", "history")),
            f"[kafka]\nbootstrap = {stream.address!r}\nclient = {stream.client!r}",
            f"group = {config.kafka.group!r}\ninstance = 'one'",
            f"[stream.{STREAM}]\ndetectors = ['subspace', 'vote']\nalert_budget = 3.0",
            *(f"{name} = {getattr(of, name)}" for name in keys),
            f"[stream.{STREAM}.telemetry]\nsource = 'kafka'\ntopic = {stream.topics['telemetry']!r}",
        ]
    )


@pytest.mark.parametrize("first", [60, len(LIVE) - 30], ids=["amid others", "at the end"])
def test_what_a_producer_has_taken_back_is_never_read(
    stream: KafkaStream, make_app: Callable[..., Any], first: int
) -> None:
    """Behind the last message of a transaction lies a marker, which counts in the end of a topic but never comes."""
    stream.fill({"telemetry": LIVE[:first]})
    producer = KafkaProducer(bootstrap_servers=stream.address, transactional_id=stream.topics["telemetry"])
    producer.init_transactions()
    for keep in (False, True):
        producer.begin_transaction()
        for payload in LIVE[first : first + 30]:
            producer.send(stream.topics["telemetry"], payload if keep else payload.replace(b"0.", b"9."), b"a")
        producer.flush()
        (producer.commit_transaction if keep else producer.abort_transaction)()
    producer.close()
    settled(stream, first + 2 * (30 + 1))
    stream.fill({"telemetry": LIVE[first + 30 :]})
    from_kafka, from_list = stream.app(), make_app({"telemetry": LIVE})
    assert read_out(from_kafka).progress.rows == len(LIVE)
    run_through(from_list, Limits())
    assert differences(final_rows(from_kafka), final_rows(from_list)) == []


def settled(stream: KafkaStream, end: int) -> None:
    """Until the markers of all transactions are written, which is soon after the broker has said yes, a topic ends for
    its readers where the first of them began."""
    place = TopicPartition(stream.topics["telemetry"], 0)
    consumer = KafkaConsumer(bootstrap_servers=stream.address, isolation_level="read_committed")
    while consumer.end_offsets([place])[place] < end:
        pass
    consumer.close()


# --- what is refused


def test_topics_need_equal_partition_counts(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:3]})
    stream.partitions = 2
    stream.fill({"logs": [b'{"entity":"a","time":1700000000,"message":"x"}']})
    with pytest.raises(BrokerError, match=r"need equal partition counts: 'telemetry-\S+' has 1, 'logs-\S+' has 2"):
        stream.app(logs={"source": "kafka", "topic": stream.topics["logs"]}).worker(STREAM)


def test_a_topic_that_does_not_exist_is_named(stream: KafkaStream) -> None:
    stream.topics["telemetry"] = "nowhere"
    with pytest.raises(BrokerError, match="topic 'nowhere' does not exist"):
        stream.app().worker(STREAM)


def test_a_cluster_that_does_not_answer_is_named(stream: KafkaStream) -> None:
    stream.topics["telemetry"] = "m"
    stream.address = "127.0.0.1:9"
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:9"):
        stream.app().worker(STREAM)


def test_a_topic_made_anew_is_refused(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:30]})
    app = stream.app()
    read_out(app)
    admin = KafkaAdminClient(bootstrap_servers=stream.address)
    admin.delete_topics([stream.topics["telemetry"]])
    create_again(stream)
    admin.close()
    stream.fill({"telemetry": LIVE[:3]})
    with pytest.raises(SourceChanged, match="ends at offset 3, but was read up to 30: it was made anew"):
        read_out(stream.again(app))


def create_again(stream: KafkaStream) -> None:
    """A deleted topic goes within moments."""
    for _ in range(100):
        try:
            create_topics(stream.address, [stream.topics["telemetry"]])
        except Exception as error:  # noqa: BLE001 -- still there
            last = error
        else:
            return
    raise last


def test_what_the_topic_has_deleted_is_skipped_and_said(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:150]})
    app = stream.app()
    first = app.worker(STREAM, limits=Limits(poll=30))
    step_until([first], lambda: rows_read([first]) >= 90)
    first.feed.consumer.close()  # no snapshot: a replay would start at the beginning
    admin = KafkaAdminClient(bootstrap_servers=stream.address)
    admin.delete_records({TopicPartition(stream.topics["telemetry"], 0): 120})
    admin.close()
    last = read_out(stream.again(app))
    assert last.progress.rows == 30
    (told,) = [row for row in app.reader.audit(STREAM) if row["kind"] == "truncated"]
    assert told["detail"]["topic"] == stream.topics["telemetry"]
    assert told["detail"]["resumed_at"] == 120


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"telemetry": {"source": "kafka"}}, "source = 'kafka' needs topic"),
        ({"telemetry": {"source": "kafka", "topic": "m"}, "logs": {"source": "x.log"}}, "both from Kafka, or both not"),
    ],
)
def test_half_a_configuration_is_refused(stream: KafkaStream, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        stream.app(**given)


def test_a_sqlite_file_serves_one_worker(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:3]})
    app = stream.app()
    with app.claim(), pytest.raises(StoreError, match="in use by another `tsad run`"), stream.again(app).claim():
        pass
