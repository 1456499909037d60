"""Which lines are kept for people: strange ones first, bounded, clean, and the same in any cut of the polls."""

import json
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import ordinary
from streaming.cells import COUNTED, SCORES, Samples
from streaming.columns import Columns
from streaming.examples import FIRST_OF_CELL, OF_CELL, OF_SLOT, Examples
from streaming.logintake import LogIntake
from streaming.quotes import Quotes
from streaming.redaction import Redaction
from streaming.settings import SECOND, FeatureRules, Timing
from streaming.types import Lines, State
from streaming.windower import Windower

NAMES = ("log.lines", "log.severity.error", "log.template.0", "log.other", "log.rare")
GRAVE = np.array([1], np.int32)
TIMING = Timing(60 * SECOND, 16, 0, 8, 64, 120, "alert", 100, 3600 * SECOND)
Told = tuple[int, int, int, Sequence[int], int, str]


def samples(*told: Told) -> Samples:
    """From (row, slot, template, columns, score, line)."""
    values = np.full((len(told), COUNTED + 3), -1, np.int32)
    for place, (_, _, template, columns, score, _) in enumerate(told):
        values[place, [0, 2]] = template, place if template >= 0 else -1
        values[place, COUNTED : COUNTED + len(columns)] = columns
        if score:
            values[place, SCORES : SCORES + 2] = 4, score
    rows, slots = (np.array([one[at] for one in told]) for at in (0, 1))
    lines = [one[5] for one in told]
    return Samples(rows.astype(np.int32), slots, slots, values, lines, Quotes(lines))


def test_the_lines_of_a_feature_strange_ones_first_then_the_newest() -> None:
    examples = Examples()
    told = [(0, 5, 1, [0, 2], 0, "usual"), (0, 5, 2, [0, 1, 3], 0, "error"), (0, 5, 3, [0, 3], 9, "odd")]
    examples.add(samples(*told, (0, 5, 3, [0, 3], 12, "odder")), GRAVE)
    examples.add(samples((0, 6, 1, [0, 2], 0, "usual again"), (1, 6, 1, [0, 2], 0, "of another")), GRAVE)
    assert examples.of(0, 4, 6, NAMES) == {
        "log.lines": ["odder", "error", "usual again"],
        "log.severity.error": ["error"],
        "log.template.0": ["usual again"],
        "log.other": ["odder", "error"],
        "log.rare": ["odder"],
    }
    assert examples.of(0, 4, 5, NAMES)["log.template.0"] == ["usual"]
    assert examples.of(2, 4, 6, NAMES) == {}


def test_what_comes_late_is_added_and_a_strange_line_takes_the_place_of_a_usual_one() -> None:
    examples = Examples()
    examples.add(samples((0, 5, 1, [0, 2], 0, "usual"), (0, 5, 2, [0, 3], 3, "odd")), GRAVE)
    examples.add(samples((0, 5, 1, [0, 2], 4, "late"), (0, 5, 2, [0, 3], 99, "later"), (0, 5, -1, [0], 0, "")), GRAVE)
    assert examples.of(0, 5, 5, NAMES)["log.lines"] == ["odd", "late"]


def test_cells_and_slots_are_bounded_and_keep_what_there_is_most_of() -> None:
    examples = Examples()
    many = [(0, 5, number, [0, 10 + number], 0, f"kind {number}") for number in range(100)]
    burst = [(0, 5, -1, [0, 10 + 77], 0, "")] * 5
    odd = [(0, 5, number, [0, 3], 1, f"odd {number}") for number in range(100, 150)]
    examples.add(samples(*many, *burst, *odd), GRAVE)
    kept = [line for *_, line, _, _ in examples.state().meta["kept"]]
    assert len(kept) == FIRST_OF_CELL + OF_CELL
    assert "kind 77" in kept
    examples.add(samples(*((row, 6, 1, [0, 2], 0, "x") for row in range(2 * OF_SLOT))), GRAVE)
    assert len(examples.state().meta["kept"]) == FIRST_OF_CELL + OF_CELL + OF_SLOT
    examples.erase(np.array([0], np.int32))
    assert examples.of(0, 5, 6, NAMES) == {}
    examples.forget(7)
    assert examples.state().meta["kept"] == []


