"""Calibration: uniform on what is normal, ordered beyond what was seen, cautious with what is young."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.calibrating import SMALLEST
from detectors.calibration import Calibrator, Learning, Tail, alpha_for, mean_cluster, own_windows

DAY = 86_400e9
MINUTE = 60 * 10**9
DRAWS = {
    "gamma": lambda rng, n: rng.gamma(8, 0.06, n),
    "lognormal": lambda rng, n: np.exp(rng.normal(-1.2, 0.5, n)),
    "exponential": lambda rng, n: rng.exponential(0.25, n),
}
ONE = np.zeros(1, np.int32)


def draw(name, n, seed):
    return DRAWS[name](np.random.default_rng(seed), n).astype(np.float32)


def fed(calibrator, numbers):
    """One entity, one number a slot."""
    for number in numbers:
        calibrator.judge(ONE, np.array([number], np.float32))
    return calibrator


@pytest.mark.parametrize("name", DRAWS)
def test_p_is_uniform_on_held_out_normal_numbers(name):
    p = Tail.fit(draw(name, 20_000, 1)).probability(draw(name, 200_000, 2))
    for level in np.arange(0.1, 1, 0.1):
        assert (p < level).mean() == pytest.approx(level, abs=0.02)
    assert 0.7 < (p < 1e-2).mean() / 1e-2 < 1.3
    assert 0.4 < (p < 1e-3).mean() / 1e-3 < 2
    assert (p < 1e-4).mean() / 1e-4 < 3


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize(("n", "at_most"), [(100, 5), (300, 4), (1000, 3), (20_000, 1.4)])
def test_the_fewer_validation_numbers_the_wider_the_truth_may_lie(name, n, at_most):
    tails = [Tail.fit(draw(name, n, seed)) for seed in range(8)]
    rates = [(tail.probability(draw(name, 50_000, 99)) < 1e-3).mean() for tail in tails]
    assert 1e-3 / at_most < np.mean(rates) < 1e-3 * at_most


TAILS = {
    "power law": lambda rng, n: (1 - rng.random(n)) ** (-1 / 3),
    "exponential": lambda rng, n: 0.25 + rng.exponential(0.064, n),
    "normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "light": lambda rng, n: np.abs(rng.normal(size=(n, 16))).mean(axis=1),
}


@pytest.mark.parametrize("name", TAILS)
def test_one_family_for_heavy_and_light_tails(name):
    """A hundredfold beyond what the sample shows, as it must with many entities: alpha lies there."""
    rng = np.random.default_rng(3)
    sample, truth = (TAILS[name](rng, n).astype(np.float32) for n in (30_000, 4_000_000))
    tail = Tail.fit(sample / np.quantile(sample, 0.98))
    p = tail.probability(truth / np.quantile(sample, 0.98))
    for rare in (1e-3, 1e-4, 1e-5):
        assert 1 / 2.5 < (p < rare).mean() / rare < 2.5


def test_shapes_are_ordered_as_their_tails():
    rng = np.random.default_rng(4)
    shapes = [Tail.fit((draw := kind(rng, 30_000)) / np.quantile(draw, 0.98)).shape for kind in TAILS.values()]
    assert shapes[0] < 0.3 < shapes[1] < 1.6 < min(shapes[2:])


def test_exceedances_in_clusters_say_less_of_the_tail():
    """33 exceedances of one strange stretch leave the scale nearer to that of normal numbers than 33 single ones."""
    x = np.concatenate([draw("gamma", 1600, 1) * 0.5, np.full(34, 1.0, np.float32) + draw("exponential", 34, 2)])
    single, stretch = (Tail.fit(x, cluster=cluster) for cluster in (1.0, 10.0))
    usual = Tail.fit(np.abs(np.random.default_rng(0).normal(size=50_000)).astype(np.float32) / 2.33)
    at = np.array([2.0], np.float32)
    far = [abs(np.log(tail.probability(at * tail.edges[-1])[0])) for tail in (single, stretch)]
    assert far[0] < far[1] < abs(np.log(usual.probability(at * usual.edges[-1])[0]))


def test_an_entity_louder_than_its_fleet_gets_a_drift_of_its_own():
    """Twice as loud: 80% of its windows would be among the 2% rarest of the fleet. The other stays."""
    calibrator = Calibrator(Tail.fit(draw("gamma", 20_000, 1)))
    both, rng = np.arange(2, dtype=np.int32), np.random.default_rng(5)
    late = []
    for slot in range(6000):
        x = (rng.gamma(8, 0.06, 2) * [2, 1]).astype(np.float32)
        p, _ = calibrator.judge(both, x)
        if slot >= 3000:
            late.append(p)
    for own in np.array(late).T:
        assert (own < 0.5).mean() == pytest.approx(0.5, abs=0.3)
        assert 0.01 < (own < 0.02).mean() < 0.15
        assert (own < 1e-3).mean() < 2e-2


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 400),
    seed=st.integers(0, 1000),
    scale=st.floats(1e-2, 100),
    threshold=st.sampled_from([1.0, 3.9]),
)
def test_p_falls_strictly_also_beyond_everything_seen(n, seed, scale, threshold):
    sample = draw("gamma", n, seed) * np.float32(scale)
    tail = Tail.fit(sample, threshold)
    largest = max(float(sample.max(initial=0)), threshold)
    x = np.concatenate([np.linspace(0, largest, 300), largest * np.geomspace(1.01, 100, 300)]).astype(np.float32)
    calibrator = fed(Calibrator(tail), sample[:50])
    for p in (
        tail.probability(np.unique(x)),
        calibrator.probability(np.zeros(len(np.unique(x)), np.int32), np.unique(x)),
    ):
        assert (np.diff(p) < 0).all()
        assert p[0] <= 1
        assert p[-1] >= SMALLEST


def test_p_is_never_zero_and_its_logarithm_finite():
    p = Tail.fit(draw("gamma", 5000, 0)).probability(np.array([1e30, 3e38], np.float32))
    assert (p >= SMALLEST).all()
    assert np.isfinite(np.log(p)).all()


def test_missing_stays_missing_and_teaches_nothing():
    tail = Tail.fit(draw("gamma", 500, 0))
    assert np.isnan(tail.probability(np.array([np.nan]))).all()
    calibrator = Calibrator(tail)
    assert np.isnan(calibrator.judge(ONE, np.array([np.nan], np.float32))[0]).all()
    assert calibrator.confidence(ONE)[0] == 0
    both = np.array([0, 1], np.int32)
    p, _ = calibrator.judge(both, np.array([np.nan, 0.1], np.float32))
    assert np.isnan(p).tolist() == [True, False]
    assert calibrator.confidence(both)[0] == 0 < calibrator.confidence(both)[1]
    assert calibrator.rows(both)["drift"][1] < 0 == calibrator.rows(both)["drift"][0]


def test_a_young_entity_has_its_fleets_tail_and_no_confidence():
    tail = Tail.fit(draw("lognormal", 5000, 0))
    calibrator = Calibrator(tail)
    x = np.geomspace(0.01, 50, 40).astype(np.float32)
    young = calibrator.probability(np.arange(40, dtype=np.int32), x)
    np.testing.assert_allclose(young, tail.probability(x), rtol=1e-4)
    assert (calibrator.confidence(np.arange(40, dtype=np.int32)) == 0).all()


def test_confidence_grows_with_its_own_windows():
    calibrator = Calibrator(Tail.fit(draw("gamma", 5000, 0)))
    parts = np.split(draw("gamma", 900, 1), 3)
    seen = [float(fed(calibrator, part).confidence(ONE)[0]) for part in parts]
    assert seen == sorted(seen)
    assert 0.4 < seen[0] < 0.6
    assert seen[-1] < 0.8


def test_numbers_that_come_in_runs_count_for_less():
    free, tied = (Calibrator(Tail.fit(draw("gamma", 5000, 0), cluster=c)) for c in (1.0, 8.0))
    numbers = draw("gamma", 300, 1)
    assert fed(tied, numbers).confidence(ONE)[0] < fed(free, numbers).confidence(ONE)[0] / 3


def test_an_incident_is_not_learnt():
    """Its windows are flags far beyond the threshold: not one of them moves the drift."""
    calibrator = fed(Calibrator(Tail.fit(draw("gamma", 5000, 0))), draw("gamma", 3000, 1))
    probe = np.array([2.0], np.float32)
    before = calibrator.probability(ONE, probe)[0]
    fed(calibrator, np.full(600, 20.0))
    assert calibrator.probability(ONE, probe)[0] == before


@pytest.mark.parametrize("accept", [200, 1000])
def test_a_new_normal_is_accepted_after_as_many_windows(accept):
    """A level five times as high: its mean becomes the threshold, from where drift goes on as far as it must."""
    calibrator = Calibrator(Tail.fit(draw("gamma", 5000, 0)), Learning(accept=accept))
    fed(calibrator, draw("gamma", 3000, 1))
    new = 4 + draw("gamma", 2 * accept, 2)
    fed(calibrator, new[: accept - 10])
    at_first = calibrator.probability(ONE, np.array([4.5], np.float32))[0]
    fed(calibrator, new[accept - 10 :])
    assert at_first < 1e-9
    assert calibrator.probability(ONE, np.array([4.5], np.float32))[0] > 0.01
    assert calibrator.probability(ONE, np.array([20.0], np.float32))[0] < 1e-4


def drifts(numbers, **learning):
    """Drift of one entity before each of its numbers."""
    calibrator = Calibrator(Tail.fit(draw("gamma", 20_000, 0)), Learning(**learning))
    return np.array([fed(calibrator, [number]).rows(ONE)["drift"][0] for number in numbers])


def test_stationary_numbers_do_not_drift():
    assert np.abs(drifts(draw("gamma", 8000, 1))).max() < 0.1


def test_slow_drift_is_followed_before_it_is_flagged():
    """Numbers that grow by a half within 4,000 windows: drift follows, and flags stay few."""
    factor = np.linspace(1, 1.5, 4000, dtype=np.float32)
    calibrator = Calibrator(Tail.fit(draw("gamma", 20_000, 0)), Learning(alpha=1e-3))
    flags = 0
    for number in draw("gamma", 4000, 1) * factor:
        p, _ = calibrator.judge(ONE, np.array([number], np.float32))
        flags += int(p[0] < 1e-3)
    frozen = Tail.fit(draw("gamma", 20_000, 0)).probability(draw("gamma", 4000, 1) * factor) < 1e-3
    assert calibrator.rows(ONE)["drift"][0] > 0.05
    assert 0 < flags < 0.85 * frozen.sum()


def test_what_grows_quiet_is_judged_by_half_its_level_at_least():
    moved = drifts(np.zeros(400, np.float32), rate=0.5)
    assert (np.diff(moved) <= 0).all()
    assert moved[-1] == pytest.approx(-0.7)


@pytest.mark.parametrize("alpha", [1e-6, 1e-4, 1e-2])
def test_drift_of_one_window_is_bounded(alpha):
    """However extreme, and whatever alpha is, one window moves the level by no more than `rate`."""
    moved = drifts(np.geomspace(0.01, 1000, 300).astype(np.float32), alpha=alpha)
    assert np.abs(np.diff(moved)).max() <= 1.0001e-3


def test_frozen_never_learns():
    calibrator = Calibrator(Tail.fit(draw("gamma", 500, 0)), Learning(mode="frozen"))
    fed(calibrator, draw("gamma", 50, 1))
    assert all((rows == 0).all() for rows in calibrator.rows(ONE).values())


def test_probability_changes_nothing():
    calibrator = fed(Calibrator(Tail.fit(draw("gamma", 500, 0))), draw("gamma", 50, 1))
    before = calibrator.rows(ONE)
    calibrator.probability(ONE, np.array([7.0], np.float32))
    calibrator.confidence(ONE)
    for name, rows in calibrator.rows(ONE).items():
        np.testing.assert_array_equal(rows, before[name])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40))
def test_alone_is_as_in_a_crowd(seed, entities):
    tail, rng = Tail.fit(draw("gamma", 300, seed)), np.random.default_rng(seed)
    crowd, alone = Calibrator(tail), Calibrator(tail)
    everyone, last = np.arange(entities, dtype=np.int32), np.array([entities - 1], np.int32)
    for _ in range(20):
        x = rng.gamma(2, 0.5, entities).astype(np.float32)
        before = crowd.probability(everyone, x)
        (together, _), (single, _) = crowd.judge(everyone, x), alone.judge(last, x[-1:])
        assert together[-1:].tobytes() == single.tobytes()
        assert together.tobytes() == before.tobytes()
    for name, rows in alone.rows(last).items():
        assert rows.tobytes() == crowd.rows(last)[name].tobytes()


def test_own_windows_count_what_was_known_of_each_entity():
    x, codes = draw("gamma", 500, 1), np.arange(500, dtype=np.int32) % 3
    x[codes == 1] = np.nan
    calibrator = Calibrator(Tail.fit(draw("gamma", 2000, 0)))
    calibrator.put_rows(np.arange(4, dtype=np.int32), own_windows(codes, x, 4))
    confidence = calibrator.confidence(np.arange(4, dtype=np.int32))
    assert confidence[0] > 0.3
    assert confidence[2] > 0.3
    assert confidence[1] == confidence[3] == 0


def test_forget_and_put_rows():
    tail = Tail.fit(draw("gamma", 500, 0))
    calibrator, other = fed(Calibrator(tail), draw("gamma", 100, 1)), Calibrator(tail)
    x = np.array([1.3], np.float32)
    other.put_rows(ONE, calibrator.rows(ONE))
    assert other.probability(ONE, x) == calibrator.probability(ONE, x)
    calibrator.forget(ONE)
    assert calibrator.probability(ONE, x) == pytest.approx(tail.probability(x))


def test_state_of_a_tail_comes_back():
    tail = Tail.fit(draw("lognormal", 700, 0), cluster=3.0)
    again = Tail.restore(tail.state())
    x = np.geomspace(0.01, 100, 50).astype(np.float32)
    assert again.probability(x).tobytes() == tail.probability(x).tobytes()
    assert again.cluster == 3.0


def test_20_bytes_an_entity():
    rows = Calibrator(Tail.fixed()).rows(ONE)
    assert sum(array.nbytes for array in rows.values()) == 20


def test_mean_cluster_counts_runs_of_each_entity():
    """Ten windows in 1,000 are exceedances, in runs of five: two incidents of each entity."""
    slots, codes = np.tile(np.arange(1000, dtype=np.int64), 4), np.repeat(np.arange(4, dtype=np.int32), 1000)
    x = np.random.default_rng(0).uniform(0, 1, 4000).astype(np.float32)
    for start in range(100, 4000, 500):
        x[start : start + 5] = 5 + np.arange(5)
    assert mean_cluster(x, codes, slots, quiet=10) == pytest.approx(5, abs=0.6)


@pytest.mark.parametrize("quiet", [10, 60, 200])
def test_independent_numbers_come_one_by_one_whatever_is_quiet(quiet):
    slots, codes = np.tile(np.arange(5000, dtype=np.int64), 4), np.repeat(np.arange(4, dtype=np.int32), 5000)
    x = np.random.default_rng(1).random(20_000).astype(np.float32)
    assert mean_cluster(x, codes, slots, quiet=quiet) < 1.3


def test_one_strange_stretch_does_not_decide_the_mean_cluster():
    """A level shift at the end of validation holds all of the rarest windows; the other stretches speak too."""
    slots, codes = np.arange(3000, dtype=np.int64), np.zeros(3000, np.int32)
    x = np.random.default_rng(2).random(3000).astype(np.float32)
    x[-100:] += 5
    assert mean_cluster(x, codes, slots, quiet=60) < 2.5


@pytest.mark.parametrize("numbers", [[], [1.0], [np.nan] * 5, [1.0] * 50, [1.0] * 1000])
def test_mean_cluster_of_little_is_one(numbers):
    n = len(numbers)
    x = np.array(numbers, np.float32)
    assert mean_cluster(x, np.zeros(n, np.int32), np.arange(n), quiet=5) == 1.0


def test_alpha_spends_the_budget():
    assert alpha_for(1.0, MINUTE, 1, 1.0) == pytest.approx(1 / 1440)
    assert alpha_for(1.0, MINUTE, 1000, 2.0) == pytest.approx(2 / 1_440_000)
    assert alpha_for(1e9, MINUTE, 1, 1.0) == 0.01
    assert alpha_for(0.0, MINUTE, 1, 1.0) > 0
