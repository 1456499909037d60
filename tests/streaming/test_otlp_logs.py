"""OTLP logs in both encodings into lines; templates that lines come with."""

import numpy as np
import pytest
from golden import HOST, NS, OTLP, OTLP_LOGS, as_json, logs
from reading import INGESTED

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.logintake import LogIntake
from streaming.miner import Miner
from streaming.settings import SECOND, LogFormat, Timing
from streaming.types import SEVERITIES

ENCODINGS = {"otlp": lambda request: request.SerializeToString(), "otlp-json": as_json}
SHOP = "shop/web-1"
TEMPLATE = "log.record.template"


@pytest.fixture(params=list(ENCODINGS))
def encoding(request):
    return request.param


@pytest.fixture
def read(encoding):
    def reader(*requests, entity=None, first=0):
        decoder = decoder_of(LogFormat(format=encoding, entity=entity), Columns())
        positions = np.arange(first, first + len(requests))
        payloads = [request if isinstance(request, bytes) else ENCODINGS[encoding](request) for request in requests]
        return decoder.decode(payloads, positions, np.full(len(payloads), INGESTED), first + len(payloads))

    return reader


def test_lines_of_a_resource(read):
    request = logs(
        (HOST, [{"body": "one", "severity_number": 17}, {"body": "two", "time_unix_nano": NS + SECOND}]),
        ({"service.name": "cart"}, [{"body": "three"}]),
    )
    lines = read(request, OTLP_LOGS, first=4)
    assert [lines.names[code] for code in lines.codes] == [SHOP, SHOP, "cart", SHOP]
    assert lines.messages == ["one", "two", "three", "user 7 logged in"]
    assert lines.times.tolist() == [NS, NS + SECOND, NS, NS]
    assert lines.positions.tolist() == [4, 4, 4, 5]
    assert [SEVERITIES[code] if code >= 0 else None for code in lines.severities] == ["error", None, None, "info"]
    assert lines.ingested.tolist() == [INGESTED] * 4
    assert (lines.next_position, list(lines.dead), list(lines.templates)) == (6, [], [])


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"severity_number": 1}, "trace"),
        ({"severity_number": 4}, "trace"),
        ({"severity_number": 5}, "debug"),
        ({"severity_number": 13}, "warning"),
        ({"severity_number": 24, "severity_text": "INFO"}, "fatal"),
        ({"severity_text": "WARN"}, "warning"),
        ({"severity_text": "odd"}, None),
        ({}, None),
    ],
)
def test_severities(read, fields, severity):
    lines = read(logs((HOST, [{"body": "x"} | fields])))
    assert lines.severities.tolist() == [-1 if severity is None else SEVERITIES.index(severity)]


def test_severities_by_their_name_in_json():
    payload = as_json(OTLP_LOGS).replace(b'"severityNumber": 9', b'"severityNumber": "SEVERITY_NUMBER_WARN3"')
    lines = decoder_of(LogFormat(format="otlp-json"), Columns()).decode(
        [payload], np.arange(1), np.full(1, INGESTED), 1
    )
    assert lines.severities.tolist() == [SEVERITIES.index("warning")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a\0b", "a\ufffdb"),
        (7, "7"),
        (True, "true"),
        (["a", 1, {"b": 2.5}], '["a",1,{"b":2.5}]'),
        ({"event": "in", "user": {"id": 7}}, '{"event":"in","user":{"id":7}}'),
    ],
)
def test_bodies_of_every_type(read, body, message):
    assert read(logs((HOST, [{"body": body}]))).messages == [message]


def test_a_line_without_a_body_is_its_event_or_its_template(read):
    lines = read(
        logs((HOST, [{"event_name": "login"}, {"attributes": {TEMPLATE: "user {id}"}}, {"body": b"raw"}, {"body": ""}]))
    )
    assert lines.messages == ["login", "user {id}"]
    assert [(letter.position, letter.reason) for letter in lines.dead] == [(0, "missing_values")]
    assert lines.dead[0].detail.startswith("2 of 4 lines")


def test_observed_time_stands_in_and_bad_times_are_told(read):
    lines = read(
        logs(
            (
                HOST,
                [
                    {"body": "a", "time_unix_nano": 0, "observed_time_unix_nano": NS + 5},
                    {"body": "b", "time_unix_nano": 0},
                    {"body": "c", "time_unix_nano": INGESTED + 7200 * SECOND},
                ],
            )
        )
    )
    assert (lines.messages, lines.times.tolist()) == (["a"], [NS + 5])
    assert lines.dead_counts == {"missing_time": 1}


