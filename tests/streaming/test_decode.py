import json
import math

import numpy as np
import pytest
from reading import INGESTED, START, decode_all, record

from streaming.columns import OTHERS, Columns
from streaming.decode import LineDecoder, TelemetryDecoder, severity_of
from streaming.settings import SECOND, LogFormat, TelemetryFormat
from streaming.types import SEVERITIES

NAMED = TelemetryFormat()
PACKED = TelemetryFormat(features=("a", "b", "c"))


def one(payload: bytes, form: TelemetryFormat = NAMED, columns: Columns | None = None):
    reading = decode_all(TelemetryDecoder(form, columns or Columns()), [payload])
    assert len(reading.records) + sum(reading.counts.values()) == 1
    return reading


def test_a_named_record_becomes_a_row():
    reading = one(record("host-1", START, values={"cpu": 0.5, "mem": 3, "gone": None}))
    assert reading.records == [("host-1", START * SECOND, {"cpu": 0.5, "mem": 3.0})]
    assert reading.dead == []


def test_a_packed_record_follows_the_declared_order():
    reading = one(record(v=[1, None, 2.5]), PACKED)
    assert reading.values == [{"a": 1.0, "c": 2.5}]


def test_packed_and_named_records_mix_in_one_poll():
    payloads = [record(v=[1, 2, 3]), record(values={"c": 9.0, "d": 4.0}), record(v=[4, 5, 6])]
    reading = decode_all(TelemetryDecoder(PACKED, Columns()), payloads)
    assert reading.values == [
        {"a": 1.0, "b": 2.0, "c": 3.0},
        {"c": 9.0, "d": 4.0},
        {"a": 4.0, "b": 5.0, "c": 6.0},
    ]


def test_a_packed_record_without_declared_features_follows_a_closed_model():
    reading = one(record(v=[1, 2]), NAMED, Columns(["p", "q"], open=False))
    assert reading.values == [{"p": 1.0, "q": 2.0}]


def test_an_empty_record_is_legal_and_all_absent():
    reading = decode_all(TelemetryDecoder(NAMED, Columns()), [record(values={}), record(values={"x": 2})])
    assert reading.values == [{}, {"x": 2.0}]


def test_names_that_json_must_escape_are_features_like_others():
    names = {'a"b': 1.0, "back\\slash": 2.0, "tab\there": 3.0, "µ-Größe": 4.0, "": 5.0}
    decoder = TelemetryDecoder(NAMED, Columns())
    reading = decode_all(decoder, [record(values=names)] * 3, poll=1)
    del names[""]  # cannot be stored: counted as unknown
    assert reading.values == [names] * 3
    assert reading.unknown == {OTHERS: 3}


def test_features_are_numbered_in_the_order_of_the_records_that_first_have_a_value():
    payloads = [
        record(values={"z": None, "b": 1}),
        record(values={"a": 1, "b": 2}),
        b"broken",
        record(values={"bad": 1e39, "evil": 2}),
        record(values={"z": 3}),
    ]
    for poll in (1, 2, 10):
        columns = Columns()
        reading = decode_all(TelemetryDecoder(NAMED, columns), payloads, poll)
        assert columns.names == ["b", "a", "z"]
        assert reading.counts == {"broken_json": 1, "infinite_value": 1}


def test_beyond_max_features_names_are_counted_and_dropped():
    columns = Columns(max_features=2)
    reading = decode_all(TelemetryDecoder(NAMED, columns), [record(values={"a": 1, "b": 2, "c": 3})] * 2, poll=1)
    assert columns.names == ["a", "b"]
    assert reading.values == [{"a": 1.0, "b": 2.0}] * 2
    assert reading.unknown == {"c": 2}


def test_closed_columns_count_unknown_features_by_name():
    columns = Columns(["x"], open=False)
    payloads = [record(values={"x": 1, "new": 2, "null": None})] * 5
    reading = decode_all(TelemetryDecoder(NAMED, columns), payloads, poll=2)
    assert reading.values == [{"x": 1.0}] * 5
    assert reading.unknown == {"new": 5}
    assert columns.unknown == {"new": 5}


def test_the_last_labels_of_an_entity_count():
    payloads = [
        record("a", values={}, labels={"zone": "1"}),
        record("b", values={}),
        record("a", values={}, labels={"zone": "2\0"}),
        record("a", values={}),
    ]
    assert decode_all(TelemetryDecoder(NAMED, Columns()), payloads).labels == {"a": {"zone": "2"}}


