"""Queries as a source: the same rows however they are asked, and every way in which a server fails."""

import gzip
import json
import ssl
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import snappy, write_request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metric_servers import MetricServer, Scripted, error, scripted
from reading import Reading
from secured import authority, signed

from streaming.columns import OTHERS, Columns
from streaming.prometheus.client import Client
from streaming.prometheus.held import held
from streaming.prometheus.settings import QueryError, Questions, Server, TooMuchError, UnansweredError
from streaming.prometheus.source import PrometheusRange, PrometheusSource, numbers, open_range
from streaming.settings import SECOND, Mapping
from streaming.types import Batch, Lines, SourceChanged

START = 1_699_999_980
"""A multiple of the step."""
STEP = 60 * SECOND
FIRST = START // 60
BY_INSTANCE = Mapping(("instance",))
NAN, INF = float("nan"), float("inf")


def questions(*names: str, mapping: Mapping = BY_INSTANCE, **queries: str) -> Questions:
    return Questions(queries or {name: name for name in names or ("cpu",)}, STEP, mapping)


def over(server: Server | str, asked: Questions, times: int = 20, columns: Columns | None = None, **more: Any) -> Any:
    """The first `times` times."""
    place = Server(server) if isinstance(server, str) else server
    source = open_range(
        place, asked, Columns() if columns is None else columns, START * SECOND, (START + 60 * times) * SECOND, **more
    )
    source.patience, source.doze = 0.0, lambda _: None
    return source


class Found(Reading):
    """As of any source, but a time has many rows: one for each entity."""

    def add(self, batch: Batch) -> None:
        assert not isinstance(batch, Lines)
        assert sorted(set(batch.codes.tolist())) == list(range(len(batch.names)))
        self.batches += 1
        self.next_position = batch.next_position
        self.positions += batch.positions.tolist()
        self.dead += batch.dead
        self.labels |= batch.labels
        for name, count in batch.unknown.items():
            self.unknown[name] = self.unknown.get(name, 0) + count
        for code, at, row in zip(batch.codes.tolist(), batch.times.tolist(), batch.values.tolist(), strict=True):
            held = {name: value for name, value in zip(batch.features, row, strict=True) if value == value}
            self.records.append((batch.names[code], at, held))


def drain(source: PrometheusSource, poll: int = 5000) -> Found:
    """All that a source gives, in polls of `poll` times."""
    found = Found()
    while (batch := source.poll(poll)) is not None:
        found.add(batch)
    source.close()
    return found


def slot_of(at: float) -> int:
    return round((at - START) / 60)


def line(slope: float, level: float = 0.0) -> Callable[[float], float | None]:
    return lambda at: slope * slot_of(at) + level


def two(server: Scripted) -> Scripted:
    """Two queries over two entities, with holes."""
    server.series = {
        "cpu": [({"instance": "b"}, line(1)), ({"instance": "a", "mode": "user"}, line(2, 100))],
        "mem": [({"__name__": "mem", "instance": "a"}, lambda at: None if slot_of(at) % 3 else 0.5)],
    }
    return server


@pytest.fixture
def server(scripted_server: Scripted) -> Scripted:
    return two(scripted_server)


SERIES = [
    *[
        ({"__name__": "cpu", "instance": name}, [(15 * k, np.sin(k / 9) + 10.0 * n) for k in range(0, 200, 1 + n)])
        for n, name in enumerate("abc")
    ],
    ({"__name__": "reqs_total", "instance": "a", "code": "200"}, [(15 * k, 30.0 * k) for k in range(200)]),
    ({"__name__": "reqs_total", "instance": "a", "code": "500"}, [(15 * k, 3.0 * k) for k in range(100)]),
    ({"__name__": "reqs_total", "instance": "b", "code": "200"}, [(15 * k, 0.0) for k in range(50, 80)]),
]
REAL = questions(
    cpu="max_over_time(cpu[1m])",
    rate="sum by (instance) (rate(reqs_total[2m]))",
    errors='sum by (instance) (rate(reqs_total{code="500"}[2m])) / sum by (instance) (rate(reqs_total[2m]))',
    fleet="count(max_over_time(cpu[1m]))",
    up="vector(1)",
)


