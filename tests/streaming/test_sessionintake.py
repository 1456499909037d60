"""Keys found in lines, templates as a model knows them, and sessions as values."""

import numpy as np
import pytest

from streaming.miner import Miner
from streaming.related import Related
from streaming.sessionintake import MOST_QUOTED, KnownTemplates, SessionIntake, SessionKeys, Shown
from streaming.sessions import Sessions
from streaming.sessiontable import CLOSED, EVICTED, SessionRules
from streaming.types import Lines, State
from tests.streaming.test_sessiontable import RULES


def sessions(*lengths: int) -> Sessions:
    bounds = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    lines = np.arange(bounds[-1])
    names = [f"s{number}" for number in range(len(lengths))]
    starts = np.arange(len(lengths), dtype=np.int64)
    return Sessions(names, starts, starts + 5, bounds, lines.astype(np.int32), lines, lines.astype(np.int8))


def test_sessions_are_taken_and_joined() -> None:
    one = sessions(2, 0, 3)
    assert (len(one), one.lengths.tolist(), one.owners.tolist()) == (3, [2, 0, 3], [0, 0, 2, 2, 2])
    taken = one.take([2, 0])
    assert (taken.names, taken.bounds.tolist(), taken.templates.tolist()) == (["s2", "s0"], [0, 3, 5], [2, 3, 4, 0, 1])
    assert one.take(one.lengths > 0).names == ["s0", "s2"]
    both = Sessions.joined([one.take([0]), Sessions.none(), one.take([1, 2])])
    assert both.names == one.names
    assert both.bounds.tolist() == one.bounds.tolist()
    assert both.times.tolist() == one.times.tolist()
    assert len(Sessions.joined([])) == 0


def test_sessions_that_do_not_fit_together_are_refused() -> None:
    one = sessions(2, 3)
    with pytest.raises(ValueError, match="2 sessions need 2 starts and ends and 3 bounds"):
        Sessions(one.names, one.starts, one.ends[:1], one.bounds, one.templates, one.times, one.severities)
    with pytest.raises(ValueError, match="5 lines need as many times"):
        Sessions(one.names, one.starts, one.ends, one.bounds, one.templates, one.times[:4], one.severities)


def test_a_key_is_the_first_match_and_can_be_stored() -> None:
    long = "x" * 241
    names, codes = SessionKeys(r"req=(\w*)").within(
        ["req=a done", "nothing", "req=b for req=a", f"req={long}", "req= empty", "again req=a"]
    )
    assert (names, codes.tolist()) == (["a", "b"], [0, -1, 1, -1, -1, 0])
    assert SessionKeys(r"(\0?x)").within(["\0x", "x"])[1].tolist() == [-1, 0]
    assert SessionKeys("(x)").within([])[1].tolist() == []
    assert SessionKeys("x|(y)").within(["x", "y"])[0] == ["y"], "a group that took no part finds no key"


def test_a_key_that_came_with_the_line() -> None:
    none = np.zeros(4, np.int64)
    related = Related.of(("user", "request"), [("u", "a"), ("u", None), ("v", 7), ("a", "a")])
    lines = Lines(["h"], none.astype(np.int32), none, ["#x"] * 4, none.astype(np.int8), none, none, 4, related=related)
    keys = SessionKeys(None, "request", apart=True)
    assert [part if isinstance(part, list) else part.tolist() for part in keys.of(lines)] == [["a", "7"], [0, -1, 1, 0]]
    left = keys.others(related)
    assert left is not None
    assert (left.names, [left.text(line, 0) for line in range(4)]) == (("user",), ["u", "u", "v", "a"])
    assert SessionKeys(None, "request").others(related) is related
    assert keys.others(left.without("user")) is None
    assert SessionKeys(None, "trace").of(lines)[1].tolist() == [-1] * 4


