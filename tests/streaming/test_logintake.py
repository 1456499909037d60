"""Log lines to counts: what is learnt, what is matched only, and the same in any cut of the polls."""

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.cells import COUNTED, SCORE, SCORED, SCORES, Samples
from streaming.columns import Columns
from streaming.linescores import MinedLines
from streaming.linetape import UNKNOWN, LineTape
from streaming.logintake import LogIntake
from streaming.rarelines import RareLines
from streaming.settings import SECOND, Timing
from streaming.stretches import LogCounts
from streaming.types import Codes, Ints, Lines, State

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


class Surprised:
    """A line model of two features: a line of its own, and one that repeats the template of the line before."""

    texts = ("user <NUM> in", "cache flushed")
    features = ("log.rare", "log.sequence")
    fields = np.zeros(0, np.int64)

    def reasons(self, lines: MinedLines, places: Ints, number: int) -> list[str]:
        return [f"after {lines.before[place, 0]}" if number else "" for place in places.tolist()]

    def own(self) -> None:
        return None

    def score(self, mined: MinedLines) -> Codes:
        again = (mined.codes == mined.before[:, 0]) & (mined.codes > 0)
        return np.stack([(mined.codes == 0) * 64, again * (mined.codes + 10)], axis=1).astype(np.int32)


def scoring(columns: Columns, lateness: int = MINUTE) -> LogIntake:
    found = LogIntake(timing(lateness), columns, None, 5000, 100, {"first": None, "second": Surprised()}.__getitem__)
    found.adopt_from(0, "first", [{}])
    found.adopt_from(4, "second", [{}, {"log.template.0": "cache flushed"}])
    return found


def scores(counts: LogCounts) -> list[dict[str, int]]:
    """What each line adds to which feature, in 1/64."""
    pairs = counts.said[:, SCORES:COUNTED].reshape(-1, SCORED, SCORE)[:, :, :2].tolist()
    return [{counts.features[column]: score for column, score in line if column >= 0} for line in pairs]


def test_lines_are_scored_from_the_slot_of_a_version_with_a_line_model_on() -> None:
    columns = Columns()
    desk = scoring(columns)
    said = ["never seen", "user 1 in", "user 2 in", "never seen", "cache flushed"]
    assert scores(desk.take(lines([(0, text) for text in said]))) == [{}] * 5
    assert "log.rare" not in columns.names
    taken = desk.take(lines([(4, text) for text in said] + [(4, "cache flushed"), (2, "cache flushed")], 5))
    rare, again = {"log.rare": 64}, {"log.sequence": 12}
    assert scores(taken) == [rare, {}, {"log.sequence": 11}, rare, {}, again, {}]
    assert desk.adopted("second") == {
        "log.template.0": "log.template.0", "log.rare": "log.rare", "log.sequence": "log.sequence",
    }  # fmt: skip


def test_a_late_line_is_scored_by_its_template_alone_and_no_line_comes_after_it() -> None:
    desk = scoring(Columns(), lateness=0)
    said = [(5, "cache flushed"), (3, "never seen"), (3, "cache flushed"), (5, "cache flushed")]
    assert scores(desk.take(lines(said))) == [{}, {"log.rare": 64}, {}, {"log.sequence": 12}]


def test_a_model_of_more_scores_than_a_line_has_is_refused() -> None:
    class Talkative(Surprised):
        features = tuple(f"log.{letter}" for letter in "abcdef")  # type: ignore[assignment]

    desk = LogIntake(timing(), Columns(), line_model=lambda _: Talkative())
    with pytest.raises(ValueError, match="at most 5 scores, the model gives 6"):
        desk.score_by("any")