@pytest.fixture(scope="module")
def filled(metric_server: MetricServer) -> MetricServer:
    metric_server.write(snappy(write_request(*SERIES)))
    return metric_server


def test_a_real_server_gives_the_rows_of_its_queries(filled: MetricServer) -> None:
    found = drain(over(filled.url, REAL, 45))
    rows = {(entity, place): values for entity, place, values in zip(
        found.entities, [time // SECOND - START for time in found.times], found.values, strict=True)}  # fmt: skip
    # 20 s behind the slot's begin a sample lies: the ones of (60, 120] are those 3 to 6
    assert rows["a", 120]["cpu"] == pytest.approx(np.sin(6 / 9))
    assert rows["b", 120]["cpu"] == pytest.approx(max(np.sin(k / 9) for k in (4, 6)) + 10)
    assert rows["a", 600]["rate"] == pytest.approx(2.2, rel=0.01)
    assert rows["a", 600]["errors"] == pytest.approx(1 / 11, rel=0.01)
    assert rows["main", 600]["fleet"] == 3
    assert {(place, values["up"]) for (entity, place), values in rows.items() if entity == "main"} == {
        (60 * k, 1.0) for k in range(45)
    }
    assert set(found.reasons) <= {(FIRST + k, "infinite_value") for k in range(45)}, "0/0 is no value"
    assert found.labels["b"] == {"instance": "b"}
    # sorted by (time, entity), whatever the order of the answers
    keys = list(zip(found.times, found.entities, strict=True))
    assert keys == sorted(keys)


def test_a_real_server_gives_the_same_rows_however_it_is_asked(filled: MetricServer) -> None:
    whole = drain(over(filled.url, REAL, 45))
    assert len(whole.records) > 100
    for poll in (1, 4, 17):
        part = drain(over(filled.url, REAL, 45), poll=poll)
        assert (part.records, part.reasons, part.labels) == (whole.records, whole.reasons, whole.labels)


def test_a_real_server_refuses_in_words(filled: MetricServer) -> None:
    wrong = over(filled.url, questions(bad="sum(cpu"), 5)
    if not filled.flushes:
        with pytest.raises(QueryError, match=r"query 'bad': http://\S+ answers 400: bad_data: .*parse error"):
            wrong.poll()
        few = Server(filled.url, max_points=50_000)
        found = drain(over(few, questions(up="vector(1)"), 20_000), poll=50_000)
        assert len(found.records) == 20_000, "11,000 points a series: it takes two"
        crossed = over(filled.url, questions(x="rate(reqs_total[2m]) / on (instance) rate(reqs_total[2m])"), 20)
        letters = drain(crossed).dead
        assert {letter.reason for letter in letters} == {"unsupported"}
        assert "found duplicate series" in letters[0].detail
        assert len(letters) < 20, "where one side has one series the query is answered"
    else:
        assert {letter.reason for letter in drain(wrong).dead} == {"unsupported"}


def test_a_real_server_counts_what_a_range_holds(filled: MetricServer) -> None:
    asked = questions(cpu="max_over_time(cpu[1m])", rate="sum by (instance) (rate(reqs_total[2m]))")
    rows = dict.fromkeys("abc", 0)
    for entity in drain(over(filled.url, asked, 70)).entities:
        rows[entity] += 1
    since, until = START * SECOND, (START + 60 * 70) * SECOND
    for place in (Server(filled.url), Server(filled.url, parameters={"x": "y"})):
        counted = held(place, asked, since, until)
        assert [one.entity for one in counted] == list("abc")
        assert all(0 <= rows[one.entity] - one.rows <= 2 for one in counted)
        assert {(one.first_ns, one.last_ns) for one in counted} == {(since, until - STEP)}
    assert held(Server(filled.url), asked, until + 3600 * SECOND, until + 7200 * SECOND) == []
    alone = drain(over(filled.url, asked, 70, entities={"b"}))
    assert (set(alone.entities), len(alone.records)) == ({"b"}, rows["b"])


def vector(*found: tuple[dict[str, str], str]) -> tuple[int, bytes]:
    result = [{"metric": labels, "value": [START, value]} for labels, value in found]
    return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def test_what_a_range_holds_is_asked_again_and_in_parts(server: Scripted) -> None:
    refused = (422, error("execution", "too many samples"))
    asked, dozed = questions("cpu", "mem"), []
    server.fails = [
        (503, b""), refused, vector(({"instance": "a"}, "2")), vector(({"instance": "a"}, "3"), ({"job": "x"}, "9")),
        vector(({"instance": "a", "mode": "x"}, "4"), ({"instance": "b"}, "1"), ({"instance": "c"}, "0")),
    ]  # fmt: skip
    found = held(Server(server.url), asked, START * SECOND, (START + 600) * SECOND, 1000.0, dozed.append)
    assert [(one.entity, one.rows) for one in found] == [("a", 5), ("b", 1)]
    assert len(dozed) == 1
    assert [form["query"] for form in server.asked[2:4]] == ["count_over_time((cpu)[240001ms:60000ms])"] * 2
    assert [form["time"] for form in server.asked[2:4]] == [f"{START + 240}.000", f"{START + 540}.000"]
    server.fails = [refused] * 9
    with pytest.raises(QueryError, match=r"cpu: .*too many samples"):
        held(Server(server.url), asked, START * SECOND, (START + 60) * SECOND)


def test_rows_are_by_time_and_entity(server: Scripted) -> None:
    found = drain(over(server.url, questions("cpu", "mem"), 4))
    assert found.records == [
        ("a", START * SECOND, {"cpu": 100.0, "mem": 0.5}),
        ("b", START * SECOND, {"cpu": 0.0}),
        ("a", (START + 60) * SECOND, {"cpu": 102.0}),
        ("b", (START + 60) * SECOND, {"cpu": 1.0}),
        ("a", (START + 120) * SECOND, {"cpu": 104.0}),
        ("b", (START + 120) * SECOND, {"cpu": 2.0}),
        ("a", (START + 180) * SECOND, {"cpu": 106.0, "mem": 0.5}),
        ("b", (START + 180) * SECOND, {"cpu": 3.0}),
    ]
    assert found.positions == [FIRST, FIRST, FIRST + 1, FIRST + 1, FIRST + 2, FIRST + 2, FIRST + 3, FIRST + 3]
    assert found.next_position == FIRST + 4
    assert found.labels == {"a": {"instance": "a"}, "b": {"instance": "b"}}


@pytest.mark.parametrize("most", [1, 2, 3, 7, 5000])
def test_how_much_is_asked_at_a_time_changes_nothing(server: Scripted, most: int) -> None:
    columns = Columns()
    found = drain(over(server.url, questions("mem", "cpu"), 50, columns), poll=most)
    assert len(found.records) == 100
    assert columns.names == ["mem", "cpu"], "in the order of first values by row, then of the queries"
    sizes = [slot_of(float(form["end"])) - slot_of(float(form["start"])) + 1 for form in server.asked]
    assert max(sizes) == min(most, 32), "twice as many from poll to poll"


def test_what_a_model_does_not_know_is_counted(server: Scripted) -> None:
    found = drain(over(server.url, questions("cpu", "mem"), 6, Columns(["cpu"], open=False)))
    assert found.unknown == {"mem": 2}
    assert OTHERS not in found.unknown
    assert all(set(values) == {"cpu"} for values in found.values)


def test_what_is_no_number_is_none(scripted_server: Scripted) -> None:
    told = {0: NAN, 1: INF, 2: -INF, 3: 1e39, 4: 3.4e38, 5: 1.5, 6: None}
    scripted_server.series = {
        "cpu": [({"instance": "a"}, lambda at: told[slot_of(at)]), ({"instance": "b"}, lambda at: 1.0)]
    }
    found = drain(over(scripted_server.url, questions(), 7))
    assert [values["cpu"] for entity, _, values in found.records if entity == "a"] == [np.float32(3.4e38), 1.5]
    assert sum(entity == "b" for entity in found.entities) == 7, "of others nothing is lost"
    assert found.reasons == [(FIRST + k, "infinite_value") for k in (1, 2, 3)]
    assert found.dead[0].detail.startswith("query 'cpu': infinite, or beyond 3.4e38")


def test_series_that_differ_in_other_labels_are_one_by_their_mean(scripted_server: Scripted) -> None:
    scripted_server.series = {"cpu": [({"instance": "a", "core": str(n)}, line(0, n)) for n in (1, 2, 6)]}
    assert drain(over(scripted_server.url, questions(), 2)).values == [{"cpu": 3.0}] * 2


@pytest.mark.parametrize(
    ("mapping", "labels", "entity"),
    [
        (Mapping(), {"job": "shop", "instance": "web"}, "shop/web"),
        (Mapping(), {"__name__": "cpu"}, "main"),
        (Mapping(), {}, "main"),
        (Mapping(("pod",)), {"pod": "p1", "job": "x"}, "p1"),
        (Mapping(()), {"pod": "p1"}, "main"),
        (Mapping(("pod",)), {"job": "x"}, None),
        (Mapping(("pod",)), {"pod": "x" * 300}, None),
        (Mapping(("pod",)), {"pod": "a\0b"}, None),
    ],
)
def test_labels_name_the_entity(
    scripted_server: Scripted, mapping: Mapping, labels: dict[str, str], entity: str | None
) -> None:
    scripted_server.series = {"cpu": [(labels, line(1))]}
    found = drain(over(scripted_server.url, questions(mapping=mapping), 2))
    assert found.entities == ([] if entity is None else [entity] * 2)
    if entity is None:
        assert found.reasons == [(FIRST, "missing_entity"), (FIRST + 1, "missing_entity")]
        assert "mapping.entity" in found.dead[0].detail


FAULTS: list[tuple[int, bytes]] = [
    (0, b""),
    (500, error("internal", "remote storage is gone")),
    (502, b"<html><h1>Bad\ngateway</h1></html>"),
    (503, error("timeout", "query timed out in expression evaluation")),
    (429, b"slow down"),
    (200, b"<html>please log in</html>"),
    (200, b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"val'),
    (200, b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}'),
    (200, b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1.5,"2"]]}]}}'),
    (200, b'{"status":"success","data":{"resultType":"string","result":[]}}'),
    (200, b'{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}'),
    (200, b'{"status":"error","data":{"resultType":"matrix","result":[]}}'),
    (200, b"\xff\xfe" * 10),
    (200, b"[" * 100_000),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_answer_is_asked_again_and_nothing_is_lost(server: Scripted, fault: tuple[int, bytes]) -> None:
    undisturbed = drain(over(server.url, questions("cpu", "mem"), 30))
    source, found = over(server.url, questions("cpu", "mem"), 30), Found()
    found.add(source.poll(3))
    server.fails.append(fault)
    with pytest.raises(UnansweredError, match=r"query '(cpu|mem)': ") as met:
        source.poll(7)
    assert "\n" not in str(met.value)
    assert len(str(met.value)) < 500
    while (batch := source.poll(7)) is not None:
        found.add(batch)
    assert found.records == undisturbed.records


