"""OTLP metrics, in both encodings: what becomes an entity, a feature, a row; what becomes a dead letter."""

import json
from dataclasses import replace

import numpy as np
import pytest
from golden import (
    CUMULATIVE,
    DELTA,
    HOST,
    NS,
    OTLP,
    as_json,
    gauge,
    histogram,
    metrics,
    pairs,
    total,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from reading import INGESTED, START, Reading

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.settings import SECOND, FeatureRule, FeatureRules, MappedFeature, Mapping, TelemetryFormat

ENCODINGS = {"otlp": lambda request: request.SerializeToString(), "otlp-json": as_json}
SHOP = "shop/web-1"


def rows(batch):
    """(position, entity, seconds, values by feature) of each row."""
    return [
        (
            int(position),
            batch.names[code],
            (int(time) - NS) // SECOND,
            {name: float(v) for name, v in zip(batch.features, values, strict=True) if not np.isnan(v)},
        )
        for position, code, time, values in zip(batch.positions, batch.codes, batch.times, batch.values, strict=True)
    ]


def decoded(decoder, payloads, first=0):
    """One poll."""
    positions = np.arange(first, first + len(payloads))
    return decoder.decode(payloads, positions, np.full(len(payloads), INGESTED), first + len(payloads))


@pytest.fixture(params=list(ENCODINGS))
def encoding(request):
    return request.param


@pytest.fixture
def read(encoding):
    """Requests in one poll, each in the encoding, by a mapping: rows, and dead letters as (position, reason)."""

    def reader(*requests, mapping=Mapping(), columns=None):  # noqa: B008
        columns = Columns() if columns is None else columns
        decoder = decoder_of(TelemetryFormat(format=encoding, mapping=mapping), columns)
        batch = decoded(decoder, [ENCODINGS[encoding](request) for request in requests])
        reading = Reading()
        reading.dead, reading.counts, reading.unknown = list(batch.dead), batch.dead_counts, batch.unknown
        return rows(batch), reading

    return reader


def test_gauges_and_counters_of_a_resource(read):
    found, reading = read(OTLP)
    assert found == [
        (0, SHOP, 0, {"cpu": 0.5, "rate(requests)": 10}),
        (0, SHOP, 60, {"cpu": 0.75, "rate(requests)": 40}),
    ]
    assert not reading.dead


def test_labels_and_ingest_times_come_with_the_rows(encoding):
    batch = decoded(decoder_of(TelemetryFormat(format=encoding), Columns()), [ENCODINGS[encoding](OTLP)], first=7)
    assert batch.labels == {SHOP: HOST}
    assert batch.positions.tolist() == [7, 7]
    assert batch.ingested.tolist() == [INGESTED] * 2
    assert (batch.next_position, batch.partition) == (8, 0)


def test_sums_by_temporality(read):
    request = metrics(
        (
            HOST,
            [
                total("up", CUMULATIVE, (0, 3)),
                total("added", DELTA, (0, 4.5)),
                total("queue", CUMULATIVE, (0, 5), monotonic=False),
                total("change", DELTA, (0, -2), monotonic=False),
                total("unsaid", 0, (0, 6)),
            ],
        )
    )
    ((_, _, _, values),) = read(request)[0]
    assert values == {"rate(up)": 3, "increase(added)": 4.5, "queue": 5, "increase(change)": -2, "unsaid": 6}


def test_what_the_names_say_is_what_the_windower_does():
    rules = FeatureRules(FeatureRule(missing="zero"), {"rate(b)": FeatureRule("max")}, typed=True)
    assert rules.of("rate(a)") == FeatureRule("last", "zero", counter=True)
    assert rules.of("rate(b)") == FeatureRule("max", counter=True)
    assert rules.of("increase(a)") == FeatureRule("sum", "zero")
    assert rules.of("a") == FeatureRule(missing="zero")
    assert replace(rules, typed=False).of("rate(a)") == FeatureRule(missing="zero")


def test_series_that_differ_in_other_labels_are_one_number_at_each_time(read):
    request = metrics(
        (
            HOST,
            [
                gauge("cpu", (0, 1.0, {"core": 0}), (0, 3.0, {"core": 1}), (60, 5.0, {"core": 0})),
                total("requests", CUMULATIVE, (0, 10, {"path": "/"}), (0, 20, {"path": "/b"})),
                total("bytes", DELTA, (0, 1.5, {"path": "/"}), (0, 2.5, {"path": "/b"})),
            ],
        )
    )
    found, _ = read(request)
    assert found == [
        (0, SHOP, 0, {"cpu": 2, "rate(requests)": 30, "increase(bytes)": 4}),
        (0, SHOP, 60, {"cpu": 5}),
    ]


@pytest.mark.parametrize(("aggregate", "value"), [("mean", 3), ("sum", 9), ("max", 5), ("last", 3), (None, 3)])
def test_the_aggregate_is_as_told(read, aggregate, value):
    request = metrics((HOST, [gauge("cpu", *[(0, v, {"core": v}) for v in (1.0, 5.0, 3.0)])]))
    mapping = Mapping(features=(MappedFeature("busy", "cpu", aggregate=aggregate),))
    assert read(request, mapping=mapping)[0] == [(0, SHOP, 0, {"busy": value})]


def test_match_picks_series_by_labels_of_the_point_or_the_resource(read):
    request = metrics(
        (HOST | {"zone": "a"}, [total("requests", DELTA, (0, 1, {"code": 200}), (0, 4, {"code": 500}), (0, 9))]),
        (HOST | {"zone": "b"}, [total("requests", DELTA, (60, 2, {"code": 500}))]),
    )
    mapping = Mapping(
        features=(
            MappedFeature("errors", "requests", {"code": "500"}),
            MappedFeature("zone a", "requests", {"zone": "a"}),
            MappedFeature("both", "requests", {"zone": "a", "code": "500"}),
        )
    )
    assert read(request, mapping=mapping)[0] == [
        (0, SHOP, 0, {"increase(errors)": 4, "increase(zone a)": 14, "increase(both)": 4}),
        (0, SHOP, 60, {"increase(errors)": 2}),
    ]


def test_the_kind_can_be_told(read):
    request = metrics((HOST, [gauge("a_total", (0, 7.0)), total("b", CUMULATIVE, (0, 8))]))
    mapping = Mapping(features=(MappedFeature("a", "a_total", kind="counter"), MappedFeature("b", "b", kind="gauge")))
    assert read(request, mapping=mapping)[0] == [(0, SHOP, 0, {"rate(a)": 7, "b": 8})]


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (None, [SHOP]),
        (("host.name",), ["web-1"]),
        (("host.name", "service.name"), ["web-1/shop"]),
        (("core",), ["0", "1"]),
        (("service.name", "core"), ["shop/0", "shop/1"]),
        (("service.name", "nothing"), ["shop"]),
        ((), ["main"]),
    ],
)
def test_the_entity_is_made_of_labels(read, entity, expected):
    request = metrics((HOST, [gauge("cpu", (0, 1.0, {"core": 0}), (0, 2.0, {"core": 1}))]))
    assert sorted({row[1] for row in read(request, mapping=Mapping(entity))[0]}) == expected


