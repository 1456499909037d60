"""What a run spares itself, and that it gives it back."""

import gc
from collections.abc import Iterator

import pytest

from tsad.progress import FRESH_OBJECTS, frozen_heap


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