def test_nan_as_python_writes_it_is_absent_and_infinity_is_rejected():
    good = json.dumps({"entity": "a", "time": START, "values": {"x": math.nan, "y": 1.0}}).encode()
    bad = json.dumps({"entity": "a", "time": START, "values": {"x": -math.inf}}).encode()
    assert one(good).values == [{"y": 1.0}]
    assert one(bad).reasons == [(0, "infinite_value")]
    assert one(record(entity="NaN")).entities == ["NaN"]


@pytest.mark.parametrize(
    ("payload", "reason", "word"),
    [
        (b"", "empty", "empty"),
        (b"  \t", "empty", "empty"),
        (b"{", "broken_json", "JSON"),
        (b'{"entity":"a","time":1}{}', "broken_json", "JSON"),
        (b"[" * 100_000, "broken_json", "deeply"),
        (b'{"x":' * 50_000, "broken_json", "deeply"),
        (b'{"entity":"\xff","time":1,"values":{}}', "bad_encoding", "UTF-8"),
        (b"\xff\xfe{", "bad_encoding", "UTF-8"),
        (b"[1, 2]", "wrong_type", "list"),
        (b"7", "wrong_type", "int"),
        (b'{"time":1,"values":{}}', "missing_entity", "entity"),
        (b'{"entity":null,"time":1,"values":{}}', "missing_entity", "entity"),
        (b'{"entity":"","time":1,"values":{}}', "missing_entity", "entity"),
        (b'{"entity":7,"time":1,"values":{}}', "wrong_type", "entity: int 7; a string"),
        (b'{"entity":"a\\u0000","time":1,"values":{}}', "bad_entity", "NUL"),
        (record("e" * 257), "bad_entity", "256"),
        (b'{"entity":"a","values":{}}', "missing_time", "time"),
        (b'{"entity":"a","time":true,"values":{}}', "wrong_type", "time"),
        (b'{"entity":"a","time":[1],"values":{}}', "wrong_type", "time"),
        (b'{"entity":"a","time":"yesterday","values":{}}', "bad_time", "yesterday"),
        (b'{"entity":"a","time":-5,"values":{}}', "bad_time", "-5"),
        (b'{"entity":"a","time":1' + b"0" * 400 + b',"values":{}}', "bad_time", "time"),
        (b'{"entity":"a","time":1e999,"values":{}}', "infinite_value", "range"),
        (b'{"entity":"a","time":"9999-01-01T00:00:00Z","values":{}}', "bad_time", "2262"),
        (record(time=1_900_000_000), "future", "3600 s"),
        (b'{"entity":"a","time":1}', "missing_values", "values"),
        (b'{"entity":"a","time":1,"values":[1]}', "wrong_type", "values"),
        (b'{"entity":"a","time":1,"values":{"x":true}}', "wrong_type", "values.x: bool"),
        (b'{"entity":"a","time":1,"values":{"x":"1"}}', "wrong_type", "values.x: str"),
        (b'{"entity":"a","time":1,"values":{"x":{}}}', "wrong_type", "values.x: dict"),
        (b'{"entity":"a","time":1,"values":{"x":1e999}}', "infinite_value", "range"),
        (b'{"entity":"a","time":1,"values":{"x":1' + b"0" * 500 + b"}}", "infinite_value", ""),
        (b'{"entity":"a","time":1,"values":{"ok":1,"x":1e39}}', "infinite_value", "x: infinite"),
        (b'{"entity":"a","time":1,"values":{},"labels":{"k":1}}', "wrong_type", "labels"),
        (b'{"entity":"a","time":1,"values":{},"v":[1,2,3]}', "wrong_type", "not both"),
        (b'{"entity":"a","time":1,"v":[1,2]}', "packed_length", "2 numbers; 3"),
        (b'{"entity":"a","time":1,"v":[1,2,"3"]}', "wrong_type", "v"),
        (b'{"entity":"a","time":1,"v":[1,2,-1e39]}', "infinite_value", "c"),
        (b'{"entity":"a","time":1,"values":{},"pad":"' + b"x" * (1 << 20) + b'"}', "too_long", "1048576"),
    ],
)
def test_what_is_wrong_is_said(payload, reason, word):
    reading = one(payload, PACKED)
    assert reading.counts == {reason: 1}
    letter = reading.dead[0]
    assert (letter.position, letter.reason) == (0, reason)
    assert word in letter.detail
    assert letter.payload == payload[: 64 * 1024]


