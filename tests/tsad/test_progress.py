"""What a run spares itself, and that it gives it back."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tsad.histories import backfilled, opened
from tsad.backfill.spec import Wanted
from tsad.progress import FRESH_OBJECTS, frozen_heap
from tsad.runner import Runner


@pytest.fixture
def thawed() -> Iterator[None]:
    """The collector as a process begins with it: the suite has frozen what it has imported."""
    gc.unfreeze()
    yield
    gc.freeze()


def test_the_garbage_collector_is_as_it_was_after_a_run_whatever_its_end(thawed: None) -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), frozen_heap():
        assert gc.get_threshold() == (FRESH_OBJECTS, *before[1:])
        assert gc.get_freeze_count() > 0
        raise KeyError("the run ends")
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_a_run_within_a_run_gives_back_nothing_of_the_other(thawed: None) -> None:
    before = gc.get_threshold()
    with frozen_heap():
        frozen = gc.get_freeze_count()
        with frozen_heap():
            assert gc.get_threshold()[0] == FRESH_OBJECTS
        assert gc.get_threshold()[0] == FRESH_OBJECTS
        assert gc.get_freeze_count() > frozen / 2  # some of them go by themselves
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_cycles_go_during_a_run() -> None:
    with frozen_heap():
        gone = gc.get_stats()[0]["collections"]
        for _ in range(2 * FRESH_OBJECTS):
            cycle: list[object] = []
            cycle.append(cycle)
        assert gc.get_stats()[0]["collections"] > gone


def test_units_of_history_leave_no_runner_behind_and_the_collector_as_it_was(thawed: None, home: Path) -> None:
    """Runners are circles: nothing but a look for garbage frees what they hold."""
    with opened(home) as app:
        before, thresholds = runners(), gc.get_threshold()
        gc.disable()  # what is left is left
        try:
            for run in ("june", "july"):
                assert backfilled(app, run, Wanted("live.jsonl")) == "finished"
                assert runners() == before
                assert (gc.get_threshold(), gc.get_freeze_count()) == (thresholds, 0)
        finally:
            gc.enable()


def runners() -> int:
    return sum(isinstance(one, Runner) for one in gc.get_objects())
