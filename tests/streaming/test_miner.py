import json
import random
from itertools import pairwise

import numpy as np
import pytest
from drain3.drain import Drain
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.masking import Masking
from streaming.miner import MAX_CHARACTERS, MAX_TOKENS, Miner
from streaming.templates import template_id
from streaming.types import State

WORDS = ["user", "login", "failed", "open", "close", "file", "alpha", "beta", "9", "10.0.0.1", "x1", "<*>"]
MESSAGES = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), max_size=60)
FEW = settings(max_examples=80, deadline=None)


class OneMayDiffer(Drain):
    """drain3 where a line of n tokens needs n - 1 equal ones at most."""

    def fast_match(self, cluster_ids: list[int], tokens: list[str], sim_th: float, include_params: bool) -> object:
        most = (len(tokens) - 1) / len(tokens) if len(tokens) > 1 else 0.5
        return super().fast_match(cluster_ids, tokens, min(sim_th, most), include_params)


def plain_drain(
    messages: list[str], similarity: float, depth: int, capacity: int
) -> tuple[list[int], list[bool], Drain]:
    """drain3 itself, line by line, with its own LRU table."""
    masking, drain = Masking(), OneMayDiffer(depth=depth, sim_th=similarity, max_clusters=capacity)
    answers = [drain.add_log_message(" ".join(masking.mask(message).split())) for message in messages]
    return [cluster.cluster_id for cluster, _ in answers], [what == "cluster_created" for _, what in answers], drain


def saved(miner: Miner) -> State:
    """The state as it comes back from a file."""
    return State(meta=json.loads(json.dumps(miner.state().meta)))


def revived(miner: Miner, **options: int) -> Miner:
    other = Miner(**options)  # type: ignore[arg-type]
    other.restore(saved(miner))
    return other


@FEW
@given(MESSAGES, st.sampled_from([0.3, 0.4, 0.7, 1.0]), st.sampled_from([3, 4, 6]), st.sampled_from([2, 3, 8, 100]))
def test_the_miner_is_drain_with_and_without_evictions(
    messages: list[str], similarity: float, depth: int, capacity: int
) -> None:
    ids, is_new, drain = plain_drain(messages, similarity, depth, capacity)
    miner = Miner(similarity=similarity, depth=depth, max_templates=capacity)
    mined, found = miner.learn(messages)
    assert mined.tolist() == ids
    assert found.tolist() == is_new
    expected = sorted((cluster.cluster_id, cluster.get_template(), cluster.size) for cluster in drain.clusters)
    assert miner.templates() == expected
    assert miner.evictions == drain.clusters_counter - len(drain.clusters)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.4, 0.5, 0.7]), st.sampled_from([3, 8, 100]))
def test_the_miner_is_drain_where_similar_lines_return_often(seed: int, similarity: float, capacity: int) -> None:
    draw = random.Random(seed)
    messages = ["run " + " ".join(draw.choices("abc", k=draw.choice([3, 4]))) for _ in range(200)]
    ids, is_new, _ = plain_drain(messages, similarity, 4, capacity)
    mined, found = Miner(similarity=similarity, depth=4, max_templates=capacity).learn(messages)
    assert mined.tolist() == ids
    assert found.tolist() == is_new


def test_a_repeated_line_moves_to_a_newer_template_that_fits_better() -> None:
    repeated, nearer = "a b c d", "a y c d"
    messages = [repeated, "a b c x", "a b z x", repeated, repeated, nearer, repeated]
    ids, _ = Miner(similarity=0.5, depth=4).learn(messages)
    assert ids.tolist() == [1, 1, 1, 1, 1, 2, 2] == plain_drain(messages, 0.5, 4, 100)[0]


@FEW
@given(MESSAGES, MESSAGES, st.sampled_from([2, 4, 100]))
def test_a_restored_miner_goes_on_like_the_original(before: list[str], after: list[str], capacity: int) -> None:
    original = Miner(max_templates=capacity)
    original.learn(before)
    original.adopt(["user <*> login"])
    restored = revived(original, max_templates=capacity)
    assert saved(restored).meta == saved(original).meta
    first, second = original.learn(after), restored.learn(after)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(original.match(before), restored.match(before))
    assert saved(restored).meta == saved(original).meta


