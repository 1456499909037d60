"""RoLA's rule: related variables must agree, and one without peers is heard when it is far out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_windows import cut, fleet, with_gaps

from detectors.vote import Vote
from streaming.types import Windows

WINDOW = 16


def play(detector: Vote, values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Scores slots x hosts of hosts x slots x F values from the very first slot on, as a new stream gives them."""
    missing = np.full((values.shape[0], window - 1, values.shape[2]), np.nan, dtype=np.float32)
    windows = cut(np.concatenate([missing, values], axis=1), window)
    return detector.score(windows).values.reshape(values.shape[1], values.shape[0])


def related(slots: int, seed: int = 0) -> np.ndarray:
    """One host: channels 0, 1 and 2 follow one signal, channel 3 is alone."""
    rng = np.random.default_rng(seed)
    signal = 0.5 + 0.05 * rng.standard_normal((slots, 1))
    together = signal + 0.003 * rng.standard_normal((slots, 3))
    alone = 0.5 + 0.05 * rng.standard_normal((slots, 1))
    return np.concatenate([together, alone], axis=1)[None].astype(np.float32)


def test_no_opinion_before_the_warm_up() -> None:
    scores = play(Vote(warmup=8), related(30))
    assert np.isnan(scores[:8]).all()
    assert np.isfinite(scores[8:]).all()


def test_the_first_windows_are_no_alarm() -> None:
    scores = play(Vote(), related(400))
    assert np.nanmean(scores > 1) < 0.02


def test_peers_are_found_without_a_fit() -> None:
    detector = Vote(choose_at=40)
    play(detector, related(60), window=50)
    rows = detector.rows(np.array([0], dtype=np.int32))
    assert set(rows["peers"][0, :, 0]) == {1, 2}
    assert (rows["peers"][0, :, 3] == -1).all()
    assert (np.abs(rows["relation"][0, :, :3]) > 0.8).all()


def test_peers_come_from_the_fit_where_there_is_one() -> None:
    detector = Vote()
    detector.fit(cut(related(200), WINDOW))
    play(detector, related(12, seed=4))
    peers = detector.rows(np.array([0], dtype=np.int32))["peers"][0]
    assert set(peers[:, 2]) == {0, 1}
    assert detector.state().arrays["peers"].shape == (2, 4)


@pytest.mark.parametrize("sign", [1, -1])
def test_related_variables_that_agree_are_heard_in_full(sign: int) -> None:
    values = related(200)
    values[0, 199, :3] += sign * 0.4
    detector = Vote()
    detector.fit(cut(related(200, seed=3), WINDOW))
    assert play(detector, values)[199, 0] > 1


def test_an_outvoted_variable_is_damped_but_not_silenced() -> None:
    def last(channels: list[int], by: float) -> float:
        values = related(200)
        values[0, 199, channels] = values[0, 198, channels] + by
        detector = Vote()
        detector.fit(cut(related(200, seed=3), WINDOW))
        return float(play(detector, values)[199, 0])

    agreed, outvoted = last([0, 1, 2], 0.35), last([0], 0.35)
    assert agreed > 1 > outvoted
    assert last([0], 1.5) > 1


def test_a_variable_without_peers_alerts_when_it_is_far_out_or_lasts() -> None:
    """RoLA's hole: such a variable could never alert."""

    def last(by: list[float]) -> float:
        values = related(200)
        values[0, 200 - len(by) :, 3] = 0.5 + np.array(by)
        return float(play(Vote(), values)[199, 0])

    assert last([1.5]) > 1
    once, twice = last([0.4]), last([0.4, 0.4])
    assert once < 1 < twice


def test_what_exceeds_one_adds_up() -> None:
    def last(channels: list[int]) -> float:
        values = related(200)
        values[0, 199, channels] += 0.5
        detector = Vote()
        detector.fit(cut(related(200, seed=3), WINDOW))
        return float(play(detector, values)[199, 0])

    assert last([0, 1, 2]) > last([0, 1]) > 1


