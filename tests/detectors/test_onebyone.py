"""Calibration in plain floats gives the bits of that in arrays, whatever the poll."""

import numpy as np
import pytest

from detectors.calibration import Calibrator, Learning, Tail
from detectors.onebyone import judge_slots

SLOTS = 1200


def calibrator(accept: int = 10_000, mode: str = "online") -> Calibrator:
    sample = np.random.default_rng(0).gamma(2, 0.2, 5000).astype(np.float32)
    return Calibrator(Tail.fit(sample, cluster=2.0), Learning(mode=mode, alpha=1e-4, accept=accept))  # type: ignore[arg-type]


def numbers(entities: int, seed: int = 1) -> np.ndarray:
    """Slots x entities: calm, a long shift, a few far beyond everything, gaps, a silence."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2, 0.2, (SLOTS, entities)).astype(np.float32)
    x[300:500] *= 6
    x[600:610] = 1e30
    x[700:720] = 0
    x[800:] *= 2
    x[rng.random(x.shape) < 0.02] = np.nan
    return x


def followed(judge: Calibrator, x: np.ndarray, poll: int) -> tuple[np.ndarray, np.ndarray]:
    """What is said of slots x entities, `poll` slots at a time."""
    entities = x.shape[1]
    said = []
    for start in range(0, len(x), poll):
        part = x[start : start + poll]
        codes = np.tile(np.arange(entities, dtype=np.int32), len(part))
        slots = [slice(at, at + entities) for at in range(0, part.size, entities)]
        said.append(judge_slots(judge, codes, part.ravel(), slots, learn=True))
    return np.concatenate([p for p, _ in said]), np.concatenate([confidence for _, confidence in said])


def slot_by_slot(judge: Calibrator, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes = np.arange(x.shape[1], dtype=np.int32)
    said = [(judge.confidence(codes), judge.judge(codes, row)) for row in x]
    return np.concatenate([p for _, p in said]), np.concatenate([confidence for confidence, _ in said])


@pytest.mark.parametrize("accept", [100, 10_000])
@pytest.mark.parametrize(("entities", "poll"), [(1, 1), (1, 63), (1, SLOTS), (3, 50), (16, 7), (17, 50)])
def test_the_loop_over_windows_has_the_bits_of_arrays(entities: int, poll: int, accept: int) -> None:
    x = numbers(entities)
    loop, arrays = calibrator(accept), calibrator(accept)
    for one, other in zip(followed(loop, x, poll), slot_by_slot(arrays, x), strict=True):
        np.testing.assert_array_equal(one, other)
    everyone = np.arange(entities, dtype=np.int32)
    for name, learnt in arrays.rows(everyone).items():
        np.testing.assert_array_equal(learnt, loop.rows(everyone)[name], err_msg=name)


def test_an_entity_is_judged_alike_alone_and_among_many() -> None:
    x = numbers(40)
    crowd, _ = followed(calibrator(), x, 50)
    alone, _ = followed(calibrator(), np.ascontiguousarray(x[:, 11:12]), 50)
    np.testing.assert_array_equal(alone, crowd.reshape(SLOTS, 40)[:, 11])


def test_without_learning_all_slots_are_judged_by_what_is_known() -> None:
    judge, x = calibrator(), numbers(2)
    followed(judge, x, 50)
    codes = np.zeros(50, np.int32)
    slots = [slice(at, at + 1) for at in range(50)]
    before = judge.rows(codes[:1])
    p, confidence = judge_slots(judge, codes, np.ascontiguousarray(x[:50, 0]), slots, learn=False)
    np.testing.assert_array_equal(p, judge.probability(codes, x[:50, 0]))
    assert len(set(confidence.tolist())) == 1
    for name, learnt in before.items():
        np.testing.assert_array_equal(learnt, judge.rows(codes[:1])[name])


def test_a_frozen_calibrator_learns_nothing() -> None:
    judge = calibrator(mode="frozen")
    followed(judge, numbers(1), 50)
    assert not any(learnt.any() for learnt in judge.rows(np.zeros(1, np.int32)).values())


def test_windows_are_counted_as_far_as_float32_counts() -> None:
    loop, arrays, one = calibrator(), calibrator(), np.zeros(1, np.int32)
    for judge in (loop, arrays):
        judge.put_rows(one, judge.rows(one) | {"windows": np.array([2.0**24 - 3], np.float32)})
    x = numbers(1)[:10]
    followed(loop, x, 10)
    slot_by_slot(arrays, x)
    assert loop.rows(one)["windows"] == arrays.rows(one)["windows"] == 2.0**24
