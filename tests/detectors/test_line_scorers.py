"""Line scorers: what they say equals a plain loop, what they know survives a file, and few lines teach nothing."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.linemodel import FittedLines
from detectors.rarity import Rarity
from detectors.registry import LINE_SCORERS, load_line_scorer
from detectors.sequence import Sequence
from detectors.types import LineScorer
from streaming.cells import FRACTION
from streaming.linefields import FieldReader, ShapedLines
from streaming.linescores import MinedLines
from streaming.related import Related
from streaming.shapes import shapes_and_numbers
from streaming.types import State

TEMPLATES = 4


READER = FieldReader([f"line {code} says <NUM> and <*>" for code in range(1, 101)])


def in_a_row(codes: list[int], lines_a_slot: int = 5) -> MinedLines:
    """Lines of one entity, which say a number and a word."""
    ids = np.array(codes, np.int32)
    padded = np.concatenate([np.full(2, -1, np.int32), ids])
    before = np.stack([padded[1:-1], padded[:-2]], axis=1)
    messages = [f"line {code} says {place * 7 % 10} and {'abc'[place % 3]}" for place, code in enumerate(codes)]
    shaped = ShapedLines(*shapes_and_numbers(messages))
    slots = np.arange(len(codes)) // lines_a_slot
    related = [("ab"[place % 2], "cd"[place % 2]) for place in range(len(codes))]
    return MinedLines(
        ids, before, slots, said=READER.read(shaped, ids), related=Related.of(("user", "host"), related)
    )  # fmt: skip


def no_rest(lines: MinedLines) -> np.ndarray:
    return np.zeros(len(lines), np.bool_)


class Loop:
    """Witten and Bell's n-grams by dictionaries."""

    def __init__(self, taught: MinedLines) -> None:
        self.followed: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for code, (near, far) in zip(taught.codes.tolist(), taught.before.tolist(), strict=True):
            self.followed[()][code] += 1
            if near >= 0:
                self.followed[(near,)][code] += 1
            if near >= 0 and far >= 0:
                self.followed[(far, near)][code] += 1

    def probability(self, context: tuple[int, ...], code: int) -> float:
        seen = self.followed.get(context, Counter())
        if not context:
            return (seen[code] + len(seen) / (TEMPLATES + 1)) / (seen.total() + len(seen))
        shorter = self.probability(context[1:], code)
        if not seen:
            return shorter
        return (seen[code] + len(seen) * shorter) / (seen.total() + len(seen))

    def surprise(self, lines: MinedLines) -> list[float]:
        found = []
        for code, (near, far) in zip(lines.codes.tolist(), lines.before.tolist(), strict=True):
            context = (far, near) if far >= 0 else (near,)
            found.append(-log(self.probability(context, code)) if near >= 0 else 0.0)
        return found


