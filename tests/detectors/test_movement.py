"""Blame by each channel's own movement: planted causes, noisy and still channels, gaps, and windows without others."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.movement import FLOOR, REACH, blamed, movements
from detectors.scorer import Scorer
from detectors.types import Rows
from streaming.types import Windows

NAN = np.float32(np.nan)
CHANNELS, WINDOW, TRAINING, AFTER = 8, 16, 600, 60
NOISY, STILL = 6, 7
EVENT = slice(30, 42)


def even(windows: int, channels: int) -> np.ndarray:
    return np.full((windows, channels), 1 / channels, np.float32)


def values_of(seed: int, windows: int = 5, slots: int = REACH + 3, channels: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(windows, slots, channels)).astype(np.float32)


def raw(rows: int, seed: int) -> np.ndarray:
    """Six calm related channels, a noisy one, and one that never moves."""
    rng = np.random.default_rng(seed)
    hidden = np.sin(np.arange(rows) / 15)[:, None]
    values = hidden * rng.uniform(0.5, 1.0, CHANNELS) + 0.05 * rng.standard_normal((rows, CHANNELS))
    values[:, NOISY] = rng.standard_normal(rows)
    values[:, STILL] = 3.0
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """One entity's, of the fast profile."""
    slots = np.arange(TRAINING)
    names = [f"c{channel}" for channel in range(CHANNELS)]
    rows = Rows(["host"], np.zeros(TRAINING, np.int32), slots, raw(TRAINING, 0), names)
    told = EnsembleSettings(60_000_000_000, WINDOW, {"linear": {}, "subspace": {}}, seasons=False, settle=5)
    return Ensemble.fit(rows, told)


