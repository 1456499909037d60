"""Expected bands of closed slots are those that alerts show."""

from typing import Any

import numpy as np
import pytest

from storage.read import AlertFilter
from tests.tsad.streams import START, STREAM, cells_with_anomalies, payloads
from tsad.bands import Bands
from tsad.progress import Limits


@pytest.fixture(scope="module")
def ran(make_shared: Any) -> Any:
    """A stream that was judged to its end, with its alerts explained."""
    app = make_shared({"telemetry": payloads(cells_with_anomalies())})
    runner = app.runner(STREAM, {}, limits=Limits(explain_per_poll=1000))
    runner.run()
    return app, runner


def bands_of(runner: Any) -> Bands:
    return Bands(runner.partition.era.scorer)


def row_of(runner: Any, name: str) -> int:
    found: int = runner.partition.windower.roster.names.index(name)
    return found


def test_they_are_those_of_an_alerts_evidence(ran: Any) -> None:
    app, runner = ran
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, limit=None))
    assert len(alerts) >= 3
    bands = bands_of(runner)
    for alert in alerts:
        evidence = alert.evidence
        lower, upper = bands.of(np.array([row_of(runner, alert.entity)], np.int32), [alert.entity], evidence["slot"])
        places = [list(bands.features).index(name) for name in evidence["features"]]
        assert lower[0, places].tolist() == [np.float32(value) for value in evidence["lower"]]
        assert upper[0, places].tolist() == [np.float32(value) for value in evidence["upper"]]


def test_most_of_what_is_normal_lies_within(ran: Any) -> None:
    _, runner = ran
    bands, cells = bands_of(runner), cells_with_anomalies()
    first = START // 60
    ends = np.arange(first + 60, first + 300, dtype=np.int64)
    rows = np.full(len(ends), row_of(runner, "a"), np.int32)
    found = bands.columns(rows, ["a"] * len(ends), ends)
    assert list(found) == [f"{side}{name}" for side in ("low:", "high:") for name in bands.features]
    values = np.array([cells["a", int(end - first)] for end in ends])
    for place, name in enumerate(("cpu", "mem", "disk", "net")):
        low, high = found[f"low:{name}"], found[f"high:{name}"]
        assert (low.dtype, low.shape) == (np.float32, ends.shape)
        assert 0.9 < ((low <= values[:, place]) & (values[:, place] <= high)).mean() <= 1
        shifted = values[:, place] + 2 * (high - low)
        assert not ((low <= shifted) & (shifted <= high)).any()


def test_a_cell_has_the_same_band_alone_and_in_a_crowd(ran: Any) -> None:
    _, runner = ran
    names = ["a", "b", "c"]
    rows = np.array([row_of(runner, name) for name in names] * 2, np.int32)
    ends = np.repeat(np.array([START // 60 + 310, START // 60 + 311]), 3)
    together = bands_of(runner).columns(rows, names * 2, ends)
    for place in range(6):
        one = slice(place, place + 1)
        alone = bands_of(runner).columns(rows[one], [(names * 2)[place]], ends[one])
        assert {name: column[place] for name, column in together.items()} == {n: c[0] for n, c in alone.items()}


def test_nothing_is_asked_of_no_cells(ran: Any) -> None:
    _, runner = ran
    found = bands_of(runner).columns(np.zeros(0, np.int32), [], np.zeros(0, np.int64))
    assert {len(column) for column in found.values()} == {0}


def test_where_nothing_is_normal_yet_bands_are_missing(make_app: Any) -> None:
    app = make_app({"telemetry": payloads(cells_with_anomalies())[:60]}, cold=True)
    runner = app.runner(STREAM, {})
    runner.run()
    found = bands_of(runner).columns(np.array([0], np.int32), ["a"], np.array([START // 60 + 3]))
    assert found and all(np.isnan(column).all() for column in found.values())