def test_points_name_the_entity_where_the_resource_does_not(read):
    request = metrics(({}, [gauge("cpu", (0, 1.0, {"host": "a"}), (0, 2.0, {"host": "b"}), (0, 3.0))]))
    found, reading = read(request)
    assert found == [(0, "a", 0, {"cpu": 1}), (0, "b", 0, {"cpu": 2})]
    (letter,) = reading.dead
    assert (letter.position, letter.reason) == (0, "missing_entity")
    assert "1 of 3 points" in letter.detail


def test_a_point_without_a_value_is_none(read):
    request = metrics((HOST, [gauge("cpu", (0, None), (0, 0.0), (60, 0)), gauge("gone", (0, 0.0))]))
    request.resource_metrics[0].scope_metrics[0].metrics[1].gauge.data_points[0].flags = 1
    assert read(request)[0] == [(0, SHOP, 0, {"cpu": 0}), (0, SHOP, 60, {"cpu": 0})]


def test_delta_histograms_are_count_sum_and_quantiles(read):
    request = metrics((HOST, [histogram("latency", DELTA, (0, [10, 20, 40], [0, 50, 50, 0], 2000.0))]))
    ((_, _, _, values),) = read(request)[0]
    assert values == pytest.approx(
        {
            "increase(latency.count)": 100,
            "increase(latency.sum)": 2000,
            "latency.p50": 20,
            "latency.p95": 38,
            "latency.p99": 39.6,
        }
    )


