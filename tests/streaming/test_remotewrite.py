"""Prometheus remote-write: series by labels, counters by name, and what is refused."""

import cramjam
import numpy as np
import pytest
from golden import CLASSES, MS, REMOTE, snappy, write_request
from reading import INGESTED, START
from test_otlp import decoded, rows

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.remotewrite import MAX_MESSAGE_BYTES
from streaming.settings import SECOND, MappedFeature, Mapping, TelemetryFormat

WEB = {"job": "shop", "instance": "web-1:80"}
ENTITY = "shop/web-1:80"


def read(*payloads, mapping=Mapping(), columns=None):  # noqa: B008
    decoder = decoder_of(TelemetryFormat(format="remote-write", mapping=mapping), columns or Columns())
    batch = decoded(decoder, list(payloads))
    return rows(batch), [(letter.position, letter.reason) for letter in batch.dead], batch


def test_series_become_rows():
    found, dead, batch = read(snappy(REMOTE))
    assert found == [
        (0, ENTITY, 0, {"cpu": 0.5, "rate(requests_total)": 10}),
        (0, ENTITY, 60, {"cpu": 0.75, "rate(requests_total)": 40}),
    ]
    assert dead == []
    assert batch.labels == {ENTITY: WEB}
    assert batch.times.tolist() == [START * SECOND, (START + 60) * SECOND]


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("up", "up"),
        ("requests_total", "rate(requests_total)"),
        ("latency_seconds_sum", "rate(latency_seconds_sum)"),
        ("latency_seconds_count", "rate(latency_seconds_count)"),
        ("latency_seconds_bucket", "rate(latency_seconds_bucket)"),
        ("totals", "totals"),
    ],
)
def test_counters_are_known_by_their_names(name, feature):
    ((_, _, _, values),) = read(snappy(write_request((WEB | {"__name__": name}, [(0, 2.0)]))))[0]
    assert values == {feature: 2.0}


def test_other_labels_are_joined_and_matched():
    series = [(WEB | {"__name__": "http_total", "code": code, "path": path}, [(0, value)]) for code, path, value in [
        ("200", "/", 10.0), ("200", "/b", 20.0), ("500", "/", 1.0), ("500", "/b", 2.0),
    ]]  # fmt: skip
    payload = snappy(write_request(*series))
    assert read(payload)[0] == [(0, ENTITY, 0, {"rate(http_total)": 33})]
    mapping = Mapping(
        ("instance",),
        (
            MappedFeature("errors", "http_total", {"code": "500"}),
            MappedFeature("most", "http_total", aggregate="max"),
            MappedFeature("as it is", "http_total", {"code": "500", "path": "/b"}, kind="gauge"),
        ),
    )
    assert read(payload, mapping=mapping)[0] == [
        (0, "web-1:80", 0, {"rate(errors)": 3, "rate(most)": 20, "as it is": 2})
    ]


def test_stale_samples_are_no_values_and_no_faults():
    stale = np.array([0x7FF0000000000002], np.uint64).view(np.float64)[0]
    request = write_request((WEB | {"__name__": "up"}, [(0, stale), (60, 1.0)]))
    found, dead, _ = read(snappy(request))
    assert found == [(0, ENTITY, 60, {"up": 1})]
    assert dead == []


def test_native_histograms_are_count_and_sum():
    request = write_request((WEB | {"__name__": "latency"}, []), (WEB | {"__name__": "load"}, []))
    request.timeseries[0].histograms.add(count_int=7, sum=3.5, timestamp=MS, schema=2, positive_deltas=[1, 2])
    request.timeseries[1].histograms.add(count_float=2.5, sum=1.0, timestamp=MS)
    assert read(snappy(request))[0] == [
        (0, ENTITY, 0, {
            "rate(latency.count)": 7, "rate(latency.sum)": 3.5, "rate(load.count)": 2.5, "rate(load.sum)": 1,
        }),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("milliseconds", "reason"),
    [(0, "missing_time"), (-1, "bad_time"), (2**62, "bad_time"), (INGESTED // 10**6 + 4 * 3600_000, "future")],
)
def test_half_bad_messages(milliseconds, reason):
    request = write_request((WEB | {"__name__": "up"}, [(0, 1.0), (60, 1.0)]))
    request.timeseries[0].samples[1].timestamp = milliseconds
    found, dead, _ = read(snappy(request))
    assert [row[2] for row in found] == [0]
    assert dead == [(0, reason)]


def test_series_without_the_labels_of_an_entity():
    found, dead, _ = read(snappy(write_request(({"__name__": "up"}, [(0, 1.0)]))), snappy(REMOTE))
    assert [row[0] for row in found] == [1, 1]
    assert dead == [(0, "missing_entity")]


def test_version_2_is_refused_by_name():
    request = CLASSES["Request"](symbols=["", "__name__", "up"])
    request.timeseries.add(labels_refs=[1, 2]).samples.add(value=1.0, timestamp=MS)
    found, dead, batch = read(snappy(request), snappy(REMOTE))
    assert dead == [(0, "unsupported")]
    assert "2.0" in batch.dead[0].detail
    assert len(found) == 2


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = bytes(cramjam.snappy.compress_raw(b"\0" * (MAX_MESSAGE_BYTES + 1)))
    assert len(bomb) < 4 << 20
    claims = b"\xff\xff\xff\xff\x0f" + b"\0" * 20
    assert read(bomb, claims)[1] == [(0, "too_long"), (1, "too_long")]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"\x80", "broken_message"),
        (b"hello world", "broken_message"),
        (bytes(cramjam.snappy.compress_raw(b"hello world")), "broken_message"),
        (snappy(REMOTE)[:-3], "broken_message"),
        (REMOTE.SerializeToString(), "broken_message"),
        (snappy(write_request()), "missing_values"),
        (snappy(CLASSES["WriteRequest"](metadata=[{"metric_family_name": "up", "type": 2}])), "missing_values"),
    ],
)
def test_what_is_no_message(payload, reason):
    assert read(payload)[1] == [(0, reason)]
