"""Episodes as a pure fold: open, extend, confirm, retract, resolve."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsad.episodes import Episode, Reading, Rule, advance, calm, fold, severity

NAN = float("nan")
RULE = Rule(settle=3, quiet=5)


def readings(scores: str, settled: str = "", first: int = 0) -> list[Reading]:
    """One reading a letter: `!` flags (score 2), `^` flags higher (score 3), `.` is calm, `?` says nothing.

    `settled` has a letter a slot too: `!` confirms, `.` does not, `?` or none says nothing.
    """
    values = {"!": 2.0, "^": 3.0, ".": 0.2, "?": NAN}
    return [
        Reading(first + place, values[score], 10 ** -values[score], values[settle])
        for place, (score, settle) in enumerate(zip(scores, settled.ljust(len(scores), "?"), strict=True))
    ]


# --- one life, step by step


def test_a_calm_stream_has_no_episodes() -> None:
    assert fold(None, readings("....?.."), RULE) == (None, [])


def test_the_first_flag_opens() -> None:
    running, ended = fold(None, readings("..!"), RULE)
    assert running == Episode(first=2, last=2, peak=2, score=2.0, p=0.01)
    assert ended == []


def test_exactly_at_the_threshold_is_no_flag() -> None:
    assert advance(None, Reading(0, 1.0, 0.5, NAN), RULE) == (None, None)


def test_flags_extend_and_the_highest_is_the_peak() -> None:
    running, _ = fold(None, readings("!.^!"), RULE)
    assert running == Episode(first=0, last=3, peak=2, score=3.0, p=0.001, flags=3)


def test_of_two_equal_peaks_the_earlier_counts() -> None:
    running, _ = fold(None, readings("!!"), RULE)
    assert running is not None
    assert (running.peak, running.last) == (0, 1)


def test_a_settled_first_slot_beyond_the_threshold_confirms() -> None:
    running, ended = fold(None, readings("!..", "??!"), RULE)
    assert ended == []
    assert running is not None
    assert (running.state, running.confirmed, running.running) == ("confirmed", True, True)


def test_a_settled_first_slot_below_the_threshold_retracts() -> None:
    running, ended = fold(None, readings("!..", "??."), RULE)
    assert running is None
    assert [(episode.state, episode.confirmed, episode.running) for episode in ended] == [("retracted", False, False)]


def test_only_the_slot_at_which_the_first_one_settles_decides() -> None:
    running, ended = fold(None, readings("!...", "!!?!"), RULE)
    assert ended == []
    assert running is not None
    assert running.state == "open"


def test_a_flag_behind_a_retraction_opens_anew() -> None:
    running, ended = fold(None, readings("!..!", "??.?"), RULE)
    assert [(episode.first, episode.state) for episode in ended] == [(0, "retracted")]
    assert running is not None
    assert (running.first, running.state) == (3, "open")


def test_a_decision_is_taken_once() -> None:
    running, ended = fold(None, readings("!..!..", "??!..."), RULE)
    assert ended == []
    assert running is not None
    assert running.state == "confirmed"


@pytest.mark.parametrize("quiet", [3, 5, 8])
def test_quiet_slots_resolve(quiet: int) -> None:
    rule = Rule(settle=3, quiet=quiet)
    running, ended = fold(None, readings("!" + "." * (quiet - 1), "??!"), rule)
    assert ended == []
    assert running is not None
    running, done = advance(running, readings(".", first=quiet)[0], rule)
    assert running is None
    assert done is not None
    assert (done.state, done.confirmed, done.last) == ("resolved", True, 0)


def test_slots_that_say_nothing_are_quiet() -> None:
    _, ended = fold(None, readings("!?????"), RULE)
    assert [episode.state for episode in ended] == ["resolved"]


def test_a_gap_in_the_slots_is_quiet_and_a_flag_behind_it_opens_anew() -> None:
    running, _ = fold(None, readings("!!"), RULE)
    running, ended = advance(running, readings("^", first=40)[0], RULE)
    assert ended is not None
    assert (ended.state, ended.last) == ("resolved", 1)
    assert running == Episode(first=40, last=40, peak=40, score=3.0, p=0.001)


def test_advancing_leaves_the_old_value_alone() -> None:
    before, _ = fold(None, readings("!"), RULE)
    kept = Episode(first=0, last=0, peak=0, score=2.0, p=0.01)
    advance(before, readings("^", first=1)[0], RULE)
    assert before == kept


# --- properties of any stream

RULES = st.integers(2, 6).flatmap(lambda settle: st.builds(Rule, st.just(settle), st.integers(settle, 12)))
SCORES = st.sampled_from([NAN, 0.0, 0.5, 1.0, 1.5, 2.0, 4.0])


@st.composite
def streams(draw: st.DrawFn) -> list[Reading]:
    """Slots in order, with gaps."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 9, 30]), max_size=60))
    slots = np.cumsum(steps).tolist()
    return [Reading(slot, score := draw(SCORES), 10**-score, draw(SCORES)) for slot in slots]


def everything(stream: list[Reading], rule: Rule) -> list[Episode]:
    running, ended = fold(None, stream, rule)
    return [*ended, *([running] if running else [])]