def test_a_record_of_the_greatest_length_is_still_read():
    payload = record(values={"x": 1}) + b" " * 10
    decoder = TelemetryDecoder(NAMED, Columns(), max_record_bytes=len(payload))
    assert decode_all(decoder, [payload, payload + b" "]).counts == {"too_long": 1}


def test_declared_features_must_differ():
    with pytest.raises(ValueError, match="differ"):
        TelemetryDecoder(TelemetryFormat(features=("a", "a")), Columns())


def test_positions_and_ingest_timestamps_belong_to_the_good_records():
    decoder = TelemetryDecoder(NAMED, Columns())
    positions = np.array([10, 20, 30], dtype=np.int64)
    ingested = np.array([INGESTED, INGESTED + 1, INGESTED + 2], dtype=np.int64)
    batch = decoder.decode([record(), b"x", record("b")], positions, ingested, 31, partition=4)
    assert batch.positions.tolist() == [10, 30]
    assert batch.ingested.tolist() == [INGESTED, INGESTED + 2]
    assert (batch.next_position, batch.partition) == (31, 4)
    assert [letter.position for letter in batch.dead] == [20]
    assert list(batch.names) == ["a", "b"]


def test_an_empty_poll_is_an_empty_batch():
    batch = TelemetryDecoder(NAMED, Columns(["x"])).decode([], np.zeros(0, np.int64), np.zeros(0, np.int64), 7)
    assert batch.values.shape == (0, 1)
    assert batch.next_position == 7


def test_the_unit_of_time_outlives_a_restart():
    before = TelemetryDecoder(NAMED, Columns())
    decode_all(before, [record(time=START * 1000)])
    state = json.loads(json.dumps(before.state()))
    after = TelemetryDecoder(NAMED, Columns())
    after.restore(state)
    reading = decode_all(after, [record(time=START), record(time=START * 1000 + 1)])
    assert reading.reasons == [(0, "mixed_time_unit")]
    assert reading.times == [START * SECOND + 1_000_000]


WIDE = TelemetryFormat(layout="wide", entity="host", time="ts", ignore=("region",))


def test_flat_objects_are_rows_of_a_wide_table():
    payload = b'{"ts":"2023-11-14T22:13:20Z","host":"h","region":"eu","cpu":1,"mem":null}'
    reading = one(payload, WIDE)
    assert reading.records == [("h", START * SECOND, {"cpu": 1.0})]


def test_flat_objects_may_be_restricted_to_declared_features():
    form = TelemetryFormat(layout="wide", entity="host", time="ts", features=("cpu",))
    assert one(b'{"ts":1,"host":5,"region":"eu","cpu":1}', form).records == [("5", SECOND, {"cpu": 1.0})]


def test_flat_objects_without_entity_or_time_have_the_default_and_the_row_number():
    form = TelemetryFormat(layout="wide", entity=None, time=None, default_entity="me")
    reading = decode_all(TelemetryDecoder(form, Columns()), [b'{"x":1}', b"bad", b'{"x":3}'], poll=2)
    assert reading.records == [("me", 0, {"x": 1.0}), ("me", 2 * SECOND, {"x": 3.0})]


def test_long_objects_are_records_of_one_value():
    form = TelemetryFormat(layout="long", entity="host", time="ts", name="metric", value="is")
    payloads = [
        b'{"ts":1,"host":"h","metric":"cpu","is":2}',
        b'{"ts":1,"host":"h","metric":"mem","is":null}',
        b'{"ts":1,"host":"h","is":3}',
        b'{"ts":1,"host":"h","metric":"cpu","is":"3"}',
        b'{"ts":1,"metric":"cpu","is":3}',
    ]
    reading = decode_all(TelemetryDecoder(form, Columns()), payloads)
    assert reading.values == [{"cpu": 2.0}, {}]
    assert reading.reasons == [(2, "missing_values"), (3, "wrong_type"), (4, "missing_entity")]