def test_entities_of_lines(read):
    request = logs(({"zone": "z"}, [{"body": "a", "attributes": {"host": "h1"}}, {"body": "b"}]))
    lines = read(request)
    assert (list(lines.names), lines.messages) == (["h1"], ["a"])
    assert lines.dead_counts == {"missing_entity": 1}
    assert list(read(request, entity=("zone", "host")).names) == ["z/h1", "z"]
    assert list(read(request, entity=()).names) == ["main"]


def test_metrics_among_logs_and_rubbish_are_dead_letters(read, encoding):
    lines = read(OTLP, b"", b"\xff\xff", OTLP_LOGS)
    reasons = [letter.reason for letter in lines.dead]
    expected = {"otlp": ["broken_message"] * 2, "otlp-json": ["missing_values", "bad_encoding"]}[encoding]
    assert reasons == [expected[0], "empty", expected[1]]
    assert len(lines.codes) == 1


def test_templates_come_with_their_lines(read):
    request = logs(
        (HOST, [{"body": "user 7 in", "attributes": {TEMPLATE: "user {id}\0 in"}}, {"body": "boot done in 5 s"}])
    )
    assert list(read(request).templates) == ["user {id}\ufffd in", None]


def test_lines_with_templates_are_not_mined():
    miner = Miner()
    ids, new = miner.learn(
        ["user 7 in", "user x in", "user 7 out", "user 8 in"], ["user {id} in", "user {id} in", "user {id} out", None]
    )
    assert ids[0] == ids[1]
    assert len(set(ids.tolist())) == 3
    assert new.tolist() == [True, False, True, True]
    assert miner.texts(ids[[0, 2]]) == ["user {id} in", "user {id} out"]
    assert [count for _, _, count in miner.templates()] == [2, 1, 1]


def test_mined_lines_never_change_a_given_template():
    miner = Miner()
    (given,), _ = miner.learn(["a b c d"], ["user {id} logged in"])
    ids, _ = miner.learn(["user bob logged in", "user ann logged in", "user eve logged in"])
    assert given not in ids
    assert miner.texts([given]) == ["user {id} logged in"]


def test_late_lines_only_match():
    miner = Miner()
    (known,), _ = miner.learn(["x"], ["t one"])
    before = miner.state().meta
    assert miner.match(["x", "y"], ["t one", "t two"]).tolist() == [known, -1]
    assert miner.state().meta == before


def test_given_templates_come_back_and_are_bounded():
    miner = Miner(max_templates=3)
    (first,), _ = miner.learn(["x"], ["t 0"])
    again = Miner(max_templates=3)
    again.restore(miner.state())
    for one in (miner, again):
        assert one.learn(["x"], ["t 0"])[0].tolist() == [first]
    texts = [f"t {k}" for k in range(1, 9)]
    assert again.learn(["x"] * 8, texts)[1].all()
    assert (again.evictions, len(again.templates())) == (6, 3)
    assert again.learn(["x"], ["t 0"])[1].tolist() == [True]


def test_templates_of_a_model_are_those_of_the_lines():
    miner = Miner()
    (adopted,) = miner.adopt(["user {id} in"])
    assert miner.learn(["user 7 in"], ["user {id} in"])[0].tolist() == [adopted]
    assert miner.match(["user 7 in"], ["user {id} in"]).tolist() == [adopted]


@pytest.mark.parametrize("cuts", [[6], [1, 2, 3, 4, 5, 6], [3, 6]])
def test_given_templates_are_counted_in_columns_of_their_own(cuts):
    columns = Columns()
    intake = LogIntake(Timing(60 * SECOND), columns)
    named = [("a", "t {x}"), ("b", "t {x}"), ("c", "u {x}"), ("d", None), ("e", "t {x}"), ("f", "u {x}")]
    request = [
        logs((HOST, [{"body": body, "attributes": {TEMPLATE: text} if text else {}}])).SerializeToString()
        for body, text in named
    ]
    decoder, counts, start = decoder_of(LogFormat(format="otlp"), columns), {}, 0
    for stop in cuts:
        part = request[start:stop]
        batch = decoder.decode(part, np.arange(start, stop), np.full(len(part), INGESTED), stop)
        told = intake.take(batch)
        for column in told.columns[told.columns >= 0].tolist():
            counts[columns.names[column]] = counts.get(columns.names[column], 0) + 1
        start = stop
    texts = {text for _, text, _ in intake.miner.templates()}
    assert texts == {"t {x}", "u {x}", "d"}
    assert counts["log.lines"] == 6
    assert counts["log.new"] == 3
    assert sorted(n for name, n in counts.items() if name.startswith("log.template.")) == [1, 2, 3]
