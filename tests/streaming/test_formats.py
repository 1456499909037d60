"""`auto`: each message as its bytes say, never mistaken for another format."""

import json

import cramjam
import numpy as np
import pytest
from golden import HOST, OTLP, OTLP_LOGS, REMOTE, as_json, gauge, logs, metrics, snappy, write_request
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import INGESTED, START, decode_all, record
from test_otlp import decoded, rows

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.formats import format_of
from streaming.settings import LogFormat, TelemetryFormat

WEB = {"job": "shop", "instance": "web-1:80"}
SPACES = st.text(" \t\r\n", max_size=3).map(str.encode)
texts = st.text(max_size=20)
attributes = st.dictionaries(texts, texts | st.integers(-(2**60), 2**60) | st.booleans(), max_size=3)
points = st.tuples(st.integers(0, 1000), st.floats(allow_nan=False))
otlp_requests = st.builds(
    lambda parts: metrics(*[(labels, [gauge(name, *held)]) for labels, name, held in parts]),
    st.lists(st.tuples(attributes, texts, st.lists(points, min_size=1, max_size=2)), min_size=1, max_size=2),
)
write_requests = st.builds(
    lambda series: write_request(*series),
    st.lists(
        st.tuples(st.dictionaries(texts, texts, min_size=1, max_size=3), st.lists(points, min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    ),
)
json_records = st.fixed_dictionaries(
    {"entity": texts, "time": st.integers(), "values": st.dictionaries(texts, st.floats(allow_nan=False), max_size=3)}
)


def test_golden_bytes():
    assert format_of(OTLP.SerializeToString()) == "otlp"
    assert format_of(OTLP_LOGS.SerializeToString()) == "otlp"
    assert format_of(as_json(OTLP)) == "otlp-json"
    assert format_of(as_json(OTLP_LOGS)) == "otlp-json"
    assert format_of(snappy(REMOTE)) == "remote-write"
    assert format_of(record()) == "json"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "json"),
        (b"{}", "json"),
        (b"plain text", "json"),
        (b"\xff\xfe", "json"),
        (b'  \n{"entity": "", "time": 0, "values": {"": Infinity}}', "json"),
        (b'{"entity": "a", "resourceMetrics": []}', "json"),
        (b'{"values": {"resourceMetrics": 1}, "time": 1, "entity": "a"}', "json"),
        (b'{"new": {}, "resourceMetrics": []}', "otlp-json"),
        (b' \n{ "resourceLogs" : [] }', "otlp-json"),
        (b'{"resourceMetrics": [', "otlp-json"),
        (b'{"x": "resourceMetrics", "resourceMetrics": [', "json"),
        (b'\n{"entity": "a", "time": 1}', "json"),
        (b"\x0a\x7f", "otlp"),
    ],
)
def test_edges(payload, expected):
    assert format_of(payload) == expected


@settings(max_examples=150, deadline=None)
@given(otlp_requests)
def test_otlp_is_never_mistaken(request_):
    assert format_of(request_.SerializeToString()) == "otlp"
    assert format_of(as_json(request_)) == "otlp-json"


@settings(max_examples=150, deadline=None)
@given(write_requests)
def test_remote_write_is_never_mistaken(request_):
    assert format_of(snappy(request_)) == "remote-write"


@settings(max_examples=150, deadline=None)
@given(json_records, SPACES, SPACES, st.sampled_from([None, 2]))
def test_json_is_never_mistaken(value, before, after, indent):
    assert format_of(before + json.dumps(value, indent=indent).encode() + after) == "json"


def test_every_size_of_a_message():
    """Lengths are the first bytes of both binary formats: those that look like a bracket, a blank or a tag too."""
    for size in range(1, 300):
        request = metrics(({"service.name": "s" * size}, [gauge("cpu", (0, 1.0))]))
        assert format_of(request.SerializeToString()) == "otlp"
        series = write_request(({"__name__": "u" * size, "job": "a"}, [(0, 1.0)]))
        assert format_of(snappy(series)) == "remote-write"
        incompressible = np.random.default_rng(size).bytes(size).hex()
        series = write_request(({"__name__": incompressible, "job": "a"}, [(0, 1.0)]))
        assert format_of(snappy(series)) == "remote-write"


