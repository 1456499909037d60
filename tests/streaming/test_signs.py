"""Signs in log lines: which lines are events, whatever the polls, once a shape."""

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.columns import Columns
from streaming.decode import LineDecoder
from streaming.logintake import LogIntake
from streaming.masking import Masking
from streaming.settings import SECOND, LogFormat, Timing
from streaming.signs import REMEMBERED, Sighting, Sign, Signs
from streaming.types import Lines

DEPLOY = Sign("deploy", r"Deploying version")
BACKUP = Sign("backup", r"^backup of <NUM> tables began$", "*")
START = 1_767_571_200


def lines(rows: list[tuple[str, int, str]], first: int = 0) -> Lines:
    """Decoded (entity, slot, message) rows."""
    payloads = [msgspec.json.encode({"entity": e, "time": START + 60 * slot, "message": m}) for e, slot, m in rows]
    places = np.arange(first, first + len(rows), dtype=np.int64)
    batch = LineDecoder(LogFormat()).decode(payloads, places, np.full(len(rows), 2**62, np.int64), first + len(rows))
    assert isinstance(batch, Lines)
    return batch


def intake(*signs: Sign, lateness: int = 0, masks: Masking | None = None) -> LogIntake:
    made = LogIntake(Timing(60 * SECOND, 16, lateness * SECOND), Columns((), open=True), masks)
    made.watch_for(signs)
    return made


def told(sightings: list[Sighting]) -> list[tuple[str, str, int]]:
    return [(one.sign.kind, one.entity, one.slot - START // 60) for one in sightings]


def test_lines_of_a_kind_are_found_by_their_masked_text() -> None:
    made = intake(DEPLOY, BACKUP)
    made.take(
        lines(
            [
                ("a", 0, "GET /item/7 took 90 ms"),
                ("a", 1, "Deploying version 1.4.7 of shop"),
                ("b", 1, "backup of 12 tables began"),
                ("b", 1, "backup of 12 tables ended"),
                ("b", 2, "backup of 90 tables began"),
            ]
        )
    )
    found = made.sighted()
    assert told(found) == [("deploy", "a", 1), ("backup", "b", 1), ("backup", "b", 2)]
    assert found[0].time == (START + 60) * SECOND
    assert found[0].text.startswith("Deploying version <")
    assert [one.sign.entity for one in found] == [None, "*", "*"]
    assert made.sighted() == []


def test_one_template_may_hold_both_what_is_a_sign_and_what_is_none() -> None:
    """Drain joins lines that differ in one word of four; the patterns are sought in the lines themselves."""
    made = intake(Sign("deploy", "release started"))
    words = ("ended", "started", "waited", "started")
    made.take(lines([("a", slot, f"shop release {word} now") for slot, word in enumerate(words)]))
    assert told(made.sighted()) == [("deploy", "a", 1), ("deploy", "a", 3)]


def test_of_an_entity_and_slot_the_first_line_counts() -> None:
    made = intake(DEPLOY)
    made.take(lines([("a", 0, f"Deploying version {n}") for n in range(50)] + [("b", 0, "Deploying version 1")]))
    assert told(made.sighted()) == [("deploy", "a", 0), ("deploy", "b", 0)]


def test_late_lines_tell_of_nothing() -> None:
    made = intake(DEPLOY, lateness=60)
    made.take(lines([("a", 10, "tick"), ("a", 9, "Deploying version 2"), ("b", 8, "Deploying version 2")]))
    assert told(made.sighted()) == [("deploy", "a", 9)]


def test_masks_of_a_user_are_read() -> None:
    made = intake(Sign("deploy", "^release <tag>$"), masks=Masking([("tag", r"v\d+")]))
    made.take(lines([("a", 0, "release v12"), ("a", 1, "release 12")]))
    assert told(made.sighted()) == [("deploy", "a", 0)]


def test_a_pattern_is_sought_once_a_shape_and_the_memory_is_bounded() -> None:
    read: list[Any] = []

    def reading(key: bytes | str) -> str:
        read.append(key)
        return str(key)

    signs = Signs([DEPLOY], lambda messages: [message[:4] for message in messages], reading)
    batch = lines([("a", 0, f"word {n}") for n in range(1000)])
    on_time = np.ones(1000, bool)
    assert signs.of(batch, slice(0, 1000), on_time, batch.times // (60 * SECOND)) == []
    assert read == ["word"]
    many = Signs([DEPLOY], lambda messages: messages, str)
    for start in range(0, REMEMBERED + 2000, 1000):
        batch = lines([("a", 0, f"w{start + n}") for n in range(1000)])
        many.of(batch, slice(0, 1000), on_time, batch.times)
    assert len(many._memo) <= REMEMBERED


MESSAGES = ("tick", "Deploying version 3", "backup of 4 tables began", "Deploying nothing")
ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.sampled_from(MESSAGES)), max_size=40)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.lists(st.integers(0, 40), max_size=4))
def test_how_lines_are_cut_into_polls_does_not_matter(rows: list[tuple[str, int, str]], cuts: list[int]) -> None:
    """But that a line which repeats another one of a slot is told again by the next poll."""
    whole, parts = intake(DEPLOY, BACKUP, lateness=120), intake(DEPLOY, BACKUP, lateness=120)
    whole.take(lines(rows))
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, stop in pairwise(edges):
        parts.take(lines(rows[start:stop], start))
    one, other = told(whole.sighted()), told(parts.sighted())
    assert list(dict.fromkeys(other)) == one


@pytest.mark.parametrize("signs", [(), (DEPLOY,)])
def test_without_signs_lines_are_mined_as_ever(signs: tuple[Sign, ...]) -> None:
    rows = [("a", n, MESSAGES[n % 4]) for n in range(40)]
    plain, made = intake(), intake(*signs)
    one, other = plain.take(lines(rows)), made.take(lines(rows))
    assert np.array_equal(one.columns, other.columns)
    assert plain.miner.templates() == made.miner.templates()