def test_a_spike_does_not_swell_the_scale() -> None:
    values = related(300)
    values[0, 150] += 3
    spiked, plain = Vote(), Vote()
    play(spiked, values)
    play(plain, related(300))
    everyone = np.array([0], dtype=np.int32)
    ratio = spiked.rows(everyone)["error"] / plain.rows(everyone)["error"]
    assert (ratio < 1.3).all()
    values = related(300)
    values[0, 150] += 3
    values[0, 299] += 0.5
    assert play(Vote(), values)[299, 0] > 1


def test_a_lasting_shift_is_reported_for_a_while_and_then_becomes_normal() -> None:
    values = related(1500)
    values[0, 300:] += 0.4
    scores = play(Vote(), values)[:, 0]
    assert (scores[300:310] > 1).all()
    assert (scores[1300:] > 1).mean() < 0.05


def test_silence_neither_votes_nor_teaches() -> None:
    values = related(300)
    gap = values.copy()
    gap[0, 100:150] = np.nan
    short = np.delete(values, np.s_[100:150], axis=1)
    silent, without = Vote(), Vote()
    scores = play(silent, gap)[:, 0]
    assert np.isnan(scores[100:150]).all()
    play(without, short)
    everyone = np.array([0], dtype=np.int32)
    ours, theirs = silent.rows(everyone), without.rows(everyone)
    for key in ("level", "error", "square", "last", "count"):
        np.testing.assert_array_equal(ours[key], theirs[key])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.booleans())
def test_an_absent_channel_changes_nothing(seed: int, absent: int, fitted: bool) -> None:
    values = with_gaps(fleet(2, 90, seed), 0.05, seed)
    values[0, 80, 1:3] += 1
    more = np.concatenate([values, np.full((*values.shape[:2], absent), np.nan, dtype=np.float32)], axis=2)
    plain, wider = Vote(), Vote()
    if fitted:
        plain.fit(cut(values[:, :60], WINDOW))
        wider.fit(cut(more[:, :60], WINDOW))
    np.testing.assert_allclose(play(wider, more), play(plain, values), rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6))
def test_entities_do_not_touch_each_other(seed: int, hosts: int) -> None:
    values = with_gaps(fleet(hosts, 70, seed), 0.05, seed)
    together = play(Vote(), values)
    for host in range(hosts):
        np.testing.assert_array_equal(play(Vote(), values[host : host + 1])[:, 0], together[:, host])


@settings(max_examples=15, deadline=None)
@given(st.floats(0.2, 3), st.floats(1.1, 3))
def test_a_larger_deviation_never_scores_less(size: float, factor: float) -> None:
    def last(by: float) -> float:
        values = related(120)
        values[0, 119, 3] = 0.5 + by
        return float(play(Vote(), values)[119, 0])

    assert last(size * factor) >= last(size)


def test_state_stays_within_two_kilobytes_an_entity() -> None:
    detector = Vote()
    windows = cut(np.random.default_rng(0).random((2, 20, 38), dtype=np.float32), WINDOW)
    detector.score(windows)
    rows = detector.rows(np.array([0], dtype=np.int32))
    assert sum(array.nbytes for array in rows.values()) <= 2048


def test_rows_of_entities_never_seen_are_empty() -> None:
    detector = Vote()
    play(detector, related(20))
    rows = detector.rows(np.array([5], dtype=np.int32))
    assert rows["slots"].tolist() == [0]
    assert (rows["peers"] == -1).all()


def test_another_number_of_features_is_refused() -> None:
    detector = Vote()
    detector.fit(cut(related(60), WINDOW))
    with pytest.raises(ValueError, match="4 features, the windows have 6"):
        detector.score(cut(fleet(1, 20), WINDOW))


