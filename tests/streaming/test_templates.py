import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.miner import Miner
from streaming.templates import grouped, template_id

TOKENS = st.sampled_from(["user", "login", "of", "a", "b", "<*>", "<NUM>"])
TEXTS = st.lists(st.lists(TOKENS, max_size=5).map(" ".join), max_size=12)


def sets(found: dict[str, str]) -> set[frozenset[str]]:
    """The groups as sets of templates."""
    return {frozenset(text for text in found if found[text] == name) for name in found.values()}


def test_an_id_is_a_hash_of_the_words_alone() -> None:
    assert template_id("disk  full ") == template_id("disk full") == "2fbeecb0f61b0991"
    assert template_id("disk full") != template_id("disk <*>")


@pytest.mark.parametrize(
    ("texts", "groups"),
    [
        (["login of <*>", "login of alice", "logout of bob"], ["login of <*>", "logout of bob"]),
        (["disk sda is full", "disk sda is empty", "disk sdb is full"], ["disk sda is <*>", "disk sdb is full"]),
        (["a b", "a c", "<*> b"], ["<*> b", "a c"]),
        (["a b", "a b c"], ["a b", "a b c"]),
        (["", "a"], ["", "a"]),
        ([], []),
    ],
)
def test_what_is_one_template_for_people(texts: list[str], groups: list[str]) -> None:
    assert sorted(set(grouped(texts).values())) == sorted(groups)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 10**6))
def test_groups_follow_from_the_set_of_templates_alone(one: list[str], other: list[str], seed: int) -> None:
    together = [*one, *other, *one]
    random.Random(seed).shuffle(together)
    assert grouped(together) == grouped(set(one) | set(other)) == grouped([*other, *one])


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_more_templates_never_part_a_group(one: list[str], more: list[str]) -> None:
    wider = sets(grouped([*one, *more]))
    assert all(any(group <= other for other in wider) for group in sets(grouped(one)))


def test_several_miners_tell_what_one_would() -> None:
    draw = random.Random(4)
    verbs, names = ["login", "logout", "upload", "download"], ["alice", "bob", "carol", "dave"]
    lines = [f"session 7 {draw.choice(verbs)} of {draw.choice(names)} took {draw.randrange(99)} ms" for _ in range(400)]
    lines += [f"disk sd{draw.choice('abc')} full at {draw.randrange(99)} %" for _ in range(50)]
    draw.shuffle(lines)
    one = Miner()
    ids, _ = one.learn(lines)
    parts = [Miner() for _ in range(4)]
    mine = []
    for place, line in enumerate(lines):
        miner = parts[place % 4]
        (key,), _ = miner.learn([line])
        mine.append((place % 4, int(key)))
    text_of = {(k, key): text for k, miner in enumerate(parts) for key, text, _ in miner.templates()}
    group_of = grouped(text_of.values())
    together = [group_of[text_of[key]] for key in mine]
    assert len(set(zip(together, ids.tolist(), strict=True))) == len(set(together)) == len(set(ids.tolist()))