def judged(ensemble: Ensemble, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares and scores of the rows of one trained entity that have a whole window."""
    scorer = Scorer(ensemble)
    scorer.bind(np.zeros(1, np.int32), ["host"])
    scaled = np.stack(
        [scorer.scale(np.zeros(1, np.int32), slot, row[None], False)[0] for slot, row in enumerate(values)]
    )
    ends = np.arange(WINDOW - 1, len(values))
    stacked = np.stack([scaled[end - WINDOW + 1 : end + 1] for end in ends])
    windows = Windows(np.zeros(len(ends), np.int32), ends.astype(np.int64), stacked, ensemble.features, ["host"])
    verdicts = scorer.score(windows)
    return verdicts.shares, verdicts.score


def event(causes: list[int], size: float) -> np.ndarray:
    values = raw(WINDOW - 1 + AFTER, 1)
    values[WINDOW - 1 :][EVENT, causes] += size
    return values


AGGREGATES = {
    "sum": lambda shares, _: shares.sum(axis=0),
    "weighted sum": lambda shares, score: (shares * score[:, None]).sum(axis=0),
    "maximum": lambda shares, _: shares.max(axis=0),
    "weighted maximum": lambda shares, score: (shares * score[:, None]).max(axis=0),
}


@pytest.mark.parametrize("how", AGGREGATES)
@pytest.mark.parametrize("causes", [[2], [0, 4], [1, 3, 5], [STILL]], ids=str)
def test_planted_causes_are_first_over_the_event_however_it_is_added_up(ensemble, causes, how) -> None:
    shares, score = judged(ensemble, event(causes, 2.0))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    ranked = np.argsort(-AGGREGATES[how](shares[EVENT], np.maximum(score[EVENT], 0)))
    assert set(ranked[: len(causes)].tolist()) == set(causes)


def test_a_channel_that_never_moved_does_not_take_all_blame(ensemble) -> None:
    values = event([2], 2.0)
    values[WINDOW - 1 :][EVENT, STILL] += 0.02  # beyond all that it has for a range
    shares, _ = judged(ensemble, values)
    first = shares[EVENT.start]
    assert set(np.argsort(-first)[:2].tolist()) == {2, STILL}
    assert first[STILL] < 0.7 and first[2] > 0.3


def test_shares_of_quiet_rows_are_nearly_even(ensemble) -> None:
    shares, _ = judged(ensemble, event([2], 2.0))
    quiet = shares[: EVENT.start]
    assert np.median(quiet.max(axis=1)) < 3 / CHANNELS
    assert shares[EVENT.start].max() > 0.8
    assert quiet.sum(axis=0)[NOISY] < 2 * len(quiet) / CHANNELS


def test_the_usual_is_what_training_moved(ensemble) -> None:
    assert ensemble.moves.shape == (2, 2, CHANNELS)
    assert (ensemble.moves >= FLOOR).all()
    np.testing.assert_allclose(ensemble.moves[:, :, STILL], FLOOR, rtol=1e-5)
    assert ensemble.moves[:, :, NOISY].min() > 1.5 * ensemble.moves[:, :, :NOISY].max()
    again = Ensemble.restore(ensemble.state())
    assert again.moves.tobytes() == ensemble.moves.tobytes()
    assert ensemble.span == WINDOW - 5  # what `linear` reads, and the blame


def test_before_the_first_fit_the_vote_alone_gives_shares() -> None:
    told = EnsembleSettings(60_000_000_000, WINDOW, seasons=False)
    cold = Ensemble.cold(told, [f"c{channel}" for channel in range(CHANNELS)])
    assert cold.moves.shape == (2, 0, CHANNELS)
    scorer = Scorer(cold)
    scorer.bind(np.zeros(1, np.int32), ["new"])
    calm = np.zeros((30, WINDOW, CHANNELS), np.float32)
    calm[-1, -1, 3] = 5
    windows = Windows(np.zeros(30, np.int32), np.arange(30), calm, cold.features, ["new"])
    np.testing.assert_array_equal(scorer.score(windows).shares[-1], np.eye(CHANNELS, dtype=np.float32)[3])


def test_a_movement_is_from_the_slot_before_and_from_the_mean_before_it() -> None:
    values = np.zeros((1, REACH + 3, 2), np.float32)
    values[0, :2] = 100  # older than is read
    values[0, -2] = [0, 2]
    values[0, -1] = [1, -1]
    np.testing.assert_allclose(movements(values)[:, 0], [[1, 3], [1, 1.2]], rtol=1e-6)


def test_missing_slots_are_left_out_of_the_mean() -> None:
    values = values_of(3)
    values[0, -4, 1] = values[1, -2, 2] = values[2, -1, 0] = NAN
    values[3, :-1, 3] = NAN
    found = movements(values)
    expected = np.abs(values[0, -1, 1] - np.nanmean(values[0, -1 - REACH : -1, 1]))
    np.testing.assert_allclose(found[1, 0, 1], expected, rtol=1e-5)
    assert np.isnan(found[0, 1, 2]) and np.isfinite(found[1, 1, 2])
    assert np.isnan(found[:, 2, 0]).all() and np.isnan(found[:, 3, 3]).all()
    assert np.isnan(found).sum() == 5


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_short_windows_have_what_past_they_have(slots: int) -> None:
    values = values_of(4, slots=slots)
    found = movements(values)
    assert found.shape == (2, 5, 4)
    assert np.isnan(found).all() if slots == 1 else np.isfinite(found).all()
    shares = blamed(values, np.ones((2, 5, 4), np.float32), even(5, 4))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_shares_follow_the_squares_over_the_usual() -> None:
    values = np.zeros((1, REACH + 1, 3), np.float32)
    values[0, -1] = [1, 2, 2]
    usual = np.broadcast_to(np.array([0.5, 0.5, 4], np.float32), (2, 1, 3))
    given_shares = np.array([[0, 0, 1]], np.float32)
    weights = np.array([1 + 4, 1 + 16, 1 + 0.25 + 1])
    np.testing.assert_allclose(blamed(values, usual, given_shares)[0], weights / weights.sum(), rtol=1e-6)


def test_the_detectors_decide_where_nothing_moved() -> None:
    values = np.ones((2, REACH + 1, 4), np.float32)
    said = np.array([[0.1, 0.6, 0.2, 0.1], [0, 0, 0, 1]], np.float32)
    shares = blamed(values, np.ones((2, 2, 4), np.float32), said)
    np.testing.assert_allclose(shares, (1 + said) / 5, rtol=1e-6)


def test_absent_and_unknown_channels_take_no_blame_of_their_own() -> None:
    values = np.zeros((3, REACH + 1, 4), np.float32)
    values[:, -1] = [9, 1, 1, 1]
    values[0, -1, 0] = NAN
    usual = np.ones((2, 3, 4), np.float32)
    usual[:, 1, 0] = NAN  # never seen in training
    said = np.array([[0, 0.5, 0.25, 0.25], [0, 0.5, 0.25, 0.25], [0, 0, 0, 0]], np.float32)
    shares = blamed(values, usual, said)
    assert (shares[:2, 0] == 0).all()
    assert (shares[:2].argmax(axis=1) == 1).all()
    np.testing.assert_allclose(shares[:2].sum(axis=1), 1, rtol=1e-6)
    assert (shares[2] == 0).all()  # nobody has an opinion of that window


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 45), st.floats(0, 0.5), st.integers(0, 999))
def test_a_window_has_no_neighbours(windows: int, slots: int, channels: int, gaps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = values_of(seed, windows, slots, channels)
    values[rng.random(values.shape) < gaps * rng.integers(0, 2)] = NAN
    usual = rng.uniform(0.05, 2, (2, windows, channels)).astype(np.float32)
    said = rng.dirichlet(np.ones(channels), windows).astype(np.float32)
    shares = blamed(values, usual, said)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-4)
    whole = values[:, -1:].copy()
    place = int(rng.integers(windows))
    alone = blamed(values[place : place + 1].copy(), usual[:, place : place + 1].copy(), said[place : place + 1].copy())
    assert alone[0].tobytes() == shares[place].tobytes()
    assert (values[:, -1:].tobytes()) == whole.tobytes()  # nothing given is overwritten


def test_each_entity_is_held_against_its_own_usual() -> None:
    slots, rng = 700, np.random.default_rng(5)
    calm, wild = (scale * rng.standard_normal((slots, 2)) for scale in (0.1, 1.0))
    calm[:3], wild[:3] = [[-4, -4], [4, 4], [0, 0]], [[-4, -4], [4, 4], [0, 0]]  # one range for both
    values = np.concatenate([calm, wild]).astype(np.float32)
    codes, both = np.repeat(np.arange(2, dtype=np.int32), slots), np.tile(np.arange(slots), 2)
    told = EnsembleSettings(60_000_000_000, WINDOW, {"linear": {}}, seasons=False, scope="stream", settle=5)
    fitted = Ensemble.fit(Rows(["calm", "wild"], codes, both, values, ["a", "b"]), replace(told))
    assert (fitted.moves[:, 0] < fitted.moves[:, 2]).all()
    assert (fitted.moves[:, 2] < fitted.moves[:, 1] * 1.2).all()
    assert (fitted.moves[:, 0] < fitted.moves[:, 1] / 2).all()
