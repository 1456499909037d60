"""Expected bands of closed slots are those that alerts show."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.scorer import Scorer
from detectors.seasons import Seasons
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


def of(bands: Bands, *asked: Any) -> Any:
    """The bounds of each row."""
    found, at = bands.of(*asked)
    assert at.dtype == np.int64
    return found[at]


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
        found = of(bands, names(runner), codes(runner, alert.entity), evidence["slot"])
        expected = [[np.float32(value) for value in evidence[side]] for side in ("lower", "upper")]
        assert bounds(bands, found, evidence["features"]) == expected


def test_most_of_what_is_normal_lies_within(ran: Any) -> None:
    _, runner = ran
    bands, cells = Bands(runner.partition.era.scorer), cells_with_anomalies()
    found = of(bands, names(runner), codes(runner, "a"), START // 60 + 60)
    assert (found.dtype, found.shape) == (np.float32, (1, 2 * len(FEATURES)))
    low, high = np.array(bounds(bands, found, FEATURES))
    values = np.array([cells["a", slot] for slot in range(60, 300)])
    assert (((low <= values) & (values <= high)).mean(axis=0) > 0.9).all()
    moved = values + 2 * (high - low)
    assert not ((low <= moved) & (moved <= high)).any()


def test_an_entity_has_the_same_band_alone_and_in_a_crowd(ran: Any) -> None:
    _, runner = ran
    everyone, slots = codes(runner, "a", "b", "c", "a"), START // 60 + np.array([310, 310, 70, 71])
    together = of(Bands(runner.partition.era.scorer), names(runner), everyone, slots)
    one_by_one = Bands(runner.partition.era.scorer)
    alone = [of(one_by_one, list(names(runner)), everyone[[at]], int(slot)) for at, slot in enumerate(slots)]
    assert np.array_equal(together, np.concatenate(alone))
    assert of(Bands(runner.partition.era.scorer), [], codes(runner), 5).shape == (0, 2 * len(FEATURES))


def test_what_has_not_changed_is_the_same_array(ran: Any) -> None:
    _, runner = ran
    bands, listed = Bands(runner.partition.era.scorer), names(runner)
    first, _ = bands.of(listed, codes(runner, "a", "b"), START // 60 + 60)
    again, at = bands.of(listed, codes(runner, "b"), START // 60 + 90)
    assert again is first
    assert at.tolist() == codes(runner, "b").tolist()
    kept = first.copy()
    more, _ = bands.of(listed, codes(runner, "c"), START // 60 + 90)
    np.testing.assert_array_equal(first, kept, "who holds it may go on doing so")
    assert np.array_equal(more[codes(runner, "a")], first[codes(runner, "a")])
    assert np.isnan(first[codes(runner, "c")]).all()
    assert not np.isnan(more[codes(runner, "c")]).any()
    other = Bands(runner.partition.era.scorer).of(listed, codes(runner, "c", "b", "a"), 0)[0]
    np.testing.assert_array_equal(other[codes(runner, "a", "b", "c")], more[codes(runner, "a", "b", "c")])


def test_where_a_season_is_known_each_slot_has_its_own(ran: Any) -> None:
    model = ran[1].partition.era.ensemble
    length = np.zeros(model.seasons.length.shape, np.int32)
    length[:, model.features.index(FEATURES[0])] = 24
    profile = np.concatenate([np.linspace(0, 1, 24), np.zeros(168)]).astype(np.float32)
    seasonal = replace(model, seasons=Seasons(profile, np.zeros_like(length), length))
    scorer, both = Scorer(seasonal), np.array([1, 0, 1], np.int32)
    scorer.bind(np.array([0, 1], np.int32), ["a", "b"])
    assert scorer.seasonal
    assert not Scorer(model).seasonal
    bands, slots = Bands(scorer), START // 60 + np.array([5, 90, 600])
    found = of(bands, ["a", "b"], both, slots)
    one_by_one = [of(bands, ["a", "b"], both[[at]], int(slot))[0] for at, slot in enumerate(slots)]
    np.testing.assert_array_equal(found, one_by_one)
    low = [bands.columns.index(f"low:{name}") for name in FEATURES[:2]]
    assert found[0, low[0]] != found[2, low[0]]
    assert found[0, low[1]] == found[2, low[1]]


def test_where_nothing_is_normal_yet_bands_are_missing(make_app: Any) -> None:
    app = make_app({"telemetry": payloads(cells_with_anomalies())[:60]}, cold=True)
    runner = app.runner(STREAM, {})
    runner.run()
    assert np.isnan(of(Bands(runner.partition.era.scorer), names(runner), codes(runner, "a"), START // 60 + 3)).all()


class Learning:
    """A scorer of one entity in training and one that is new; each poll teaches the new one."""

    def __init__(self, runner: Any) -> None:
        model = runner.partition.era.ensemble
        self.scorer = Scorer(model)
        self.scorer.bind(np.array([0, 1], np.int32), ["a", "new"])
        self.width = len(model.features)

    def teach(self, slot: int, value: float) -> None:
        row = np.full((1, self.width), value, np.float32)
        self.scorer.scale(np.array([1], np.int32), slot, row)


def test_of_who_still_learns_it_is_what_is_known_by_then(ran: Any) -> None:
    learning, listed, both = Learning(ran[1]), ["a", "new"], np.array([0, 1], np.int32)
    bands, slot = Bands(learning.scorer), START // 60
    assert learning.scorer.young(both).tolist() == [False, True]
    seen = []
    for turn in range(600):
        learning.teach(slot + turn, float(turn % 7))
        found, _ = bands.of(listed, both, slot + turn)
        fresh = of(Bands(learning.scorer), listed, both, slot + turn)
        np.testing.assert_array_equal(found, fresh)
        seen.append(found)
    assert seen[1] is not seen[20]
    assert not np.array_equal(seen[1][1], seen[20][1])
    assert np.array_equal(seen[1][0], seen[20][0])
    assert learning.scorer.young(both).tolist() == [False, False]
    assert seen[599] is seen[560], "it has learnt its range"


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
