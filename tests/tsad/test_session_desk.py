"""Sessions from lines to rows: the same however the lines come in polls, and wherever a snapshot is taken and loaded;
versions that judge, and that do not, come into force on the way."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.sessionmodel import FittedSessions
from storage.arrays import read_parts, write_parts
from streaming.columns import Columns
from streaming.logintake import LogIntake
from streaming.sessionintake import SessionIntake, SessionKeys
from streaming.sessiontable import SessionRules
from streaming.settings import SECOND, Timing
from streaming.types import Lines, State
from tests.tsad.orders import CALM, KEY, MOST_LINES, Said, orders
from tests.tsad.streams import NOT_COMPARED
from tsad.sessioncases import SessionRows
from tsad.sessionfit import SessionTape
from tsad.sessions import SessionDesk

MINUTE = 60 * SECOND
RULES = SessionRules(MINUTE, 0, 8, 2 * MINUTE, MOST_LINES)
FIRST = 40
"""The slot in which the lines begin."""
Rows = dict[str, dict[Any, Any]]


def intake(model: Any = lambda _: None) -> LogIntake:
    sessions = SessionIntake(RULES, SessionKeys(KEY), model)
    return LogIntake(Timing(MINUTE, 8, 0, 8), Columns(), sessions=sessions)


def lines(said: Sequence[Said]) -> Lines:
    """One poll of one host's lines."""
    count = len(said)
    times = np.array([one.second * SECOND for one in said], np.int64)
    none = np.zeros(count, np.int64)
    texts = [one.text for one in said]
    return Lines(
        ["shop"], none.astype(np.int32), times, texts, np.full(count, -1, np.int8), np.arange(count), none, count
    )


def fitted(seed: int, without: str) -> FittedSessions:
    """A model of calm orders, which has never seen lines that begin with the word."""
    taped = intake()
    assert taped.sessions is not None
    taped.sessions.taped, tape = True, SessionTape(taped.miner.texts)
    calm = [one for one in orders(4, 0, 200, seed, CALM) if not one.text.startswith(without)]
    taped.take(lines(sorted(calm, key=lambda one: one.second)))
    tape.end(taped.sessions)
    model = tape.fit(5.0, 5000)
    assert model is not None
    return model


MODELS = {"one": fitted(1, "ERROR"), "two": fitted(2, "charged")}
WAYS = ("calm", "stuck", "behind", "again", "failed", "back", "worse", "flood")
SAID = sorted(orders(8, FIRST, FIRST + 32, 3, WAYS), key=lambda one: (one.second + one.late, one.text))


def begun(second: int, none: int) -> tuple[LogIntake, SessionDesk]:
    """Version "one" judges first, "two" from the slot `second` on, and nothing from the slot `none` on."""
    made = intake(MODELS.get)
    for slot, version in sorted([(0, "one"), (FIRST + second, "two"), (FIRST + none, "")]):
        made.adopt_from(slot, version, [{}])
    assert made.sessions is not None
    return made, SessionDesk(SessionRows("live", "s.sessions", 0, MINUTE), "s", made.sessions, MODELS.__getitem__)


def loaded(state: State) -> State:
    """As it comes back from a snapshot."""
    file = io.BytesIO()
    write_parts(file, [("", state.arrays, state.meta)])
    ((_, arrays, meta),) = read_parts(file, "a snapshot")
    return State(arrays, meta)


def put(rows: Rows, desk: SessionDesk) -> None:
    """What a save would have written, as a database keeps it: the last row of each key, explanations renewed."""
    for changes in desk.take(1)[0]:
        for alert in changes.alerts:
            rows["alerts"][alert.id] = {
                name: value for name, value in asdict(alert).items() if name not in NOT_COMPARED
            }
            rows["parts"][alert.id] = [part for part in changes.explanations if part.alert_id == alert.id]
        rows["scores"] |= {(row.entity, row.slot): row for row in changes.scores}
        rows["audit"] |= {event.content: (event.alert_id, event.detail["reason"]) for event in changes.audit}


def final_rows(cuts: Sequence[int], second: int, none: int, again: bool) -> Rows:
    """The rows after all lines in polls that end at `cuts`; with `again` each begins with what a snapshot of the one
    before holds."""
    made, desk = begun(second, none)
    rows: Rows = {"alerts": {}, "parts": {}, "scores": {}, "audit": {}}
    for start, stop in pairwise([0, *sorted(cuts), len(SAID)]):
        made.take(lines(SAID[start:stop]))
        desk.look(0, 0)
        put(rows, desk)
        if again:
            kept = loaded(made.state()), loaded(desk.state())
            made, desk = begun(second, none)
            made.restore(kept[0])
            desk.restore(kept[1])
    desk.end(0, 0)
    put(rows, desk)
    return rows


@cache
def line_by_line(second: int, none: int) -> Rows:
    return final_rows(range(1, len(SAID)), second, none, again=False)


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(SAID)), max_size=12),
    versions=st.sampled_from([(22, 90), (90, 22)]),
    again=st.booleans(),
)
@example(cuts=[], versions=(22, 90), again=False)
@example(cuts=list(range(0, len(SAID), 4)), versions=(22, 90), again=True)
def test_final_rows_follow_from_the_lines(cuts: list[int], versions: tuple[int, int], again: bool) -> None:
    assert final_rows(cuts, *versions, again) == line_by_line(*versions)


def test_all_that_can_become_of_a_session_is_among_them() -> None:
    rows = line_by_line(22, 90)
    reasons = {reason for _, reason in rows["audit"].values()}
    assert reasons == {"opened", "confirmed", "amended", "retracted", "reopened", "resolved"}
    assert {row["model_version"] for row in rows["alerts"].values()} == {"one", "two"}
    assert any("#2" in row["entity"] for row in rows["alerts"].values())


def test_lines_from_before_a_version_are_quoted_under_it() -> None:
    """Orders that failed under one version and closed under the next."""
    failed = [row for row in line_by_line(22, 90)["alerts"].values() if "ERROR payment" in str(row["evidence"]["said"])]
    assert {row["model_version"] for row in failed} == {"one", "two"}


def test_alerts_do_not_stay_open_when_nothing_judges_sessions_any_more() -> None:
    rows = line_by_line(90, 22)["alerts"].values()
    assert {row["state"] for row in rows} == {"resolved", "retracted"}
    assert any(row["last_time"].timestamp() >= 60 * (FIRST + 20) for row in rows), "some had not closed by then"
