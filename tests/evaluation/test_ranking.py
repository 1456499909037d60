"""Metrics over all thresholds against plain loops, scikit-learn, and figures worked out by hand."""

import numpy as np
import plain_loops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tsad.evaluation.affiliation import Zones, best_affiliation_f1
from tsad.evaluation.extents import Extents
from tsad.evaluation.ranked import Ranked
from tsad.evaluation.vus import volume


@st.composite
def scored(draw, most=60):
    """Labels with both kinds of rows, and scores that tie often."""
    rows = draw(st.integers(6, most))
    lengths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=rows))
    flip = draw(st.booleans())
    labels = np.concatenate([np.full(n, (i + flip) % 2, bool) for i, n in enumerate(lengths)])[:rows]
    labels = np.append(labels, np.zeros(rows - len(labels), bool))
    if labels.all():
        labels[0] = False
    if not labels.any():
        labels[draw(st.integers(0, rows - 1))] = True
    scores = draw(st.lists(st.integers(0, 12), min_size=rows, max_size=rows))
    return labels, np.array(scores, float) / 4


@settings(max_examples=60, deadline=None)
@given(scored(), st.sampled_from([0, 1, 5, 20]))
def test_the_volume_is_that_of_the_plain_loops(case, buffer):
    labels, scores = case
    found, plain = volume(labels, scores, buffer), plain_loops.volume(labels.tolist(), scores.tolist(), buffer)
    assert (found.pr, found.roc) == pytest.approx(plain, abs=1e-9)


def test_a_buffer_may_be_longer_than_the_series() -> None:
    labels, scores = np.array([False, True, False, False, False, False]), np.zeros(6)
    found, plain = volume(labels, scores, 20), plain_loops.volume(labels.tolist(), scores.tolist(), 20)
    assert (found.pr, found.roc) == pytest.approx(plain, abs=1e-9)


def test_the_volume_of_a_longer_series_is_that_of_the_plain_loops():
    rng = np.random.default_rng(3)
    labels = np.zeros(700, bool)
    for start, length in ((0, 4), (90, 30), (140, 1), (146, 2), (150, 1), (400, 60), (690, 10)):
        labels[start : start + length] = True
    scores = rng.normal(size=700) + 1.5 * labels
    found = volume(labels, scores, 100)
    assert (found.pr, found.roc) == pytest.approx(plain_loops.volume(labels.tolist(), scores.tolist(), 100), abs=1e-9)


def test_a_perfect_ranking_of_whole_events_fills_the_volume_without_a_buffer():
    labels = np.zeros(500, bool)
    labels[100:150] = True
    assert volume(labels, labels.astype(float), 0).pr == pytest.approx(1.0)
    assert volume(labels, -labels.astype(float), 0).pr < 0.2


@settings(max_examples=100, deadline=None)
@given(scored())
def test_average_precision_and_area_are_those_of_scikit_learn(case):
    labels, scores = case
    ranked = Ranked(labels, scores)
    assert ranked.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert ranked.roc_auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored(most=40))
def test_best_scores_are_the_best_over_all_thresholds(case):
    labels, scores = case
    ranked, plain = Ranked(labels, scores), labels.tolist()
    best = plain_loops.best_over_thresholds
    assert ranked.best_f1 == pytest.approx(best(plain, scores, lambda flags: plain_loops.point_f1(plain, flags)))
    event = best(plain, scores, lambda flags: plain_loops.event_f1(plain, flags))
    assert ranked.best_event_f1 == pytest.approx(event)
    flags = [score >= ranked.event_threshold for score in scores]
    assert plain_loops.event_f1(plain, flags) == pytest.approx(event)


@settings(max_examples=30, deadline=None)
@given(scored(most=24))
def test_the_area_under_adjustment_is_that_of_the_plain_loops(case):
    labels, scores = case
    assert Ranked(labels, scores).pa_k_area() == pytest.approx(plain_loops.pa_k_area(labels.tolist(), scores.tolist()))


def test_one_flagged_row_of_a_long_event_does_not_buy_the_area():
    labels = np.zeros(100, bool)
    labels[40:60] = True
    scores = np.zeros(100)
    scores[45] = 1
    ranked = Ranked(labels, scores)
    # up to K = 4% the event counts whole; above, one row (F1 .095) is beaten by flagging everything (F1 1/3)
    assert ranked.pa_k_area() == pytest.approx((4 + 0.5 * (1 + 1 / 3) + 95 / 3) / 100, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(scored(most=24))
def test_affiliation_is_that_of_small_cells(case):
    labels, scores = case
    flags = scores > np.median(scores)
    zones = Zones(Extents.of(labels))
    precision, recall = plain_loops.affiliation(labels.tolist(), flags.tolist())
    assert zones.precision(flags) == pytest.approx(precision, abs=0.02)
    assert zones.recall(flags) == pytest.approx(recall, abs=0.02)


def test_affiliation_by_hand():
    # one event [4, 6) in a zone [0, 10); the flag [7, 8) lies d = 1 to 2 from it:
    # a random place is farther with 1 - (2 + 2d) / 10
    labels, flags = np.zeros(10, bool), np.zeros(10, bool)
    labels[4:6], flags[7] = True, True
    zones = Zones(Extents.of(labels))
    assert zones.precision(flags) == pytest.approx(1 - (2 + 3) / 10)
    # the event's time t lies 7 - t from the flag, [4, 6): places nearer are 2 (7 - t) long, as far as the zone goes
    assert zones.recall(flags) == pytest.approx(np.mean([1 - 2 * (7 - t) / 10 for t in (4.5, 5.5)]))
    assert zones.f1(np.zeros(10, bool)) == 0
    assert best_affiliation_f1(labels, labels.astype(float)) == pytest.approx(1.0)