def test_templates_of_a_model() -> None:
    known = KnownTemplates(np.array([7, 3, 9], np.int32))
    assert known.codes(np.array([3, 7, 9, 4, -1], np.int32)).tolist() == [2, 1, 3, 0, 0]
    assert KnownTemplates(np.empty(0, np.int32)).codes(np.array([3], np.int32)).tolist() == [0]


class Known:
    texts = ("begin", "end")


def taken(intake: SessionIntake, miner: Miner, said: list[tuple[int, str]]) -> list[Shown]:
    """One poll of one host's lines (seconds, message)."""
    count, messages = len(said), [text for _, text in said]
    times = np.array([time for time, _ in said], np.int64)
    none = np.zeros(count, np.int64)
    severities = np.full(count, -1, np.int8)
    lines = Lines(["h"], none.astype(np.int32), times, messages, severities, none, none, count)
    ids, _ = miner.learn(messages)
    intake.take(lines, severities, ids, np.maximum.accumulate(times), lambda place: messages[place])
    return intake.shown()


def intake_of(rules: SessionRules = RULES, model: object = Known) -> SessionIntake:
    return SessionIntake(rules, SessionKeys(r"#(\w+)"), lambda version: model if version == "v" else None)  # type: ignore[arg-type, return-value]


def test_nothing_is_shown_where_nothing_judges() -> None:
    intake, miner = intake_of(), Miner()
    (gone,) = taken(intake, miner, [(0, "begin #a"), (500, "begin #b")])
    assert (len(gone.told.sessions), gone.told.gone.tolist(), gone.version) == (0, [0], ""), "but who has gone"
    assert intake.table.counts == {"sessions": 1, "sessions evicted": 0}
    intake.taped = True
    shown = next(one for one in taken(intake, miner, [(1000, "begin #c")]) if len(one.told.sessions))
    assert (shown.told.sessions.names, shown.version) == (["b"], "")
    assert shown.told.sessions.templates.tolist() == [1]


def test_sessions_are_shown_with_the_models_templates_and_lines_unknown_to_it() -> None:
    intake, miner = intake_of(), Miner()
    intake.score_by("v", miner)
    shown = taken(
        intake, miner, [(0, "begin #a"), (1, "end #a"), (2, "what is this #a"), (3, "nobody's"), (400, "end #b")]
    )
    closed = next(one for one in shown if CLOSED in one.told.as_)
    assert (closed.version, closed.told.sessions.names) == ("v", ["a"])
    # "begin #a" is another template than "begin": the miner decides, the model's are those it was given
    assert closed.quotes(0) == ["begin #a", "end #a", "what is this #a"]
    state = intake.state()
    again = intake_of()
    again.restore(State(state.arrays, state.meta))
    assert again.table.early
    assert again.state().meta == state.meta
    intake.score_by("other", miner)
    assert not intake.table.early


def test_lines_that_are_kept_for_people_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_QUOTED == 5000
    monkeypatch.setattr("streaming.sessionintake.MOST_QUOTED", 2)
    intake, miner = intake_of(), Miner()
    intake.score_by("v", miner)
    words = ("alpha bravo", "charlie delta echo", "foxtrot golf hotel india")
    taken(intake, miner, [(place, f"{text} #a") for place, text in enumerate(words)])
    (closed,) = (one for one in taken(intake, miner, [(500, "golf")]) if len(one.told.sessions))
    assert closed.quotes(0) == [f"{text} #a" for text in words[:2]]


def test_more_sessions_than_there_is_room_for_are_told_of_as_evicted() -> None:
    intake, miner = intake_of(SessionRules(10, 0, 2, 25, max_open=4)), Miner()
    intake.taped = True
    shown = taken(intake, miner, [(place, f"begin #{name}") for place, name in enumerate("abcdef")])
    evicted = [
        name for one in shown for name, as_ in zip(one.told.sessions.names, one.told.as_, strict=True) if as_ == EVICTED
    ]
    assert evicted == ["a", "b"]
    assert (len(intake.table), intake.table.counts["sessions evicted"]) == (4, 2)
