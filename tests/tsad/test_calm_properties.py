"""What is kept out of training, against a plain loop over rows and stretches."""

from fnmatch import fnmatchcase

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.types import Rows
from storage.read import Stretch
from tsad.retraining import calm

NAMES = ["db-1", "web-1", "web-2"]
SPAN = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted)


def rows(cells: set[tuple[int, int]]) -> Rows:
    """By entity and slot, as the history gives them; each value is its own number."""
    ordered = sorted(cells)
    codes = np.array([code for code, _ in ordered], np.int32)
    slots = np.array([slot for _, slot in ordered], np.int64)
    values = np.arange(len(ordered), dtype=np.float32)[:, None]
    return Rows(list(NAMES), codes, slots, values, ["cpu"])


def of_alert(entity: str, state: str, span: list[int]) -> Stretch:
    return Stretch(entity, span[0], span[0], span[1], state, id="a")  # type: ignore[arg-type]


def of_calendar(pattern: str, span: list[int]) -> Stretch:
    return Stretch(pattern, span[0], span[0], span[1], "resolved")


STRETCHES = st.lists(
    st.one_of(
        st.builds(
            of_alert,
            st.sampled_from([*NAMES, "web-*", "gone"]),
            st.sampled_from(["open", "confirmed", "resolved"]),
            SPAN,
        ),
        st.builds(of_calendar, st.sampled_from(["*", "web-*", "db-?", "web-1", "WEB-1", "nothing"]), SPAN),
    ),
    max_size=12,
)
CELLS = st.sets(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=60)


def left_out(entity: str, slot: int, score: float | None, stretch: Stretch) -> bool:
    """By the words of `calm`."""
    if not stretch.first_slot <= slot <= stretch.last_slot:
        return False
    if not stretch.id:
        return fnmatchcase(entity, stretch.entity)
    if stretch.entity != entity:
        return False
    return stretch.state != "open" or score is None or score > 1


@settings(max_examples=150, deadline=None)
@given(CELLS, STRETCHES, st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_left_is_what_a_plain_loop_leaves(
    cells: set[tuple[int, int]], stretches: list[Stretch], scored: bool, seed: int
) -> None:
    given_rows = rows(cells)
    chance = np.random.default_rng(seed).choice([0.2, 1.0, 1.7, np.nan], len(given_rows.codes))
    scores = chance.astype(np.float32) if scored else None
    found = calm(given_rows, scores, stretches)
    expected = [
        number
        for number, (code, slot) in enumerate(sorted(cells))
        if not any(
            left_out(NAMES[code], slot, None if scores is None else float(scores[number]), one) for one in stretches
        )
    ]
    assert found.values[:, 0].tolist() == expected
    assert found.slots.tolist() == [sorted(cells)[number][1] for number in expected]
    assert (found.names, found.features) == (NAMES, ["cpu"])
    assert len(given_rows.codes) == len(cells), "what was given stays as it was"


@settings(max_examples=60, deadline=None)
@given(CELLS, STRETCHES, st.randoms())
def test_neither_their_order_nor_saying_it_twice_matters(
    cells: set[tuple[int, int]], stretches: list[Stretch], chance: object
) -> None:
    expected = calm(rows(cells), None, stretches).values.tolist()
    mixed = stretches + stretches[:3]
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert calm(rows(cells), None, mixed).values.tolist() == expected
    once = calm(rows(cells), None, stretches)
    assert calm(once, None, stretches).values.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(CELLS, STRETCHES, STRETCHES)
def test_more_that_is_left_out_leaves_no_more(
    cells: set[tuple[int, int]], some: list[Stretch], more: list[Stretch]
) -> None:
    fewer = set(calm(rows(cells), None, some + more).values[:, 0].tolist())
    assert fewer == set(calm(rows(cells), None, some).values[:, 0].tolist()) & set(
        calm(rows(cells), None, more).values[:, 0].tolist()
    )


def test_nothing_of_an_alert_of_an_entity_that_is_called_like_a_pattern_spreads() -> None:
    """An alert is of one entity, whatever that is called; a calendar's is a pattern."""
    cells = {(code, slot) for code in range(3) for slot in range(10)}
    kept = calm(rows(cells), None, [of_alert("web-*", "resolved", [0, 9])])
    assert len(kept.codes) == 30
    assert len(calm(rows(cells), None, [of_calendar("web-*", [0, 9])]).codes) == 10
