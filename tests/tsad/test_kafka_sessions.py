"""Sessions on a real broker: a topic keyed by the session, its workers, what lies elsewhere, and the way there."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from brokers import publish, read_topic

from streaming.broker.raw import partition_of
from streaming.sessionintake import SessionKeys
from tests.tsad.block_lines import (
    BROKEN,
    KEY,
    LIVE_SLOT,
    SESSIONS,
    fitted_on_blocks,
    grouped,
    payloads,
    said,
    session_alerts,
)  # fmt: skip
from tests.tsad.command_line import tsad
from tests.tsad.kafka_streams import KafkaStream, died, read_out, step_until
from tests.tsad.streams import NOT_COMPARED, STREAM
from tsad.app import App
from tsad.checks import check_all
from tsad.runner import Limits

LINES = said(90, seed=2, faults=[200])
SECTION = grouped(keyed_by="session")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fitted_on_blocks(tmp_path_factory.mktemp("model"))


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, model: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", model, partitions=2)
    made.fill({"logs": []})
    yield made
    made.close()


def send(stream: KafkaStream, lines: list[tuple[int, str]], partition: int | None = None) -> None:
    """By the session's key, or all to one partition."""
    names, codes = SessionKeys(KEY).within([text for _, text in lines])
    pairs = zip((names[code].encode() for code in codes.tolist()), payloads(lines, LIVE_SLOT), strict=True)
    publish(stream.address, stream.topics["logs"], list(pairs), partition)


def told(app: App) -> list[dict[str, Any]]:
    """The rows of the sessions' alerts, but for what the clock says."""
    found = session_alerts(app).values()
    names = [name for name in type(next(iter(found))).__dataclass_fields__ if name not in NOT_COMPARED]
    return sorted(({name: getattr(one, name) for name in names} for one in found), key=lambda row: row["entity"])


def test_workers_and_deaths_change_nothing(stream: KafkaStream) -> None:
    send(stream, LINES)
    calm, hasty = stream.app(**SECTION), stream.app(**SECTION, snapshot_every=2)
    read_out(calm)
    assert set(session_alerts(calm)) == set(BROKEN)
    for poll in (11, 60):
        workers = [stream.again(hasty).worker(STREAM, limits=Limits(poll=poll, snapshot_every=2)) for _ in range(2)]
        turns = count()
        step_until(workers, lambda turns=turns, workers=workers: all(w.runners for w in workers) and next(turns) > 3)
        for worker in workers:
            died(worker)
    read_out(stream.again(hasty))
    assert told(hasty) == told(calm)
    entities = {(row["entity"], row["partition"]) for row in calm.reader.entities(STREAM)}
    assert entities == {("hdfs@0", 0), ("hdfs@1", 1)}, "each partition watches its own part of an entity"


def test_lines_of_a_session_on_another_partition_are_dead_letters(stream: KafkaStream) -> None:
    half = len(LINES) // 2
    send(stream, LINES[:half])
    app = stream.app(**SECTION)
    worker = app.worker(STREAM, limits=Limits(poll=100))
    step_until([worker], lambda: worker.progress.rows == half)
    worker.close()
    key = SessionKeys(KEY).within([LINES[half - 1][1]])[0][0]
    home = partition_of(key.encode(), 2)
    send(stream, [(LINES[half - 1][0] + n, f"Verification succeeded for {key}") for n in range(3)], 1 - home)
    send(stream, LINES[half:])
    read_out(stream.again(app))
    assert set(session_alerts(app)) == set(BROKEN)
    dead = app.reader.dead_letters(STREAM, limit=100)
    assert {(row["partition"], row["reason"]) for row in dead} == {(1 - home, "wrong_partition")}
    said_of_it = f"session {key!r}: belongs to partition {home}, where it came first; key topics by it"
    assert [row["detail"] for row in dead] == [said_of_it] * 3
    assert app.homes.of(SESSIONS, [key]) == {key: home}
    (found,) = [row for row in check_all(app.config) if row["check"] == f"{STREAM} sessions"]
    assert found["detail"].startswith(
        f"1 session has records on two partitions, such as {key!r} on {home} and {1 - home}"
    )


def test_rekey_keys_a_topic_by_session(stream: KafkaStream, tmp_path: Path) -> None:
    """From a topic that was keyed by entity; a line without a session goes by the key that it had."""
    publish(stream.address, stream.topics["logs"], [(b"hdfs", one) for one in payloads(LINES, LIVE_SLOT)])
    publish(
        stream.address,
        stream.topics["logs"],
        [(b"hdfs", one) for one in payloads([(LINES[-1][0], "no block")], LIVE_SLOT)],
    )
    (tmp_path / "tsad.toml").write_text(
        f"[kafka]\nbootstrap = {stream.address!r}\n[stream.s]\ntelemetry = false\n[stream.s.logs]\n"
        f"[stream.s.sessions]\nkey = '{KEY}'\nkeyed_by = 'session'"
    )
    target = f"{stream.topics['logs']}-keyed"
    copied = tsad(tmp_path, "rekey", stream.topics["logs"], target, "--stream", "s", "--partitions", "2", "--json").json
    assert (copied["messages"], copied["keyed"], copied["unreadable"]) == (len(LINES) + 1, len(LINES), 1)
    keys = {message.key for message in read_topic(stream.address, target)}
    assert {name.encode() for name in BROKEN} | {b"hdfs"} <= keys
    stream.topics["logs"] = target
    app = stream.app(**SECTION)
    read_out(app)
    assert set(session_alerts(app)) == set(BROKEN)
    assert app.reader.dead_letters(STREAM, limit=100) == []
