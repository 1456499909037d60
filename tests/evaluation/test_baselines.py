"""The baselines, through the door that `tsad evaluate` uses: what they say, of which rows, and how far they look."""

import dataclasses
from importlib.util import find_spec

import numpy as np
import pytest
from made_series import MINUTE, START, STOP, series_from, waves
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from tsad.evaluation.baselines import BASELINES, baseline, run_baseline
from tsad.evaluation.ranked import Ranked

TRAIN, TEST = 320, 260
DAY = 1440
INSTALLED = [name for name, one in BASELINES.items() if one.package is None or find_spec(one.package)]
MISSING = [name for name in BASELINES if name not in INSTALLED]


def planted(seed=1, shift=4.0):
    """Waves whose first two channels are shifted in the labelled rows."""
    values = waves(TRAIN + TEST, seed)
    values[TRAIN + START : TRAIN + STOP, :2] += shift
    labels = np.zeros(TEST, bool)
    labels[START:STOP] = True
    return series_from(values[:TRAIN], values[TRAIN:], labels)


@pytest.fixture(scope="module")
def series():
    return planted()


@pytest.fixture(scope="module")
def said(series):
    """What each baseline says, scored once."""
    kept = {}

    def of(name):
        if name not in kept:
            kept[name] = run_baseline(baseline(name), series, 1.0)
        return kept[name]

    return of


def cut(series, rows):
    return dataclasses.replace(series, test=series.test[:rows], labels=series.labels[:rows])


@pytest.mark.parametrize("name", INSTALLED)
def test_every_row_of_the_test_part_is_scored_and_no_other(name, series, said):
    scored = said(name)
    assert scored.row.tolist() == list(range(TEST))
    for values in (scored.score, scored.settled, scored.p):
        assert values.shape == (TEST,)
        assert np.isfinite(values).all()
    assert scored.settled.tolist() == scored.score.tolist()
    assert (scored.shares.shape, scored.ratios.shape, scored.channels) == ((TEST, 0), (TEST, 0), ())


@pytest.mark.parametrize("name", INSTALLED)
def test_it_is_called_causal_where_and_only_where_later_rows_change_nothing(name, series, said):
    rows = 215
    part = run_baseline(baseline(name), cut(series, rows), 1.0).score
    same = np.isclose(part, said(name).score[:rows], rtol=1e-4, atol=1e-4)
    if BASELINES[name].causal:
        assert same.all()
        return
    assert not same.all()
    ahead = BASELINES[name].ahead
    if ahead is not None:
        assert same[: rows - ahead].all()
        assert not same[rows - ahead :].all()


@pytest.mark.parametrize("name", [name for name in INSTALLED if name not in ("random", "half-space-trees")])
def test_a_plain_shift_scores_higher_than_anything_without_it(name, said):
    calm = run_baseline(baseline(name), planted(shift=0.0), 1.0)
    # the train parts are the same, and so is the scale
    assert said(name).score[START:STOP].max() > calm.score.max()


def test_noise_ranks_nothing_and_is_the_same_for_the_same_series(series):
    first, again = (run_baseline(baseline("random"), series, 1.0) for _ in range(2))
    assert first.score.tolist() == again.score.tolist()
    other = series_from(series.train, series.test, series.labels, name="other")
    assert run_baseline(baseline("random"), other, 1.0).score.tolist() != first.score.tolist()
    assert abs(Ranked(series.labels, first.score.astype(float)).roc_auc - 0.5) < 0.2


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"no baseline 'kmeans'; there is: random, .*k-means.*sub-pca"):
        baseline("kmeans")


def test_a_missing_package_is_named_with_what_installs_it():
    assert {one.package for one in BASELINES.values()} == {None, "pyod", "river"}
    for name in MISSING:
        with pytest.raises(ValueError, match=rf"{BASELINES[name].package}, which is not installed: pip install"):
            baseline(name)
    for name in INSTALLED:
        assert baseline(name).name == name


def test_the_family_on_subsequences_is_there_wide_scaled_and_causal():
    assert BASELINES["k-means"].ahead == 39
    assert BASELINES["k-means-100"].ahead == 99
    assert BASELINES["sub-pca"].ahead == 19
    assert BASELINES["sub-pca-100"].ahead == BASELINES["sub-pca-residual-100"].ahead == 49
    for name in ("k-means", "k-means-range", "k-means-100", "sub-pca", "sub-pca-100", "sub-pca-residual-range"):
        assert not BASELINES[name].causal
        assert BASELINES[f"{name}-causal"].causal
    assert "windows of 100" in BASELINES["k-means-100-range"].summary


def ranks(scores):
    """Places in the order of scores; scores that differ by rounding alone may swap."""
    return np.argsort(np.argsort(np.round(scores, 5), kind="stable"), kind="stable")


def standard(series):
    mean, deviation = series.train.mean(axis=0, dtype=float), series.train.std(axis=0, dtype=float)
    return (series.train - mean) / deviation, (series.test - mean) / deviation


def scaled_as(told, reference):
    """Both are the same up to a shift and a factor."""
    slope, shift = np.polyfit(reference, told, 1)
    assert slope > 0
    assert np.allclose(slope * reference + shift, told, atol=1e-3 * max(np.ptp(told), 1e-6))


def test_plain_scores_are_those_written_down(series, said):
    _, test = standard(series)
    scaled_as(said("z-score").score, np.abs(test).mean(axis=1))
    rows = np.concatenate([series.train, series.test]).astype(float)
    steps = np.diff(rows, axis=0, prepend=rows[:1])
    known = steps[:TRAIN]
    scaled_as(said("last-value").score, np.abs((steps - known.mean(0)) / known.std(0)).mean(axis=1)[TRAIN:])


