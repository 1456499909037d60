"""Values of log lines: which fields are judged, what is a surprise there, and what is said of it."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from detectors.linemodel import FittedLines
from detectors.parameters import KINDS, Parameters
from streaming.linefields import FieldReader, ShapedLines
from streaming.linescores import MinedLines
from streaming.shapes import shapes_and_numbers
from streaming.types import State

TEXTS = ["GET <PATH> took <NUM> ms", "user <*> logged in", "status <NUM>", "request <NUM> done"]


def lines(said: Sequence[str], texts: Sequence[str] = TEXTS) -> MinedLines:
    """Lines, each of the template that begins with the same word."""
    words = [text.split()[0] for text in texts]
    codes = np.array([words.index(line.split()[0]) + 1 for line in said], np.int32)
    shaped = ShapedLines(*shapes_and_numbers(said))
    before = np.full((len(codes), 2), -1, np.int32)
    return MinedLines(codes, before, np.arange(len(codes)) // 4, said=FieldReader(texts).read(shaped, codes))


def usual(first: int, stop: int) -> list[str]:
    """What is said day by day: times of 1 to 120 ms, three users, two states, and numbers that rise."""
    return [
        said
        for place in range(first, stop)
        for said in (
            f"GET /shop/cart took {1 + place * 37 % 120} ms", f"user {('ann', 'bob', 'cy')[place % 3]} logged in",
            f"status {404 if place % 10 == 0 else 200}", f"request {place * 1000 + 12345} done",
        )
    ]  # fmt: skip


def fitted(said: Sequence[str] = (), quantile: float = 0.999) -> Parameters:
    scorer, taught = Parameters(quantile), lines(said or usual(0, 500))
    assert scorer.fit(taught, len(TEXTS), taught.slots >= 350) is not None
    return scorer


def nats(scorer: Parameters, *said: str) -> list[float]:
    found: list[float] = (scorer.score(lines(said)) / 64).tolist()
    return found


def test_the_usual_is_no_surprise_and_neither_is_what_was_never_the_same_twice() -> None:
    assert nats(fitted(), *usual(500, 600)) == [0.0] * 400


def test_a_number_out_of_its_range_surprises_the_more_the_farther_it_is() -> None:
    inside, near, far, below = nats(fitted(), *(f"GET /shop/cart took {n} ms" for n in (60, 130, 9000, -9000)))
    assert inside == 0
    assert 0 < near < far < 30
    assert 0.9 * far < below < 1.1 * far


def test_words_and_states_that_never_came_surprise() -> None:
    known, unknown, also, status = nats(
        fitted(), "user bob logged in", "user eve logged in", "user root logged in", "status 500"
    )
    assert known == 0
    assert unknown == also > 4
    assert status > 4


def test_a_word_that_came_once_is_no_more_of_a_surprise_than_one_that_never_came() -> None:
    said = usual(0, 500)
    said[5] = "user zoe logged in"
    once, never, known = nats(fitted(said), "user zoe logged in", "user eve logged in", "user ann logged in")
    assert known == 0 < once <= never


def test_where_words_are_made_anew_each_time_none_is_a_surprise() -> None:
    said = usual(0, 500)
    for place in range(1, len(said), 4):
        said[place] = f"user {''.join(chr(97 + int(digit)) for digit in str(place * 7919))} logged in"
    assert nats(fitted(said), "user eve logged in") == [0]
    assert all(count <= KINDS for count in fitted(said).state().arrays["table/kinds"].tolist())


def test_what_is_said_of_a_line() -> None:
    scorer = fitted()
    asked = lines(["GET /shop/cart took 9000 ms", "user eve logged in", "status 503", "GET /shop/admin took 5 ms"])
    assert scorer.reasons(asked, np.arange(4)) == [
        'value 9000 at "took <NUM> ms", usually 1 to 120',
        'value eve at "user <*> logged", never there in 500 lines of 3 values',
        'value 503 at "status <NUM>", usually 200 to 404',
        'value /shop/admin at "GET <PATH> took", never there in 500 lines of 1 values',
    ]


def test_a_range_is_told_in_the_unit_of_the_line() -> None:
    texts = ["slept <NUM>"]
    taught = lines([f"slept {1 + place * 37 % 120}ms" for place in range(400)], texts)
    scorer = Parameters()
    assert scorer.fit(taught, 1, taught.slots >= 70) is not None
    asked = lines(["slept 9s", "slept 500ms"], texts)
    assert scorer.reasons(asked, np.arange(2)) == [
        'value 9s at "slept <NUM>", usually 0.001 to 0.12', 'value 500ms at "slept <NUM>", usually 1 to 120',
    ]  # fmt: skip


def test_what_was_held_out_is_judged_by_the_others() -> None:
    said = usual(0, 500)
    said[1800:1804] = [f"GET /shop/cart took {number} ms" for number in (1, 6000, 7000, 8000)]
    scorer, taught = Parameters(0.99), lines(said)
    scores = scorer.fit(taught, len(TEXTS), taught.slots >= 350)
    assert scores is not None
    assert (scores[1800:1804] > 0).any()
    assert scores[scores > 0].tolist() == scores[1800:1804][scores[1800:1804] > 0].tolist()


@pytest.mark.parametrize(
    "said", [usual(0, 20), ["status 200"] * 60, [f"request {number * 1000} done" for number in range(900)]]
)
def test_without_a_field_worth_judging_there_is_nothing(said: list[str]) -> None:
    taught = lines(said)
    assert Parameters().fit(taught, len(TEXTS), taught.slots >= int(taught.slots[-1] * 0.7)) is None


def test_lines_that_were_not_read_say_nothing() -> None:
    none = MinedLines(np.ones(9, np.int32), np.full((9, 2), -1, np.int32), np.arange(9))
    assert Parameters().fit(none, 4, none.slots >= 6) is None
    assert fitted().score(none).tolist() == [0] * 9
    assert fitted().reasons(none, np.arange(2)) == ["", ""]


def test_a_model_says_which_fields_are_read_and_gives_the_reason_and_comes_back() -> None:
    model, _ = FittedLines.fit(TEXTS, lines(usual(0, 500)), ["rare", "field"])
    assert model is not None
    assert model.features == ["log.rare", "log.field"]
    state = model.state()
    again = FittedLines.restore(State(state.arrays, json.loads(json.dumps(state.meta)), state.blobs))
    asked = lines(["user eve logged in", *usual(3, 9)])
    np.testing.assert_array_equal(again.score(asked), model.score(asked))
    first = np.zeros(1, np.int64)
    assert again.reasons(asked, first, 1) == model.reasons(asked, first, 1) != [""]
    assert model.reasons(asked, first, 0) == [""]
    assert {field // 4096 for field in model.fields.tolist()} == {1, 2, 3}


def test_a_quantile_must_be_one() -> None:
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 1"):
        Parameters(1)


def test_a_field_of_many_words_takes_nothing_from_one_of_few() -> None:
    said = usual(0, 600)
    for place in range(0, len(said), 4):
        said[place] = f"GET /shop/{'abcdefghij'[place // 4 % 10]}{'xyz'[place // 40 % 3]} took 5 ms"
    broad, few = nats(fitted(said), "GET /shop/other took 5 ms", "user eve logged in")
    assert few > 4 > broad
