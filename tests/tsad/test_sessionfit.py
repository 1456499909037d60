"""The sessions of a history as a model is fitted on them: which count, and what their templates are called."""

from collections.abc import Iterable

import numpy as np
import pytest

from streaming.linetape import JoinedTexts
from streaming.miner import Miner
from streaming.sessionintake import SessionIntake, SessionKeys, Shown
from streaming.sessionlines import KeptLines
from streaming.sessions import Sessions
from streaming.sessiontable import AMENDED, CLOSED, EVICTED, OPEN, SessionRules, Told
from streaming.types import State
from tsad.sessionfit import SessionTape

TEXTS = {1: "begin", 2: "work", 3: "end", 4: "work", 5: None}
"""4 is the second template that reads so, 5 was forgotten."""
NONE = np.empty(0, np.int64)
RULES = SessionRules(step=10, lateness=0, late_horizon=2, gap=25)


def texts(ids: Iterable[int]) -> list[str | None]:
    return [TEXTS.get(key) for key in ids]


def sessions(many: int, start: int = 0, codes: tuple[int, ...] = (1, 2, 4, 3)) -> Sessions:
    """A session each ten seconds with one line of each of `codes`."""
    starts = start + 10 * 10**9 * np.arange(many, dtype=np.int64)
    bounds = len(codes) * np.arange(many + 1, dtype=np.int64)
    lines = np.repeat(starts, len(codes))
    names = [f"s{start}-{number}" for number in range(many)]
    templates = np.tile(np.array(codes, np.int32), many)
    return Sessions(names, starts, starts + 10**9, bounds, templates, lines, np.full(len(lines), 2, np.int8))


def shown(found: Sessions, as_: int) -> Shown:
    numbers = np.arange(len(found))
    told = Told(found, numbers, np.full(len(found), as_, np.int8), numbers, numbers.astype(np.int32), NONE)
    return Shown(told, np.zeros(len(found.templates), np.int32), "", {})


class Ending(SessionIntake):
    """Sessions that are open at the end."""

    def __init__(self, rest: Sessions) -> None:
        super().__init__(RULES, SessionKeys("(x)"), lambda _: None)
        self.rest = rest

    def end(self) -> None:
        self._shown.append(shown(self.rest, CLOSED))


def test_templates_are_known_by_text_the_most_frequent_first() -> None:
    tape = SessionTape(texts)
    tape.add([shown(sessions(30), CLOSED), shown(sessions(30, 10**12, (1, 5)), EVICTED)])
    tape.end(Ending(Sessions.none()))
    model = tape.fit(1.0, 100)
    assert model is not None
    assert model.texts == ["begin", "work", "end"]
    assert model.commonly is not None
    few = tape.fit(1.0, 8)  # at most a quarter of what the miner remembers
    assert few is not None
    assert few.texts == ["begin", "work"]


def test_only_sessions_that_have_closed_count() -> None:
    tape = SessionTape(texts)
    tape.add([shown(sessions(30), OPEN), shown(sessions(30), AMENDED), shown(sessions(5), CLOSED)])
    tape.end(Ending(Sessions.none()))
    assert tape.fit(1.0, 100) is None, "five are too few"
    assert SessionTape(texts).fit(1.0, 100) is None


@pytest.mark.parametrize(("cut", "known"), [(20, ["work", "begin", "end"]), (400, ["begin", "work", "end"])])
def test_what_the_end_cuts_off_is_left_out_unless_it_is_most(cut: int, known: list[str]) -> None:
    tape = SessionTape(texts)
    tape.add([shown(sessions(60), CLOSED)])
    tape.end(Ending(sessions(cut, 10**12, (1,))))
    model = tape.fit(1.0, 100)
    assert model is not None
    assert model.texts == known
    short = model.score(sessions(1, codes=(1,))).score[0]  # a first line alone
    assert (short > 1) == (cut == 20)


def test_of_many_lines_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsad.sessionfit.MOST_LINES", 200)
    tape = SessionTape(texts)
    for part in range(10):
        tape.add([shown(sessions(20, part * 10**12, (1, 3) if part < 5 else (2, 3)), CLOSED)])
    tape.end(Ending(Sessions.none()))
    model = tape.fit(1.0, 100)
    assert model is not None
    assert set(model.texts) == {"work", "end"}


def test_a_history_is_grouped_as_the_stream_is() -> None:
    intake, miner = SessionIntake(RULES, SessionKeys("(x)"), lambda _: None), Miner()
    assert intake.table.early is False
    intake.score_by("v", miner)
    assert intake.shown() == []


def test_kept_lines_come_back_by_session_and_time() -> None:
    kept = KeptLines()
    for owners, times in (([0, 1, 0], [5, 3, 2]), ([1, 2], [1, 9])):
        count = len(owners)
        part = np.array(owners, np.int32)
        kept.add(part, part + 10, np.array(times, np.int64), np.full(count, 3, np.int8))
    bounds, templates, times, _ = kept.of(np.array([1, 0]), 3)
    assert (bounds.tolist(), templates.tolist(), times.tolist()) == ([0, 2, 4], [11, 11, 10, 10], [1, 3, 2, 5])
    kept.drop(np.array([0]), 3)
    state, again = kept.state(np.array([0, 7, 8], np.int32)), KeptLines()
    again.restore(State(state.arrays))
    assert (len(kept), len(again)) == (3, 3)
    assert again.of(np.array([7]), 9)[2].tolist() == [1, 3]
    assert again.of(NONE, 9)[0].tolist() == [0]


@pytest.mark.parametrize(("early", "known"), [(20, ["work", "begin", "end"]), (400, ["begin", "work", "end"])])
def test_tapes_of_several_miners_are_joined_without_what_their_beginning_cuts_off(early: int, known: list[str]) -> None:
    """Unless that is most of them."""
    numbers = JoinedTexts()
    together = SessionTape(numbers)
    for names in (TEXTS, {7: "begin", 8: "work", 9: "end"}):
        tape = SessionTape(lambda ids, names=names: [names.get(key) for key in ids])  # type: ignore[misc]
        first, codes = (1, (1, 2, 4, 3)) if names is TEXTS else (7, (7, 8, 8, 9))
        tape.add([shown(sessions(early, 0, (first,)), CLOSED), shown(sessions(60, 10**13, codes), CLOSED)])
        tape.end(Ending(sessions(2, 10**14, (first,))))
        together.join(tape, numbers, 10**13)
    model = together.fit(1.0, 100)
    assert model is not None
    assert model.texts == known
    assert (model.score(sessions(1, codes=(1,))).score[0] > 1) == (early == 20)