def test_cumulative_histograms_have_quantiles_of_what_was_added(read):
    one = metrics((HOST, [histogram("latency", CUMULATIVE, (0, [10, 20], [100, 0, 0], 500.0))]))
    two = metrics((HOST, [histogram("latency", CUMULATIVE, (60, [10, 20], [100, 10, 0], 650.0))]))
    found, _ = read(one, two)
    assert found[0][3] == {"rate(latency.count)": 100, "rate(latency.sum)": 500}
    assert found[1][3] == pytest.approx(
        {
            "rate(latency.count)": 110,
            "rate(latency.sum)": 650,
            "latency.p50": 15,
            "latency.p95": 19.5,
            "latency.p99": 19.9,
        },
        rel=1e-6,
    )


def test_what_is_known_of_cumulative_histograms_comes_back_at_any_position(encoding):
    def message(seconds, counts):
        points = (seconds, [10.0, 20.0], counts, 1.0)
        return ENCODINGS[encoding](metrics((HOST, [histogram("latency", CUMULATIVE, points)])))

    def fresh():
        return decoder_of(TelemetryFormat(format=encoding), Columns())

    payloads = [message(60 * k, [k * k, 3 * k, k]) for k in range(6)]
    whole = rows(decoded(fresh(), payloads))
    for cut in range(7):
        one, two = fresh(), fresh()
        decoded(one, payloads[: max(cut, 3)])
        state = json.loads(json.dumps(one.state(cut)))
        two.restore(state)
        assert rows(decoded(two, payloads[cut:], first=cut)) == whole[cut:]


def test_exponential_histograms_and_summaries(read):
    exponential = Metric(name="wait")
    exponential.exponential_histogram.aggregation_temporality = DELTA
    point = exponential.exponential_histogram.data_points.add(
        time_unix_nano=NS, count=4, sum=30.0, scale=0, zero_count=1
    )
    point.positive.offset = 2
    point.positive.bucket_counts.extend([1, 2])  # (4, 8] and (8, 16]
    summary = Metric(name="gc")
    held = summary.summary.data_points.add(time_unix_nano=NS, count=5, sum=1.5)
    held.quantile_values.add(quantile=0.5, value=0.25)
    held.quantile_values.add(quantile=0.999, value=0.75)
    ((_, _, _, values),) = read(metrics((HOST, [exponential, summary])))[0]
    assert values == pytest.approx(
        {
            "increase(wait.count)": 4,
            "increase(wait.sum)": 30,
            "wait.p50": 8,
            "wait.p95": 8 + 8 * 0.9,
            "wait.p99": 8 + 8 * 0.98,
            "rate(gc.count)": 5,
            "rate(gc.sum)": 1.5,
            "gc.p50": 0.25,
            "gc.p99.9": 0.75,
        }
    )


def test_parts_of_histograms_can_be_features(read):
    request = metrics((HOST, [histogram("latency", DELTA, (0, [10, 20], [0, 50, 0], 700.0))]))
    part = Mapping(features=(MappedFeature("slowest", "latency.p99"),))
    assert read(request, mapping=part)[0] == [(0, SHOP, 0, {"slowest": pytest.approx(19.9)})]
    whole = Mapping(features=(MappedFeature("wait", "latency"),))
    ((_, _, _, values),) = read(request, mapping=whole)[0]
    assert sorted(values) == ["increase(wait.count)", "increase(wait.sum)", "wait.p50", "wait.p95", "wait.p99"]