def test_flat_values_must_be_numbers():
    reading = one(b'{"ts":1,"host":"h","cpu":1,"mem":true}', WIDE)
    assert reading.reasons == [(0, "wrong_type")]
    assert "values.mem: bool" in reading.dead[0].detail


JSON_LOGS = LogFormat()
TEXT_LOGS = LogFormat(
    layout="text", pattern=r"(?P<time>\S+ \S+) (?P<severity>\w+) (?:\[(?P<entity>[^]]*)\] )?(?P<message>.*)"
)


def test_json_log_lines():
    payloads = [
        record("pod", START, message="hello", severity="WARN", attributes={"k": [1]}),
        record("pod", START, message="nul\0inside"),
        record("pod", START, message="x", severity=17),
        record("pod", START, message=5),
        record("pod", START, severity="info"),
        record("pod", START, message="x", severity=[]),
        record("", START, message="x"),
        b'{"entity":"pod","message":"x"}',
        b"\xff",
    ]
    reading = decode_all(LineDecoder(JSON_LOGS), payloads)
    assert reading.records == [
        ("pod", START * SECOND, "hello", SEVERITIES.index("warning")),
        ("pod", START * SECOND, "nul�inside", -1),
        ("pod", START * SECOND, "x", -1),
    ]
    assert [reason for _, reason in reading.reasons] == [
        *("wrong_type", "missing_values", "wrong_type", "missing_entity", "missing_time", "bad_encoding")
    ]


def test_text_log_lines_by_a_pattern():
    payloads = [
        b"2023-11-14 22:13:20,250 ERROR [api] it broke",
        b"2023-11-14 22:13:21 INFO fine",
        b"no time here",
        b"2023-11-14 99:99:99 INFO when",
        b"\xc3\x28",
        b"  ",
    ]
    reading = decode_all(LineDecoder(TEXT_LOGS), payloads)
    assert reading.records == [
        ("api", START * SECOND + SECOND // 4, "it broke", SEVERITIES.index("error")),
        ("main", (START + 1) * SECOND, "fine", SEVERITIES.index("info")),
    ]
    assert reading.reasons == [(2, "no_match"), (3, "bad_time"), (4, "bad_encoding"), (5, "empty")]


def test_text_logs_with_a_format_of_their_own():
    form = LogFormat(layout="text", pattern=r"(?P<time>\w+ +\d+ \S+) (?P<message>.*)", time_format="%b %d %H:%M:%S")
    reading = decode_all(LineDecoder(form), [b"Nov 14 22:13:20 hello", b"Nov 31 22:13:20 never"])
    year = np.datetime64(INGESTED, "ns").astype("datetime64[Y]")
    # November lies ahead of the time of ingestion (January): the line is of the year before
    expected = np.datetime64(f"{int(str(year)) - 1}-11-14T22:13:20", "ns").astype(np.int64)
    assert reading.records == [("main", int(expected), "hello", -1)]
    assert reading.reasons == [(1, "bad_time")]


def test_epoch_times_in_text():
    form = LogFormat(layout="text", pattern=r"(?P<time>\d+(?:\.\d+)?) (?P<message>.*)")
    reading = decode_all(LineDecoder(form), [b"1700000000 a", b"1700000000.5 b", b"1700000000000 c"])
    assert reading.times == [START * SECOND, START * SECOND + SECOND // 2]
    assert reading.reasons == [(2, "mixed_time_unit")]


@pytest.mark.parametrize("pattern", [None, "(?P<time>.*)", "(?P<message>.*)"])
def test_a_pattern_must_name_time_and_message(pattern):
    with pytest.raises(ValueError, match=r"time|message"):
        LineDecoder(LogFormat(layout="text", pattern=pattern))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("warn", "warning"),
        ("WARNING", "warning"),
        ("err", "error"),
        ("Error", "error"),
        ("critical", "fatal"),
        ("CRIT", "fatal"),
        ("emerg", "fatal"),
        ("notice", "info"),
        (" Info ", "info"),
        ("TRACE", "trace"),
        ("debug", "debug"),
    ],
)
def test_severities_by_any_of_their_names(word, name):
    assert SEVERITIES[severity_of(word)] == name


@pytest.mark.parametrize("word", [None, "", "17", 17, "loud"])
def test_what_is_no_severity_is_not_stated(word):
    assert severity_of(word) == -1
