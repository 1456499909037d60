"""`tsad fit` on history: what is left out of it, and what is said of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.types import Rows
from storage.read import Stretch
from tests.tsad.command_line import fresh_home, tsad
from tests.tsad.streams import ENTITIES, FIT_SLOTS, SLOTS, START
from tsad.retraining import learnable

LIVE_SLOTS = SLOTS - FIT_SLOTS


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    return fresh_home(tmp_path / "fresh")


def fitted(home: Path, *options: str) -> Any:
    """What was fitted on, by the row of the candidate."""
    said = tsad(home, "fit", "s", "--from", "live.jsonl", "--candidate", "--json", *options)
    assert said.code == 0, said.err
    return said.json[0]["meta"]["fit"]


def moment(slot: int) -> str:
    return datetime.fromtimestamp(START + slot * 60, UTC).isoformat()


def test_a_history_nobody_has_watched_is_fitted_on_whole(fresh: Path) -> None:
    told = fitted(fresh)
    assert told["left_out"] == 0
    assert told["entities"] == len(ENTITIES)
    assert told["rows"] == len(ENTITIES) * LIVE_SLOTS


def test_alerts_and_maintenance_are_left_out(home: Path) -> None:
    alerts = [row for row in tsad(home, "alerts", "--limit", "1000", "--json").json if row["state"] != "retracted"]
    said = tsad(home, "fit", "s", "--from", "live.jsonl", "--candidate", "--json")
    found = said.json[0]["meta"]["fit"]
    assert f"({found['left_out']} more, of alerts and maintenance windows, were left out): on " in said.err
    assert found["rows"] + found["left_out"] == len(ENTITIES) * LIVE_SLOTS
    assert len(alerts) <= found["left_out"] < 0.5 * found["rows"]
    stretch = ("--start", moment(FIT_SLOTS), "--end", moment(FIT_SLOTS + 20))
    assert tsad(home, "calendars", "put", "deploy", *stretch).code == 0
    more = fitted(home)
    assert found["left_out"] < more["left_out"] <= found["left_out"] + 20 * len(ENTITIES)


def test_a_history_of_nothing_else_is_refused(fresh: Path) -> None:
    stretch = ("--start", moment(0), "--end", moment(2 * SLOTS))
    assert tsad(fresh, "db", "upgrade").code == 0
    assert tsad(fresh, "calendars", "put", "year", *stretch).code == 0
    said = tsad(fresh, "fit", "s", "--from", "live.jsonl")
    assert said.code == 1
    assert "nothing is left to fit on: every slot belongs to an alert or lies in a maintenance window" in said.error


def test_the_command_says_what_it_was_fitted_on(fresh: Path) -> None:
    said = tsad(fresh, "fit", "s", "--from", "live.jsonl", "--candidate")
    assert f"fitted on {len(ENTITIES) * LIVE_SLOTS} rows of {len(ENTITIES)} entities" in said.err
    assert "entities: on 207 windows of them, spread evenly, per entity" in said.err


@pytest.mark.parametrize(("slots", "left"), [((3, 4), 8), ((90, 99), 10)])
def test_rows_within_a_stretch_are_not_learnt(slots: tuple[int, int], left: int) -> None:
    values = np.zeros((10, 1), np.float32)
    rows = Rows(["a"], np.zeros(10, np.int32), np.arange(10), values, ["f"])
    asked = []

    def stretches(first: int, last: int) -> list[Stretch]:
        asked.append((first, last))
        return [Stretch("a", slots[0], *slots, "resolved", id="x")]

    kept, left_out = learnable(rows, stretches)
    assert asked == [(0, 9)]
    assert (len(kept.slots), left_out) == (left, 10 - left)


def test_no_rows_ask_for_nothing() -> None:
    rows = Rows([], np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros((0, 1), np.float32), ["f"])
    assert learnable(rows, lambda first, last: pytest.fail("asked"))[1] == 0
