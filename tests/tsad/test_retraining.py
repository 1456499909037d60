"""The rows of a refit: no incident among them, log templates by their texts; and when a candidate is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import poisson

from detectors.types import Rows
from storage.read import Stretch
from storage.types import AlertState
from tests.tsad.test_history import MINUTE, NAN, add
from tsad.archive import Archive
from tsad.history import History
from tsad.retraining import arranged, calm, extent, training
from tsad.shadow import Figures, allowed


def stretch(entity: str, first: int, last: int, state: AlertState = "confirmed") -> Stretch:
    return Stretch(entity, first, first, last, state, id=f"{entity}{first}")


def nothing(_first: int, _last: int) -> Sequence[Stretch]:
    return []


@pytest.fixture
def rows() -> Rows:
    """Ten slots of `b` and then of `a`, by code."""
    slots = np.tile(np.arange(10), 2)
    return Rows(["b", "a"], np.repeat(np.array([0, 1], np.int32), 10), slots, slots[:, None].astype(np.float32), ["x"])


def slots_of(rows: Rows, name: str) -> list[int]:
    found: list[int] = rows.slots[rows.codes == rows.names.index(name)].tolist()
    return found


@pytest.mark.parametrize("state", ["confirmed", "resolved"])
def test_the_whole_stretch_of_an_alert_goes_from_its_entity_only(rows: Rows, state: AlertState) -> None:
    left = calm(rows, np.zeros(20, np.float32), [stretch("a", 3, 5, state), stretch("a", 9, 30), stretch("c", 0, 9)])
    assert slots_of(left, "a") == [0, 1, 2, 6, 7, 8]
    assert slots_of(left, "b") == list(range(10))
    np.testing.assert_array_equal(left.values[:, 0], left.slots)


def test_of_an_open_alert_what_was_flagged_goes(rows: Rows) -> None:
    scores = np.zeros(20, np.float32)
    scores[[3, 5, 8, 14]] = 1.5
    left = calm(rows, scores, [stretch("b", 2, 6, "open"), stretch("a", 1, 2, "open")])
    assert slots_of(left, "b") == [0, 1, 2, 4, 6, 7, 8, 9], "slot 8 is not the alert's"
    assert slots_of(left, "a") == list(range(10))
    assert slots_of(calm(rows, None, [stretch("b", 2, 6, "open")]), "b") == [0, 1, 7, 8, 9]


@pytest.mark.parametrize("scored", [True, False])
def test_a_stretch_of_no_alert_goes_from_all_that_it_names(rows: Rows, scored: bool) -> None:
    scores = np.zeros(20, np.float32) if scored else None
    left = calm(rows, scores, [Stretch("*", 2, 2, 3, "resolved"), Stretch("[a]", 8, 8, 40, "resolved")])
    assert slots_of(left, "a") == [0, 1, 4, 5, 6, 7]
    assert slots_of(left, "b") == [0, 1, 4, 5, 6, 7, 8, 9]
    assert len(calm(rows, scores, [Stretch("nobody", 0, 0, 9, "resolved")]).codes) == 20


def test_columns_of_templates_by_what_they_are_called() -> None:
    names = ["cpu", "log.other", "log.template.0", "log.template.1", "log.template.9"]
    values = np.array([[1, 10, 100, 1000, 10_000], [2, NAN, 5, NAN, NAN]], np.float32)
    called = {"log.template.0": "log.template.7", "log.template.1": "log.template.7"}
    found = arranged(values, names, ["log.template.7", "log.other", "cpu", "gpu"], called)
    np.testing.assert_array_equal(found, [[1100, 10_010, 1, NAN], [5, NAN, 2, NAN]])


def test_templates_of_two_partitions_are_one_feature_where_their_texts_are(tmp_path: Path) -> None:
    """Each has numbered them as they came."""
    for partition, texts in ((0, ["GET <*>", "boot"]), (1, ["boot", "GET <*>", "gone"])):
        named = {f"log.template.{number}": text for number, text in enumerate(texts)}
        history = History(tmp_path / str(partition), MINUTE, 30, texts=lambda named=named: named)  # type: ignore[misc]
        for slot in range(5):
            count = {"GET <*>": 7.0, "boot": 1.0, "gone": 3.0}
            values = [count[text] for text in texts]
            add(history, slot, {f"host-{partition}": [0.0, *values]}, ["log.other", *named])
        history.flush()
    kept = json.loads((tmp_path / "1" / "templates.json").read_text())
    del kept["log.template.2"]  # the miner has forgotten it
    (tmp_path / "1" / "templates.json").write_text(json.dumps(kept))
    found = training(Archive(tmp_path, MINUTE), nothing, 5)
    feature = {text: found.rows.features.index(name) for name, text in found.texts.items()}
    assert set(feature) == {"GET <*>", "boot"}
    for name, other in (("host-0", 0), ("host-1", 3)):
        here = found.rows.values[found.rows.codes == found.rows.names.index(name)]
        np.testing.assert_array_equal(here[:, feature["GET <*>"]], 7)
        np.testing.assert_array_equal(here[:, feature["boot"]], 1)
        np.testing.assert_array_equal(here[:, found.rows.features.index("log.other")], other)
    assert {found.texts[name] for name in found.columns[1].values()} == {"GET <*>", "boot"}


def test_rows_of_all_partitions_by_entity_and_slot(tmp_path: Path) -> None:
    for partition in (0, 2):
        history = History(tmp_path / str(partition), MINUTE, 30)
        for slot in range(100):
            add(history, slot, {f"a{partition}": [slot, 1], f"b{partition}": [-slot, 2]})
        history.flush()
    found = training(Archive(tmp_path, MINUTE), lambda first, last: [stretch("a0", first, last - 10)], 100)
    assert found.left_out == 90
    assert sorted(found.rows.names) == ["a0", "a2", "b0", "b2"]
    order = list(zip(found.rows.codes.tolist(), found.rows.slots.tolist(), strict=True))
    assert order == sorted(set(order))
    assert len(order) == 4 * 100 - 90
    with pytest.raises(ValueError, match="holds 100 slots without incidents, and 101"):
        training(Archive(tmp_path, MINUTE), nothing, 101)


def test_of_much_history_the_newest_hours_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(tmp_path / "0", MINUTE, 30)
    for slot in range(300):
        add(history, slot, {"a": [slot, 1]})
    history.flush()
    assert extent(Archive(tmp_path, MINUTE)) == (0, 299)
    monkeypatch.setattr("tsad.retraining.LARGEST", 2 * 130)
    assert extent(Archive(tmp_path, MINUTE)) == (180, 299)
    monkeypatch.setattr("tsad.retraining.LARGEST", 1)
    assert extent(Archive(tmp_path, MINUTE)) == (240, 299)
    with pytest.raises(ValueError, match="no history yet"):
        extent(Archive(tmp_path / "nowhere", MINUTE))


@pytest.mark.parametrize("expected", [0.01, 0.25, 1.0, 3.0, 20.0])
def test_a_model_that_keeps_the_budget_is_seldom_refused_and_one_far_beyond_it_always(expected: float) -> None:
    most = allowed(expected)
    assert poisson.sf(most, expected) <= 0.05
    assert poisson.sf(most, 10 * expected + 8) > 0.95


@pytest.mark.parametrize(
    ("episodes", "slots", "refused"),
    [(3, 1440, ""), (4, 1440, "it would have opened 4 episodes; the budget grants 1, at most 3 with 95%"),
     (0, 720, ""), (0, 719, "only 719 of 1440 slots came to judge it by")],
)  # fmt: skip
def test_when_a_candidate_is_refused(episodes: int, slots: int, refused: str) -> None:
    assert Figures(episodes, 1.0, allowed(1.0), slots, 1440, slots, 0).refused == refused
