"""The loops of fusion, beside numpy and beside what the scorer's ring has to hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.fusing import looked_ahead, settle
from detectors.fusion import decisive, power_mean, settled_mean

NEVER = -(1 << 62)


def opinions(detectors: int, windows: int, seed: int, silent: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ratios = rng.uniform(0, 5, (detectors, windows)).astype(np.float32)
    ratios[rng.random(ratios.shape) < silent] = np.nan
    return ratios


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(0, 30), st.integers(0, 1000))
def test_who_is_evidence_only_counts_where_no_other_does(quiet: list[bool], windows: int, seed: int) -> None:
    ratios, evidence = opinions(len(quiet), windows, seed), np.array(quiet)
    fused = power_mean(ratios, evidence)
    assert fused.tobytes() == power_mean(decisive(ratios, evidence)).tobytes()
    heard = np.where(np.isnan(decisive(ratios, evidence)), 0, decisive(ratios, evidence)).astype(float)
    count = (~np.isnan(decisive(ratios, evidence))).sum(axis=0)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(fused, np.cbrt((heard**3).sum(axis=0) / count), rtol=1e-6)


def ring(entities: int, places: int, detectors: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((entities, places, detectors), np.nan, np.float32), np.full((entities, places), NEVER)


def stretches(own: np.ndarray, codes: np.ndarray, ends: np.ndarray, settle: int) -> np.ndarray:
    """S x D x B: the ratios of each window's entity in the `settle` slots up to its end, looked up one by one."""
    at = {pair: place for place, pair in enumerate(zip(codes.tolist(), ends.tolist(), strict=True))}
    found = np.full((settle, *own.shape), np.nan, np.float32)
    for place, (code, end) in enumerate(zip(codes.tolist(), ends.tolist(), strict=True)):
        for ahead in range(settle):
            there = at.get((code, end - settle + 1 + ahead))
            if there is not None:
                found[ahead, :, place] = own[:, there]
    return found


@settings(max_examples=60, deadline=None)
@given(
    look_ahead=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    entities=st.integers(1, 5),
    late=st.integers(0, 20),
    cut=st.integers(0, 200),
    seed=st.integers(0, 1000),
)
def test_a_ring_settles_as_the_whole_stream_would(
    look_ahead: list[int], entities: int, late: int, cut: int, seed: int
) -> None:
    """Slots from before 1970 on, some of them absent."""
    settle_over, detectors, each = 7, len(look_ahead), np.array(look_ahead)
    there = np.flatnonzero(np.random.default_rng(seed).random(60 * entities) < 0.8)
    codes, ends = (there % entities).astype(np.int32), there // entities - 20
    own = opinions(detectors, len(there), seed)
    kept, said = ring(entities, late + settle_over, detectors), np.empty_like(own)
    for part in (slice(0, cut), slice(cut, None)):
        found = np.empty_like(np.ascontiguousarray(own[:, part]))
        settle(codes[part], ends[part], np.ascontiguousarray(own[:, part]), each, settle_over, kept, found)
        said[:, part] = found
    expected = settled_mean(stretches(own, codes, ends, settle_over), each)
    assert said.tobytes() == expected.tobytes()
    last = np.full(entities, ends.max(initial=0))
    again = np.empty((detectors, entities), np.float32)
    looked_ahead(np.arange(entities, dtype=np.int32), last, each, settle_over, kept, again)
    for place in np.flatnonzero(ends == last[0]).tolist():
        assert again[:, codes[place]].tobytes() == np.ascontiguousarray(expected[:, place]).tobytes()


@pytest.mark.parametrize(("slot", "mean"), [(9, 41.0), (7, 41.0), (6, 8.0)])
def test_a_slot_read_again_counts_as_it_is_now(slot: int, mean: float) -> None:
    """99 more in a slot, the mean of the last three of which was 8."""
    kept, one, each, out = ring(1, 4 + 3, 1), np.zeros(10, np.int32), np.array([3]), np.empty((1, 10), np.float32)
    own, ends, newest = np.arange(10, dtype=np.float32)[None], np.arange(10), np.empty((1, 1), np.float32)
    settle(one, ends, own, each, 3, kept, out)
    assert out[0, 2:].tolist() == np.arange(1, 9).tolist()
    settle(one[:1], ends[slot : slot + 1], own[:, slot : slot + 1] + 99, each, 3, kept, newest)
    looked_ahead(one[:1], ends[9:], each, 3, kept, newest)
    assert newest.item() == mean


def test_a_slot_older_than_the_ring_overwrites_nothing() -> None:
    kept, one, out = ring(1, 5, 1), np.zeros(20, np.int32), np.empty((1, 20), np.float32)
    settle(one, np.arange(20), np.ones((1, 20), np.float32), np.array([2]), 2, kept, out)
    before = [part.copy() for part in kept]
    old = np.empty((1, 1), np.float32)
    settle(one[:1], np.array([3]), np.full((1, 1), 9, np.float32), np.array([2]), 2, kept, old)
    assert np.isnan(old).all()
    for part, was in zip(kept, before, strict=True):
        assert part.tobytes() == was.tobytes()
