"""A mapping proposed from sampled messages; and mapped messages through sources and the windower."""

import numpy as np
import pytest
from golden import (
    CUMULATIVE,
    DELTA,
    HOST,
    NS,
    OTLP,
    OTLP_LOGS,
    as_json,
    gauge,
    logs,
    metrics,
    snappy,
    total,
    write_request,
)
from reading import INGESTED, START, drain, record, write
from test_otlp import rows

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.files import open_source
from streaming.settings import SECOND, FeatureRules, LogFormat, MappedFeature, Mapping, TelemetryFormat, Timing
from streaming.sniff import sniff, sniff_payloads
from streaming.windower import Closed, Windower

WEB = {"job": "shop", "instance": "web-1:80"}


def minutes(count, metric=lambda k: [gauge("cpu", (60 * k, float(k)))], labels=HOST):
    return [metrics((labels, metric(k))) for k in range(count)]


def polled(source, poll=100, most=100):
    """Rows, dead letters and the next position of a source whose lines have many rows."""
    found, letters, following = [], [], 0
    while most > 0 and (batch := source.poll(poll)) is not None:
        found += rows(batch)
        letters += [(letter.position, letter.reason) for letter in batch.dead]
        following, most = batch.next_position, most - 1
    return found, letters, following


def named(sniffed):
    return [feature.name for feature in sniffed.format.mapping.features]


def test_otlp_lines(tmp_path):
    requests = minutes(5, lambda k: [gauge("cpu", (60 * k, 0.5 * k)), total("hits", CUMULATIVE, (60 * k, 10 * k))])
    path = write(tmp_path / "m.jsonl", [as_json(request) for request in requests])
    found = sniff(path)
    assert found.format.format == "otlp-json"
    assert found.format.mapping == Mapping(
        ("service.name", "host.name"), (MappedFeature("cpu", "cpu"), MappedFeature("hits", "hits"))
    )
    assert (found.step_ns, found.entities, found.rows) == (60 * SECOND, 1, 5)
    assert (found.start_ns, found.end_ns) == (NS, NS + 240 * SECOND)
    reading = drain(open_source(str(path), found.format))
    assert reading.values[1] == {"cpu": 0.5, "rate(hits)": 10}


def test_a_folder_of_raw_messages(tmp_path):
    for k, request in enumerate(minutes(3)):
        (tmp_path / f"{k}.pb").write_bytes(request.SerializeToString())
    (tmp_path / "note.txt").write_text("not a message")
    found = sniff(tmp_path)
    assert (found.format.format, found.rows, named(found)) == ("otlp", 3, ["cpu"])
    series = [write_request((WEB | {"__name__": "up"}, [(60 * k, 1.0)])) for k in range(3)]
    for k, request in enumerate(series):
        (tmp_path / f"{k}.bin").write_bytes(snappy(request))
    mixed = sniff(tmp_path)
    assert (mixed.format.format, mixed.entities, named(mixed)) == ("auto", 2, ["cpu", "up"])


def test_at_most_200_features_and_the_excess_is_named():
    common = [gauge(f"m{k:03}", (0, 1.0)) for k in range(205)]
    payloads = [metrics((HOST, common)), metrics((HOST, [gauge(f"m{k:03}", (60, 1.0)) for k in range(3, 205)]))]
    found = sniff_payloads([request.SerializeToString() for request in payloads], INGESTED, "topic")
    assert named(found) == [f"m{k:03}" for k in range(3, 203)]
    assert "left out, more than 200: m203, m204, m000, m001, m002" in found.notes


def test_buckets_are_left_out():
    series = [
        (WEB | {"__name__": name, "le": "1"}, [(0, 1.0), (60, 2.0)]) for name in ("up", "wait_bucket", "wait_sum")
    ]
    found = sniff_payloads([snappy(write_request(*series))], INGESTED, "topic")
    assert named(found) == ["up", "wait_sum"]
    assert "left out, buckets of histograms: wait_bucket" in found.notes


def test_the_entity_where_no_usual_label_is():
    series = [
        ({"__name__": "up", "rack": f"r{k % 2}", "disk": f"d{k}", "dc": "x"}, [(0, 1.0), (60, 1.0)]) for k in range(6)
    ]
    found = sniff_payloads([snappy(write_request(*series))], INGESTED, "topic")
    assert (found.format.mapping.entity, found.entities) == (("rack",), 2)
    bare = sniff_payloads([snappy(write_request(({"__name__": "up"}, [(0, 1.0), (60, 1.0)])))], INGESTED, "topic")
    assert (bare.format.mapping.entity, bare.entities) == ((), 1)


def test_json_records_through_the_same_door():
    found = sniff_payloads([record("a", START + k, values={"x": 0.5}) for k in range(4)], INGESTED, "topic")
    assert (found.format, found.rows) == (TelemetryFormat(), 4)


def test_broken_messages_are_noted_and_logs_are_no_telemetry():
    payloads = [request.SerializeToString() for request in minutes(3)]
    found = sniff_payloads([*payloads, payloads[0][:-5]], INGESTED, "topic")
    assert any("broken_message" in note for note in found.notes)
    with pytest.raises(ValueError, match="topic: has no point that can be used"):
        sniff_payloads([OTLP_LOGS.SerializeToString()], INGESTED, "topic")
    with pytest.raises(ValueError, match="has no point"):
        sniff_payloads([as_json(OTLP_LOGS)], INGESTED, "topic")