def test_peers_are_chosen_alone_as_in_a_crowd() -> None:
    """At one slot many entities may be due; each gets the peers that it would get alone."""
    values = fleet(5, 60, seed=2)
    everyone = Vote(choose_at=20)
    play(everyone, values)
    for host in range(5):
        alone = Vote(choose_at=20)
        play(alone, values[host : host + 1])
        mine = alone.rows(np.array([0], dtype=np.int32))
        theirs = everyone.rows(np.array([host], dtype=np.int32))
        for key, array in mine.items():
            np.testing.assert_array_equal(array, theirs[key])


def test_a_host_may_join_late_and_skip_slots() -> None:
    values = related(120)
    windows = cut(values, WINDOW)
    every_second = windows.take(slice(0, None, 2))
    scores = Vote().score(
        Windows(every_second.entities + 7, every_second.ends, every_second.values, windows.features, windows.names)
    )
    assert np.isnan(scores.values[:8]).all()
    assert np.isfinite(scores.values[8:]).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_a_poll_of_coming_and_going_hosts_is_as_slot_by_slot(seed: int, fitted: bool) -> None:
    """What one poll scores and learns, where the hosts of a slot are those of the slot before or others."""
    windows = cut(with_gaps(fleet(4, 60, seed), 0.05, seed), WINDOW)
    rng = np.random.default_rng(seed)
    stays = rng.random((4, windows.ends.max() + 1)) < 0.9
    stays[:, ::2] = stays[:, 1::2]
    there = windows.take(np.flatnonzero(stays[windows.entities, windows.ends]))
    poll, singly = Vote(choose_at=20), Vote(choose_at=20)
    if fitted:
        poll.fit(windows)
        singly.fit(windows)
    together = poll.score(there)
    slots = [singly.score(there.take(np.flatnonzero(there.ends == end))) for end in np.unique(there.ends)]
    np.testing.assert_array_equal(together.values, np.concatenate([slot.values for slot in slots]))
    np.testing.assert_array_equal(together.shares, np.concatenate([slot.shares for slot in slots]))
    everyone = np.arange(4, dtype=np.int32)
    for key, array in singly.rows(everyone).items():
        np.testing.assert_array_equal(array, poll.rows(everyone)[key])


def test_more_hosts_than_are_judged_together_are_judged_alike() -> None:
    one = related(60)
    many = play(Vote(), np.repeat(one, 600, axis=0))
    np.testing.assert_array_equal(many, np.repeat(play(Vote(), one), 600, axis=1))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.integers(1, 400))
def test_a_host_is_judged_alike_however_many_of_its_slots_come_together(seed: int, fitted: bool, poll: int) -> None:
    """Slots of the same hosts are looked at together: across the choice of peers, gaps and the bound of a stretch."""
    windows = cut(with_gaps(fleet(1, 400, seed), 0.03, seed), WINDOW)
    together, singly = Vote(choose_at=20), Vote(choose_at=20)
    if fitted:
        together.fit(windows)
        singly.fit(windows)
    parts = [together.score(windows.take(slice(at, at + poll))) for at in range(0, len(windows), poll)]
    slots = [singly.score(windows.take(slice(at, at + 1))) for at in range(len(windows))]
    for name in ("values", "shares"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]),
            np.concatenate([getattr(slot, name) for slot in slots]),
        )
    one = np.zeros(1, np.int32)
    for key, array in singly.rows(one).items():
        np.testing.assert_array_equal(array, together.rows(one)[key])


def test_windows_read_again_are_judged_by_what_is_known_and_teach_nothing() -> None:
    windows = cut(fleet(2, 80, seed=3), WINDOW)
    vote, one = Vote(choose_at=20), np.arange(2, dtype=np.int32)
    vote.score(windows)
    before = vote.rows(one)
    again = vote.score(windows, learn=False)
    singly = [vote.score(windows.take(slice(at, at + 1)), learn=False).values for at in range(len(windows))]
    np.testing.assert_array_equal(again.values, np.concatenate(singly))
    for key, array in before.items():
        np.testing.assert_array_equal(array, vote.rows(one)[key])
