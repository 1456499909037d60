"""Any bytes: nothing raises, every record is decoded or counted, good ones are the same alone and in any company."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import START, decode_all, record

from streaming.columns import Columns
from streaming.decode import LineDecoder, TelemetryDecoder
from streaming.settings import LogFormat, TelemetryFormat

FORMATS = [
    TelemetryFormat(features=("a", "b", "c")),
    TelemetryFormat(layout="wide", entity="entity", time="time", ignore=("values", "labels", "v")),
    TelemetryFormat(layout="long", entity="entity", time="time", name="name", value="value"),
]
LOGS = [
    LogFormat(),
    LogFormat(layout="text", pattern=r"(?P<time>\S*) (?P<message>.*)"),
    LogFormat(layout="text", pattern=r"(?P<time>\S*) (?P<message>.*)", time_format="%Y-%m-%dT%H:%M"),
]

names = st.sampled_from(["a", "b", "c", "d", "é", 'q"', "", "n" * 300, "\0"]) | st.text(max_size=3)
numbers = st.none() | st.integers() | st.floats() | st.sampled_from([1e39, -1e39, 10**400, 5.5])
odd = st.booleans() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
times = (
    st.sampled_from([START, START + 1, START * 1000, f"{START}", "2023-11-14T22:13:20Z", "2023-11-14 22:13"])
    | st.sampled_from(["2023-11-14t22:13:20.123456789123+01:00", -1, 0, 10**18, 2.5, "", None, True, "nan"])
    | st.floats()
    | st.integers()
    | st.text(max_size=8)
)
fields = {
    "entity": names | st.none() | st.integers(),
    "time": times,
    "values": st.dictionaries(names, numbers | odd, max_size=3) | st.none() | odd,
    "v": st.lists(numbers, min_size=2, max_size=4) | st.none(),
    "labels": st.dictionaries(names, st.text(max_size=2), max_size=1) | odd,
    "message": st.text(max_size=5) | odd,
    "severity": names | st.integers() | odd,
    "name": names | odd,
    "value": numbers | odd,
    "x": numbers,
}
objects = st.fixed_dictionaries({}, optional=fields)
likely = st.fixed_dictionaries(
    {"entity": st.sampled_from("pq"), "time": st.sampled_from([START, START + 5, "2023-11-14T22:13:20Z"])},
    optional={
        "values": st.dictionaries(st.sampled_from("abcd"), st.floats(width=32, allow_infinity=False), max_size=3),
        "message": st.text(max_size=5),
        "name": st.sampled_from("ab"),
        "value": st.floats(width=32, allow_infinity=False),
    },
)
payloads = (
    st.binary(max_size=20)
    | (objects | likely).map(lambda value: json.dumps(value).encode())
    | likely.map(lambda value: json.dumps(value).encode()[:-2])
    | st.builds(
        lambda value, at, byte: (text := json.dumps(value).encode())[:at] + byte + text[at + 1 :],
        likely,
        st.integers(0, 60),
        st.binary(min_size=1, max_size=1),
    )
)


def decoder(form, columns=None):
    if isinstance(form, LogFormat):
        return LineDecoder(form)
    return TelemetryDecoder(form, columns or Columns(max_features=5))


def settled(form):
    """A decoder whose columns and unit are fixed: a stray good record among random ones cannot choose them."""
    reader = decoder(form, Columns([*"abcd", "value"], open=False))
    reader.times.restore("s")
    return reader


def verdicts(form, lines, poll):
    """Each payload's record or reason by position, and everything else that may not depend on the polls."""
    reader = decoder(form)
    reading = decode_all(reader, lines, poll)
    told = dict(zip(reading.positions, reading.records, strict=True)) | dict(reading.reasons)
    return told, reading.counts, reading.unknown, reading.labels, reader.state()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS + LOGS), st.lists(payloads, max_size=8), st.integers(1, 4))
def test_every_record_is_decoded_or_counted_whatever_the_polls(form, lines, poll):
    whole = verdicts(form, lines, 100)
    assert set(whole[0]) == set(range(len(lines)))
    assert sum(whole[1].values()) == sum(isinstance(told, str) for told in whole[0].values())
    assert repr(verdicts(form, lines, poll)) == repr(whole)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMATS + LOGS),
    st.lists(st.tuples(st.lists(payloads, max_size=2), likely), min_size=1, max_size=4),
)
def test_good_records_are_the_same_alone_and_among_bad_ones(form, mixed):
    goods = [json.dumps(value).encode() for _, value in mixed]
    alone = decode_all(settled(form), goods)
    if alone.counts:
        return
    together, place = [], []
    reader = settled(form)
    for bad, value in mixed:
        together += bad
        place.append(len(together))
        together.append(json.dumps(value).encode())
    reading = decode_all(reader, together)
    told = dict(zip(reading.positions, reading.records, strict=True))
    for at, expected in zip(place, alone.records, strict=True):
        assert repr(told[at]) == repr(expected)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.floats(-1e30, 1e30), max_size=6),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
)
def test_typed_and_dictionary_decoding_give_the_same_matrix(rows, poll):
    lines = [record(values=row) for row in rows]
    expected = [{k: float(np.float32(v)) for k, v in row.items() if v is not None} for row in rows]
    fresh = TelemetryDecoder(TelemetryFormat(), Columns())
    assert decode_all(fresh, lines, 100).values == expected
    # now every name is known to the typed decoder
    assert decode_all(fresh, lines, 100).values == expected
    assert decode_all(TelemetryDecoder(TelemetryFormat(), Columns()), lines, poll).values == expected


@pytest.mark.parametrize("form", FORMATS[:1] + LOGS)
def test_a_flood_of_bad_records_is_counted_and_a_sample_kept(form):
    lines = [b"\x00\xff" * 3] * 450
    for poll in (7, 450):
        reading = decode_all(decoder(form), lines, poll)
        assert sum(reading.counts.values()) == 450
        assert [letter.position for letter in reading.dead] == list(range(100))
