"""Log lines to counts: what is learnt, what is matched only, and the same in any cut of the polls."""

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.columns import Columns
from streaming.logintake import LogIntake
from streaming.settings import SECOND, Timing
from streaming.stretches import LogCounts
from streaming.types import Lines, State

MINUTE = 60 * SECOND


def timing(lateness: int = 0) -> Timing:
    return Timing(MINUTE, 16, lateness, 8, 64, 120, "alert", 100, 3600 * SECOND)


def intake(columns: Columns | None = None, lateness: int = 0, templates: int = 100) -> LogIntake:
    return LogIntake(timing(lateness), Columns() if columns is None else columns, None, 5000, templates)


def lines(said: Sequence[tuple[int, str]], first: int = 0) -> Lines:
    """(minute, message) each."""
    count = len(said)
    zeros = np.zeros(count, np.int64)
    return Lines(
        ["web"], zeros.astype(np.int32), np.array([minute * MINUTE for minute, _ in said], np.int64),
        [message for _, message in said], np.full(count, -1, np.int8), np.arange(first, first + count), zeros,
        first + count,
    )  # fmt: skip


def named(counts: LogCounts) -> list[set[str]]:
    """The columns of each line."""
    return [{counts.features[place] for place in row if place >= 0} for row in counts.columns.tolist()]


def test_lines_become_counts_of_their_columns() -> None:
    found = intake().take(lines([(0, "ERROR disk full"), (0, "user 5 in"), (1, "user 7 in")]))
    first, second, third = named(found)
    assert {"log.lines", "log.new", "log.severity.error"} <= first
    assert "log.new" in second
    assert "log.new" not in third
    assert second - {"log.new"} == third
    assert sum(name.startswith("log.template.") for name in third) == 1
    assert (found.next_position, found.times.tolist()) == (3, [0, 0, MINUTE])


def told(counts: LogCounts) -> list[str | None]:
    """What is kept of what each line said."""
    return [counts.texts[place] if place >= 0 else None for place in counts.said[:, 2].tolist()]


def first_told(heard: Sequence[str | None], templates: Sequence[int], minutes: Sequence[int]) -> dict[object, str]:
    """The text of the first told line of each (minute, template): the one that is kept."""
    found: dict[object, str] = {}
    for text, *cell in zip(heard, templates, minutes, strict=True):
        if text is not None:
            found.setdefault(tuple(cell), text)
    return found


def test_lines_of_templates_founded_less_than_a_window_ago_say_what_they_said() -> None:
    desk = intake()
    desk.adopt([{"log.template.0": "user <NUM> in"}])
    long = "disk 3 full " + "x" * 500
    said = [(0, "user 7 in"), (0, long), (15, long), (16, long), (17, "new"), (2, "never seen, late"), (17, "new")]
    kept = ("disk <NUM> full " + "x" * 500)[:300]
    assert told(desk.take(lines(said))) == [None, kept, kept, None, "new", None, "new"]


def test_late_lines_are_matched_and_not_learnt() -> None:
    desk = intake()
    desk.take(lines([(9, "user 5 in")]))
    known, unknown = named(desk.take(lines([(3, "user 6 in"), (3, "never seen before")], 1)))
    assert any(name.startswith("log.template.") for name in known)
    assert "log.new" not in unknown
    assert not any(name.startswith("log.template.") for name in unknown)
    assert [row[1] for row in desk.miner.templates()] == ["user <NUM> in"]


def test_lateness_is_judged_by_the_slot_and_the_newest_line_of_this_topic() -> None:
    on_time = intake(lateness=2 * MINUTE)
    assert "log.new" in named(on_time.take(lines([(9, "one"), (7, "two")])))[1]
    assert "log.new" not in named(on_time.take(lines([(6, "three")], 2)))[0]
    same_slot = intake()
    assert "log.new" in named(same_slot.take(lines([(9, "one"), (9, "two")])))[1]


def test_log_columns_are_admitted_where_new_telemetry_is_not() -> None:
    columns = Columns(["cpu"], open=False)
    found = named(intake(columns).take(lines([(0, "hello")])))
    assert "log.lines" in found[0]
    assert not columns.open
    assert columns.index("memory") < 0


def test_a_poll_without_lines_changes_nothing() -> None:
    desk = intake()
    before = json.dumps(desk.state().meta)
    assert len(desk.take(lines([])).columns) == 0
    assert json.dumps(desk.state().meta) == before


def test_only_templates_of_the_models_keep_their_columns() -> None:
    desk = intake()
    desk.take(lines([(0, "user 5 in"), (0, "cache flushed")]))
    texts = desk.features.texts()
    wanted = {name: text for name, text in texts.items() if text == "cache flushed"}
    (names,) = desk.adopt([{"log.template.0": "cache flushed"}])
    assert set(names) <= {"log.template.0"}
    first, second = named(desk.take(lines([(1, "user 6 in"), (1, "cache flushed")], 2)))
    assert not any(name.startswith("log.template.") for name in first)
    assert names.get("log.template.0", "log.template.0") in second
    assert wanted


MESSAGES = ("user 1 in", "user 2 out", "cache flushed", "ERROR disk full", "GET /a 200", "GET /b 500", "")


@settings(max_examples=40, deadline=None)
@given(
    said=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(MESSAGES)), max_size=30),
    cuts=st.sets(st.integers(0, 30)),
    revive=st.booleans(),
)
def test_any_cut_of_the_polls_and_a_restart_give_the_same(
    said: list[tuple[int, str]], cuts: set[int], revive: bool
) -> None:
    whole = intake(lateness=MINUTE)
    taken = whole.take(lines(said))
    expected = named(taken)
    columns = Columns()
    part = intake(columns, lateness=MINUTE)
    found: list[set[str]] = []
    heard: list[str | None] = []
    templates: list[int] = []
    edges = sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})
    for start, stop in pairwise(edges):
        counts = part.take(lines(said[start:stop], start))
        found += named(counts)
        heard += told(counts)
        templates += counts.said[:, 0].tolist()
        if revive:
            state = part.state()
            part = intake(columns, lateness=MINUTE)
            part.restore(State(state.arrays, json.loads(json.dumps(state.meta)), state.blobs))
    assert found == expected
    minutes = [minute for minute, _ in said]
    assert templates == taken.said[:, 0].tolist()
    assert first_told(heard, templates, minutes) == first_told(told(taken), templates, minutes)
    assert part.miner.templates() == whole.miner.templates()
