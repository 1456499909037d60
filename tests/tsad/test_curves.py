"""Curves of an entity: thinned, with what is usual, from files that the history wrote."""

from pathlib import Path

import numpy as np
import pytest

from tsad import curves as module
from tsad.archive import Archive
from tsad.curves import curves
from tsad.history import History

STEP = 60 * 10**9
FEATURES = ("cpu", "mem")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """200 slots of `a` and `b`: the slot's number, and a constant that is missing in each tenth."""
    history = History(tmp_path / "0", STEP, 365)
    for slot in range(1000, 1200):
        values = np.array([[slot, 1.0], [-slot, 2.0]], np.float32)
        values[:, 1] = np.nan if slot % 10 == 0 else values[:, 1]
        scores = np.array([1.5 if slot >= 1190 else 0.1, np.nan], np.float32)
        history.add(["a", "b"], slot, values, scores, FEATURES)
    history.flush()
    return Archive(tmp_path, STEP)


def test_a_point_holds_mean_extremes_and_the_greatest_score(archive: Archive) -> None:
    found = curves(archive, [0], "a", 1000, 1199, 20, FEATURES)
    assert (found.first, found.width, len(found.score)) == (1000, 10, 20)
    assert found.mean[:, 0].tolist() == [1004.5 + 10 * point for point in range(20)]
    assert found.least[:, 0].tolist() == [1000 + 10 * point for point in range(20)]
    assert found.most[:, 0].tolist() == [1009 + 10 * point for point in range(20)]
    assert found.mean[:, 1].tolist() == [1.0] * 20, "what is missing takes no part"
    assert found.score.tolist() == pytest.approx([0.1] * 19 + [1.5])
    assert found.upper[0] < 1190, "of what was anomalous nothing is usual"
    assert found.lower[0] == pytest.approx(1000 + 0.01 * 189)


def test_as_many_points_as_slots_are_the_slots(archive: Archive) -> None:
    found = curves(archive, [0], "b", 1010, 1019, 400, ["cpu"])
    assert found.width == 1
    assert found.mean[:, 0].tolist() == found.most[:, 0].tolist() == [-slot for slot in range(1010, 1020)]
    assert np.isnan(found.score).all()


def test_what_is_not_there_is_missing(archive: Archive) -> None:
    found = curves(archive, [0], "nobody", 1000, 1199, 7, ["cpu", "none"])
    assert np.isnan(found.score).all()
    assert np.isnan(found.mean).all()
    assert np.isnan(found.lower).all()
    bare = curves(archive, [0], "a", 1000, 1199, 7, [])
    assert bare.mean.shape == (len(bare.score), 0)
    assert np.nanmax(bare.score) == pytest.approx(1.5)


def test_it_begins_where_the_history_does(archive: Archive) -> None:
    found = curves(archive, [0], "a", 0, 1199, 300, ["cpu"])
    assert 960 <= found.first <= 1000, "not before the first hour that there is"
    assert np.nanmin(found.least) == 1000


def test_of_very_many_rows_the_last_hours_are_read(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 260)
    found = curves(archive, [0], "a", 1000, 1199, 400, ["cpu"])
    assert found.first == 1080, "the last two hours have 240 rows, with one more it would be 360"
    assert np.nanmin(found.least) == 1080