@pytest.mark.parametrize("order", ["time", "arrival"])
def test_sources_of_messages_go_on_where_they_were(tmp_path, order):
    requests = [metrics((HOST, [gauge("cpu", (60 * k, float(k)), (60 * k + 30, 0.5))])) for k in (2, 0, 1, 3)]
    path = write(tmp_path / "m.jsonl", [*map(as_json, requests), b"{"])
    form = TelemetryFormat(format="auto", order=order)
    whole, letters, _ = polled(open_source(str(path), form))
    assert sorted(row[2] for row in whole) == [30 * k for k in range(8)]
    assert [row[2] for row in whole][:3] == ([0, 30, 60] if order == "time" else [120, 150, 0])
    assert letters == [(4, "broken_json")]
    source = open_source(str(path), form)
    first, _, following = polled(source, poll=3, most=2)
    again = open_source(str(path), form)
    again.seek(source.position(following))
    assert [row[1:] for row in first + polled(again, poll=3)[0]] == [row[1:] for row in whole]


def test_templates_go_through_sorted_sources(tmp_path):
    lines = [{"body": f"user {k}", "attributes": {"log.record.template": "user {id}"}} for k in (2, 1)]
    path = write(
        tmp_path / "l.jsonl",
        [as_json(logs((HOST, [line | {"time_unix_nano": NS - k}]))) for k, line in enumerate(lines)],
    )
    source = open_source(str(path), LogFormat(format="otlp-json", order="time"))
    source.poll()
    batch = source.poll()
    assert (batch.messages, list(batch.templates)) == (["user 1", "user 2"], ["user {id}"] * 2)


@pytest.mark.parametrize(
    "form", [TelemetryFormat(format="otlp"), TelemetryFormat(format="remote-write"), LogFormat(format="otlp")]
)
def test_binary_messages_are_no_lines(tmp_path, form):
    path = write(tmp_path / "m.jsonl", ["x"])
    with pytest.raises(ValueError, match="are no lines"):
        open_source(str(path), form)


def closed_slots(payloads, poll):
    """(slot, entity, values) of what a windower makes of messages; what it rejects, by position."""
    columns, rejects = Columns(), []
    windower = Windower(
        Timing(60 * SECOND, window=8, late_horizon=2, max_lead=4),
        FeatureRules(typed=True),
        lambda topic, position, reason, detail: rejects.append((position, reason)),
    )
    decoder, slots = decoder_of(TelemetryFormat(format="otlp"), columns), []

    def take(stretches):
        for stretch in stretches:
            if isinstance(stretch, Closed):
                for slot in stretch.slots:
                    slots.extend(
                        (
                            slot.slot - START // 60,
                            windower.roster.names[row],
                            [None if v != v else float(v) for v in values],
                        )
                        for row, values in zip(slot.rows, slot.values, strict=True)
                    )

    for start in range(0, len(payloads), poll):
        part = payloads[start : start + poll]
        stop = start + len(part)
        take(
            windower.process(
                "telemetry", decoder.decode(part, np.arange(start, stop), np.full(len(part), INGESTED), stop)
            )
        )
        assert windower.fed("telemetry") == stop
    take(windower.end("telemetry"))
    return slots, rejects, windower.duplicates


def test_the_windower_takes_many_rows_of_one_position():
    """More slots in one message than the ring leads; counters become rates, deltas add up in their slot."""
    shift = 60 - START % 60
    first = metrics(
        (HOST, [total("hits", CUMULATIVE, *[(shift + 60 * k, 100 + 6 * k) for k in range(20)])]),
        ({"service.name": "cart"}, [total("added", DELTA, *[(shift + 20 * k, 1.5) for k in range(60)])]),
    )
    late = metrics((HOST, [total("hits", CUMULATIVE, (shift, 5), (shift + 60, 6), (shift + 60 * 20, 220))]))
    payloads = [request.SerializeToString() for request in (first, late, first)]
    slots, rejects, duplicates = closed_slots(payloads, 3)
    assert (slots, rejects, duplicates) == closed_slots(payloads, 1)
    shop = [values[:2] for _, entity, values in slots if entity == "shop/web-1"]
    cart = [values[:2] for _, entity, values in slots if entity == "cart"]
    assert len(shop) == 21
    assert sorted({rate for pair in shop for rate in pair if rate is not None}) == pytest.approx([0.1])
    assert next(pair for pair in cart if pair != [None, None]) in ([4.5, None], [None, 4.5])
    assert set(rejects) == {(1, "too_late"), (2, "too_late")}


def test_a_repeated_message_adds_nothing():
    payloads = [OTLP.SerializeToString()]
    once, _, none = closed_slots(payloads, 1)
    twice, _, repeated = closed_slots(payloads * 2, 2)
    assert (once, none) == (twice, 0)
    assert repeated > 0


def test_rows_of_a_sample_are_those_of_the_stream():
    payloads = [request.SerializeToString() for request in minutes(4)]
    found = sniff_payloads(payloads, INGESTED, "topic")
    batch = decoder_of(found.format, Columns()).decode(payloads, np.arange(4), np.full(4, INGESTED), 4)
    assert [row[3] for row in rows(batch)] == [{"cpu": float(k)} for k in range(4)]
