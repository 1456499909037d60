"""`tsad produce` on a real broker: what a source reads is what a stream from the topic reads, in the pace asked for."""

import json
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest
from brokers import create_topics, read_topic

from streaming.broker.raw import Raw, Writer, partition_of
from streaming.broker.settings import BrokerSettings
from streaming.settings import SECOND
from tests.streaming.golden import as_json, gauge, metrics
from tests.tsad.command_line import CONFIGURATION, Said, finished, fresh_home, running_until, started, tsad
from tests.tsad.streams import FIT_SLOTS, SLOTS, cells_with_anomalies, payloads
from tsad.config import Config
from tsad.datasets import data_set
from tsad.producing import Lane, Pace, produce, speed_of

_SERIAL = count()
ROWS = 3 * (SLOTS - FIT_SLOTS)
LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
RAW_LOG = "2026-01-05T00:00:0{}Z web-{} INFO GET /item/{} took 3 ms"


class Cluster:
    """A home with files and a configuration, and topics of its own."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.settings = BrokerSettings((address,))
        self.home = fresh_home(folder, f"[kafka]\nbootstrap = {address!r}\n{CONFIGURATION}")

    def topic(self, partitions: int = 3) -> str:
        name = f"produced-{next(_SERIAL)}-{id(self)}"
        create_topics(self.address, [name], partitions)
        return name

    def tsad(self, *arguments: str) -> Said:
        return tsad(self.home, "produce", *arguments)

    def values(self, topic: str) -> list[Any]:
        """The records of a topic by time, then by entity."""
        found = [json.loads(message.value) for message in read_topic(self.address, topic)]
        return sorted(found, key=lambda record: (record["time"], record["entity"]))


@pytest.fixture
def cluster(kafka_server: str, tmp_path: Path) -> Cluster:
    return Cluster(kafka_server, tmp_path / "home")


def wide_table() -> Any:
    """The same records as a table."""
    rows = [json.loads(payload) for payload in LIVE]
    return pyarrow.Table.from_pylist(
        [{"host": row["entity"], "time": row["time"], **row["values"]} for row in reversed(rows)]
    )


def as_lines(_: Path) -> str:
    return "live.jsonl"


def as_csv(home: Path) -> str:
    pyarrow.csv.write_csv(wide_table(), home / "live.csv")
    return "live.csv"


def as_parquet(home: Path) -> str:
    pyarrow.parquet.write_table(wide_table(), home / "live.parquet")
    return "live.parquet"


def as_folder(home: Path) -> str:
    table, folder = wide_table(), home / "parts"
    folder.mkdir()
    half = table.num_rows // 2
    for number, part in enumerate((table[:half], table[half:])):
        pyarrow.parquet.write_table(part, folder / f"{number}.parquet")
    return "parts"


@pytest.mark.parametrize("make", [as_lines, as_csv, as_parquet, as_folder])
def test_each_kind_of_file_gives_the_same_records(cluster: Cluster, make: Callable[[Path], str]) -> None:
    topic = cluster.topic()
    said = cluster.tsad(make(cluster.home), "--topic", topic, "--json")
    assert said.code == 0, said.err
    assert said.json == {"topics": [{"topic": topic, "messages": ROWS, "left_out": {}}], "ended": True}
    messages = read_topic(cluster.address, topic)
    assert len(messages) == ROWS
    assert all(m.key.decode() == json.loads(m.value)["entity"] for m in messages)
    assert {m.key: m.partition for m in messages} == {key: partition_of(key, 3) for key in (b"a", b"b", b"c")}
    produced, wanted = cluster.values(topic), [json.loads(payload) for payload in LIVE]
    for record, original in zip(produced, wanted, strict=True):
        assert record["values"] == pytest.approx(original["values"], rel=1e-6)
    assert produced[0]["time"].startswith("2023-11-15T")


def test_a_stream_from_the_topic_finds_what_it_finds_in_the_file(cluster: Cluster) -> None:
    topic = cluster.topic(1)
    (cluster.home / "tsad.toml").write_text(
        f"[kafka]\nbootstrap = {cluster.address!r}\ngroup = {topic!r}\n{CONFIGURATION}"
        f"{CONFIGURATION.replace('stream.s', 'stream.k')}[stream.k.telemetry]\nsource = 'kafka'\ntopic = {topic!r}\n"
    )
    assert cluster.tsad("live.jsonl", "--topic", topic).code == 0
    found = {}
    for stream, more in (("s", ["--source", "live.jsonl"]), ("k", ["--until-end"])):
        assert tsad(cluster.home, "fit", stream, "--from", "history.jsonl").code == 0
        assert tsad(cluster.home, "run", stream, *more).code == 0
        alerts = tsad(cluster.home, "alerts", "--stream", stream, "--json").json
        found[stream] = sorted((a["entity"], a["event_time"], a["state"], a["score"]) for a in alerts)
    assert len(found["s"]) > 2
    assert found["k"] == found["s"]


def test_raw_lines_are_read_by_the_stream_that_knows_their_pattern(cluster: Cluster) -> None:
    lines = [RAW_LOG.format(n, n % 2, n) for n in range(6)]
    (cluster.home / "app.log").write_text("\n".join(["what?", *lines]) + "\n")
    with (cluster.home / "tsad.toml").open("a") as file:
        file.write(
            "[stream.app]\ntelemetry = false\n[stream.app.logs]\nlayout = 'text'\n"
            r"pattern = '(?P<time>\S+) (?P<entity>\S+) (?P<severity>\w+) (?P<message>.*)'"
        )
    topic = cluster.topic()
    said = cluster.tsad("--logs", "app.log", "--logs-topic", topic, "--stream", "app", "--json")
    assert said.code == 0, said.err
    assert said.json["topics"][0]["left_out"] == {"no_match": 1}
    assert "left out, since it cannot be read: no_match 1" in said.err
    assert cluster.values(topic)[0] == {
        "entity": "web-0", "time": "2026-01-05T00:00:00Z", "message": "GET /item/0 took 3 ms", "severity": "info"
    }  # fmt: skip
    assert len(cluster.values(topic)) == 6


def test_standard_input_is_replayed_as_it_comes(cluster: Cluster) -> None:
    topic = cluster.topic()
    process = started(cluster.home, "produce", "-", "--topic", topic, "--json")
    said = finished(process, b"".join(payload + b"\n" for payload in LIVE[:30]))
    assert said.code == 0, said.err
    assert len(cluster.values(topic)) == said.json["topics"][0]["messages"] == 30


def test_opentelemetry_lines_become_records_of_their_entities(cluster: Cluster) -> None:
    messages = [
        metrics(({"service.name": name}, [gauge("cpu", (60 * n, n + 0.5))]))
        for n in range(4)
        for name in ("shop", "cart")
    ]
    (cluster.home / "otlp.jsonl").write_bytes(b"".join(as_json(message) + b"\n" for message in messages))
    topic = cluster.topic()
    said = cluster.tsad("otlp.jsonl", "--topic", topic)
    assert said.code == 0, said.err
    records = cluster.values(topic)
    assert [record["entity"] for record in records] == ["cart", "shop"] * 4
    assert [record["values"] for record in records[::2]] == [{"cpu": n + 0.5} for n in range(4)]


def test_a_topic_is_made_where_it_is_asked_for(cluster: Cluster) -> None:
    topic = f"made-{next(_SERIAL)}-{id(cluster)}"
    said = cluster.tsad("live.jsonl", "--topic", topic)
    assert (said.code, said.error) == (1, f"topic '{topic}' does not exist; --partitions N makes it")
    for _ in range(2):  # what is there, with that number, will do
        assert cluster.tsad("live.jsonl", "--topic", topic, "--partitions", "2").code == 0
    assert len(cluster.values(topic)) == 2 * ROWS


def test_kafka_is_told_now_or_event_time(cluster: Cluster) -> None:
    now, event = cluster.topic(), cluster.topic()
    assert cluster.tsad("live.jsonl", "--topic", now).code == 0
    assert cluster.tsad("live.jsonl", "--topic", event, "--stamp", "event").code == 0
    assert min(message.timestamp for message in read_topic(cluster.address, now)) > 1_760_000_000_000
    first = min(message.timestamp for message in read_topic(cluster.address, event))
    assert first == json.loads(LIVE[0])["time"] * 1000


def test_the_bundled_data(cluster: Cluster) -> None:
    topics = {name: cluster.topic() for name in ("server", "shop", "lines")}
    assert cluster.tsad("--demo", "--topic", topics["server"]).code == 0
    assert cluster.tsad("--demo", "--topic", topics["shop"], "--logs-topic", topics["lines"]).code == 0
    server = cluster.values(topics["server"])
    assert len(server) == 15_000
    assert {record["entity"] for record in server} == {"machine-1-6"}
    assert len(server[0]["values"]) == 38
    assert server[-1]["time"] == "2020-01-11T09:59:00Z"
    assert len(cluster.values(topics["shop"])) == 11_028
    assert cluster.values(topics["lines"])[0]["severity"] == "info"


def test_what_is_refused(cluster: Cluster) -> None:
    topic = cluster.topic()
    (cluster.home / "broken.jsonl").write_text("{\n{\n")
    for arguments, code, said in (
        (("live.jsonl", "--topic", "nowhere"), 1, "topic 'nowhere' does not exist"),
        (("nothing.jsonl", "--topic", topic), 2, "nothing.jsonl: there is no such file or folder"),
        (("live.jsonl",), 2, "name the topic that gets the telemetry: --topic TOPIC"),
        (("--logs", "live.jsonl"), 2, "name the topic that gets the logs: --logs-topic TOPIC"),
        (("--topic", topic), 2, "name a data set: PATH, --logs PATH, or --demo"),
        (("--demo",), 2, "name the topic that gets the telemetry: --topic TOPIC"),
        (("live.jsonl", "--demo", "--topic", topic), 2, "--demo brings its own data"),
        (("live.jsonl", "--topic", topic, "--logs-topic", "x"), 2, "--logs-topic x: there are no logs to produce"),
        (("live.jsonl", "--topic", topic, "--speed", "fast"), 2, "'fast' is no speed"),
        (("live.jsonl", "--topic", topic, "--stream", "z"), 2, "stream 'z' is not in the configuration"),
        (("broken.jsonl", "--topic", topic, "--stream", "s"), 1, "nothing could be read: broken_json 2"),
    ):
        answer = cluster.tsad(*arguments)
        assert answer.code == code, answer.err
        assert said in answer.error
    (cluster.home / "tsad.toml").write_text("[kafka]\nbootstrap = '127.0.0.1:9'\n")
    answer = cluster.tsad("live.jsonl", "--topic", topic)
    assert answer.code == 1
    assert "127.0.0.1:9" in answer.error


def test_ctrl_c_ends_it_between_two_writes(cluster: Cluster) -> None:
    topic = cluster.topic()
    process = started(cluster.home, "produce", "live.jsonl", "--topic", topic, "--speed", "600x", "--json")
    running_until(process, lambda: len(read_topic(cluster.address, topic)) > 3)
    process.send_signal(signal.SIGINT)
    said = finished(process)
    assert said.code == 130, said.err
    assert "interrupted; what was due by then is written" in said.err
    assert said.json["ended"] is False
    assert 3 < said.json["topics"][0]["messages"] == len(read_topic(cluster.address, topic)) < ROWS


class Watch:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.naps = 100.0, 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1


def lanes(cluster: Cluster, *paths: str) -> list[Lane]:
    """A lane for each file: telemetry first, then logs."""
    made = []
    for kind, path in zip(("telemetry", "logs"), paths, strict=False):
        topic = cluster.topic()
        found = data_set(kind, str(cluster.home / path), Config(), None)  # type: ignore[arg-type]
        made.append(Lane(topic, found.open(), Writer(cluster.settings, topic), 3))
    return made


def closed(lanes: list[Lane]) -> None:
    for lane in lanes:
        lane.writer.close()


def test_event_time_goes_by_sixty_times_as_fast(cluster: Cluster) -> None:
    watch, told = Watch(), []
    (lane,) = made = lanes(cluster, "live.jsonl")
    assert produce(
        made, Pace(60.0, watch.clock, watch.sleep), tell=lambda done: told.append((round(watch.now, 3), done))
    )
    closed(made)
    assert lane.written == ROWS
    assert watch.now == pytest.approx(100 + SLOTS - FIT_SLOTS - 1)
    written = dict(told)
    assert [written[100.0 + second] for second in range(4)] == [3, 6, 9, 12], "a minute each second, when it is due"


def test_two_topics_keep_the_same_time(cluster: Cluster) -> None:
    first = json.loads(LIVE[0])["time"]
    lines = [{"entity": "a", "time": first + 60 * n + 30, "message": "up"} for n in (0, 1, 1, 5)]
    (cluster.home / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    watch, made = Watch(), []
    two = lanes(cluster, "live.jsonl", "lines.jsonl")
    produce(
        two, Pace(60.0, watch.clock, watch.sleep), tell=lambda _: made.append((round(watch.now, 3), two[1].written))
    )
    closed(two)
    moments = dict(made)
    assert (moments[100.5], moments[101.5], moments[105.5], two[1].written) == (1, 3, 4, 4)


def test_it_stops_while_it_waits(cluster: Cluster) -> None:
    watch, made = Watch(), lanes(cluster, "live.jsonl")
    assert not produce(made, Pace(1.0, watch.clock, watch.sleep), stop=lambda: watch.naps > 2)
    closed(made)
    assert (made[0].written, watch.naps) == (3, 3)


def test_late_records_follow_those_before_them(cluster: Cluster) -> None:
    slots = [json.loads(LIVE[3 * n]) for n in (0, 2, 1, 3)]
    (cluster.home / "late.jsonl").write_text("".join(json.dumps(record) + "\n" for record in slots))
    watch, made = Watch(), lanes(cluster, "late.jsonl")
    assert produce(made, Pace(60.0, watch.clock, watch.sleep))
    closed(made)
    sent = [json.loads(message.value)["time"][14:16] for message in read_topic(cluster.address, made[0].topic)]
    assert sent == [f"{(json.loads(LIVE[0])['time'] // 60 + n) % 60:02}" for n in (0, 2, 1, 3)]
    assert watch.now == pytest.approx(103)


@pytest.mark.parametrize(("said", "speed"), [("60x", 60.0), ("0.5x", 0.5), ("max", None)])
def test_speeds(said: str, speed: float | None) -> None:
    assert speed_of(said) == speed
    assert Pace(None).ahead(10**18) == 0


@pytest.mark.parametrize("said", ["60", "x", "-1x", "0x", "1e3x", "fast", ""])
def test_what_is_no_speed(said: str) -> None:
    with pytest.raises(ValueError, match="is no speed; write a multiple of real time, such as 60x, or max"):
        speed_of(said)


def test_a_gap_is_waited_out_in_naps() -> None:
    watch = Watch()
    pace = Pace(2.0, watch.clock, watch.sleep)
    assert pace.ahead(0) == 0
    pace.wait(10 * SECOND, lambda: False)
    assert watch.now == pytest.approx(105)
    assert watch.naps >= 25


def test_raw_messages_keep_their_partition(cluster: Cluster) -> None:
    topic = cluster.topic()
    writer = Writer(cluster.settings, topic)
    writer.write([Raw(2, -1, 1_750_000_000_000, None, b"x", [("h", b"\xff")]), Raw(0, -1, None, b"k", None)])
    writer.close()
    first, second = read_topic(cluster.address, topic)
    assert (first.partition, first.key, first.value) == (0, b"k", None)
    assert (second.partition, second.timestamp, second.headers) == (2, 1_750_000_000_000, [("h", b"\xff")])