def test_a_topic_of_all_formats():
    columns = Columns()
    decoder = decoder_of(TelemetryFormat(format="auto"), columns)
    payloads = [
        record("a", START, values={"x": 1.0}, labels={"zone": "z"}),
        OTLP.SerializeToString(),
        b"nothing",
        snappy(REMOTE),
        as_json(OTLP),
        snappy(REMOTE)[:-1],
        record("a", START + 60, values={"x": 2.0}),
    ]
    batch = decoded(decoder, payloads, first=10)
    assert [(row[0], row[1], row[2]) for row in rows(batch)] == [
        (10, "a", 0),
        (11, "shop/web-1", 0),
        (11, "shop/web-1", 60),
        (13, "shop/web-1:80", 0),
        (13, "shop/web-1:80", 60),
        (14, "shop/web-1", 0),
        (14, "shop/web-1", 60),
        (16, "a", 60),
    ]
    assert rows(batch)[-1][3] == {"x": 2.0}
    assert [(letter.position, letter.reason) for letter in batch.dead] == [(12, "broken_json"), (15, "broken_message")]
    assert batch.dead_counts == {"broken_json": 1, "broken_message": 1}
    assert batch.features == columns.names == ["x", "cpu", "rate(requests)", "rate(requests_total)"]
    assert batch.labels == {"a": {"zone": "z"}, "shop/web-1": HOST, "shop/web-1:80": WEB}
    assert batch.next_position == 17


def test_auto_is_the_same_whatever_the_polls_and_comes_back():
    requests = [metrics(({"job": f"e{k}"}, [gauge(f"g{k}", (k, 1.0))])) for k in range(12)]
    payloads = [record(f"e{k}", START + k) if k % 3 else requests[k].SerializeToString() for k in range(12)]
    told = []
    for poll in (1, 5, 12):
        decoder, found = decoder_of(TelemetryFormat(format="auto"), columns := Columns()), []
        for start in range(0, 12, poll):
            found += rows(decoded(decoder, payloads[start : start + poll], first=start))
        told.append((found, columns.names, decoder.state()))
    assert told[0] == told[1] == told[2]
    again = decoder_of(TelemetryFormat(format="auto"), Columns())
    again.restore(json.loads(json.dumps(told[0][2])))
    assert again.state() == told[0][2]
    assert again.json.times.unit == "s"


def test_a_position_of_json_alone_goes_on_as_auto():
    before = decoder_of(TelemetryFormat(), Columns())
    decoded(before, [record()])
    after = decoder_of(TelemetryFormat(format="auto"), Columns())
    after.restore(before.state())
    assert after.json.times.unit == "s"
    assert len(decoded(after, [OTLP.SerializeToString()], first=1).codes) == 2


def test_an_empty_poll_and_a_name_for_the_file():
    decoder = decoder_of(TelemetryFormat(format="auto", layout="wide", entity=None, default_entity="{file}"), Columns())
    decoder.begin("web-3.jsonl", 0)
    assert decoded(decoder, []).next_position == 0
    batch = decoded(decoder, [b'{"time": 1700000000, "x": 2.5}'])
    assert rows(batch) == [(0, "web-3", 0, {"x": 2.5})]


def test_log_topics_of_all_formats():
    decoder = decoder_of(LogFormat(format="auto"), Columns())
    templated = logs((HOST, [{"body": "user 7 in", "attributes": {"log.record.template": "user {id} in"}}]))
    payloads = [
        record("a", message="one"),
        OTLP_LOGS.SerializeToString(),
        b"?",
        as_json(templated),
        record("b", message="two"),
    ]
    reading = decode_all(decoder, payloads)
    assert [(entity, message) for entity, _, message, _ in reading.records] == [
        ("a", "one"), ("shop/web-1", "user 7 logged in"), ("shop/web-1", "user 7 in"), ("b", "two"),
    ]  # fmt: skip
    assert reading.reasons == [(2, "broken_json")]
    positions, ingested = np.arange(5), np.full(5, INGESTED)
    lines = decoder_of(LogFormat(format="auto"), Columns()).decode(payloads, positions, ingested, 5)
    assert list(lines.templates) == [None, None, "user {id} in", None]


def test_text_lines_beside_otlp():
    form = LogFormat(layout="text", pattern=r"(?P<time>\S+) (?P<message>.*)", format="auto", default_entity="{file}")
    decoder = decoder_of(form, Columns())
    decoder.begin("app.log", 0)
    reading = decode_all(decoder, [b"2023-11-14T22:13:20Z hello", OTLP_LOGS.SerializeToString()])
    assert reading.entities == ["app", "shop/web-1"]


def test_a_framed_block_is_not_remote_write():
    assert format_of(bytes(cramjam.snappy.compress(REMOTE.SerializeToString()))) == "json"
