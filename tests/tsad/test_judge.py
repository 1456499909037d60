"""Episodes with an identity: late data that merges, splits, moves and empties them equals a fold from the start."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streaming.types import State
from tsad.episodes import Episode, Reading, Rule, fold
from tsad.judge import Change, Judge, Track
from tsad.readings import Readings

NAN = float("nan")
RULE = Rule(settle=3, quiet=5)
HORIZON = 12
VALUES = {"!": 2.0, "^": 3.0, ".": 0.2, "?": NAN}


@dataclass
class Desk:
    """A judge, the readings as corrected so far, and what a database would hold of its changes."""

    rule: Rule = RULE
    horizon: int = HORIZON
    judge: Judge = field(init=False)
    told: dict[int, dict[int, Reading]] = field(default_factory=dict)
    stored: dict[tuple[int, int], Track] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.judge = Judge(self.rule, Readings(self.horizon))

    def close(self, slot: int, readings: dict[int, tuple[float, float]]) -> None:
        """Close `slot` with (score, settled) of each row."""
        self._take(self.judge.close(slot, *self._arrays(slot, readings)))

    def amend(self, slot: int, readings: dict[int, tuple[float, float]]) -> None:
        """Late data: other readings of a slot that is closed."""
        assert self.judge.closed is not None
        rows, score, p, settled = self._arrays(slot, readings)
        slots = np.full(len(rows), slot, np.int64)
        self._take(self.judge.amend(rows, slots, score, p, settled, self.judge.closed))

    def play(self, scores: str, settled: str = "", row: int = 0) -> None:
        """Close a slot for each letter."""
        first = 0 if self.judge.closed is None else self.judge.closed + 1
        for place, (score, settle) in enumerate(zip(scores, settled.ljust(len(scores), "?"), strict=True)):
            self.close(first + place, {row: (VALUES[score], VALUES[settle])})

    def tracks(self, row: int = 0) -> list[tuple[int, int, int, str]]:
        """(identity, first, last, state) of everything stored of a row."""
        kept = sorted((identity, track) for (number, identity), track in self.stored.items() if number == row)
        return [(identity, t.episode.first, t.episode.last, t.episode.state) for identity, t in kept]

    def _arrays(self, slot: int, readings: dict[int, tuple[float, float]]) -> tuple[np.ndarray, ...]:
        for row, (score, settled) in readings.items():
            p = 10**-score if score == score else NAN
            narrow = float(np.float32(score)), p, float(np.float32(settled))
            self.told.setdefault(row, {})[slot] = Reading(slot, *narrow)
        rows = sorted(readings)
        score = np.array([readings[row][0] for row in rows], np.float32)
        p = np.array([self.told[row][slot].p for row in rows])
        settled = np.array([readings[row][1] for row in rows], np.float32)
        return np.array(rows, np.int32), score, p, settled

    def _take(self, changes: Iterable[Change]) -> None:
        for change in changes:
            track = change.track
            self.reasons.append(change.reason)
            copy = Track(track.identity, track.episode, track.merged_into)
            self.stored[change.row, track.identity] = copy

    def expected(self, row: int) -> tuple[Episode | None, list[Episode]]:
        """The fold of the corrected sequence from the very start."""
        assert self.judge.closed is not None
        mine = self.told.get(row, {})
        slots = range(min(mine, default=0), self.judge.closed + 1)
        return fold(None, [mine.get(slot, Reading(slot, NAN, NAN, NAN)) for slot in slots], self.rule)


def by_first(episodes: Iterable[Episode]) -> list[Episode]:
    return sorted(episodes, key=lambda episode: (episode.first, episode.last, episode.state))


def agree(desk: Desk) -> None:
    """What is stored as standing is what the fold of the corrected sequence says, each under an identity of its own."""
    for row in desk.told:
        running, ended = desk.expected(row)
        entity = desk.judge.entities.get(row)
        head = entity.head.episode if entity is not None and entity.head is not None else None
        assert head == running
        identities = [track.identity for track in entity.tracks] if entity is not None else []
        assert len(set(identities)) == len(identities)
        episodes = [*ended, *([running] if running else [])]
        standing = [t.episode for (number, _), t in desk.stored.items() if number == row]
        assert by_first(e for e in standing if e.state != "retracted") == by_first(
            e for e in episodes if e.state != "retracted"
        )
        gone = [e for e in episodes if e.state == "retracted"]
        assert all(e in standing for e in gone)


# --- what closes, in order


def test_a_track_lives_as_its_episode_does() -> None:
    desk = Desk()
    desk.play("..!^......", "....!")
    assert desk.tracks() == [(2, 2, 3, "resolved")]
    assert desk.reasons == ["opened", "extended", "confirmed", "resolved"]


def test_a_retracted_episode_keeps_its_row_and_a_later_flag_has_another() -> None:
    desk = Desk()
    desk.play("!..!", "??..")
    assert desk.tracks() == [(0, 0, 0, "retracted"), (3, 3, 3, "open")]


def test_rows_do_not_disturb_each_other() -> None:
    desk = Desk()
    for slot in range(8):
        desk.close(slot, {0: (2.0 if slot == 1 else 0.1, NAN), 1: (2.0 if slot == 2 else 0.1, NAN)})
    assert desk.tracks(0) == [(1, 1, 1, "resolved")]
    assert desk.tracks(1) == [(2, 2, 2, "resolved")]


def test_slots_without_the_row_are_quiet() -> None:
    desk = Desk()
    desk.play("!")
    for slot in range(1, 6):
        desk.close(slot, {7: (0.1, NAN)})
    assert desk.tracks(0) == [(0, 0, 0, "resolved")]


def test_what_is_calm_is_forgotten() -> None:
    desk = Desk()
    desk.play("!" + "." * (HORIZON + RULE.quiet + 1))
    assert desk.judge.entities == {}


# --- late data


def test_late_flags_between_two_episodes_merge_them_and_the_older_goes_on() -> None:
    desk = Desk()
    desk.play("!....." + "!..")
    assert desk.tracks() == [(0, 0, 0, "resolved"), (6, 6, 6, "open")]
    desk.amend(3, {0: (2.0, NAN)})
    assert desk.tracks() == [(0, 0, 6, "open"), (6, 6, 6, "retracted")]
    assert desk.stored[0, 6].merged_into == 0
    assert desk.reasons[-2:] == ["amended", "merged"]
    agree(desk)


def test_a_merged_row_stays_merged_when_the_older_one_goes_on() -> None:
    desk = Desk()
    desk.play("!....." + "!..")
    desk.amend(3, {0: (2.0, NAN)})
    desk.play("!.....")
    assert desk.tracks() == [(0, 0, 9, "resolved"), (6, 6, 6, "retracted")]
    agree(desk)


def test_a_late_calm_slot_splits_an_episode_and_the_second_half_is_new() -> None:
    desk = Desk()
    desk.play("!...!....!.")
    assert desk.tracks() == [(0, 0, 9, "open")]
    desk.amend(4, {0: (0.2, NAN)})
    assert desk.tracks() == [(0, 0, 0, "resolved"), (9, 9, 9, "open")]
    agree(desk)


def test_an_episode_whose_flags_are_all_gone_is_retracted_and_reopened_by_a_flag_at_its_slot() -> None:
    desk = Desk()
    desk.play(".!.")
    desk.amend(1, {0: (0.2, NAN)})
    assert desk.tracks() == [(1, 1, 1, "retracted")]
    assert desk.reasons[-1] == "retracted"
    desk.amend(1, {0: (3.0, NAN)})
    assert desk.tracks() == [(1, 1, 1, "open")]
    assert desk.reasons[-1] == "reopened"
    agree(desk)


def test_a_late_flag_before_an_episode_moves_its_first_slot_and_not_its_identity() -> None:
    desk = Desk()
    desk.play("...!.")
    desk.amend(1, {0: (3.0, NAN)})
    assert desk.tracks() == [(3, 1, 3, "open")]
    assert desk.stored[0, 3].episode.peak == 1
    agree(desk)


def test_a_late_flag_in_calm_slots_opens_an_alert_that_may_have_ended_already() -> None:
    desk = Desk()
    desk.play("..........")
    desk.amend(2, {0: (2.0, NAN)})
    assert desk.tracks() == [(2, 2, 2, "resolved")]
    assert desk.reasons == ["opened"]
    agree(desk)


def test_a_late_settled_score_confirms_or_retracts() -> None:
    for settled, state in ((2.0, "confirmed"), (0.2, "retracted")):
        desk = Desk()
        desk.play("!..")
        desk.amend(2, {0: (0.2, settled)})
        assert desk.tracks() == [(0, 0, 0, state)]
        agree(desk)


def test_an_episode_found_late_stands_when_its_slots_have_left() -> None:
    """It ended in the slot that its quiet came to, not in the one that was newest when it was found."""
    desk = Desk(Rule(settle=2, quiet=2), horizon=5)
    desk.play("....")
    desk.amend(0, {0: (2.0, NAN)})
    desk.play("....")
    desk.amend(7, {0: (0.1, NAN)})
    assert desk.tracks() == [(0, 0, 0, "resolved")]
    agree(desk)


def test_of_two_episodes_that_a_split_leaves_the_one_at_the_identity_keeps_it() -> None:
    desk = Desk(Rule(settle=2, quiet=2), horizon=3)
    desk.play("..!")
    desk.amend(0, {0: (2.0, NAN)})
    assert desk.tracks() == [(2, 0, 2, "open")]
    desk.amend(1, {0: (NAN, 0.2)})
    assert desk.tracks() == [(0, 0, 0, "retracted"), (2, 2, 2, "open")]
    assert desk.reasons[2:] == ["opened", "amended"]
    agree(desk)


def test_an_episode_that_ends_before_its_identity_has_another_and_a_flag_there_reopens_the_row() -> None:
    """Else a flag at that slot would take the row of an episode that can no longer change."""
    desk = Desk(Rule(settle=2, quiet=2), horizon=3)
    desk.play("..!")
    desk.amend(0, {0: (2.0, NAN)})
    desk.amend(2, {0: (0.2, NAN)})
    assert desk.tracks() == [(2, 0, 0, "resolved")]
    desk.amend(1, {0: (NAN, 0.2)})
    assert desk.tracks() == [(0, 0, 0, "retracted"), (2, 0, 0, "retracted")]
    assert desk.stored[0, 2].merged_into == 0
    desk.play("..")
    desk.amend(2, {0: (2.0, NAN)})
    assert desk.tracks() == [(0, 0, 0, "retracted"), (2, 2, 2, "resolved")]
    assert desk.stored[0, 2].merged_into is None
    assert desk.reasons[-1] == "reopened"
    agree(desk)


def test_nothing_late_nothing_changed() -> None:
    desk = Desk()
    desk.play("!.^..")
    before, reasons = desk.tracks(), list(desk.reasons)
    desk.amend(2, {0: (3.0, NAN)})
    assert (desk.tracks(), desk.reasons) == (before, reasons)


def test_eviction_ends_what_runs() -> None:
    desk = Desk()
    desk.play("!!")
    desk._take(desk.judge.evict(np.array([0], np.int32)))
    assert desk.tracks() == [(0, 0, 1, "resolved")]
    assert desk.reasons[-1] == "evicted"
    assert desk.judge.entities == {}
    assert not len(desk.judge.readings.at(1))


def test_time_without_anybody_passes_for_what_is_open_only_as_far_as_it_matters() -> None:
    desk = Desk()
    desk.play("!")
    slots = desk.judge.empty_slots(10_000)
    assert len(slots) == HORIZON + RULE.quiet + 1
    for slot in slots:
        desk._take(desk.judge.close(slot, *(np.zeros(0, kind) for kind in (np.int32, np.float32, float, np.float32))))
    assert desk.tracks() == [(0, 0, 0, "resolved")]
    assert desk.judge.entities == {}


def test_no_slot_is_empty_before_the_first() -> None:
    assert list(Judge(RULE, Readings(HORIZON)).empty_slots(5)) == []


# --- any sequence

SLOT = st.sampled_from(["??", "?.", ".?", "..", ".!", "!?", "!?", "!.", "!!", "^?"])
RULES = st.sampled_from([Rule(2, 2), Rule(2, 4), Rule(3, 3), Rule(4, 6)])
HORIZONS = st.sampled_from([3, 5, 8])


@dataclass(frozen=True)
class Late:
    """`back` slots before the newest closed one reads otherwise: score and settled score, a letter each."""

    back: int
    letters: str


STEPS = st.lists(st.tuples(SLOT, st.lists(st.builds(Late, st.integers(0, 7), SLOT), max_size=2)), max_size=14)
Step = tuple[str, Sequence[Late]]

CALM: list[Step] = [("??", []), ("??", [])]
BACK = [Late(2, "!?"), Late(0, ".?"), Late(1, "?.")]  # what opened here is one slot, two back, and retracted


def reading(letters: str) -> tuple[float, float]:
    return VALUES[letters[0]], VALUES[letters[1]]


def take(desk: Desk, slot: int, step: Step) -> Iterator[None]:
    """Close `slot`, then amend; a pause behind each."""
    letters, late = step
    desk.close(slot, {0: reading(letters)})
    yield
    for one in late:
        at = slot - one.back % desk.horizon
        if at >= 0:
            desk.amend(at, {0: reading(one.letters)})
            yield


def played(steps: Sequence[Step], rule: Rule, horizon: int, restart: int | None = None) -> Desk:
    desk = Desk(rule, horizon)
    for slot, step in enumerate(steps):
        if slot == restart:
            revive(desk)
        for _ in take(desk, slot, step):
            pass
    return desk


def revive(desk: Desk) -> None:
    """A restart: only the states are kept."""
    fresh = Judge(desk.rule, Readings(desk.horizon))
    kept = desk.judge.readings.state()
    fresh.readings.restore(State({name: array.copy() for name, array in kept.arrays.items()}))
    fresh.restore(desk.judge.state())
    desk.judge = fresh


@settings(max_examples=200, deadline=None)
@given(STEPS, RULES, HORIZONS)
@example([*CALM, ("!?", [Late(2, "!?"), Late(1, "?.")])], Rule(2, 2), 3)  # settled: retracted, and one at its identity
@example([*CALM, *CALM, ("!?", [Late(2, "!?"), Late(4, "!?"), Late(2, ".?")])], Rule(2, 2), 8)  # calm: split there
@example([*CALM, ("!?", BACK), *CALM, ("??", [Late(3, "!?")])], Rule(2, 2), 8)  # a flag at the identity it lost
@example([*CALM, ("!?", BACK), ("??", []), ("??", [Late(2, "!?")])], Rule(2, 2), 3)  # the same, the episode final
def test_folding_again_from_the_horizon_is_folding_the_corrected_sequence_from_the_start(
    steps: list[Step], rule: Rule, horizon: int
) -> None:
    desk = Desk(rule, horizon)
    for slot, step in enumerate(steps):
        for _ in take(desk, slot, step):
            agree(desk)


@settings(max_examples=60, deadline=None)
@given(STEPS, RULES, HORIZONS, st.integers(0, 13))
def test_a_restart_anywhere_changes_nothing(steps: list[Step], rule: Rule, horizon: int, restart: int) -> None:
    one, other = played(steps, rule, horizon), played(steps, rule, horizon, restart)
    assert (one.stored, one.reasons) == (other.stored, other.reasons)


@settings(max_examples=100, deadline=None)
@given(STEPS, RULES, HORIZONS)
def test_identities_are_stable(steps: list[Step], rule: Rule, horizon: int) -> None:
    desk = Desk(rule, horizon)
    seen: set[tuple[int, int]] = set()
    for slot, step in enumerate(steps):
        for _ in take(desk, slot, step):
            assert seen <= set(desk.stored)
            seen = set(desk.stored)
    for (row, identity), track in desk.stored.items():
        assert track.identity == identity
        assert track.episode.ended is None or identity <= track.episode.ended
        if track.merged_into is not None:
            assert track.episode.state == "retracted"
            assert track.merged_into < identity
            assert (row, track.merged_into) in desk.stored
    running = [(row, entity.head.identity) for row, entity in desk.judge.entities.items() if entity.head]
    assert all(desk.stored[key].episode.running for key in running)
    assert len(running) == sum(track.episode.running for track in desk.stored.values())


@settings(max_examples=60, deadline=None)
@given(STEPS, RULES, HORIZONS)
def test_the_order_in_which_late_data_of_one_slot_comes_does_not_matter_to_what_stands(
    steps: list[Step], rule: Rule, horizon: int
) -> None:
    turned: list[Step] = []
    for letters, late in steps:
        last = {one.back % horizon: one for one in late}
        turned.append((letters, list(reversed(last.values()))))
    one, other = played(steps, rule, horizon), played(turned, rule, horizon)

    def standing(desk: Desk) -> set[tuple[int, Episode]]:
        return {(row, t.episode) for (row, _), t in desk.stored.items() if t.episode.state != "retracted"}

    assert standing(one) == standing(other)


@settings(max_examples=60, deadline=None)
@given(STEPS, STEPS, RULES, HORIZONS)
def test_two_rows_are_judged_as_each_alone(one: list[Step], other: list[Step], rule: Rule, horizon: int) -> None:
    both = Desk(rule, horizon)
    calm: Step = ("??", ())
    pairs = list(zip_longest(one, other, fillvalue=calm))
    for slot, steps in enumerate(pairs):
        both.close(slot, {row: reading(letters) for row, (letters, _) in enumerate(steps)})
        for row, (_, late) in enumerate(steps):
            for late_one in late:
                at = slot - late_one.back % horizon
                if at >= 0:
                    both.amend(at, {row: reading(late_one.letters)})
    for row, alone in enumerate(zip(*pairs, strict=True)):
        assert both.tracks(row) == played(alone, rule, horizon).tracks()


@pytest.mark.parametrize("flagged", ["!", "^"])
def test_the_state_is_json(flagged: str) -> None:
    desk = Desk()
    desk.play(f".{flagged}..")
    state = desk.judge.state()
    assert state.arrays == {}
    assert state.meta["closed"] == 3
    assert list(state.meta["entities"]) == ["0"]
