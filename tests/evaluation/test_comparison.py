"""Side by side: means over folders, intervals, paired tests, and what stands where."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from tsad.evaluation.comparison import (
    OURS,
    RESAMPLES,
    SETTLED,
    Contest,
    ahead_of,
    compare,
    difference,
    interval,
    values_of,
)  # fmt: skip
from tsad.evaluation.results import Evaluation, Measured


def values(**folders):
    """Values of numbered series by folder."""
    return {(folder, f"s{place}"): value for folder, group in folders.items() for place, value in enumerate(group)}


def evaluation(figure="vus_pr_100", ended=True, **folders):
    """Series with one figure, and the same one settled, .1 higher."""
    measured = [
        Measured(folder, series, {figure: value, f"settled_{figure}": None if value is None else value + 0.1})
        for (folder, series), value in values(**folders).items()
    ]
    return Evaluation(measured, ended)


numbers = st.lists(st.floats(-5, 5, allow_nan=False), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(numbers, numbers)
def test_an_interval_holds_its_mean_and_lies_within_what_was_seen(first, second):
    found = interval(values(a=first, b=second))
    assert found.mean == pytest.approx((np.mean(first) + np.mean(second)) / 2)
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9 or len(set(first) | set(second)) > 2
    assert found.low >= (min(first) + min(second)) / 2 - 1e-9
    assert found.high <= (max(first) + max(second)) / 2 + 1e-9


def test_folders_weigh_the_same_however_many_series_they_have():
    assert interval(values(a=[1.0] * 30, b=[0.0])).mean == pytest.approx(0.5)


def test_series_that_are_alike_leave_no_doubt():
    found = interval(values(a=[0.3, 0.3, 0.3], b=[0.5]))
    assert (found.low, found.mean, found.high) == pytest.approx((0.4, 0.4, 0.4))


def test_an_interval_is_that_of_the_means_spread():
    rng = np.random.default_rng(1)
    sample = rng.normal(size=400)
    found, spread = interval(values(a=sample.tolist())), sample.std() / 20 * norm.ppf(0.975)
    assert found.high - found.mean == pytest.approx(spread, rel=0.1)
    assert found.mean - found.low == pytest.approx(spread, rel=0.1)


def test_resamples_are_the_same_each_time_and_do_not_depend_on_the_order_of_series():
    given_values = values(a=[0.1, 0.7, 0.4], b=[0.2, 0.9])
    backwards = dict(reversed(given_values.items()))
    assert interval(given_values) == interval(given_values) == interval(backwards)
    assert RESAMPLES == 2000


def test_a_folder_is_resampled_within_itself():
    # were series drawn from all folders alike, a resample could hold one folder alone
    found = interval(values(a=[0.0] * 5, b=[1.0] * 5))
    assert (found.low, found.high) == (0.5, 0.5)


def signed_rank_by_enumeration(apart):
    """The two-sided p of Wilcoxon's test by all signs, for differences without ties and zeros."""
    order = np.argsort(np.argsort(np.abs(apart))) + 1
    seen = order[np.array(apart) > 0].sum()
    total = order.sum()
    sums = [
        sum(rank for rank, sign in zip(order, signs, strict=True) if sign)
        for signs in product((0, 1), repeat=len(apart))
    ]
    at_least = np.mean([min(one, total - one) <= min(seen, total - seen) for one in sums])
    return float(at_least)


@pytest.mark.parametrize("apart", [[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, -0.1, 0.3, 0.25, -0.6, 0.7], [-0.2, -0.1, 0.05]])
def test_the_paired_test_is_that_of_all_signs(apart):
    ours, theirs = values(a=[0.5 + one for one in apart]), values(a=[0.5] * len(apart))
    assert difference(ours, theirs).p == pytest.approx(signed_rank_by_enumeration(apart))


