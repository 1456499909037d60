"""Sessions: which lines belong together, when they are told of, and that nothing depends on how lines come in polls."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.sessiontable import SessionRules, SessionTable, Told
from streaming.types import State
from tests.streaming.session_oracle import Line, PlainSessions, Seen

RULES = SessionRules(step=10, lateness=10, late_horizon=2, gap=25)


def fed(table: SessionTable, lines: Sequence[Line], newest: int = -(10**18)) -> list[Told]:
    """One poll; `newest` is the newest event time before it."""
    names = sorted({key for key, *_ in lines if key})
    codes = np.array([names.index(key) if key else -1 for key, *_ in lines], np.int32)
    templates, times, severities = (np.array([line[place] for line in lines], np.int64) for place in (1, 2, 3))
    now = np.maximum.accumulate(np.r_[newest, times])[1:].astype(np.int64)
    return table.take(names, codes, templates.astype(np.int32), times, severities.astype(np.int8), now)


def seen(found: Sequence[Told]) -> list[Seen]:
    rows: list[Seen] = []
    for told in found:
        one, flat = told.sessions, (told.sessions.templates, told.sessions.times, told.sessions.severities)
        for place, (start, stop) in enumerate(pairwise(one.bounds.tolist())):
            lines = tuple(zip(*(column[start:stop].tolist() for column in flat), strict=True))
            ends = int(one.starts[place]), int(one.ends[place])
            rows.append(
                (one.names[place], int(told.parts[place]), int(told.opened[place]), *ends, lines, int(told.as_[place]))
            )
    return rows


def poll_by_poll(
    rules: SessionRules, lines: Sequence[Line], cuts: Sequence[int], early: bool, again: bool
) -> list[Seen]:
    """`cuts` are where polls end; with `again` each poll meets a table that was restored from the state of the last."""
    table, found, newest = SessionTable(rules), list[Told](), -(10**18)
    table.early = early
    for start, stop in pairwise([0, *sorted(cuts), len(lines)]):
        found += fed(table, lines[start:stop], newest)
        newest = max([newest, *(line[2] for line in lines[start:stop])])
        if again:
            state, table = table.state(), SessionTable(rules)
            table.restore(State(state.arrays, state.meta))
            table.early = early
    return seen(found + table.end())


LINES = st.lists(
    st.tuples(st.sampled_from(["", "a", "b", "c", "d"]), st.integers(1, 3), st.integers(-40, 15), st.integers(-1, 5)),
    min_size=1,
    max_size=60,
)


def walk(steps: Sequence[Line]) -> list[Line]:
    """Lines whose times are given as steps from a clock that goes on with each one that is ahead of it."""
    clock, lines = 1000, list[Line]()
    for key, template, step, severity in steps:
        lines.append((key, template, clock + step, severity))
        clock = max(clock, clock + step)
    return lines


@settings(max_examples=300, deadline=None)
@given(
    steps=LINES,
    cuts=st.lists(st.integers(0, 60), max_size=8),
    early=st.booleans(),
    again=st.booleans(),
    most=st.sampled_from([(1000, 1000), (3, 1000), (1000, 7), (2, 9), (1, 1)]),
    length=st.sampled_from([1 << 60, 40]),
    lines=st.sampled_from([1000, 3]),
    gap=st.sampled_from([0, 8, 25, 400]),
)
def test_the_table_tells_what_plain_loops_tell(
    steps: list[Line],
    cuts: list[int],
    early: bool,
    again: bool,
    most: tuple[int, int],
    length: int,
    lines: int,
    gap: int,
) -> None:
    """Whatever the polls are and wherever it is restored; late lines, cuts by length and evictions among them."""
    rules = replace(RULES, gap=gap, max_open=most[0], max_held=most[1], max_length=length, max_lines=lines)
    plain, stream = PlainSessions(rules, early), walk(steps)
    for line in stream:
        plain.take(line)
    plain.end()
    ends = [min(cut, len(stream)) for cut in cuts]
    assert sorted(poll_by_poll(rules, stream, ends, early, again)) == sorted(plain.seen)
