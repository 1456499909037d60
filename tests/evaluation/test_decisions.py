"""Figures at the product's own threshold, and of root causes, worked out by hand."""

import numpy as np
import pytest

from tsad.episodes import Rule
from tsad.evaluation.causes import hit_rate, ndcg, ranking
from tsad.evaluation.decisions import Flagged, delays, echoes, episodes_of, false_episodes, meeting
from tsad.evaluation.extents import Extents

RULE = Rule(settle=3, quiet=4)


def rows(count, *stretches):
    found = np.zeros(count, bool)
    for start, stop in stretches:
        found[start:stop] = True
    return found


EVENTS = Extents.of(rows(40, (10, 15), (22, 24), (30, 34)))


def test_extents_are_the_runs_of_labels():
    assert EVENTS.starts.tolist() == [10, 22, 30]
    assert EVENTS.stops.tolist() == [15, 24, 34]
    assert EVENTS.inside().tolist() == [10, 11, 12, 13, 14, 22, 23, 30, 31, 32, 33]
    assert EVENTS.number.tolist() == [0] * 5 + [1] * 2 + [2] * 4


def test_widened_extents_meet_as_soon_as_no_row_lies_between():
    assert EVENTS.widened(3).starts.tolist() == [7, 19, 27]  # 23 + 3 < 30 - 3
    assert EVENTS.widened(4).starts.tolist() == [6]  # 14 + 4 = 22 - 4
    assert EVENTS.widened(12).stops.tolist() == [40]


def test_flags_are_counted_by_event_for_recall_and_by_row_for_precision():
    at = Flagged.of(EVENTS, rows(40, (12, 13), (33, 36)))
    assert (at.event_recall, at.precision) == (pytest.approx(2 / 3), 0.5)
    assert at.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert Flagged.of(EVENTS, rows(40)).f1 == 0


def test_delay_counts_from_the_start_of_the_event_to_its_first_flag():
    assert delays(EVENTS, rows(40, (8, 9), (12, 14), (24, 25), (30, 31))).tolist() == [2, 0]


def test_episodes_are_those_of_the_judge_and_a_settled_score_below_the_threshold_retracts_one():
    score, settled = np.zeros(40), np.full(40, 0.5)
    score[[5, 12, 17, 20]] = 2
    settled[12] = 1.5
    found = episodes_of(score, settled, RULE)
    assert [(one.first, one.last) for one in found] == [(5, 5), (12, 12), (17, 17), (20, 20)]
    assert [one.state for one in found] == ["retracted", "resolved", "retracted", "retracted"]
    assert false_episodes(EVENTS, found) == 3
    assert {event: [one.first for one in met] for event, met in meeting(EVENTS, found).items()} == {0: [12]}


def test_the_echo_ends_with_the_last_flag_or_the_next_event():
    score, settled = np.zeros(40), np.full(40, 2.0)
    score[[11, 14, 17, 20, 23, 33, 36]] = 2
    found = episodes_of(score, settled, RULE)
    assert [(one.first, one.last) for one in found] == [(11, 23), (33, 36)]
    # from row 15 to the next event at 22; none behind the second, which ends with its flag; 34 to 36
    assert echoes(EVENTS, found).tolist() == [7, 0, 3]


def test_channels_rank_by_their_part_of_the_score():
    shares = np.array([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])
    assert ranking(shares, np.array([1.0, 3.0])).tolist() == [2, 1, 0]
    assert ranking(shares, np.array([9.0, -1.0])).tolist() == [0, 1, 2]


def test_hits_are_counted_among_as_many_channels_as_there_are_causes():
    order, causes = np.array([3, 0, 4, 1, 2]), np.array([True, False, True, True, False])
    assert hit_rate(order, causes, 100) == pytest.approx(2 / 3)  # of 3, 0, 4
    assert hit_rate(order, causes, 150) == pytest.approx(2 / 3)  # of 3, 0, 4, 1
    gain = 1 + 1 / np.log2(3) + 1 / np.log2(6)
    assert ndcg(order, causes) == pytest.approx(gain / (1 + 1 / np.log2(3) + 1 / np.log2(4)))