def test_quotes_are_cleaned_when_they_are_read_each_part_in_its_way() -> None:
    read: list[str] = []
    quotes = Quotes(["a", "b"], lambda line: read.append(line) or line.upper()) + Quotes(["c"]) + Quotes()
    assert (len(quotes), read) == (3, [])
    assert [quotes[place].read() for place in (2, 1)] == ["c", "B"]
    assert [quote.read() for quote in quotes] == ["A", "B", "c"]


def polled(said: Sequence[tuple[int, str, str]], first: int) -> Lines:
    """(slot, entity, message) each."""
    names = sorted({entity for _, entity, _ in said})
    times = np.array([slot * TIMING.step for slot, _, _ in said], np.int64)
    codes = np.array([names.index(entity) for _, entity, _ in said], np.int32)
    positions, zeros = np.arange(first, first + len(said)), np.zeros(len(said), np.int64)
    messages, unstated = [message for _, _, message in said], np.full(len(said), -1, np.int8)
    return Lines(names, codes, times, messages, unstated, positions, zeros, first + len(said))


def told(said: Sequence[tuple[int, str, str]], cuts: Sequence[int], restart: bool) -> list[dict[str, list[str]]]:
    """What is quoted of the entities a and b when all of it has come, in polls that end at `cuts`."""

    def fresh() -> tuple[LogIntake, Windower]:
        intake = LogIntake(TIMING, Columns(), clean=Redaction(), quoting=True)
        return intake, Windower(TIMING, FeatureRules(), lambda *_: None, topics=["logs"])

    intake, windower = fresh()
    for start, stop in zip([0, *cuts], [*cuts, len(said)], strict=True):
        list(windower.process("logs", intake.take(polled(said[start:stop], start))))
        if restart:
            kept = [(part.state().arrays, json.loads(json.dumps(part.state().meta))) for part in (intake, windower)]
            assert "hunter" not in json.dumps([meta | {"miner": None} for _, meta in kept])
            intake, windower = fresh()
            for part, (arrays, meta) in zip((intake, windower), kept, strict=True):
                part.restore(State(arrays, meta))
    list(windower.end("logs"))
    rows = windower.roster.rows(["a", "b"])
    return [windower.quoted(int(row), 0, 20) for row in rows]


SAID = st.tuples(
    st.integers(0, 12), st.sampled_from("ab"),
    st.sampled_from(["user {} in", "ERROR disk {} full", "login password=hunter{}", "cache flushed", "a {} b c {}"]),
    st.integers(0, 99),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(SAID, min_size=4, max_size=40), st.data())
def test_any_cut_of_the_polls_and_restarts_quote_the_same(
    raw: list[tuple[int, str, str, int]], data: st.DataObject
) -> None:
    said = [(slot, entity, text.format(number, number)) for slot, entity, text, number in raw]
    said = [(0, "a", "begin"), (0, "b", "begin"), *said]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(said) - 1), max_size=5)))
    whole = told(said, [], restart=False)
    assert told(said, cuts, restart=False) == whole
    assert told(said, cuts, restart=True) == whole
    assert all("hunter" not in line for found in whole for lines in found.values() for line in lines)


def test_ordinary_lines_of_a_slot_are_bounded() -> None:
    told = ordinary.Ordinary()
    which, ids = np.ones(9000, np.bool_), np.arange(9000, dtype=np.int32)
    lines = polled([(5, "a", "x")] * 9000, 0)
    slots = np.full(9000, 5)
    assert len(told.chosen(lines, ids, slots, which)) == ordinary.MOST
    assert told.chosen(lines, ids, slots, which) == []
    again = ordinary.Ordinary()
    again.restore(State(meta=json.loads(json.dumps(told.state().meta))))
    again.forget(6)
    assert again.chosen(lines, ids[:1], slots[:1], which[:1]) == [0]
