"""What a run spares itself, and that it gives it back."""

import gc

import pytest

from tsad.progress import FRESH_OBJECTS, frozen_heap


def test_the_garbage_collector_is_as_it_was_after_a_run_whatever_its_end() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(KeyError), frozen_heap():
        assert gc.get_threshold() == (FRESH_OBJECTS, *before[1:])
        assert gc.get_freeze_count() > frozen
        raise KeyError("the run ends")
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_cycles_go_during_a_run() -> None:
    with frozen_heap():
        gone = gc.get_stats()[0]["collections"]
        for _ in range(2 * FRESH_OBJECTS):
            cycle: list[object] = []
            cycle.append(cycle)
        assert gc.get_stats()[0]["collections"] > gone
