"""Which values go together: what breaks a relation is a surprise, and its reason names the two."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from detectors.relation import Relation
from streaming.linescores import MinedLines
from streaming.related import Related
from streaming.types import State

NAMES = ("user", "host", "component", "status")
Row = tuple[str | None, ...]


def lines(rows: Sequence[Row], names: tuple[str, ...] = NAMES) -> MinedLines:
    before = np.full((len(rows), 2), -1, np.int32)
    slots = np.arange(len(rows)) // 10
    return MinedLines(np.ones(len(rows), np.int32), before, slots, related=Related.of(names, rows))


def usual(many: int, seed: int = 1) -> list[Row]:
    """Four departments, each with its own users, hosts and component; some fail."""
    draw = np.random.default_rng(seed)
    rows: list[Row] = []
    for _ in range(many):
        team = int(draw.integers(4))
        user, host = f"user-{team * 15 + draw.integers(15)}", f"host-{team * 6 + draw.integers(6)}"
        part = ("web", "db", "mail", "batch")[team] if draw.random() < 0.9 else "login"
        rows.append((user, host, part, "ok" if draw.random() < 0.97 else "failed"))
    return rows


@pytest.fixture(scope="module")
def taught() -> tuple[Relation, MinedLines, np.ndarray]:
    """Fitted, on which lines, and their scores. Not to be changed."""
    model, history = Relation(), lines(usual(4000))
    scores = model.fit(history, 1, history.slots >= 280)
    assert scores is not None
    return model, history, scores


ODD: list[Row] = [
    ("user-1", "host-20", "web", "ok"),
    ("user-1", "host-3", "batch", "ok"),
    ("eve", "host-3", "web", "ok"),
    ("user-1", "host-3", "web", "melted"),
]


def test_what_goes_together_is_no_surprise_and_what_does_not_is_one(
    taught: tuple[Relation, MinedLines, np.ndarray],
) -> None:
    model, _, scores = taught
    assert (model.score(lines(usual(2000, 2))) > 0).mean() < 0.005
    assert (scores > 0).mean() < 0.005
    nats = model.score(lines(ODD)) / 64
    assert (nats > 1).all()
    assert nats.max() < 40


def test_two_of_a_kind_go_together_although_they_never_met(taught: tuple[Relation, MinedLines, np.ndarray]) -> None:
    model, history, _ = taught
    assert history.related is not None
    met = set(zip(history.related.codes[:, 0].tolist(), history.related.codes[:, 1].tolist(), strict=True))
    texts = list(history.related.texts)
    never = [
        (f"user-{user}", f"host-{host}", "web", "ok")
        for user in range(15)
        for host in range(6)
        if (texts.index(f"user-{user}"), texts.index(f"host-{host}")) not in met
    ]
    once = lines(never or [("user-1", "host-3", "web", "ok")])
    assert model.score(once).max() < model.score(lines(ODD[:1])).min()


def test_the_reason_names_the_two_or_what_was_never_seen(taught: tuple[Relation, MinedLines, np.ndarray]) -> None:
    model, asked = taught[0], lines(ODD)
    strangers, component, user, status = model.reasons(asked, np.arange(4))
    assert 'host "host-20"' in strangers
    assert strangers.endswith("do not go together")
    assert 'component "batch"' in component
    assert user == 'user "eve" was never seen'
    assert status == 'status "melted" was never seen'


def test_a_line_alone_is_judged_as_in_a_crowd_and_after_a_restart(
    taught: tuple[Relation, MinedLines, np.ndarray],
) -> None:
    model, again = taught[0], Relation()
    state = model.state()
    again.restore(State({key: array.copy() for key, array in state.arrays.items()}, json.loads(json.dumps(state.meta))))
    rows = [*ODD, *usual(60, 3), ("user-1", None, "web", None), (None,) * 4, ("user-1", None, None, None)]
    expected = model.score(lines(rows))
    np.testing.assert_array_equal(again.score(lines(rows)), expected)
    assert [int(again.score(lines([row]))[0]) for row in rows] == expected.tolist()
    order = np.random.default_rng(4).permutation(len(rows))
    np.testing.assert_array_equal(model.score(lines([rows[place] for place in order])), expected[order])
    assert expected[-3:].tolist() == [0, 0, 0]


def test_a_fit_is_the_same_again(taught: tuple[Relation, MinedLines, np.ndarray]) -> None:
    again = Relation()
    again.fit(taught[1], 1, taught[1].slots >= 280)
    for name, array in taught[0].state().arrays.items():
        np.testing.assert_array_equal(again.state().arrays[name], array)


def test_values_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.embedding.VALUES", 10)
    model, history = Relation(), lines(usual(1500))
    assert model.fit(history, 1, history.slots >= 100) is not None
    assert np.diff(model.state().arrays["first"]).max() == 10
    assert np.isfinite(model.state().arrays["vectors"]).all()


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (usual(100), NAMES),
        ([("user-1", None, None, None)] * 500, NAMES),
        ([("always", "the", "same", "four")] * 500, NAMES),
        ([(f"user-{place % 7}", "one", "web", "ok") for place in range(500)], NAMES),
        ([("a",)] * 500, ("user",)),
    ],
)
def test_where_nothing_is_related_there_is_no_model(rows: list[Row], names: tuple[str, ...]) -> None:
    history = lines(rows, names)
    assert Relation().fit(history, 1, history.slots >= int(history.slots[-1] * 0.7)) is None


def test_lines_with_other_names_are_not_judged(taught: tuple[Relation, MinedLines, np.ndarray]) -> None:
    model, bare = taught[0], MinedLines(np.ones(3, np.int32), np.full((3, 2), -1, np.int32), np.arange(3))
    assert model.score(bare).tolist() == [0, 0, 0]
    assert Relation().fit(bare, 1, bare.slots > 1) is None
    assert model.reasons(bare, np.arange(1)) == [""]
    other = lines([("user-1", "host-20")], ("user", "host"))
    assert (model.score(other).tolist(), model.reasons(other, np.arange(1))) == ([0], [""])


def test_a_quantile_must_be_one() -> None:
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 0"):
        Relation(0)


def told(rows: Sequence[Row], names: tuple[str, ...] = NAMES) -> Related:
    return Related.of(names, rows)


EVE: list[Row] = [("eve", f"host-{place}", "web", "ok") for place in range(6)]


def test_a_new_value_becomes_usual_with_those_that_it_comes_with_and_with_no_others(
    taught: tuple[Relation, MinedLines, np.ndarray],
) -> None:
    model = taught[0].own()
    assert (model.score(lines(EVE)) > 0).all()
    for seed in range(8):
        model.learn(told([*usual(1000, 20 + seed), *EVE, *EVE]))
    assert model.score(lines(EVE)).tolist() == [0] * 6
    elsewhere = lines([("eve", "host-20", "mail", "ok")])
    assert model.score(elsewhere)[0] > 0
    assert "do not go together" in model.reasons(elsewhere, np.arange(1))[0]
    odd = np.array(ODD, object)[[0, 1, 3]].tolist()
    assert (model.score(lines(odd)) > 64).all(), "what was strange before is strange still"
    assert (model.score(lines(usual(2000, 2))) > 0).mean() < 0.005
    assert (taught[0].score(lines(EVE)) > 0).all(), "the version itself learns nothing"


def test_values_that_are_new_each_time_are_less_and_less_of_a_surprise(
    taught: tuple[Relation, MinedLines, np.ndarray],
) -> None:
    model, found = taught[0].own(), list[int]()
    for seed in range(4):
        found.append(int(model.score(lines([("nobody", "host-3", "web", "ok")]))[0]))
        model.learn(told([(f"guest-{seed}-{place}", *row[1:]) for place, row in enumerate(usual(50, seed))]))
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.7 * found[0]


def test_those_go_that_came_last_longest_ago(
    taught: tuple[Relation, MinedLines, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.embedding.VALUES", 100)
    model = taught[0].own()
    for seed in range(6):
        model.learn(told([(f"guest-{seed}-{place}", "host-3", "web", "ok") for place in range(20)] + [ODD[0]]))
    assert np.diff(model.state().arrays["first"]).max() == 100
    users = lines([("user-1", "host-3", "web", "ok"), ("user-59", "host-20", "batch", "ok")])
    reasons = model.reasons(users, np.arange(2))
    assert "was never seen" not in reasons[0], "it came with each lesson"
    assert reasons[1] == 'user "user-59" was never seen'


def of_many_teams(many: int, seed: int, share: float = 0.0) -> tuple[list[Row], np.ndarray]:
    """Lines of 40 teams, a third of whose components are not told; and which have another team's host: that share."""
    draw = np.random.default_rng(seed)
    teams, odd = draw.integers(40, size=many), draw.random(many) < share
    hosts = np.where(odd, (teams + draw.integers(1, 40, many)) % 40, teams)
    told = draw.random(many) < 0.67
    rows: list[Row] = [
        (f"user-{team}-{draw.integers(20)}", f"host-{host}-{draw.integers(8)}", f"part-{team}" if tells else None, "ok")
        for team, host, tells in zip(teams.tolist(), hosts.tolist(), told.tolist(), strict=True)
    ]
    return rows, odd


