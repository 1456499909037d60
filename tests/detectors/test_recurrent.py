"""The recurrent network over lines: it sees farther back than two lines, and a line alone is judged as in a crowd."""

import json

import numpy as np
import pytest
import torch

from detectors.recurrent import DEPTH, Recurrent
from detectors.registry import load_line_scorer
from detectors.sequence import Sequence
from detectors.types import LineScorer
from streaming.lastlines import LastLines
from streaming.linescores import MinedLines
from streaming.types import State

TEMPLATES = 6
Fit = tuple[Recurrent, MinedLines, np.ndarray]


def in_a_row(codes: list[int], depth: int = DEPTH) -> MinedLines:
    """Lines of one entity, as the stream remembers them."""
    ids, none = np.array(codes, np.int32), np.zeros(len(codes), np.int32)
    before = LastLines(9, depth).take(["a"], none, ids, np.zeros(len(codes), np.int64))
    return MinedLines(ids, before, np.arange(len(codes)) // 5)


def errands(many: int, seed: int = 1) -> list[int]:
    """What began with 1 ends with 5, and with 2 with 6; three lines lie between."""
    draw = np.random.default_rng(seed)
    return [code for _ in range(many) for code in ([1, 3, 4, 3, 5] if draw.random() < 0.5 else [2, 3, 4, 3, 6])]


@pytest.fixture(scope="module")
def taught() -> Fit:
    """Fitted, on which lines, and their scores. Not to be changed."""
    model, lines = Recurrent(), in_a_row(errands(500))
    state = torch.random.get_rng_state()
    scores = model.fit(lines, TEMPLATES, lines.slots >= 350)
    assert torch.equal(torch.random.get_rng_state(), state), "nobody else's random numbers are used up"
    assert scores is not None
    return model, lines, scores


def test_the_usual_order_is_no_surprise(taught: Fit) -> None:
    assert np.count_nonzero(taught[2]) <= 5
    assert np.count_nonzero(taught[0].score(in_a_row(errands(100, 2)))) <= 5


def test_a_break_that_three_lines_hide_is_a_surprise(taught: Fit) -> None:
    lines = in_a_row([*errands(4), 1, 3, 4, 3, 6, *errands(4)])
    wrong = 24
    found = taught[0].score(lines)
    assert found[wrong] > 64
    assert np.count_nonzero(found[:wrong]) == 0
    ngrams, history = Sequence(), taught[1]
    assert ngrams.fit(history, TEMPLATES, history.slots >= 350) is not None
    assert ngrams.score(lines)[wrong] == 0, "two lines before tell nothing of it"


def test_the_contract(taught: Fit) -> None:
    model, again = taught[0], load_line_scorer("recurrent")()
    assert isinstance(again, LineScorer)
    state = model.state()
    again.restore(State({key: array.copy() for key, array in state.arrays.items()}, json.loads(json.dumps(state.meta))))
    asked = in_a_row([0, 1, 3, 4, 3, 6, 2, 2, 5, 1, 3, 4, 3, 5, 4, 4] * 9)
    expected = model.surprise(asked)
    np.testing.assert_array_equal(again.score(asked), model.score(asked))
    for place in range(0, len(asked), 5):
        part = slice(place, place + 1)
        alone = model.surprise(MinedLines(asked.codes[part], asked.before[part], asked.slots[part]))
        assert alone.tolist() == [expected[place]]
    order = np.random.default_rng(3).permutation(len(asked))
    mixed = MinedLines(asked.codes[order], asked.before[order], asked.slots[order])
    np.testing.assert_array_equal(model.surprise(mixed), expected[order])
    assert expected[0] == 0, "nothing is known before the first"


def test_a_fit_is_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.recurrent._STEPS", (5, 5))
    one, other, lines = Recurrent(), Recurrent(), in_a_row(errands(100))
    scores = [model.fit(lines, TEMPLATES, lines.slots >= 70) for model in (one, other)]
    np.testing.assert_array_equal(*scores)
    for name, array in one.state().arrays.items():
        np.testing.assert_array_equal(other.state().arrays[name], array)


def test_lines_of_a_stream_that_remembers_two_are_judged_by_two(taught: Fit) -> None:
    found = taught[0].surprise(in_a_row(errands(5), depth=2))
    assert np.isfinite(found).all()
    assert found[0] == 0


def test_few_lines_teach_nothing() -> None:
    lines = in_a_row(errands(30))
    assert Recurrent().fit(lines, TEMPLATES, lines.slots >= 21) is None
    with pytest.raises(RuntimeError, match="not fitted"):
        Recurrent().score(lines)


def test_a_quantile_must_be_one() -> None:
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 2"):
        Recurrent(2)