def test_differences_are_paired_by_series():
    ours, theirs = values(a=[0.9, 0.2], b=[0.6]), values(a=[0.8, 0.1], b=[0.5])
    found = difference(ours, theirs)
    # each is better by .1, whatever the series: no doubt, though the series differ
    assert (found.mean.low, found.mean.mean, found.mean.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (found.won, found.lost, found.series) == (3, 0, 3)
    back = difference(theirs, ours)
    assert (back.won, back.lost, back.p) == (0, 3, found.p)


def test_only_series_that_both_have_are_compared():
    found = difference(values(a=[0.9, 0.2, 0.4], b=[0.6]), values(a=[0.8], c=[0.5]))
    assert (found.series, found.mean.mean) == (1, pytest.approx(0.1))
    assert difference(values(a=[1.0]), values(b=[1.0])) is None


def test_equals_are_told_as_equal():
    found = difference(values(a=[0.4, 0.6]), values(a=[0.4, 0.6]))
    assert (found.p, found.won, found.lost, found.mean.mean) == (1.0, 0, 0, 0.0)


def test_ours_stand_first_and_the_others_by_falling_mean():
    ours = evaluation(a=[0.5, 0.7], b=[0.4])
    peers = {"random": evaluation(a=[0.1, 0.1], b=[0.1]), "k-means": evaluation(a=[0.6, 0.6], b=[0.6])}
    standings = compare(ours, peers, "vus_pr_100")
    assert [one.name for one in standings] == [OURS, SETTLED, "k-means", "random"]
    assert standings[0].folders == {"a": pytest.approx(0.6), "b": 0.4}
    assert [one.mean.mean for one in standings] == pytest.approx([0.5, 0.6, 0.6, 0.1])
    k_means = standings[2]
    assert k_means.against[OURS].mean.mean == pytest.approx(-0.1)
    assert k_means.against[SETTLED].mean.mean == pytest.approx(0.0)
    assert (k_means.against[OURS].won, k_means.against[OURS].lost) == (1, 2)
    assert standings[0].against == standings[1].against == {}


def test_who_has_not_the_figure_is_left_out():
    ours, without = evaluation(a=[0.5, None]), evaluation(a=[None, None])
    assert values_of(ours, "vus_pr_100") == {("a", "s0"): 0.5}
    assert [one.name for one in compare(ours, {"random": without}, "vus_pr_100")] == [OURS, SETTLED]
    assert compare(without, {"random": without}, "vus_pr_100") == []


@pytest.mark.parametrize(
    ("name", "ahead"),
    [
        (OURS, "no"), (SETTLED, "while it settles"), ("k-means", "39 rows"), ("k-means-causal", "no"),
        ("sub-pca-100", "49 rows"), ("ecod", "whole file"), ("half-space-trees", "no"),
    ],
)  # fmt: skip
def test_a_look_ahead_is_told(name, ahead):
    assert ahead_of(name) == ahead


def test_a_contest_is_all_of_it_as_plain_values():
    ours, peer = evaluation(a=[0.5, 0.7]), evaluation(a=[0.6, 0.6])
    figures = Contest(ours, {"random": peer}).figures()
    assert [row["series"] for row in figures["series"]] == ["s0", "s1"]
    assert figures["baselines"]["random"]["mean"]["vus_pr_100"] == pytest.approx(0.6)
    side = figures["side_by_side"]["vus_pr_100"]
    assert [one["name"] for one in side] == [OURS, SETTLED, "random"]
    assert side[2]["against"][OURS]["mean"]["mean"] == pytest.approx(0.0)
    assert "average_precision" not in figures["side_by_side"]


def test_alone_there_is_nothing_beside():
    contest = Contest(evaluation(a=[0.5]), {})
    assert contest.sides == {}
    assert contest.figures().keys() == {"series", "folders", "mean"}
    assert contest.ended
    assert not Contest(evaluation(a=[0.5]), {"random": evaluation(a=[0.5], ended=False)}).ended
