"""Any bytes, and golden messages cut off and with flipped bits: nothing raises, each message gives rows or a letter."""

import json

import numpy as np
import pytest
from golden import CUMULATIVE, DELTA, HOST, OTLP, OTLP_LOGS, REMOTE, as_json, histogram, logs, metrics, snappy
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import INGESTED, record

from streaming.columns import Columns
from streaming.deadletters import REASONS
from streaming.decoders import decoder_of
from streaming.settings import LogFormat, MappedFeature, Mapping, TelemetryFormat
from streaming.sniff import sniff_payloads

HISTOGRAMS = metrics(
    (
        HOST,
        [
            histogram("latency", DELTA, (0, [10.0, 20.0], [1, 2, 3], 4.0)),
            histogram("wait", CUMULATIVE, (0, [10.0, 20.0], [1, 2, 3], 4.0), (60, [10.0, 20.0], [2, 3, 9], 5.0)),
        ],
    )
)
TEMPLATED = logs((HOST, [{"body": {"a": [1]}, "attributes": {"log.record.template": "t {x}"}}]))
GOLDEN = [
    OTLP.SerializeToString(),
    HISTOGRAMS.SerializeToString(),
    OTLP_LOGS.SerializeToString(),
    TEMPLATED.SerializeToString(),
    as_json(OTLP),
    as_json(HISTOGRAMS),
    as_json(OTLP_LOGS),
    as_json(TEMPLATED),
    snappy(REMOTE),
    REMOTE.SerializeToString(),
    record(message="x"),
]
MAPPING = Mapping(("service.name",), (MappedFeature("a", "latency"), MappedFeature("b", "cpu", {"x": "y"}, "max")))
FORMATS = [
    *(TelemetryFormat(format=form) for form in ("auto", "otlp", "otlp-json", "remote-write")),
    TelemetryFormat(format="auto", mapping=MAPPING),
    *(LogFormat(format=form) for form in ("auto", "otlp", "otlp-json")),
]


def flipped(golden, bits):
    spoilt = bytearray(golden)
    for bit in bits:
        spoilt[bit // 8 % len(spoilt)] ^= 1 << bit % 8
    return bytes(spoilt)


goldens = st.sampled_from(GOLDEN)
payloads = (
    st.binary(max_size=40)
    | st.builds(lambda golden, cut: golden[: cut % (len(golden) + 1)], goldens, st.integers(0, 2000))
    | st.builds(flipped, goldens, st.lists(st.integers(0, 20_000), min_size=1, max_size=4))
    | goldens
)


def told(form, messages, poll):
    """What came of each message: its rows or lines, its letters; and what the decoder remembers."""
    decoder = decoder_of(form, columns := Columns(max_features=8))
    kept, letters = {}, []
    for start in range(0, len(messages), poll):
        part = messages[start : start + poll]
        stop = start + len(part)
        batch = decoder.decode(part, np.arange(start, stop), np.full(len(part), INGESTED), stop)
        assert batch.next_position == stop
        assert (np.diff(batch.positions) >= 0).all()
        assert set(batch.codes.tolist()) == set(range(len(batch.names)))
        assert (batch.times > np.iinfo(np.int64).min).all()
        letters += [(letter.position, letter.reason) for letter in batch.dead]
        assert sum(batch.dead_counts.values()) == len(batch.dead)
        for k, (position, code, time) in enumerate(zip(batch.positions, batch.codes, batch.times, strict=True)):
            row = [batch.names[code], int(time)]
            if isinstance(form, TelemetryFormat):
                present = zip(batch.features, batch.values[k].tolist(), strict=True)
                row.append({name: value for name, value in present if value == value})
            else:
                row += [batch.messages[k], int(batch.severities[k]), batch.templates[k] if batch.templates else None]
            kept.setdefault(int(position), []).append(row)
    return kept, letters, columns.names, decoder.state()


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{type(form).__name__}-{form.format}-{form.entity}")
@settings(max_examples=60, deadline=None)
@given(messages=st.lists(payloads, max_size=6), poll=st.integers(1, 4))
def test_no_bytes_raise_and_polls_do_not_count(form, messages, poll):
    whole = told(form, messages, 10)
    kept, letters, _, state = whole
    assert {reason for _, reason in letters} <= set(REASONS)
    assert len({position for position, _ in letters}) == len(letters)
    assert set(kept) | {position for position, _ in letters} <= set(range(len(messages)))
    json.dumps(state, allow_nan=False)
    assert repr(told(form, messages, poll)) == repr(whole)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{type(form).__name__}-{form.format}-{form.entity}")
def test_every_cut_of_every_golden_message(form):
    refused = 0
    for golden in GOLDEN:
        cuts = [golden[:cut] for cut in range(len(golden) + 1)]
        for start in range(0, len(cuts), 90):
            part = cuts[start : start + 90]
            kept, letters, _, _ = told(form, part, 90)
            refused += len(letters)
            if form.format != "auto":
                # half a message may still hold points, and points without a value are none
                assert len(set(kept) | {position for position, _ in letters}) >= 0.8 * len(part)
    assert refused > len(GOLDEN)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(payloads, max_size=2), goldens), min_size=1, max_size=4))
def test_good_messages_are_the_same_among_bad_ones(mixed):
    form = TelemetryFormat(format="remote-write")
    good = snappy(REMOTE)
    alone = told(form, [good], 1)[0][0]
    messages, places = [], []
    for bad, _ in mixed:
        messages += bad
        places.append(len(messages))
        messages.append(good)
    kept = told(form, messages, 3)[0]
    assert all([row[:2] for row in kept[place]] == [row[:2] for row in alone] for place in places)


@settings(max_examples=80, deadline=None)
@given(st.lists(payloads, min_size=1, max_size=6))
def test_any_sample_is_proposed_a_mapping_for_or_refused_in_words(messages):
    try:
        found = sniff_payloads(messages, INGESTED, "topic")
    except ValueError as error:
        assert str(error).startswith("topic: has ")
        return
    assert found.rows >= 2
    assert found.format.format == "json" or 0 < len(found.format.mapping.features) <= 200
    told(found.format, messages, 2)