@settings(max_examples=150, deadline=None)
@given(streams(), RULES, st.data())
def test_a_fold_in_pieces_is_the_fold(stream: list[Reading], rule: Rule, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    running: Episode | None = None
    ended: list[Episode] = []
    for start, stop in pairwise([0, *cuts, len(stream)]):
        running, done = fold(running, stream[start:stop], rule)
        ended += done
    assert (running, ended) == fold(None, stream, rule)


@settings(max_examples=150, deadline=None)
@given(streams(), RULES)
def test_a_calm_slot_leaves_an_episode_as_it_is(stream: list[Reading], rule: Rule) -> None:
    """Whoever goes by it need not look at the slot."""
    running: Episode | None = None
    for reading in stream:
        behind, ended = advance(running, reading, rule)
        if running is not None and not reading.flagged:
            unmoved = (behind, ended) == (running, None)
            assert unmoved or not calm(running, reading.slot, rule)
            assert calm(running, reading.slot, rule) or not unmoved or reading.settled != reading.settled
        running = behind


def test_calm_ends_with_the_quiet_and_where_the_decision_falls() -> None:
    opened, _ = fold(None, readings("!"), RULE)
    confirmed, _ = fold(None, readings("!..", "??!"), RULE)
    assert opened is not None
    assert confirmed is not None
    assert [calm(opened, slot, RULE) for slot in range(1, 6)] == [True, False, True, True, False]
    assert [calm(confirmed, slot, RULE) for slot in range(1, 6)] == [True, True, True, True, False]


@settings(max_examples=100, deadline=None)
@given(streams(), RULES)
def test_replaying_from_any_older_state_gives_the_same_end(stream: list[Reading], rule: Rule) -> None:
    states: list[Episode | None] = [None]
    for reading in stream:
        states.append(advance(states[-1], reading, rule)[0])
    assert all(fold(state, stream[place:], rule)[0] == states[-1] for place, state in enumerate(states))


@settings(max_examples=150, deadline=None)
@given(streams(), RULES)
def test_an_episode_is_what_its_readings_say(stream: list[Reading], rule: Rule) -> None:
    by_slot = {reading.slot: reading for reading in stream}
    for episode in everything(stream, rule):
        own = [by_slot[slot] for slot in range(episode.first, episode.last + 1) if slot in by_slot]
        flags = [reading for reading in own if reading.flagged]
        assert flags[0].slot == episode.first
        assert flags[-1].slot == episode.last
        assert len(flags) == episode.flags
        highest = max(flags, key=lambda reading: reading.score)
        assert (episode.peak, episode.score, episode.p) == (highest.slot, highest.score, highest.p)
        assert all(later.slot - earlier.slot <= rule.quiet for earlier, later in pairwise(flags))


@settings(max_examples=150, deadline=None)
@given(streams(), RULES)
def test_every_flag_belongs_to_exactly_one_episode(stream: list[Reading], rule: Rule) -> None:
    episodes = everything(stream, rule)
    assert all(earlier.last < later.first for earlier, later in pairwise(episodes))
    assert sum(episode.flags for episode in episodes) == sum(reading.flagged for reading in stream)


@settings(max_examples=150, deadline=None)
@given(streams(), RULES)
def test_the_state_follows_from_the_settled_score_and_the_quiet(stream: list[Reading], rule: Rule) -> None:
    by_slot = {reading.slot: reading for reading in stream}
    running, ended = fold(None, stream, rule)
    for episode in ended:
        decision = by_slot.get(episode.first + rule.settle - 1)
        verdict = NAN if decision is None else decision.settled
        assert episode.confirmed == (verdict > 1)
        assert episode.state == ("retracted" if verdict <= 1 else "resolved")
    if running is not None:
        assert running.running
        assert stream[-1].slot < running.last + rule.quiet


@settings(max_examples=100, deadline=None)
@given(streams(), RULES, st.integers(-1000, 1000))
def test_only_distances_between_slots_matter(stream: list[Reading], rule: Rule, shift: int) -> None:
    moved = everything([reading._replace(slot=reading.slot + shift) for reading in stream], rule)
    here = everything(stream, rule)
    assert [(one.first + shift, one.last + shift, one.peak + shift, one.state) for one in here] == [
        (one.first, one.last, one.peak, one.state) for one in moved
    ]


# --- severity


@pytest.mark.parametrize(
    ("score", "channels", "features", "duration", "expected"),
    [
        (1.1, 1, 38, 1, "info"),
        (2.0, 1, 38, 1, "warning"),
        (1.1, 10, 38, 1, "warning"),
        (1.1, 9, 38, 1, "info"),
        (1.1, 1, 38, 10, "warning"),
        (2.5, 10, 38, 1, "critical"),
        (2.5, 10, 38, 60, "critical"),
        (1.1, 1, 1, 1, "info"),
        (1.1, 2, 2, 1, "warning"),
    ],
)
def test_severity_counts_reasons(score: float, channels: int, features: int, duration: int, expected: str) -> None:
    assert severity(score, channels, features, duration) == expected


@given(st.floats(1, 50), st.integers(1, 60), st.integers(1, 60), st.integers(1, 500), st.integers(0, 2))
def test_more_of_anything_is_never_less_severe(
    score: float, channels: int, features: int, duration: int, which: int
) -> None:
    order = ("info", "warning", "critical")
    more = [score, channels, duration]
    more[which] += 1
    worse = severity(more[0], int(more[1]), features, int(more[2]))
    assert order.index(worse) >= order.index(severity(score, channels, features, duration))