def test_lessons_of_a_stream_keep_and_sharpen_what_a_fit_knows() -> None:
    model, history = Relation(), lines(of_many_teams(6000, 1)[0])
    assert model.fit(history, 1, history.slots >= 420) is not None
    asked, odd = of_many_teams(1500, 2, 0.1)
    before = model.score(lines(asked)) > 0
    for seed in range(3, 13):
        model.learn(told(of_many_teams(3000, seed)[0]))
    after = model.score(lines(asked)) > 0
    assert 0.8 < before[odd].mean() <= after[odd].mean()
    assert max(before[~odd].mean(), after[~odd].mean()) < 0.002


def test_a_lesson_of_any_lines_leaves_numbers_that_are_finite() -> None:
    model, history = Relation(), lines(of_many_teams(3000, 1)[0])
    assert model.fit(history, 1, history.slots >= 200) is not None
    one = ("user-0-0", "host-0-0", None, None)
    half, new = (None, "host-0-1", None, "ok"), [(f"new-{place}", "other", "part-1", None) for place in range(99)]
    for rows in ([one], [one] * 9000, [half, one], new):
        model.learn(told(rows))
        state = model.state()
        assert all(np.isfinite(array).all() for array in state.arrays.values())
        assert (state.arrays["vectors"][0] == 0).all(), "what is not known goes with everything as by chance"
        assert (state.arrays["weights"] >= 0).all()


def test_what_learns_goes_on_after_a_restart(taught: tuple[Relation, MinedLines, np.ndarray]) -> None:
    one = taught[0].own()
    one.learn(told([*usual(300, 5), *EVE]))
    state, again = one.state(), Relation()
    again.restore(State({key: array.copy() for key, array in state.arrays.items()}, json.loads(json.dumps(state.meta))))
    for model in (one, again):
        model.learn(told([*usual(300, 6), *EVE, ("new", None, "web", None)]))
    assert again.state().meta == one.state().meta
    for name, array in one.state().arrays.items():
        np.testing.assert_array_equal(again.state().arrays[name], array)


def test_nothing_is_learnt_of_lines_that_relate_nothing(taught: tuple[Relation, MinedLines, np.ndarray]) -> None:
    model = taught[0].own()
    before = model.state()
    model.learn(told([("user-1", None, None, None)] * 9))
    model.learn(told([("user-1", "host-20")], ("user", "host")))
    model.learn(Related.none(5))
    assert model.state().meta == before.meta
    np.testing.assert_array_equal(model.state().arrays["vectors"], before.arrays["vectors"])