CODES = st.lists(st.integers(0, TEMPLATES), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(taught=CODES, asked=CODES)
def test_the_surprise_is_that_of_a_plain_loop(taught: list[int], asked: list[int]) -> None:
    model, lines, loop = Sequence(), in_a_row(asked), Loop(in_a_row(taught))
    model._learn(in_a_row(taught), TEMPLATES, np.ones(len(taught), np.bool_))
    np.testing.assert_allclose(model.surprise(lines), loop.surprise(lines), rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(taught=CODES, context=st.tuples(st.integers(0, TEMPLATES), st.integers(0, TEMPLATES)))
def test_what_may_follow_adds_up_to_one(taught: list[int], context: tuple[int, int]) -> None:
    model = Sequence()
    model._learn(in_a_row(taught), TEMPLATES, np.ones(len(taught), np.bool_))
    every = np.arange(TEMPLATES + 1, dtype=np.int32)
    lines = MinedLines(every, np.tile(np.array(context, np.int32), (len(every), 1)), np.zeros(len(every), np.int64))
    assert sum(exp(-nats) for nats in model.surprise(lines).tolist()) == pytest.approx(1)


def taught() -> tuple[MinedLines, np.ndarray]:
    """1 2 3 again and again, 4 seldom; what comes last is held out."""
    lines = in_a_row([4 if place % 101 == 100 else place % 3 + 1 for place in range(2000)])
    return lines, lines.slots >= 280


def test_a_break_in_the_order_is_a_surprise_and_the_usual_order_is_none() -> None:
    model = Sequence()
    scores = model.fit(*taught()[:1], TEMPLATES, taught()[1])
    assert scores is not None
    assert np.count_nonzero(scores) <= 2
    found = model.score(in_a_row([1, 2, 3, 1, 2, 3, 3, 3, 1, 2, 2]))
    assert found[:6].tolist() == [0] * 6
    assert (found[[6, 7, 10]] > 0).all()


def test_what_was_held_out_is_judged_as_if_it_were_not_known() -> None:
    codes = [place % 2 + 1 for place in range(1000)] + [3] * 30 + [place % 2 + 1 for place in range(470)]
    lines = in_a_row(codes)
    for scorer in (Sequence(quantile=0.9), Rarity()):
        scores = scorer.fit(lines, TEMPLATES, lines.slots >= 200)
        assert scores is not None
        assert (scores[1000:1002] > 0).all()
        assert scorer.score(lines)[1001] < scores[1001]


def test_a_line_before_which_nothing_is_known_is_no_surprise() -> None:
    model = Sequence()
    model.fit(*taught()[:1], TEMPLATES, taught()[1])
    lines = MinedLines(np.array([0, 4], np.int32), np.full((2, 2), -1, np.int32), np.zeros(2, np.int64))
    assert model.score(lines).tolist() == [0, 0]


def test_rare_is_what_came_in_few_slots_however_often_there() -> None:
    lines = in_a_row([1] * 20 + [2] * 10 + [3] * 5 + [1, 2, 3, 1, 2] * 3, 5)
    rare = Rarity(slots=5)
    assert rare.fit(lines, TEMPLATES, no_rest(lines)) is not None
    found = rare.score(in_a_row([1, 2, 3, 4, 0]))
    assert (found / FRACTION).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", LINE_SCORERS)
def test_every_line_scorer_keeps_the_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.recurrent._STEPS", (20, 20))
    lines, rest = taught()
    one, other = load_line_scorer(name)(), load_line_scorer(name)()
    assert isinstance(one, LineScorer)
    assert one.name == name
    scores = one.fit(lines, TEMPLATES, rest)
    assert scores is not None
    assert (scores.dtype, scores.shape) == (np.int32, lines.codes.shape)
    assert (scores >= 0).all()
    state = one.state()
    other.restore(State({key: value.copy() for key, value in state.arrays.items()}, json.loads(json.dumps(state.meta))))
    asked = in_a_row([1, 3, 0, 2, 4, 4, 1, 2, 3] * 9)
    assert asked.said is not None
    expected = one.score(asked)
    np.testing.assert_array_equal(other.score(asked), expected)
    for place in range(len(asked)):
        part = slice(place, place + 1)
        said = asked.said.of_lines(np.array([place]))
        said = replace(said, lines=np.zeros_like(said.lines))
        assert asked.related is not None
        related = asked.related.take(part)
        line = MinedLines(asked.codes[part], asked.before[part], asked.slots[part], said=said, related=related)
        alone = one.score(line)
        assert alone.tolist() == [expected[place]]


@pytest.mark.parametrize("name", LINE_SCORERS)
def test_few_lines_teach_nothing(name: str) -> None:
    for codes in ([1], [1, 2, 3, 4], [0] * 50):
        lines = in_a_row(codes)
        assert load_line_scorer(name)().fit(lines, TEMPLATES, lines.slots >= 1) is None
    model, scores = FittedLines.fit(["a"], in_a_row([1, 0, 1]), list(LINE_SCORERS))
    assert (model, scores.shape) == (None, (3, 0))


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.sequence.LARGEST", 50)
    draw, model = np.random.default_rng(3), Sequence()
    lines = in_a_row(draw.integers(0, 100, 5000).tolist())
    assert model.fit(lines, 100, lines.slots >= 700) is not None
    assert max(len(array) for name, array in model.state().arrays.items() if "/" in name) <= 50
    assert np.isfinite(model.surprise(lines)).all()


def test_a_whole_model_comes_back_from_its_state() -> None:
    lines, _ = taught()
    model, scores = FittedLines.fit([f"template {n}" for n in range(1, 5)], lines, ["rare", "sequence"])
    assert model is not None
    assert model.features == ["log.rare", "log.sequence"]
    assert scores.shape == (2000, 2)
    again = FittedLines.restore(model.state())
    assert again.texts == model.texts
    np.testing.assert_array_equal(again.score(lines), model.score(lines))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Sequence(quantile=1.0), "quantile"),
        (lambda: Rarity(slots=0), "slots"),
        (lambda: load_line_scorer("oddity"), "rare, recurrent, relation, sequence"),
        (lambda: MinedLines(np.zeros(2, np.int32), np.zeros((1, 2), np.int32), np.zeros(2, np.int64)), "before"),
    ],
)
def test_what_cannot_be_is_refused(make: object, said: str) -> None:
    with pytest.raises((ValueError, KeyError), match=said):
        make()  # type: ignore[operator]


def test_what_is_strange_about_a_line_counts_once() -> None:
    names = ["sequence", "rare"]
    model, _ = FittedLines.fit([f"template {n}" for n in range(1, 5)], taught()[0], names)
    assert model is not None
    asked = in_a_row([1, 2, 3, 1, 2, 0, 0, 1, 1, 2, 3])
    sequence, rare = model.score(asked).T
    assert rare.tolist() == [0] * 5 + [FRACTION] * 2 + [0] * 4
    assert not sequence[5:7].any(), "which template it has says all"
    assert sequence[8] > 0
    new = replace(asked, new=asked.codes == 0)
    both = model.score(new)
    assert not both[5:7].any(), "a line that founds a template counts as that"
    np.testing.assert_array_equal(both[~new.new], model.score(asked)[~new.new])


def test_new_lines_of_a_history_are_not_rare_again() -> None:
    lines = in_a_row([place % 3 + 1 for place in range(1900)] + [4, 1, 2, 3] * 2)
    new = replace(lines, new=np.arange(len(lines)) == 1900)
    for history, expected in ((lines, [1, 1]), (new, [0, 1])):
        model, scores = FittedLines.fit([f"template {n}" for n in range(1, 5)], history, ["rare"])
        assert model is not None
        assert (scores[lines.codes == 4, 0] / FRACTION).tolist() == expected