@FEW
@given(MESSAGES, st.lists(st.integers(0, 60), max_size=5), st.sampled_from([2, 4, 100]))
def test_answers_do_not_depend_on_how_messages_are_cut_into_polls(
    messages: list[str], cuts: list[int], capacity: int
) -> None:
    whole, parts = Miner(max_templates=capacity), Miner(max_templates=capacity)
    edges = sorted([0, len(messages), *(min(cut, len(messages)) for cut in cuts)])
    pieces = [parts.learn(messages[start:end]) for start, end in pairwise(edges)]
    ids, is_new = whole.learn(messages)
    assert [key for piece in pieces for key in piece[0]] == ids.tolist()
    assert [found for piece in pieces for found in piece[1]] == is_new.tolist()
    assert saved(whole).meta == saved(parts).meta


@FEW
@given(MESSAGES, MESSAGES)
def test_match_says_what_learn_would_say_and_learns_nothing(known: list[str], late: list[str]) -> None:
    miner = Miner()
    miner.learn(known)
    before = saved(miner).meta
    matched = miner.match(late)
    miner.templates(), miner.texts(range(5))
    assert saved(miner).meta == before
    for message, found in zip(late, matched, strict=True):
        ids, is_new = revived(miner).learn([message])
        assert found == (-1 if is_new[0] else ids[0])


def test_similar_lines_share_a_template_and_others_found_one() -> None:
    miner = Miner()
    ids, is_new = miner.learn(
        ["login of alice took 12ms", "login of bob took 7ms", "disk full", "login of eve took 1ms"]
    )
    assert ids.tolist() == [1, 1, 2, 1]
    assert is_new.tolist() == [True, False, True, False]
    assert miner.templates() == [(1, "login of <*> took <NUM>", 3), (2, "disk full", 1)]
    assert miner.texts([2, 9, 1]) == ["disk full", None, "login of <*> took <NUM>"]
    assert ids.dtype == np.int32
    assert is_new.dtype == np.bool_


def test_lines_of_numbers_alone_stay_one_template() -> None:
    ids, _ = Miner().learn([f"{i} {i * 7} {i}.5" for i in range(50)])
    assert set(ids.tolist()) == {1}


def test_nothing_in_nothing_out() -> None:
    miner = Miner()
    ids, is_new = miner.learn([])
    assert ids.shape == is_new.shape == miner.match([]).shape == (0,)
    assert miner.templates() == []


@pytest.mark.parametrize("message", ["", "   ", "\n\t"])
def test_an_empty_message_has_the_empty_template_even_after_it_was_forgotten(message: str) -> None:
    miner = Miner(max_templates=2)
    first = miner.learn([message, message])[0]
    assert first.tolist() == [1, 1]
    miner.learn([f"{word} {word}" for word in ("alpha", "beta", "gamma", "delta", "epsilon")])
    assert miner.match([message]).tolist() == [-1]
    again, is_new = miner.learn([message])
    assert is_new.tolist() == [True]
    assert again[0] > 1


def test_templates_are_bounded_and_evictions_counted() -> None:
    miner = Miner(max_templates=10)
    shuffle = random.Random(1)
    rubbish = ["".join(shuffle.choices("ghijklmnop", k=12)) for _ in range(500)]
    _, is_new = miner.learn(rubbish)
    assert is_new.all()
    assert len(miner.templates()) == 10
    assert miner.evictions == 490


def test_memory_stays_bounded_in_the_tree_too() -> None:
    miner = Miner(max_templates=10)
    shuffle = random.Random(2)

    def rubbish() -> str:
        return " ".join("".join(shuffle.choices("ghijklmnop", k=8)) for _ in range(shuffle.randint(1, 4)))

    miner.learn([rubbish() for _ in range(2000)])
    first = len(json.dumps(miner.state().meta))
    miner.learn([rubbish() for _ in range(4000)])
    assert len(json.dumps(miner.state().meta)) < 1.2 * first


def test_the_most_lately_used_templates_stay() -> None:
    miner = Miner(max_templates=3)
    miner.learn(["alpha alpha", "beta beta", "gamma gamma", "alpha alpha", "delta delta"])
    assert [text for _, text, _ in miner.templates()] == ["alpha alpha", "gamma gamma", "delta delta"]
    assert miner.evictions == 1


def test_long_messages_are_mined_by_their_beginning() -> None:
    miner = Miner()
    head = " ".join(["word"] * MAX_TOKENS)
    ids, _ = miner.learn([head, head + " and more", head + " x" * MAX_CHARACTERS])
    assert set(ids.tolist()) == {1}
    assert len(miner.templates()[0][1].split()) == MAX_TOKENS
    assert miner.learn(["y" * MAX_CHARACTERS + "1", "y" * MAX_CHARACTERS + "2"])[0].tolist() == [2, 2]


