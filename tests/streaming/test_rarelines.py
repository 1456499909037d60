"""What rare lines said: which come first, what goes, and that it survives a restart."""

import json

import numpy as np

from streaming.cells import COUNTED, SCORE, SCORES, Samples
from streaming.rarelines import OF_CELL, RareLines
from streaming.types import State

NAMES = ("log.rare", "log.sequence")


def lines(*said: tuple[int, int, int, bool, str]) -> Samples:
    """From (row, slot, template, founded, text); a template of -1 has a column and says nothing."""
    rows, slots, templates, founded, texts = zip(*said, strict=True)
    values = np.full((len(said), COUNTED), -1, np.int32)
    values[:, :SCORES] = np.array([templates, founded, np.arange(len(said))]).T
    return Samples(np.array(rows, np.int32), np.array(slots), np.array(slots), values, texts)


def test_founded_templates_come_first_and_then_bursts() -> None:
    rare = RareLines()
    rare.add(lines(*[(0, slot, 1, False, "now and then") for slot in range(1, 10)], (0, 9, 3, True, "first")))
    rare.add(lines(*[(0, 9, 2, False, "burst")] * 4, (0, 9, -1, False, "common"), (1, 9, 4, True, "of another")))
    assert rare.of(0, 1, 9, NAMES) == {"log.new": ["first"], "log.other": ["first", "burst", "now and then"]}
    assert rare.of(0, 1, 8, NAMES) == {"log.other": ["now and then"]}
    assert rare.of(2, 1, 9, NAMES) == {}


def test_a_template_is_told_once_by_its_first_line() -> None:
    rare = RareLines()
    rare.add(lines((0, 4, 7, False, "user a is gone"), (0, 3, 7, True, "user b is gone")))
    rare.add(lines((0, 4, 7, False, "user c is gone")))
    assert rare.of(0, 3, 4, NAMES) == {"log.new": ["user b is gone"], "log.other": ["user b is gone"]}
    assert rare.of(0, 4, 4, NAMES) == {"log.other": ["user a is gone"]}


def test_old_slots_and_evicted_rows_are_forgotten_and_cells_are_bounded() -> None:
    rare = RareLines()
    rare.add(lines(*[(0, 5, number, False, f"kind {number}") for number in range(100)], (1, 5, 1, True, "here")))
    assert sum(len(entry) > 0 for entry in rare.state().meta["kept"]) == OF_CELL + 1
    rare.erase(np.array([0], np.int32))
    assert rare.of(0, 5, 5, NAMES) == {}
    assert rare.of(1, 5, 5, NAMES)
    rare.forget(6)
    assert rare.of(1, 5, 5, NAMES) == {}


def test_state_comes_back() -> None:
    rare, again = RareLines(), RareLines()
    rare.add(lines((0, 4, 7, False, "a"), (3, 5, 0, True, "b")))
    again.restore(State(meta=json.loads(json.dumps(rare.state().meta))))
    for one in (rare, again):
        one.add(lines((0, 4, 7, True, "c")))
    assert [again.of(row, 0, 9, NAMES) for row in (0, 3)] == [rare.of(row, 0, 9, NAMES) for row in (0, 3)]


def test_lines_with_scores_are_told_with_the_feature_that_they_add_to_most_first() -> None:
    rare, again = RareLines(), RareLines()
    kept = lines(
        (0, 4, 1, -1, "odd place"), (0, 4, 2, -1, "odder"), (0, 4, 1, -1, "odd place"), (0, 4, 3, False, "fresh")
    )
    kept.values[:3, 3:5] = [[1, 10], [1, 60], [1, 40]]
    kept.values[3, SCORES + SCORE : SCORES + SCORE + 2] = [0, 64]
    rare.add(kept)
    again.restore(State(meta=json.loads(json.dumps(rare.state().meta))))
    for one in (rare, again):
        assert one.of(0, 4, 4, NAMES) == {
            "log.other": ["fresh"], "log.rare": ["fresh"], "log.sequence": ["odder", "odd place"],
        }  # fmt: skip
        more = lines((0, 5, 1, -1, "odd place again"))
        more.values[:, 3:5] = [1, 20]
        one.add(more)
        assert one.of(0, 4, 5, NAMES)["log.sequence"] == ["odd place", "odder"]
