"""The loop of calibration does what its rules say, window by window, and the same however windows come."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.calibrating import COMMON, DEAF, FAR, FEWEST_LOGARITHM, LOWEST_DRIFT, SLACK, SMALLEST
from detectors.calibration import Calibrator, Learning, Tail

SLOTS = 1200


def calibrator(accept: int = 10_000, mode: str = "online", **learning) -> Calibrator:
    sample = np.random.default_rng(0).gamma(2, 0.2, 5000).astype(np.float32)
    return Calibrator(Tail.fit(sample, cluster=2.0), Learning(mode=mode, accept=accept, **learning))


def numbers(entities: int, slots: int = SLOTS, seed: int = 1) -> np.ndarray:
    """Slots x entities: calm, a long shift, a few far beyond everything, a silence, a new level, gaps."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2, 0.2, (SLOTS, entities)).astype(np.float32)
    x[300:500] *= 6
    x[600:610] = 1e30
    x[700:720] = 0
    x[800:] *= 2
    x[rng.random(x.shape) < 0.02] = np.nan
    return x[:slots]


def followed(judge: Calibrator, x: np.ndarray, cuts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """What is said of slots x entities, in polls that begin at `cuts`."""
    codes = np.arange(x.shape[1], dtype=np.int32)
    said = [judge.judge(np.tile(codes, len(part)), part.ravel()) for part in np.split(x, cuts)]
    return np.concatenate([p for p, _ in said]), np.concatenate([confidence for _, confidence in said])


@dataclass
class Plain:
    """One entity by the rules, in floats."""

    tail: Tail
    learning: Learning
    drift: float = 0.0
    windows: int = 0
    left: int = 0
    cluster: list[float] = field(default_factory=list)
    """Logarithms of the cluster's windows, in thresholds."""

    def judge(self, x: float) -> float:
        if math.isnan(x):
            return math.nan
        level = math.exp(-self.drift) * x
        p = self.probability(level)
        self.windows += 1
        self.drift = float(np.float32(max(self.drift + self.step(level, p), LOWEST_DRIFT)))
        return p

    def probability(self, x: float) -> float:
        edges, survival = self.tail.edges.astype(float).tolist(), self.tail.survival.tolist()
        if x <= edges[-1]:
            place = max(index for index, edge in enumerate(edges[:-1]) if index == 0 or edge <= x)
            part = (x - edges[place]) / (edges[place + 1] - edges[place])
            return survival[place] + part * (survival[place + 1] - survival[place])
        rare = math.expm1(min(math.log(x / edges[-1]) * self.tail.shape, 700.0)) / self.tail.shape / self.tail.scale
        return max(survival[-1] * math.exp(-rare if rare <= FAR else FAR * FAR / rare - 2 * FAR), SMALLEST)

    def step(self, level: float, p: float) -> float:
        learning = self.learning
        common = max(2 * learning.alpha, COMMON)
        wanted = SLACK * common if self.drift >= 0 else common
        heard = 0.0
        if p < common:
            heard = min(max((DEAF - math.log(p) / math.log(learning.alpha)) / (DEAF - 1), 0.0), 1.0)
        accepted = self.accepted(level, p < learning.alpha)
        if accepted is not None:
            return max(accepted, 0.0)
        return learning.rate * (1 - wanted) * heard if p < common else -learning.rate * wanted

    def accepted(self, level: float, flagged: bool) -> float | None:
        self.left = self.learning.gap if flagged else max(self.left - 1, 0)
        if not self.left:
            self.cluster = []
            return None
        self.cluster.append(math.log(max(level / self.tail.threshold, FEWEST_LOGARITHM)))
        if len(self.cluster) < self.learning.accept:
            return None
        mean = sum(self.cluster) / len(self.cluster)
        self.left, self.cluster = 0, []
        return mean


@pytest.mark.parametrize("accept", [100, 10_000])
@pytest.mark.parametrize("learning", [{}, {"alpha": 1e-2, "gap": 3}, {"alpha": 1e-9, "rate": 0.05}])
def test_each_window_is_judged_by_the_rules(learning: dict[str, float], accept: int) -> None:
    x = numbers(3)
    loop = calibrator(accept, **learning)
    plain = [Plain(loop.tail, loop.learning) for _ in range(3)]
    p, confidence = followed(loop, x, [50, 51, 700])
    for entity, rules in enumerate(plain):
        had, expected = [], []
        for number in x[:, entity].tolist():
            had.append(rules.windows)
            expected.append(rules.judge(number))
        np.testing.assert_allclose(p[entity::3], expected, rtol=1e-4)
        worth = loop.learning.prior * loop.tail.cluster
        np.testing.assert_allclose(confidence[entity::3], np.array(had) / (np.array(had) + worth), rtol=1e-6)
    learnt = loop.rows(np.arange(3, dtype=np.int32))
    assert learnt["windows"].tolist() == [rules.windows for rules in plain]
    assert learnt["cluster"].tolist() == [rules.left for rules in plain]
    assert learnt["length"].tolist() == [len(rules.cluster) for rules in plain]
    np.testing.assert_allclose(learnt["drift"], [rules.drift for rules in plain], rtol=1e-5)
    np.testing.assert_allclose(learnt["level"], [sum(rules.cluster) for rules in plain], rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    entities=st.integers(1, 20),
    slots=st.integers(1, SLOTS),
    cuts=st.lists(st.integers(0, SLOTS), max_size=20),
    accept=st.sampled_from([1, 20, 10_000]),
    seed=st.integers(0, 100),
)
def test_any_cut_into_polls_gives_the_same_bits(
    entities: int, slots: int, cuts: list[int], accept: int, seed: int
) -> None:
    x = numbers(entities, slots, seed)
    one, other = calibrator(accept), calibrator(accept)
    for whole, cut in zip(followed(one, x, []), followed(other, x, sorted(cuts)), strict=True):
        assert whole.tobytes() == cut.tobytes()
    everyone = np.arange(entities, dtype=np.int32)
    for name, learnt in one.rows(everyone).items():
        assert learnt.tobytes() == other.rows(everyone)[name].tobytes(), name


def test_an_entity_is_judged_alike_alone_and_among_many() -> None:
    x = numbers(40)
    crowd, _ = followed(calibrator(), x, [50, 100])
    alone, _ = followed(calibrator(), np.ascontiguousarray(x[:, 11:12]), [7])
    assert alone.tobytes() == crowd.reshape(SLOTS, 40)[:, 11].tobytes()


def test_a_tail_alone_gives_the_bits_of_the_loop() -> None:
    judge, x = calibrator(), np.concatenate([numbers(1).ravel(), np.geomspace(1e-30, 3e38, 999).astype(np.float32)])
    p = judge.probability(np.zeros(len(x), np.int32), x)
    assert p.tobytes() == judge.tail.probability(x).tobytes()
    assert p.tobytes() == judge.tail.probability(x.astype(float)[::-1])[::-1].tobytes()
    square = judge.tail.probability(x[: 40 * 40].reshape(40, -1).T)
    assert square.T.tobytes() == p[: 40 * 40].tobytes()


def test_numbers_that_may_not_be_written_are_read() -> None:
    judge, codes, x = calibrator(), np.zeros(9, np.int32), numbers(1)[:9, 0]
    codes.flags.writeable = x.flags.writeable = False
    assert judge.judge(codes, x)[0].tobytes() == calibrator().judge(codes, x)[0].tobytes()
    assert judge.tail.probability(x).shape == (9,)
    assert judge.judge(codes[:0], x[:0])[0].shape == judge.tail.probability(x[:0]).shape == (0,)


def test_without_learning_all_slots_are_judged_by_what_is_known() -> None:
    judge, x = calibrator(), numbers(2)
    followed(judge, x, [50])
    codes = np.zeros(50, np.int32)
    before = judge.rows(codes[:1])
    p, confidence = judge.judge(codes, x[:50, 0], learn=False)
    level = np.exp(-before["drift"].astype(float)) * x[:50, 0]
    np.testing.assert_allclose(p, judge.tail.probability(level), rtol=1e-9)
    assert set(confidence.tolist()) == set(judge.confidence(codes[:1]).tolist())
    for name, learnt in before.items():
        np.testing.assert_array_equal(learnt, judge.rows(codes[:1])[name])


def test_a_frozen_calibrator_learns_nothing() -> None:
    judge = calibrator(mode="frozen")
    followed(judge, numbers(1), [50])
    assert not any(learnt.any() for learnt in judge.rows(np.zeros(1, np.int32)).values())


def test_windows_are_counted_as_far_as_float32_counts() -> None:
    judge, one = calibrator(), np.zeros(1, np.int32)
    judge.put_rows(one, judge.rows(one) | {"windows": np.array([2.0**24 - 3], np.float32)})
    followed(judge, numbers(1)[:10], [])
    assert judge.rows(one)["windows"] == 2.0**24