def test_a_range_has_patience(server: Scripted) -> None:
    server.fails = [FAULTS[n] for n in (0, 1, 2, 3)]
    source, dozed = over(server.url, questions("cpu"), 30), []
    source.patience, source.doze = 1000.0, dozed.append
    assert len(drain(source).records) == 60
    assert len(dozed) == 4
    source = over("http://127.0.0.1:9", questions("cpu"), 30)
    with pytest.raises(UnansweredError, match=r"http://127\.0\.0\.1:9 does not answer: ConnectError"):
        source.poll()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"Unauthorized", "answers 401: Unauthorized"),
        (403, b"", "answers 403"),
        (404, b"<a>404 page not found</a>", "answers 404: <a>404 page not found</a>"),
        (302, b"", "answers 302"),
    ],
)
def test_what_never_answers_is_told_at_once(server: Scripted, status: int, body: bytes, said: str) -> None:
    server.fails = [(status, body)] * 4
    with pytest.raises(QueryError, match=f"query 'cpu': {server.url} {said}$"):
        over(server.url, questions("cpu"), 30).poll()
    assert len(server.asked) == 1


def test_a_range_that_is_too_much_is_asked_in_parts(server: Scripted) -> None:
    """Beyond three times the server gives up; at the fifth time it never answers one of the queries."""
    undisturbed = drain(over(server.url, questions("cpu", "mem"), 30))

    def refuse(query: str, times: Any) -> int | None:
        return 422 if len(times) > 3 or (query == "mem" and START + 4 * 60 in times) else None

    server.refuse = refuse
    found = drain(over(server.url, questions("cpu", "mem"), 30))
    kept = [(e, at, values) for e, at, values in undisturbed.records if (at // SECOND - START) // 60 != 4]
    assert [row for row in found.records if (row[1] // SECOND - START) // 60 != 4] == kept
    assert found.reasons == [(FIRST + 4, "unsupported")]
    assert "query 'mem'" in found.dead[0].detail
    assert "too many samples" in found.dead[0].detail
    assert [values for _, at, values in found.records if (at // SECOND - START) // 60 == 4] == [
        {"cpu": 108.0},
        {"cpu": 4.0},
    ]


def test_what_was_too_much_is_not_asked_for_at_every_poll(server: Scripted) -> None:
    refused: list[int] = []

    def refuse(query: str, times: Any) -> int | None:
        refused.extend([len(times)] if len(times) > 20 else [])
        return 422 if len(times) > 20 else None

    server.refuse = refuse
    assert len(drain(over(server.url, questions("cpu"), 1000)).records) == 2000
    assert refused == [32] * 3, "after twenty polls of sixteen times again"


def test_the_limit_of_points_a_series_is_met_in_parts(server: Scripted) -> None:
    source = over(Server(server.url, max_points=30_000), questions("mem"), 12_000)
    source._span = 12_000
    assert len(drain(source, poll=20_000).records) == 4000
    sizes = [slot_of(float(form["end"])) - slot_of(float(form["start"])) + 1 for form in server.asked]
    assert sizes[:2] == [12_000, 6000]


@pytest.mark.parametrize("packed", [True, False])
def test_answers_are_bounded(server: Scripted, packed: bool) -> None:
    server.gzip = packed
    server.series["many"] = [({"instance": str(n)}, line(1)) for n in range(50)]
    small = Server(server.url, max_bytes=2500)
    found = drain(over(small, questions("cpu", "mem", "many"), 30))
    assert {letter.reason for letter in found.dead} == {"unsupported"}
    assert len(found.dead) == 30
    assert "more than 2500 bytes" in found.dead[0].detail
    assert len({at for _, at, _ in found.records}) == 30, "the other queries go on"
    few = Server(server.url, max_series=10)
    found = drain(over(few, questions("cpu", "many"), 3))
    assert "50 series; 10 are allowed (max_series)" in found.dead[0].detail


def test_a_gzip_bomb_is_not_unpacked(server: Scripted) -> None:
    server.gzip = False
    bomb = gzip.compress(b" " * (64 << 20))
    client = Client(Server(server.url, max_bytes=1 << 20))
    answer: Any = type("Answer", (), {"headers": [(b"Content-Encoding", b"GZIP")], "iter_stream": lambda _: [bomb]})()
    with pytest.raises(TooMuchError, match="more than 1048576 bytes unpacked"):
        client._body(answer)


def test_native_histograms_are_told(server: Scripted) -> None:
    series = {"metric": {"instance": "a"}, "histograms": [[START + 60, {"count": "1"}]]}
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}).encode()
    server.fails = [(200, body)]
    found = drain(over(server.url, questions("cpu"), 2))
    assert found.reasons == [(FIRST + 1, "unsupported")]
    assert "histogram_quantile" in found.dead[0].detail


def test_what_is_asked(server: Scripted) -> None:
    place = Server(
        f"{server.url}/select/0/prometheus/", {"Authorization": "Bearer secret", "X-Scope-OrgID": "team"},
        {"nocache": "1"}, timeout=12.5,
    )  # fmt: skip
    over(place, questions("cpu"), 3).poll()
    assert server.asked == [
        {
            "path": "/select/0/prometheus/api/v1/query_range", "query": "cpu", "start": f"{START}.000",
            "end": f"{START + 120}.000", "step": "60.000", "nocache": "1", "timeout": "12.5s",
        }
    ]  # fmt: skip
    assert server.heads[0]["authorization"] == "Bearer secret"
    assert server.heads[0]["x-scope-orgid"] == "team"
    assert "secret" not in repr(place)


def test_a_slow_server_is_given_up(server: Scripted) -> None:
    release = threading.Event()
    server.refuse = lambda query, times: [None, None][release.wait(20)]
    with pytest.raises(UnansweredError, match="does not answer: ReadTimeout"):
        over(Server(server.url, timeout=0.05), questions("cpu"), 3).poll()
    release.set()


def test_an_own_authority_is_trusted(tmp_path: Path) -> None:
    authority(tmp_path, "ours")
    authority(tmp_path, "theirs")
    signed(tmp_path, "server", "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with scripted(context) as told:
        two(told)
        assert drain(over(Server(told.url, ca=str(tmp_path / "ours.pem")), questions("cpu"), 3)).records
        for ca in (None, str(tmp_path / "theirs.pem")):
            with pytest.raises(UnansweredError, match="certificate verify failed"):
                over(Server(told.url, ca=ca), questions("cpu"), 3).poll()
    with pytest.raises(QueryError, match=r"prometheus.ca = '\S+none.pem' holds no certificates"):
        Client(Server("https://x", ca=str(tmp_path / "none.pem")))


class Live:
    """A source that goes with a clock, in seconds behind START."""

    def __init__(self, url: str, delay: int = 30, begin: int = 0) -> None:
        self.url, self.delay, self.begin, self.now = url, delay, begin, 0.0

    def open(self) -> PrometheusSource:
        return PrometheusSource(
            "prometheus:s.telemetry", Client(Server(self.url)), questions("cpu", "mem"), Columns(),
            delay=self.delay * SECOND, begin=lambda newest: newest - self.begin, clock=self.clock,
        )  # fmt: skip

    def clock(self) -> int:
        return int((START + self.now) * SECOND)


def test_it_goes_with_the_clock(server: Scripted) -> None:
    live = Live(server.url)
    source = live.open()
    live.now = 600 + 29
    assert source.lag() == 1, "the newest that is 30 s old"
    assert source.waiting
    batch = source.poll()
    assert batch is not None
    assert (batch.times // SECOND - START).tolist() == [540, 540]
    assert source.heard == live.clock()
    assert (source.waiting, source.drained(), source.lag()) == (False, True, 0)
    batch = source.poll()
    assert batch is not None
    assert len(batch.codes) == 0
    live.now = 600 + 30
    assert source.waiting
    live.now = 900
    assert source.lag() == 5
    assert (source.at(), source.end()) == (FIRST + 10, FIRST + 15)
    batch = source.poll()
    assert batch is not None
    assert (batch.times // SECOND - START).tolist()[::2] == [600, 660, 720, 780, 840]
    assert batch.ingested.tolist() == [live.clock()] * 10
    assert source.reaches(live.clock())
    assert not source.reaches(live.clock() + 1)
    earlier = Live(server.url, begin=3)
    earlier.now = 629
    assert earlier.open().lag() == 4


def test_it_goes_on_where_it_stood_and_nowhere_else(server: Scripted) -> None:
    live = Live(server.url)
    live.now = 3600
    source = live.open()
    source.poll()
    position = json.loads(json.dumps(source.position(source.at())))
    live.now = 7200
    again = live.open()
    again.seek(position)
    assert json.loads(json.dumps(again.position(again.at()))) == position
    assert (again.lag(), again.heard) == (60, source.heard)
    again.seek({name: part for name, part in position.items() if name not in ("row", "decoder")})
    assert again.at() == position["first"]
    with pytest.raises(SourceChanged, match=r"was read from 'push:s\.telemetry' before, and goes on there only"):
        again.seek(position | {"topic": "push:s.telemetry"})
    with pytest.raises(SourceChanged, match=r"was read from 'a\.csv' before"):
        again.seek({"path": "a.csv"})
    with pytest.raises(SourceChanged, match="was read in steps of 30 s before, and goes on so only"):
        again.seek(position | {"step": 30 * SECOND})
    again.close()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 9), st.integers(0, 6)), min_size=1, max_size=12))
def test_killed_anywhere_it_reads_what_an_undisturbed_one_does(
    server: Scripted, told: list[tuple[int, int, int]]
) -> None:
    """Time goes on, a poll takes some, and where the third number says so the process dies: with the poll (0) or
    behind it (1). Its position is kept behind every poll that was not lost."""
    values = {FIRST + 7: INF, FIRST + 11: NAN}
    server.series["cpu"][0] = (
        {"instance": "b"}, lambda at: values.get(round(at / 60), float(slot_of(at)))
    )  # fmt: skip
    live, found = Live(server.url), Found()
    source, position = live.open(), None
    for seconds, most, death in told:
        live.now += seconds
        if death == 0:
            server.fails = [(503, b""), (503, b"")]
            with pytest.raises(UnansweredError) if source.lag() else nullcontext():
                source.poll(most)
            server.fails = []
        else:
            batch = source.poll(most)
            assert batch is not None
            found.add(batch)
            position = json.loads(json.dumps(source.position(batch.next_position)))
        if death in (0, 1):
            source.close()
            source = live.open()
            if position is not None:
                source.seek(position)
            else:
                live.now, live.begin = 0.0, 0
    if position is None:
        return
    first, until = position["first"], position["row"]
    whole = drain(open_range(
        Server(server.url), questions("cpu", "mem"), Columns(), first * STEP, until * STEP, clock=lambda: 2**62
    ))  # fmt: skip
    assert found.records == whole.records
    assert found.dead == whole.dead
    source.close()


def test_a_range_is_cut_to_what_may_be_asked() -> None:
    assert numbers(START * SECOND, (START + 60) * SECOND, STEP) == (FIRST, FIRST + 1)
    assert numbers(START * SECOND + 1, (START + 60) * SECOND + 1, STEP) == (FIRST + 1, FIRST + 2)
    assert numbers(START * SECOND, 0, STEP) == (FIRST, FIRST)
    clock = (START + 629) * SECOND
    source = over("http://127.0.0.1:9", questions("cpu"), 1000, clock=lambda: clock, delay=30 * SECOND)
    assert isinstance(source, PrometheusRange)
    assert (source.lag(), source.end()) == (10, FIRST + 10)
