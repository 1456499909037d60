"""Lines that wait, in a snapshot: their texts, quotes and reasons come back, also from before scores had reasons."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.cells import COUNTED, REASON, SCORE, SCORES, TEMPLATE, TEXT, WORDS
from streaming.inlet import Held
from streaming.quotes import Quotes
from streaming.types import State

WORDS_SAID = ["a", "b", "c", "d"]


def waiting(places: list[list[int]]) -> Held:
    """Lines with the places of their texts (-1 = none) among `WORDS_SAID`."""
    values = np.full((len(places), COUNTED + 5), -1, np.int32)
    values[:, WORDS] = places
    values[:, TEMPLATE] = np.where(values[:, TEXT] >= 0, 7, -1)
    rows = np.arange(len(places))
    quotes = Quotes([f"{word} as it came" for word in WORDS_SAID])
    return Held(["web"], np.zeros(len(places), np.int32), rows, rows, values, WORDS_SAID, quotes)


def said(held: Held) -> list[list[str]]:
    return [[held.texts[place] if place >= 0 else "" for place in line] for line in held.values[:, WORDS].tolist()]


def quoted(held: Held) -> list[str]:
    return [held.quotes[place].read() if place >= 0 else "" for place in held.values[:, TEXT].tolist()]


def revived(held: Held, meta: dict[str, object] | None = None) -> Held:
    state = held.state()
    return Held.restored(State(state.arrays, json.loads(json.dumps(state.meta | (meta or {})))))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 3), min_size=len(WORDS), max_size=len(WORDS)), min_size=1, max_size=9))
def test_every_text_comes_back_and_no_other_is_kept(places: list[list[int]]) -> None:
    held = waiting(places)
    again = revived(held)
    assert said(again) == said(held)
    assert quoted(again) == quoted(held)
    assert sorted(again.texts) == sorted({word for line in said(held) for word in line} - {""})
    others = np.setdiff1d(np.arange(COUNTED + 5), WORDS)
    np.testing.assert_array_equal(again.values[:, others], held.values[:, others])
    assert said(revived(again)) == said(held)


def test_a_snapshot_from_before_scores_had_reasons_is_read() -> None:
    held = waiting([[0] + [-1] * (len(WORDS) - 1), [-1] * len(WORDS)])
    old = np.array([[7, -1, 0, 3, 64, 5, 160, 1, 2], [-1, -1, -1, -1, -1, 5, 32, 1, -1]], np.int32)
    state = held.state()
    state.arrays["values"] = old
    del state.meta["counted"]
    again = Held.restored(state)
    assert said(again)[0][0] == "a"
    assert again.values[:, SCORES : SCORES + 2].tolist() == [[3, 64], [-1, -1]]
    assert again.values[:, SCORES + SCORE : SCORES + SCORE + 2].tolist() == [[5, 160], [5, 32]]
    assert (again.values[:, SCORES + REASON : COUNTED : SCORE] == -1).all()
    assert again.values[:, COUNTED:].tolist() == [[1, 2], [1, -1]]


def test_telemetry_that_waits_is_as_it_was() -> None:
    rows = np.arange(2)
    held = Held(["web"], np.zeros(2, np.int32), rows, rows, np.array([[1.5], [np.nan]], np.float32))
    np.testing.assert_array_equal(revived(held).values, held.values)
    assert not len(revived(held).texts)
