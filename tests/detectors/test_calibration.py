"""Calibration: uniform on what is normal, ordered beyond what was seen, cautious with what is young."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.calibration import SMALLEST, Calibrator, Learning, Tail, alpha_for, mean_cluster, own_windows

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
        x = np.array([number], np.float32)
        calibrator.learn(ONE, x, calibrator.probability(ONE, x))
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
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_few_validation_numbers_err_on_the_cautious_side(name, n):
    rates = [(Tail.fit(draw(name, n, seed)).probability(draw(name, 50_000, 99)) < 1e-3).mean() for seed in range(8)]
    assert np.mean(rates) < 1.5e-3


def test_two_calibrators_learn_from_the_stream_what_the_fleet_could_not_know():
    """An entity twice as loud as its fleet becomes uniform on its own numbers, the other stays as it was."""
    calibrator = Calibrator(Tail.fit(draw("gamma", 20_000, 1)))
    both, rng = np.arange(2, dtype=np.int32), np.random.default_rng(5)
    late = []
    for slot in range(6000):
        x = (rng.gamma(8, 0.06, 2) * [2, 1]).astype(np.float32)
        p = calibrator.probability(both, x)
        calibrator.learn(both, x, p)
        if slot >= 3000:
            late.append(p)
    for own in np.array(late).T:
        assert (own < 0.5).mean() == pytest.approx(0.5, abs=0.08)
        assert (own < 0.02).mean() == pytest.approx(0.02, abs=0.015)
        assert (own < 1e-3).mean() < 4e-3


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
    p = calibrator.probability(ONE, np.array([np.nan], np.float32))
    assert np.isnan(p).all()
    calibrator.learn(ONE, np.array([np.nan], np.float32), p)
    assert calibrator.confidence(ONE)[0] == 0


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
    calibrator = fed(Calibrator(Tail.fit(draw("gamma", 5000, 0))), draw("gamma", 3000, 1))
    probe = np.array([2.0], np.float32)
    before = calibrator.probability(ONE, probe)[0]
    fed(calibrator, np.full(60, 20.0))
    assert calibrator.probability(ONE, np.array([20.0], np.float32))[0] < 1e-4
    assert calibrator.probability(ONE, probe)[0] < 30 * before


def test_a_new_normal_is_accepted_in_the_end():
    calibrator = fed(Calibrator(Tail.fit(draw("gamma", 5000, 0))), draw("gamma", 3000, 1))
    first = calibrator.probability(ONE, np.array([3.0], np.float32))[0]
    fed(calibrator, 5 * draw("gamma", 3000, 2))
    assert first < 1e-5
    assert calibrator.probability(ONE, np.array([3.0], np.float32))[0] > 0.02


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
        together, single = crowd.probability(everyone, x), alone.probability(last, x[-1:])
        assert together[-1:].tobytes() == single.tobytes()
        crowd.learn(everyone, x, together)
        alone.learn(last, x[-1:], single)
    for name, rows in alone.rows(last).items():
        assert rows.tobytes() == crowd.rows(last)[name].tobytes()


def test_own_windows_are_what_learning_one_by_one_gives():
    tail, x = Tail.fit(draw("gamma", 2000, 0)), draw("gamma", 500, 1)
    codes = np.arange(500, dtype=np.int32) % 3
    bulk = own_windows(tail, codes, x, 4)
    assert (bulk["beyond"][3] == 0).all()
    single = Calibrator(tail, Learning(memory=1e12, alpha=0.0))
    for code, number in zip(codes, x, strict=True):
        one, value = np.array([code], np.int32), np.array([number], np.float32)
        single.learn(one, value, single.probability(one, value))
    rows = single.rows(np.arange(4, dtype=np.int32))
    np.testing.assert_allclose(bulk["beyond"], rows["beyond"], atol=1e-3)
    np.testing.assert_allclose(bulk["excess"], rows["excess"], rtol=1e-4)


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


def test_less_than_a_kilobyte_an_entity():
    rows = Calibrator(Tail.fixed()).rows(ONE)
    assert sum(array.nbytes for array in rows.values()) < 512


def test_mean_cluster_counts_runs_of_each_entity():
    slots = np.tile(np.arange(1000, dtype=np.int64), 2)
    codes = np.repeat(np.arange(2, dtype=np.int32), 1000)
    x = np.random.default_rng(0).uniform(0, 1, 2000).astype(np.float32)
    for start in range(50, 2000, 200):
        x[start : start + 4] = 5 + np.arange(4)
    assert mean_cluster(x, codes, slots, quiet=10) == pytest.approx(3, abs=1.1)
    rng = np.random.default_rng(1)
    assert mean_cluster(rng.random(2000).astype(np.float32), codes, slots, quiet=10) < 1.6


@pytest.mark.parametrize("numbers", [[], [1.0], [np.nan] * 5, [1.0] * 50])
def test_mean_cluster_of_little_is_one(numbers):
    n = len(numbers)
    x = np.array(numbers, np.float32)
    assert mean_cluster(x, np.zeros(n, np.int32), np.arange(n), quiet=5) == 1.0


def test_alpha_spends_the_budget():
    assert alpha_for(1.0, MINUTE, 1, 1.0) == pytest.approx(1 / 1440)
    assert alpha_for(1.0, MINUTE, 1000, 2.0) == pytest.approx(2 / 1_440_000)
    assert alpha_for(1e9, MINUTE, 1, 1.0) == 0.01
    assert alpha_for(0.0, MINUTE, 1, 1.0) > 0
