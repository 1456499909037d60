import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.columns import MAX_NAME, OTHERS, Columns, legal_name
from streaming.deadletters import BUCKET, DETAIL_CHARACTERS, KEPT, PAYLOAD_BYTES, REASONS, DeadLetters


def add(dead, positions, reason="wrong_type"):
    for position in positions:
        dead.add(position, reason, f"no {position}", b"payload")


def kept(dead):
    letters, _ = dead.take()
    return [(letter.position, letter.reason) for letter in letters]


def test_the_first_hundred_of_a_reason_in_each_bucket_are_kept():
    dead = DeadLetters()
    add(dead, range(150))
    add(dead, range(BUCKET, BUCKET + 150))
    letters, counts = dead.take()
    assert [letter.position for letter in letters] == [*range(KEPT), *range(BUCKET, BUCKET + KEPT)]
    assert counts == {"wrong_type": 300}


def test_each_reason_has_its_own_hundred():
    dead = DeadLetters()
    add(dead, range(120), "wrong_type")
    add(dead, range(120, 130), "future")
    assert len(kept(dead)) == KEPT + 10


def test_take_empties():
    dead = DeadLetters()
    add(dead, [1])
    assert dead.take()[1] == {"wrong_type": 1}
    assert dead.take() == ([], {})


def test_payload_and_detail_are_cut_and_the_detail_can_be_stored():
    dead = DeadLetters()
    dead.add(0, "too_long", "d\0" * 1000, b"p" * (PAYLOAD_BYTES + 1))
    dead.add(1, "too_late", "", None)
    (first, second), _ = dead.take()
    assert first.payload == b"p" * PAYLOAD_BYTES
    assert "\0" not in first.detail
    assert len(first.detail) <= 2 * DETAIL_CHARACTERS
    assert second.payload is None


def test_reasons_are_a_closed_list():
    assert len(set(REASONS)) == len(REASONS)
    assert {"broken_json", "too_late", "empty", "mixed_time_unit", "no_match"} <= set(REASONS)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, BUCKET // 40), st.sampled_from(["wrong_type", "future"])), min_size=1, max_size=400
    ),
    st.integers(0, 400),
)
def test_a_restart_at_any_place_keeps_the_same_letters(steps, cut):
    """Going on from the state of any position gives the letters of an undisturbed run behind that position."""
    position, places = 0, []
    for gap, reason in steps:
        position += gap
        places.append((position, reason))
    whole = DeadLetters()
    for place, reason in places:
        whole.add(place, reason, "", None)
    expected = kept(whole)
    cut = min(cut, len(places) - 1)
    before = places[cut][0]
    # the state is asked for a place that the reader has passed, as far as it may lie back
    reached = [place for place, _ in places if place // BUCKET <= before // BUCKET + 1]
    first = DeadLetters()
    for place, reason in places[: len(reached)]:
        first.add(place, reason, "", None)
    second = DeadLetters()
    second.restore(json.loads(json.dumps(first.state(before))))
    for place, reason in places[cut:]:
        second.add(place, reason, "", None)
    assert kept(second) == [letter for letter in expected if letter[0] >= before]


def test_state_stays_small():
    dead = DeadLetters()
    for bucket in range(20):
        add(dead, range(bucket * BUCKET, bucket * BUCKET + 200))
    dead.take()
    assert sum(len(places) for _, _, places in dead.state()["kept"]) <= 2 * KEPT


def test_a_repeated_position_is_kept_again():
    dead = DeadLetters()
    add(dead, range(200))
    kept(dead)
    add(dead, [5, 150])
    assert kept(dead) == [(5, "wrong_type")]


def test_columns_only_grow():
    columns = Columns(["a"])
    first = columns.names
    assert [columns.index(name) for name in ("b", "a", "b", "c")] == [1, 0, 1, 2]
    assert first == ["a"]
    assert columns.names == ["a", "b", "c"]
    assert len(columns) == 3


def test_closed_columns_admit_nothing():
    columns = Columns(["a"], open=False)
    assert (columns.index("b"), columns.find("a"), columns.find("b")) == (-1, 0, -1)
    columns.open = True
    assert columns.index("b") == 1


def test_columns_are_bounded():
    columns = Columns(max_features=2)
    assert [columns.index(name) for name in "abc"] == [0, 1, -1]


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "nul\0"])
def test_names_that_cannot_be_stored_have_no_column(name):
    assert not legal_name(name)
    assert Columns().index(name) == -1
    with pytest.raises(ValueError, match="characters"):
        Columns([name])


def test_repeated_names_are_refused():
    with pytest.raises(ValueError, match=r"repeated: \['a'\]"):
        Columns(["a", "b", "a"])


def test_unknown_names_are_counted_within_bounds():
    columns = Columns(open=False, max_unknown=2)
    labels = [columns.count_unknown(name, 2) for name in ("p", "q", "r", "s", "p")]
    assert labels == ["p", "q", OTHERS, OTHERS, "p"]
    assert columns.unknown == {"p": 4, "q": 2, OTHERS: 4}


def test_columns_come_back():
    columns = Columns(["x", "y"])
    columns.index("z")
    again = Columns()
    again.restore(json.loads(json.dumps(columns.state())))
    assert again.names == ["x", "y", "z"]