def test_of_a_large_model_the_foremost_templates_are_known_and_the_miner_can_go_on_learning() -> None:
    class Large(Surprised):
        texts = tuple(" ".join(["word"] * number) for number in range(1, 121))  # type: ignore[assignment]

    desk = LogIntake(timing(), Columns(), None, 100, 20, lambda _: Large())
    desk.score_by("any")
    said = [*Large.texts[:25], *(f"{'new ' * length}one" for length in range(1, 60)), Large.texts[0], Large.texts[100]]
    found = scores(desk.take(lines([(0, text) for text in said])))
    assert found[:25] == [{}] * 25
    assert found[-2:] == [{}, {"log.rare": 64}]


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(MESSAGES)), max_size=30),
    cuts=st.sets(st.integers(0, 30)),
    revive=st.booleans(),
)
def test_scores_are_the_same_in_any_cut_and_after_a_restart(
    said: list[tuple[int, str]], cuts: set[int], revive: bool
) -> None:
    expected = scores(scoring(Columns()).take(lines(said)))
    columns, found = Columns(), list[dict[str, int]]()
    part = scoring(columns)
    for start, stop in pairwise(sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})):
        found += scores(part.take(lines(said[start:stop], start)))
        if revive:
            state = part.state()
            part = scoring(columns)
            part.restore(State(state.arrays, json.loads(json.dumps(state.meta)), state.blobs))
    assert found == expected


def test_a_tape_keeps_the_lines_as_they_follow_each_other_the_newest_ones() -> None:
    desk = intake(lateness=MINUTE)
    desk.tape = LineTape(desk.miner.texts, most=3)
    for minute in range(9):
        desk.take(lines([(minute, "user 5 in"), (max(minute - 3, 0), "cache flushed")], 2 * minute))
    kept = desk.tape.read()
    texts = desk.tape.texts(kept.ids.tolist())
    assert texts == ["user <NUM> in", "cache flushed"] * 2
    assert kept.slots.tolist() == [7, 4, 8, 5]
    assert kept.before[:, 0].tolist() == [kept.ids[0], -1, kept.ids[0], -1]
    assert (list(desk.tape.names), kept.entities.tolist()) == (["web"], [0] * 4)
    shapes = list(kept.shaped.shapes)
    assert shapes == [b"user 0 in", b"cache flushed"] * 2
    assert kept.shaped.numbers.values.tolist() == [5, 5]
    assert len(LineTape(desk.miner.texts).read().ids) == 0


def test_a_tape_knows_which_lines_are_new_and_holds_so_much_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.linetape.SHAPES", 20)
    desk = intake()
    desk.tape = LineTape(desk.miner.texts)
    desk.take(lines([(0, text) for text in ("user 5 in", "user 6 in", "cache flushed", "no place for this")]))
    kept = desk.tape.read()
    assert kept.new.tolist() == [True, False, True, True]
    shapes = list(kept.shaped.shapes)
    assert shapes == [b"user 0 in", b"user 0 in", UNKNOWN, UNKNOWN]


def quoted(counts: LogCounts, into: RareLines) -> None:
    """What is kept of a poll for people."""
    slots = counts.times // MINUTE
    into.add(Samples(counts.codes, slots, counts.times, counts.said, counts.texts))


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.tuples(st.integers(4, 9), st.sampled_from(MESSAGES)), max_size=30),
    cuts=st.sets(st.integers(0, 30)),
    revive=st.booleans(),
)
def test_the_reason_that_is_told_is_that_of_the_first_line_in_any_cut(
    said: list[tuple[int, str]], cuts: set[int], revive: bool
) -> None:
    whole, parts, columns, same = RareLines(), RareLines(), Columns(), Columns()
    quoted(scoring(columns).take(lines(said)), whole)
    part = scoring(same)
    for start, stop in pairwise(sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})):
        quoted(part.take(lines(said[start:stop], start)), parts)
        if revive:
            state = part.state()
            part = scoring(same)
            part.restore(State(state.arrays, json.loads(json.dumps(state.meta)), state.blobs))
            kept, parts = parts.state(), RareLines()
            parts.restore(State(meta=json.loads(json.dumps(kept.meta))))
    assert parts.of(0, 0, 9, same.names) == whole.of(0, 0, 9, columns.names)


def test_reasons_stand_behind_the_line_without_the_secrets_in_them() -> None:
    desk = LogIntake(timing(), Columns(), None, 5000, 100, lambda _: Surprised(), lambda text: text.replace("2", "#"))
    desk.score_by("any")
    rare, texts = RareLines(), ["user 1 in", "cache flushed", "cache flushed", "user 7 in", "user 8 in"]
    counts = desk.take(lines([(4, text) for text in texts]))
    quoted(counts, rare)
    assert rare.of(0, 4, 4, counts.features)["log.sequence"] == [
        "cache flushed (after #)", "user <NUM> in (after 1)",
    ]  # fmt: skip
    assert len(counts.quotes) in (0, len(counts.texts)), "a text and its quote have one place"