def test_rows_are_by_time_and_name_and_features_by_their_first_row(read):
    columns = Columns()
    request = metrics(
        (HOST, [gauge("b", (60, 1.0)), gauge("a", (0, 2.0), (60, 3.0))]),
        ({"service.name": "cart"}, [gauge("c", (60, 4.0), (0, 5.0))]),
    )
    found, _ = read(request, columns=columns)
    assert [row[1:3] for row in found] == [("cart", 0), (SHOP, 0), ("cart", 60), (SHOP, 60)]
    assert columns.names == ["c", "a", "b"]


def test_the_rows_do_not_depend_on_the_polls(encoding):
    requests = [
        metrics(
            (
                {"service.name": name},
                [gauge(f"m{k % 5}", (k, float(k), {"x": 1}), (k, 2.0, {"x": 2})), gauge("z", (k - 1, 1.0))],
            )
        )
        for k, name in enumerate("cabcabcab", start=2)
    ]  # fmt: skip
    payloads = [ENCODINGS[encoding](request) for request in requests]
    payloads[4] = b"\x0a\xff"
    told = []
    for poll in (1, 2, 4, 9):
        columns = Columns(max_features=4)
        decoder = decoder_of(TelemetryFormat(format=encoding), columns)
        reading, found, unknown = [], [], {}
        for start in range(0, 9, poll):
            batch = decoded(decoder, payloads[start : start + poll], first=start)
            found += rows(batch)
            reading += [(letter.position, letter.reason) for letter in batch.dead]
            for name, count in batch.unknown.items():
                unknown[name] = unknown.get(name, 0) + count
        told.append((found, reading, unknown, columns.names))
    assert told[1:] == told[:-1]
    assert len(told[0][1]) == 1 and sum(told[0][2].values()) > 0


@pytest.mark.parametrize(
    ("spoil", "reason", "left"),
    [
        (lambda point: setattr(point, "time_unix_nano", 0), "missing_time", 1),
        (lambda point: setattr(point, "time_unix_nano", INGESTED + 7200 * SECOND), "future", 1),
        (lambda point: setattr(point, "as_double", 1e39), "infinite_value", 1),
        (lambda point: setattr(point, "as_double", float("nan")), None, 1),
    ],
)
def test_a_message_that_is_half_bad_gives_its_good_points_and_one_dead_letter(read, spoil, reason, left):
    request = metrics((HOST, [gauge("cpu", (0, 1.0), (60, 2.0), (120, 3.0))]))
    points = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    spoil(points[0])
    spoil(points[2])
    found, reading = read(request, OTLP)
    assert [row[:3] for row in found] == [(0, SHOP, 60), (1, SHOP, 0), (1, SHOP, 60)]
    assert reading.reasons == ([] if reason is None else [(0, reason)])
    assert reason is None or reading.dead[0].detail.startswith("2 of 3 points, the first: ")


def test_times_beyond_int64_are_bad():
    request = metrics((HOST, [gauge("cpu", (0, 1.0), (60, 2.0))]))
    points = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    points[1].time_unix_nano = 2**64 - 1
    batch = decoded(decoder_of(TelemetryFormat(format="otlp"), Columns()), [request.SerializeToString()])
    assert [row[2] for row in rows(batch)] == [0]
    assert batch.dead_counts == {"bad_time": 1}


@pytest.mark.parametrize("name", ["x" * 257, "a\0b"])
def test_entities_that_cannot_be_stored_are_refused(read, name):
    found, reading = read(metrics(({"service.name": name}, [gauge("cpu", (0, 1.0))])))
    assert (found, reading.reasons) == ([], [(0, "bad_entity")])


