"""Templates that set in: which lines they are, however they come in polls, and that memory is bounded."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.onsets import MOST, Onset, Onsets, Symptom
from streaming.settings import SECOND
from streaming.types import SEVERITIES, Lines

INFO, WARNING, ERROR = (SEVERITIES.index(name) for name in ("info", "warning", "error"))
SILENCE, LATENESS = 10, 3
Line = tuple[str, int, int]
"""Entity, template, slot."""


def fresh() -> Onsets:
    return Onsets(SILENCE, LATENESS, lambda key: f"text {key!r}")


def found(
    onsets: Onsets, said: list[Line], severity: int | list[int] = INFO, late: frozenset[int] = frozenset()
) -> list[Onset]:
    """What sets in among these lines, all of one severity or each of its own; the places `late` are not on time."""
    names = list(dict.fromkeys(name for name, _, _ in said))
    codes = np.array([names.index(name) for name, _, _ in said], np.int32)
    ids, slots = (np.array([line[place] for line in said], kind) for place, kind in ((1, np.int32), (2, np.int64)))
    positions, severities = np.arange(len(said)), np.full(len(said), 0, np.int8)
    severities[:] = severity
    lines = Lines(names, codes, slots * SECOND, [""] * len(said), severities, positions, positions, len(said))
    on_time = np.array([place not in late for place in range(len(said))], np.bool_)
    keys = [f"{name} {template}" for name, template, _ in said]
    return onsets.of(lines, keys, ids, severities, on_time, slots)


def plainly(said: list[Line], severities: list[int] | None = None) -> tuple[list[Line], list[Symptom]]:
    """Onsets and symptoms by the words of the description: a loop and dictionaries."""
    last: dict[tuple[str, int], int] = {}
    told: dict[tuple[str, int], int] = {}
    once: dict[tuple[str, int], int] = {}
    begun, symptoms = [], []
    for (name, template, slot), severity in zip(said, severities or [INFO] * len(said), strict=True):
        before = last.get((name, template))
        last[name, template] = slot if before is None else max(before, slot)
        sets_in = before is None or slot > before + SILENCE
        if severity >= WARNING and sets_in:
            once[name, template] = slot
        elif severity >= WARNING and (name, template) in once:
            symptoms.append(Symptom(name, once.pop((name, template)), slot, template))
        elif severity < WARNING and sets_in:
            told[name, slot] = told.get((name, slot), 0) + 1
            if told[name, slot] <= MOST:
                begun.append((name, template, slot))
    return begun, symptoms


def test_a_line_after_a_silence_sets_in() -> None:
    onsets = fresh()
    said = [("a", 1, 0), ("a", 1, 1), ("b", 1, 1), ("a", 2, 5), ("a", 1, 11), ("a", 1, 21), ("a", 1, 32), ("a", 1, 32)]
    assert [(one.entity, one.template, one.slot) for one in found(onsets, said)] == [
        ("a", 1, 0), ("b", 1, 1), ("a", 2, 5), ("a", 1, 32),
    ]  # fmt: skip


def test_an_onset_says_what_the_line_said() -> None:
    (one,) = found(fresh(), [("a", 7, 3)])
    assert one == Onset(7, "a", 3, 3 * SECOND, "text 'a 7'")


@pytest.mark.parametrize("severity", [WARNING, ERROR])
def test_warnings_and_errors_tell_of_nothing_that_was_done(severity: int) -> None:
    onsets = fresh()
    assert found(onsets, [("a", 1, 0)], severity) == []
    assert found(onsets, [("a", 1, 5)]) == []  # though it is the same template
    assert len(found(onsets, [("a", 1, 16)])) == 1


def test_a_warning_that_sets_in_and_comes_again_is_a_symptom() -> None:
    onsets = fresh()
    assert found(onsets, [("a", 1, 4), ("b", 1, 5), ("a", 2, 6)], WARNING) == []
    assert onsets.symptoms == []
    other = fresh()
    other.restore(onsets.state())
    found(other, [("a", 1, 9), ("a", 1, 10), ("b", 2, 11)], ERROR)
    assert other.symptoms == [Symptom("a", 4, 9, 1)]  # once, and `b` said something else
    found(other, [("a", 2, 17), ("b", 1, 16)], ERROR)
    assert other.symptoms == [Symptom("a", 4, 9, 1)]  # after a silence it sets in anew
    found(other, [("a", 2, 18)], ERROR)
    assert other.symptoms[1:] == [Symptom("a", 17, 18, 2)]


def test_late_lines_and_those_without_a_template_are_nobodys() -> None:
    onsets = fresh()
    assert found(onsets, [("a", -1, 50), ("a", 1, 20)], late=frozenset({1})) == []
    assert [one.slot for one in found(onsets, [("a", 1, 50)])] == [50]
    assert found(onsets, []) == []


def test_where_every_line_is_new_the_first_of_a_slot_count() -> None:
    onsets = fresh()
    begun = found(onsets, [("a", template, 4) for template in range(40)])
    assert [one.template for one in begun] == list(range(MOST))
    assert found(onsets, [("a", 99, 4), ("b", 99, 4)])[0].entity == "b"


AHEAD = st.one_of(st.integers(0, 3), st.integers(0, 25))
STEP = st.tuples(st.sampled_from("ab"), st.integers(0, 3), AHEAD, st.sampled_from([INFO, INFO, WARNING, ERROR]))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=80), st.randoms())
def test_polls_and_restarts_change_nothing(steps: list[tuple[str, int, int, int]], draw: random.Random) -> None:
    said, now = list[Line](), 0
    for name, template, ahead, _ in steps:  # on time: at most LATENESS behind the newest
        now += ahead if ahead > LATENESS else 0
        said.append((name, template, max(now - ahead % (LATENESS + 1), 0)))
    severities = [step[3] for step in steps]
    onsets, begun, symptoms, place = fresh(), list[Onset](), list[Symptom](), 0
    while place < len(said):
        stop = place + draw.randint(1, 40)
        begun += found(onsets, said[place:stop], severities[place:stop])
        symptoms += onsets.symptoms
        onsets.symptoms, place = [], stop
        if draw.random() < 0.5:
            other = fresh()
            other.restore(onsets.state())
            onsets = other
    assert ([(one.entity, one.template, one.slot) for one in begun], symptoms) == plainly(said, severities)


def test_a_crowd_of_lines_is_as_each_for_itself() -> None:
    draw, said, severities = random.Random(1), list[Line](), list[int]()
    for place in range(6000):  # slots of hundreds of lines, pairs that come often, seldom and once
        slot = place // 300 * draw.choice([1, 1, 1, 4]) + draw.randrange(LATENESS)
        said.append((draw.choice("abcdef"), draw.choice([draw.randrange(5), draw.randrange(200), place + 1000]), slot))
        severities.append(draw.choice([INFO, INFO, WARNING, ERROR]))
    onsets, begun = fresh(), list[Onset]()
    for start in range(0, len(said), 1500):
        begun += found(onsets, said[start : start + 1500], severities[start : start + 1500])
    assert ([(one.entity, one.template, one.slot) for one in begun], onsets.symptoms) == plainly(said, severities)
    assert len(onsets.symptoms) > 50


def test_a_snapshot_is_the_same_after_a_restart() -> None:
    onsets = fresh()
    found(onsets, [("b", 3, 4), ("a", 2, 5), ("b", 1, 5)], [INFO, WARNING, ERROR])
    state, other = onsets.state(), fresh()
    other.restore(state)
    assert other.state().meta == state.meta
    assert (other.state().arrays["last"] == state.arrays["last"]).all()
    assert state.meta["once"] == [["b", 1, 5], ["a", 2, 5]]


def test_memory_is_bounded_and_forgetting_changes_nothing() -> None:
    onsets, said = fresh(), list[Line]()
    for slot in range(2000):
        said += [("a", slot * 10 + number, slot) for number in range(10)]
        said.append(("a", -5 + slot % 7 + 10**6, slot))
    begun = []
    for start in range(0, len(said), 500):
        begun += found(onsets, said[start : start + 500])
    assert [(one.entity, one.template, one.slot) for one in begun] == plainly(said)[0]
    assert len(onsets.state().arrays["last"]) < 5000
