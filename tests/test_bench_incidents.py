"""The benchmark of incidents: what is counted, on figures worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.incidents import measured
from benchmarks.planted import DEVELOP, REPORT, SIZES, Planted, concordances, places, with_anomalies
from benchmarks.shops import SHOPS, Injection, figures, injections, write_metrics
from tsad.evaluation.series import Series, SeriesFile

HOUR = "2022-08-22T05:"
FAULTS = [Injection("cart", "cpu", 1661144400, 1661144640), Injection("mail", "cpu", 1661146200, 1661146440)]
"""05:00 and 05:30, four minutes each."""


def seen(entity: str, first: str, last: str, score: float = 2.0) -> dict[str, Any]:
    return {"entity": entity, "first": f"{HOUR}{first}:00Z", "last": f"{HOUR}{last}:00Z", "score": score}


def incident(mover: str, suspect: str, first: str, last: str, *others: str, bad: float = 1.0) -> dict[str, Any]:
    return seen(mover, first, last) | {
        "severity_score": bad, "entities": 1 + len(others), "alerts": 1 + len(others), "type": mover,
        "suspects": [{"entity": suspect}], "members": [{"entity": one} for one in (mover, *others)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "last", "meets"),
    [("00", "00", True), ("04", "09", False), ("03", "09", True), ("10", "12", False), ("00", "59", True)],
)
def test_what_shares_a_minute_with_a_fault_is_of_it(first: str, last: str, meets: bool) -> None:
    assert FAULTS[0].meets(seen("cart", first, last)) is meets


def test_what_ends_in_the_minute_before_is_not() -> None:
    row = seen("cart", "00", "00") | {"first": "2022-08-22T04:50:00Z", "last": "2022-08-22T04:59:00Z"}
    assert not FAULTS[0].meets(row)


def test_of_several_incidents_the_worst_counts() -> None:
    alerts = [seen("cart", "00", "03", 1.5), seen("web", "01", "03", 3.0), seen("mail", "30", "33")]
    told = [
        incident("cart", "cart", "00", "03", "web", bad=4.0), incident("web", "web", "01", "02", bad=1.0),
        incident("mail", "web", "30", "33", bad=2.0),
    ]  # fmt: skip
    found = figures(FAULTS, alerts, told)
    assert (found["faults"], found["alerts"], found["incidents"]) == (2, 3, 3)
    assert (found["suspect"], found["mover"], found["inside"], found["strongest"]) == (1, 2, 2, 1)
    assert (found["suspect_share"], found["with_an_incident"], found["pod_has_an_alert"]) == (0.5, 2, 2)
    assert found["largest"] == 2


def test_nothing_found_is_nothing_blamed() -> None:
    found = figures(FAULTS, [], [])
    assert (found["suspect_share"], found["suspect_share_where_the_pod_has_an_alert"]) == (0, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop of two pods and a front."""
    faults = [
        {"pod": one.pod, "type": one.kind, "t0": one.start, "t1": one.end, "service": "s"} for one in reversed(FAULTS)
    ]
    (tmp_path / "faults.json").write_text(json.dumps({"faults": faults}))
    for name in ("cart", "mail", "front_service"):
        table = pa.table({"timestamp": [0, 60, 120], "cpu": [1.0, 2.0, 3.0], "label": [0, 1, 0]})
        pq.write_table(table, tmp_path / f"{name}.test.parquet")
    return tmp_path


def test_a_shop_is_cut_in_time_and_holds_no_label(folder: Path, tmp_path: Path) -> None:
    assert injections(folder) == FAULTS
    write_metrics(folder, 60, tmp_path)
    before, after = (
        [json.loads(line) for line in (tmp_path / f"{part}.jsonl").read_text().splitlines()]
        for part in ("before", "after")
    )
    assert [(row["entity"], row["time"]) for row in before] == [("cart", 0), ("mail", 0)]
    assert [(row["entity"], row["time"]) for row in after] == [
        ("cart", 60), ("mail", 60), ("cart", 120), ("mail", 120),
    ]  # fmt: skip
    assert before[0]["values"] == {"cpu": 1.0}


@pytest.fixture
def series() -> Series:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (3000, 3)).astype(np.float32)
    values[:, 2] = 5
    labels = np.zeros(1000, np.bool_)
    labels[300:330] = True
    return Series(
        SeriesFile("f", "s", Path("s"), None), ["a", "b", "c"], values[:2000], values[2000:], 0, labels, [], 60, None
    )


def test_anomalies_are_planted_where_there_is_none(series: Series) -> None:
    found = places(series, 1)
    assert found == places(series, 1)
    assert len(found) == 4, "one of five would lie in a labelled event"
    assert all(not series.labels[one.start : one.stop].any() for one in found if series.labels is not None)
    assert {channel for one in found for channel in one.channels} <= {0, 1}, "a constant channel has no noise"
    assert all(3 <= abs(one.size) <= 12 for one in found)


@pytest.mark.parametrize("times", SIZES)
def test_only_the_size_differs(series: Series, times: float) -> None:
    one = Planted(500, 510, "shift", (1,), 4.0, 7)
    changed = with_anomalies(series, [one], times)
    difference = changed.test - series.test
    rows, channels = np.nonzero(np.abs(difference) > 1e-3)
    assert (set(rows.tolist()), set(channels.tolist())) == (set(range(500, 510)), {1})
    assert float(difference[505, 1]) == pytest.approx(4.0 * times, rel=0.1)


def test_concordance_is_that_of_rising_sizes() -> None:
    found = concordances({"score": [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [3.0, 1.0, 4.0]], "flat": [[1.0] * 3] * 3})
    assert found["score_within"] == pytest.approx((3 + 1.5 + 2) / 9, abs=1e-3)
    assert found["score_found"] == pytest.approx((3 + 2) / 6, abs=1e-3)
    assert (found["flat_within"], found["flat_pooled"]) == (0.5, 0.5)
    assert (found["found_at_1x"], found["found_at_2x"], found["found_at_4x"], found["anomalies"]) == (1, 2, 2, 3)


def test_what_is_reported_was_not_developed_on() -> None:
    assert not set(DEVELOP) & set(REPORT)
    assert len(REPORT) >= 3


def test_only_the_parts_that_are_asked_for_are_measured(tmp_path: Path) -> None:
    assert measured(tmp_path, [], "fast", [10.0]) == {}
    assert set(SHOPS) == {"onlineboutique", "trainticket"}