def test_features_beyond_the_bound_are_counted(read):
    columns = Columns(["cpu"], open=False)
    found, reading = read(OTLP, columns=columns)
    assert [row[3] for row in found] == [{"cpu": 0.5}, {"cpu": 0.75}]
    assert reading.unknown == {"rate(requests)": 2}


def test_a_message_of_endless_rows_is_refused(read):
    points = [(k, 1.0) for k in range(20_001)]
    found, reading = read(metrics((HOST, [gauge("cpu", *points)])), OTLP)
    assert len(found) == 2
    assert reading.reasons == [(0, "too_long")]


@pytest.mark.parametrize(
    ("encoding", "payload", "reason"),
    [
        ("otlp", b"", "empty"),
        ("otlp", b"\x0a\xff", "broken_message"),
        ("otlp", b"hello", "broken_message"),
        ("otlp", metrics((HOST, [])).SerializeToString(), "missing_values"),
        ("otlp-json", b"", "empty"),
        ("otlp-json", b'{"resourceMetrics": [', "broken_json"),
        ("otlp-json", b'{"resourceMetrics": 5}', "wrong_type"),
        ("otlp-json", b'{"resourceMetrics": []}', "missing_values"),
        ("otlp-json", b'\xff{"resourceMetrics": []}', "bad_encoding"),
        ("otlp-json", b"[" * 60_000, "broken_json"),
    ],
)
def test_what_is_no_message_is_a_dead_letter(encoding, payload, reason):
    decoder = decoder_of(TelemetryFormat(format=encoding), Columns())
    batch = decoded(decoder, [payload, ENCODINGS[encoding](OTLP)], first=3)
    assert [(letter.position, letter.reason, letter.payload) for letter in batch.dead] == [(3, reason, payload)]
    assert len(batch.codes) == 2


def test_json_as_other_exporters_write_it():
    point = {"timeUnixNano": NS, "asInt": "7", "attributes": [{"key": "k", "value": {"boolValue": True}}], "new": 1}
    more = {"timeUnixNano": str(NS + 60 * SECOND), "asDouble": "NaN"}
    added = {"aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE", "isMonotonic": True}
    metric = {"name": "hits", "sum": added | {"dataPoints": [point, more]}}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    request = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": {}, "metrics": [metric]}]}]}
    batch = decoded(decoder_of(TelemetryFormat(format="otlp-json"), Columns()), [json.dumps(request).encode()])
    assert rows(batch) == [(0, "shop", 0, {"rate(hits)": 7})]


def test_attributes_of_every_type_can_be_matched(read):
    values = {"s": "x", "i": 5, "f": 0.5, "t": True, "n": False}
    others = {"list": ["x"], "map": {"a": 1}, "raw": b"x"}
    point = (0, 1.0, values | others)
    wanted = {"s": "x", "i": "5", "f": "0.5", "t": "true", "n": "false"}
    for label in [*wanted, *others]:
        mapping = Mapping(features=(MappedFeature("m", "m", {label: wanted.get(label, "x")}),))
        found, reading = read(metrics((HOST, [gauge("m", point)])), mapping=mapping)
        assert bool(found) == (label in wanted)
        assert not reading.dead


def test_default_entity_names_the_file():
    decoder = decoder_of(TelemetryFormat(format="otlp", mapping=Mapping(()), default_entity="{file}!"), Columns())
    decoder.begin("web-7.jsonl", 0)
    assert decoded(decoder, [OTLP.SerializeToString()]).names == ["web-7!"]


def test_nothing_in_nothing_out(encoding):
    batch = decoded(decoder_of(TelemetryFormat(format=encoding), Columns(["a"])), [])
    assert (batch.values.shape, batch.next_position) == ((0, 1), 0)


def test_the_pairs_of_the_golden_messages_are_as_published():
    assert [(pair.key, pair.value.string_value) for pair in pairs(HOST)] == list(HOST.items())
    assert START * SECOND == NS