def test_neighbours_are_those_of_scikit_learn(series, said):
    train, test = standard(series)
    found = NearestNeighbors(n_neighbors=5).fit(train).kneighbors(test)[0][:, -1]
    scaled_as(said("knn").score, found)
    scaled_as(said("lof").score, -LocalOutlierFactor(20, novelty=True).fit(train).score_samples(test))


def test_rows_are_scored_as_pyod_scores_them(series, said):
    if find_spec("pyod") is None:
        with pytest.raises(ValueError, match="pyod"):
            baseline("ecod")
        return
    from pyod.models.ecod import ECOD
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF

    train, test = standard(series)
    scaled_as(said("knn").score, KNN().fit(train).decision_function(test))
    scaled_as(said("lof").score, LOF().fit(train).decision_function(test))
    scaled_as(said("ecod").score, ECOD().fit(series.train.astype(float)).decision_function(series.test.astype(float)))


def test_the_forest_is_that_of_scikit_learn(series, said):
    from zlib import crc32

    forest = IsolationForest(random_state=crc32(b"made")).fit(series.train.astype(float))
    scaled_as(said("isolation-forest").score, -forest.score_samples(series.test.astype(float)))


def test_half_space_trees_score_before_they_learn(series, said):
    if find_spec("river") is None:
        with pytest.raises(ValueError, match="river"):
            baseline("half-space-trees")
        return
    from zlib import crc32

    from river.anomaly import HalfSpaceTrees

    low, width = series.train.min(axis=0).astype(float), np.ptp(series.train.astype(float), axis=0)
    model, told = HalfSpaceTrees(seed=crc32(b"made")), []
    for row in (np.concatenate([series.train, series.test]) - low) / width:
        record = dict(enumerate(row.tolist()))
        told.append(model.score_one(record))
        model.learn_one(record)
    scaled_as(said("half-space-trees").score, np.array(told[TRAIN:]))


@pytest.mark.parametrize("name", ["z-score", "knn", "k-means", "sub-pca-residual-causal"])
def test_the_order_is_that_of_the_scores_and_above_one_lies_what_the_budget_leaves_room_for(name, series):
    rare, often = (run_baseline(baseline(name), series, budget) for budget in (1.0, DAY / 10))
    assert (
        ranks(rare.score).tolist() == ranks(often.score).tolist() or np.corrcoef(rare.score, often.score)[0, 1] > 0.999
    )
    assert rare.alert.sum() <= often.alert.sum()
    assert (often.p[often.alert] <= 0.1 + 2 / TRAIN).all()
    assert (often.p[~often.alert] >= 0.1 - 2 / TRAIN).all()


def test_a_budget_of_a_tenth_of_all_rows_flags_a_tenth_of_what_is_like_the_training():
    values = np.random.default_rng(3).normal(size=(6000, 2))
    scored = run_baseline(baseline("z-score"), series_from(values[:3000], values[3000:]), DAY / 10)
    assert scored.alert.mean() == pytest.approx(0.1, abs=0.02)
    assert scored.p.mean() == pytest.approx(0.5, abs=0.02)
    assert scored.p.min() >= 1 / 3001


def test_the_budget_is_one_of_days_whatever_the_step():
    values = np.random.default_rng(4).normal(size=(6000, 1))
    minutes = series_from(values[:3000], values[3000:])
    hours = dataclasses.replace(minutes, step=60 * MINUTE)
    by_minute = run_baseline(baseline("z-score"), minutes, DAY / 10).alert.mean()
    by_hour = run_baseline(baseline("z-score"), hours, 24 / 10).alert.mean()
    assert by_minute == by_hour


def test_missing_values_are_carried_forward(series):
    holes = series.test.copy()
    holes[50:60, 1] = np.nan
    carried = series.test.copy()
    carried[50:60, 1] = series.test[49, 1]
    for name in ("z-score", "knn"):
        with_holes, filled = (
            run_baseline(baseline(name), dataclasses.replace(series, test=test), 1.0).score for test in (holes, carried)
        )
        assert with_holes.tolist() == filled.tolist()


@pytest.mark.parametrize("name", INSTALLED)
def test_channels_that_say_nothing_break_nothing(name):
    values = waves(400, 5)
    values[:, 1] = 3.0
    values[:, 2] = np.nan
    values[:20, 0] = np.nan
    scored = run_baseline(baseline(name), series_from(values[:250], values[250:]), 1.0)
    assert np.isfinite(scored.score).all()
    only_constant = np.full((200, 1), 7.0)
    still = run_baseline(baseline(name), series_from(only_constant[:120], only_constant[120:]), 1.0)
    assert np.isfinite(still.score).all()
    if name != "random":
        assert not still.alert.any()


@pytest.mark.parametrize("name", ["k-means", "k-means-100-causal", "sub-pca", "sub-pca-residual-causal", "lof", "knn"])
def test_a_train_part_shorter_than_a_window_is_enough(name):
    values = waves(80, 6)
    scored = run_baseline(baseline(name), series_from(values[:12], values[12:]), 1.0)
    assert np.isfinite(scored.score).all()
    assert len(scored.score) == 68


def test_seconds_are_told_of_the_fit_and_of_the_rows(said):
    scored = said("isolation-forest")
    assert scored.fit_seconds > 0
    assert scored.stream_seconds > 0