def test_adopt_finds_the_template_that_reads_so() -> None:
    miner = Miner()
    miner.learn(["login of alice", "login of bob", "disk full"])
    assert miner.adopt(["disk full", "login of <*>"]).tolist() == [2, 1]
    assert miner.evictions == 0
    assert [count for _, _, count in miner.templates()] == [2, 1]


def test_adopt_makes_the_templates_of_another_miner_and_lines_find_them() -> None:
    teacher = Miner()
    lines = [f"{verb} of {name} took {n}ms" for n, (verb, name) in enumerate([("login", "a"), ("login", "b")] * 3)]
    lines += ["disk full", "cache miss for key 9", "9 lives left"]
    taught, _ = teacher.learn(lines)
    texts = [text for _, text, _ in teacher.templates()]
    pupil = Miner()
    adopted = pupil.adopt(texts)
    assert sorted(set(adopted.tolist())) == list(range(1, len(texts) + 1))
    learnt, is_new = pupil.learn(lines)
    assert not is_new.any()
    np.testing.assert_array_equal(learnt, adopted[taught - 1])
    np.testing.assert_array_equal(pupil.adopt(texts), adopted)
    np.testing.assert_array_equal(Miner().adopt(texts), adopted)


@FEW
@given(MESSAGES)
def test_adopt_returns_the_same_ids_again(messages: list[str]) -> None:
    teacher = Miner()
    teacher.learn(messages)
    texts = [text for _, text, _ in teacher.templates()]
    pupil = Miner()
    ids = pupil.adopt(texts)
    assert [pupil.texts([key])[0] for key in ids] == texts
    np.testing.assert_array_equal(pupil.adopt(texts), ids)
    assert len(pupil.templates()) == len(set(texts))


def test_adopted_templates_outlive_rubbish() -> None:
    miner = Miner(max_templates=4)
    ids = miner.adopt(["disk full", "login of <*>"])
    shuffle = random.Random(3)
    rubbish = ["".join(shuffle.choices("ghijklmnop", k=12)) for _ in range(100)]
    miner.learn(rubbish)
    assert miner.match(["disk full", "login of eve"]).tolist() == ids.tolist()
    restored = revived(miner, max_templates=4)
    restored.learn(rubbish)
    assert restored.match(["disk full"]).tolist() == ids[:1].tolist()


def test_later_adoptions_replace_the_oldest_pins() -> None:
    miner = Miner(max_templates=4)
    miner.adopt(["disk full", "login of <*>"])
    miner.adopt(["cache miss", "queue empty"])
    miner.learn(["ggg hhh", "iii jjj", "kkk lll"])
    texts = [text for _, text, _ in miner.templates()]
    assert {"cache miss", "queue empty"} <= set(texts)
    assert "disk full" not in texts


def test_the_texts_that_a_template_had_are_told_by_their_ids() -> None:
    miner = Miner(max_templates=4)
    miner.learn(["disk sda is full", "disk sda is empty", "disk sda was empty"])
    assert [text for _, text, _ in miner.templates()] == ["disk sda is <*>", "disk sda was empty"]
    aliases = miner.aliases()
    assert aliases[0] == (template_id("disk sda is full"), 1)
    assert revived(miner, max_templates=4).aliases() == aliases
    miner.learn([f"{word} {word} {word}" for word in ("alpha", "beta", "gamma", "delta")])
    assert miner.aliases() == []


def test_adopting_more_than_half_of_the_places_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 templates to adopt.*4"):
        Miner(max_templates=4).adopt(["a", "b", "c"])


def test_a_state_that_does_not_fit_is_refused() -> None:
    miner = Miner(max_templates=10)
    miner.learn(["alpha alpha", "beta beta", "gamma gamma"])
    with pytest.raises(ValueError, match="3 templates, max_templates is 2"):
        Miner(max_templates=2).restore(saved(miner))


@pytest.mark.parametrize(
    ("options", "complaint"), [({"similarity": 0.0}, "similarity"), ({"max_templates": 1}, "max_t")]
)
def test_impossible_settings_are_refused(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Miner(**options)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=10))
def test_any_text_is_mined_and_survives_json(messages: list[str]) -> None:
    miner = Miner()
    ids, _ = miner.learn(messages)
    assert (ids > 0).all()
    assert revived(miner).templates() == miner.templates()


def test_texts_for_people_are_the_masked_ones_however_many_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.miner.READ", 3)
    miner = Miner()
    messages = [f"user {number} of {'team ' * (number % 5)}{'x' * 600 * (number % 2)}" for number in range(20)]
    expected = [Miner().masked(message) for message in messages]
    for _ in range(2):
        assert [miner.read(key) for key in miner.keys(messages)] == expected
