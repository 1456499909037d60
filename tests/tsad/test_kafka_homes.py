"""Entities on two partitions of a real broker: the first has them, the other one's records are dead letters."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import publish, read_topic

from streaming.broker.raw import partition_of
from tests.tsad.command_line import tsad
from tests.tsad.kafka_streams import KafkaStream, died, key_of, read_out, rows_read, step_until
from tests.tsad.streams import (
    FIT_SLOTS,
    SLOTS,
    STREAM,
    cells_with_anomalies,
    differences,
    final_rows,
    line,
    payloads,
    record,
)
from tsad.checks import check_all
from tsad.runner import Limits

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
HALF = len(LIVE) // 2
FOREIGN = [record("a", slot, {"cpu": 99.0, "mem": 99.0, "disk": 99.0, "net": 99.0}) for slot in range(380, SLOTS, 2)]
"""Of `a`, sent to a partition that it does not belong to; they would be alerts of their own."""


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, partitions=3)
    yield made
    made.close()


def home_of(stream: KafkaStream, entity: str) -> int:
    """The partition that its key leads to."""
    (home,) = {m.partition for m in read_topic(stream.address, stream.topics["telemetry"]) if m.key == entity.encode()}
    return home


def settled(stream: KafkaStream, **more: Any) -> Any:
    """An application that has read the first half."""
    app = stream.app(**more)
    read_on(app, HALF)
    return app


def read_on(app: Any, rows: int) -> None:
    """A worker reads so many rows, and stops."""
    worker = app.worker(STREAM, limits=Limits(poll=40))
    step_until([worker], lambda: rows_read([worker]) == rows)
    worker.close()


def send_strays(stream: KafkaStream, values: Sequence[bytes], topic: Any = "telemetry") -> tuple[int, int]:
    """Send them where `a` does not belong; its home, and that partition."""
    home = home_of(stream, "a")
    elsewhere = (home + 1) % stream.partitions
    publish(stream.address, stream.topics[topic], [(b"a", value) for value in values], elsewhere)
    return home, elsewhere


def test_what_comes_on_a_second_partition_is_a_dead_letter(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:HALF]})
    app, clean = settled(stream), stream.app()
    stream.fill({"telemetry": LIVE[HALF:]})
    read_out(clean)
    home, elsewhere = send_strays(stream, FOREIGN)
    worker = read_out(stream.again(app))
    rows, expected = final_rows(app), final_rows(clean)
    dead = rows.pop("dead_letters")
    expected.pop("dead_letters")
    assert differences(rows, expected) == []
    assert len(rows["alerts"]) > 3
    assert worker.counts["dead:wrong_partition"] == len(dead) == len(FOREIGN)
    assert {(row["partition"], row["reason"]) for row in dead} == {(elsewhere, "wrong_partition")}
    said = f"entity 'a': belongs to partition {home}, where it came first"
    assert all(row["detail"].startswith(said) for row in dead)
    assert {row["payload"] for row in dead} == set(FOREIGN)
    (stray,) = app.homes.strays(STREAM)
    assert (stray.entity, stray.partition, stray.stray) == ("a", home, elsewhere)


def test_deaths_and_other_workers_change_nothing(stream: KafkaStream, postgresql_url: str) -> None:
    stream.fill({"telemetry": LIVE[:HALF]})
    calm, hasty = settled(stream), settled(stream, url=postgresql_url, snapshot_every=20)
    stream.fill({"telemetry": LIVE[HALF:]})
    send_strays(stream, FOREIGN)
    read_out(calm)
    for poll in (7, 31):
        workers = [stream.again(hasty).worker(STREAM, limits=Limits(poll=poll, snapshot_every=20)) for _ in range(2)]
        turns = count()
        step_until(workers, lambda turns=turns, workers=workers: all(w.runners for w in workers) and next(turns) > 3)
        for worker in workers:
            died(worker)
    read_out(stream.again(hasty))
    assert differences(final_rows(hasty), final_rows(calm)) == []
    assert len(final_rows(calm)["dead_letters"]) == len(FOREIGN)


def test_logs_elsewhere_than_telemetry_are_dead_letters(stream: KafkaStream) -> None:
    """Topics of one stream keyed in different ways do not go together."""
    lines = [line(entity, slot, "request served") for slot in range(FIT_SLOTS, SLOTS) for entity in "abc"]
    stream.fill({"telemetry": LIVE, "logs": []})
    app = stream.app(idle_after="100d")
    worker = app.worker(STREAM)
    step_until([worker], lambda: rows_read([worker]) > 60)
    worker.close()
    strays = [one for one in lines if key_of(one) == b"a"]
    publish(stream.address, stream.topics["logs"], [(key_of(one), one) for one in lines if one not in strays])
    _, elsewhere = send_strays(stream, strays, "logs")
    read_out(stream.again(app))
    dead = app.reader.dead_letters(STREAM, limit=1000)
    assert len(dead) == min(len(strays), 100)
    assert {(row["topic"], row["partition"], row["reason"]) for row in dead} == {("logs", elsewhere, "wrong_partition")}


def test_check_names_both_partitions(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE[:HALF]})
    app = settled(stream)
    assert [row for row in check_all(app.config) if row["check"] == f"{STREAM} entities"] == []
    home, elsewhere = send_strays(stream, FOREIGN[:1])
    read_out(stream.again(app))
    (found,) = [row for row in check_all(app.config) if row["check"] == f"{STREAM} entities"]
    assert found["detail"] == (
        f"1 entity has records on two partitions, such as 'a' on {home} and {elsewhere}; what is not on its first is "
        "rejected as wrong_partition: key the topics by entity (tsad rekey)"
    )
    assert not found["ok"]


def test_an_entity_whose_first_record_came_on_the_wrong_partition_is_moved(stream: KafkaStream, tmp_path: Path) -> None:
    """Its records are taken where its key leads to from then on; only what was rejected before stays so."""
    right = partition_of(b"a", stream.partitions)
    wrong = (right + 1) % stream.partitions
    early, then, later = LIVE[:120], LIVE[120:240], LIVE[240:]
    others, of_a = ([one for one in early if (key_of(one) == b"a") is ours] for ours in (False, True))
    stream.fill({"telemetry": others})
    publish(stream.address, stream.topics["telemetry"], [(b"a", of_a[-1])], wrong)
    app = stream.app()
    read_on(app, len(others) + 1)
    stream.fill({"telemetry": then})
    read_on(stream.again(app), len(then))
    rejected = [row["reason"] for row in app.reader.dead_letters(STREAM, limit=1000)]
    assert rejected == ["wrong_partition"] * sum(key_of(one) == b"a" for one in then)
    command = ("rehome", STREAM, "a", "--database", app.config.database)
    assert tsad(tmp_path, *command, "--json").json == {
        "stream": STREAM, "entity": "a", "partition": right, "before": wrong
    }  # fmt: skip
    stream.fill({"telemetry": later})
    read_on(stream.again(app), len(later))
    assert len(app.reader.dead_letters(STREAM, limit=1000)) == len(rejected)
    assert [row["partition"] for row in app.reader.entities(STREAM) if row["entity"] == "a"] == [right]
    assert app.homes.of(STREAM, ["a"]) == {"a": right}
    assert f"has come on partition {right} alone; say --partition N" in tsad(tmp_path, *command).error
    assert tsad(tmp_path, *command, "--partition", "0").code == 0
    assert app.homes.of(STREAM, ["a"]) == {"a": 0}
    assert "there is no stream 'x'" in tsad(tmp_path, "rehome", "x", *command[2:]).error
    assert "no entity 'nobody'" in tsad(tmp_path, "rehome", STREAM, "nobody", *command[3:]).error
