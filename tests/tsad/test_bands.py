"""Expected bands of closed slots are those that alerts show."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.read import AlertFilter
from streaming.settings import SECOND
from tests.tsad.histories import assert_same, backfilled
from tests.tsad.streams import FEATURES, START, STREAM, cells_with_anomalies, payloads
from tsad.app import App
from tsad.archive import Archive
from tsad.backfill.spec import Wanted
from tsad.bands import Bands
from tsad.config import load_config
from tsad.progress import Limits


@pytest.fixture(scope="module")
def ran(make_shared: Any) -> Any:
    """A stream that was judged to its end, with its alerts explained."""
    app = make_shared({"telemetry": payloads(cells_with_anomalies())})
    runner = app.runner(STREAM, {}, limits=Limits(explain_per_poll=1000))
    runner.run()
    return app, runner


def codes(runner: Any, *names: str) -> Any:
    return np.array([runner.partition.windower.roster.names.index(name) for name in names], np.int32)


def names(runner: Any) -> list[str]:
    return runner.partition.windower.roster.filled


def bounds(bands: Bands, of: Any, features: Any) -> Any:
    """Lower and upper bounds (one entity) of some features."""
    return [[of[0, bands.columns.index(f"{side}:{name}")] for name in features] for side in ("low", "high")]


def test_they_are_those_of_an_alerts_evidence(ran: Any) -> None:
    app, runner = ran
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, limit=None))
    assert len(alerts) >= 3
    bands = Bands(runner.partition.era.scorer)
    for alert in alerts:
        evidence = alert.evidence
        found = bands.of(names(runner), codes(runner, alert.entity), evidence["slot"])
        expected = [[np.float32(value) for value in evidence[side]] for side in ("lower", "upper")]
        assert bounds(bands, found, evidence["features"]) == expected


def test_most_of_what_is_normal_lies_within(ran: Any) -> None:
    _, runner = ran
    bands, cells = Bands(runner.partition.era.scorer), cells_with_anomalies()
    found = bands.of(names(runner), codes(runner, "a"), START // 60 + 60)
    assert (found.dtype, found.shape) == (np.float32, (1, 2 * len(FEATURES)))
    low, high = np.array(bounds(bands, found, FEATURES))
    values = np.array([cells["a", slot] for slot in range(60, 300)])
    assert (((low <= values) & (values <= high)).mean(axis=0) > 0.9).all()
    moved = values + 2 * (high - low)
    assert not ((low <= moved) & (moved <= high)).any()


def test_an_entity_has_the_same_band_alone_and_in_a_crowd(ran: Any) -> None:
    _, runner = ran
    everyone, slots = codes(runner, "a", "b", "c", "a"), START // 60 + np.array([310, 310, 70, 71])
    together = Bands(runner.partition.era.scorer).of(names(runner), everyone, slots)
    one_by_one = Bands(runner.partition.era.scorer)
    alone = [one_by_one.of(list(names(runner)), everyone[[at]], int(slot)) for at, slot in enumerate(slots)]
    assert np.array_equal(together, np.concatenate(alone))
    assert Bands(runner.partition.era.scorer).of([], codes(runner), 5).shape == (0, 2 * len(FEATURES))


def test_where_nothing_is_normal_yet_bands_are_missing(make_app: Any) -> None:
    app = make_app({"telemetry": payloads(cells_with_anomalies())[:60]}, cold=True)
    runner = app.runner(STREAM, {})
    runner.run()
    assert np.isnan(Bands(runner.partition.era.scorer).of(names(runner), codes(runner, "a"), START // 60 + 3)).all()


@pytest.fixture
def app(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """A stream that was fitted and watched, where commands would be typed."""
    monkeypatch.chdir(home)
    opened = App.open(load_config(Path("tsad.toml")))
    yield opened
    opened.close()


def read(folder: Path) -> pa.Table:
    """All files of a folder, by slot and entity."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return pa.concat_tables(tables).sort_by([("slot", "ascending"), ("entity", "ascending")])


def test_a_run_over_history_keeps_them_beside_its_closed_slots(app: App) -> None:
    assert backfilled(app, "june", Wanted("live.jsonl")) == "finished"
    assert_same(app, "june")
    unit = app.history_folder("s", "june") / "0"
    slots, bands = read(unit), read(unit / "bands")
    assert sorted(path.name for path in (unit / "bands").iterdir()) == sorted(p.name for p in unit.glob("*.parquet"))
    assert bands.select(["entity", "slot", "score"]).equals(slots.select(["entity", "slot", "score"]))
    sides = [f"{side}:{name}" for side in ("high", "low") for name in sorted(FEATURES)]
    assert bands.column_names == ["entity", "slot", "score", *sides]
    assert b'"step_ns": 60000000000' in (bands.schema.metadata or {})[b"tsad"]
    for name in FEATURES:
        value = slots[f"value:{name}"].to_numpy()
        within = (bands[f"low:{name}"].to_numpy() <= value) & (value <= bands[f"high:{name}"].to_numpy())
        assert 0.7 < within.mean() < 1
    assert Archive(app.history_folder("s", "june"), 60 * SECOND).features(0, 1 << 40) == sorted(FEATURES)


def test_who_wants_none_has_none(app: App) -> None:
    assert backfilled(app, "june", Wanted("live.jsonl", bands=False)) == "finished"
    assert not list(Path().rglob("bands"))
