"""`alert_budget` on streams of known truth: half to twice as many false episodes are opened, and events are found."""

import numpy as np
import pytest

from detectors.calibration import Calibrator, Learning, Tail
from tests.evaluation.known_truth import CHANNELS, DAY_SLOTS, QUIET, fit, judged, values_of
from tsad.episodes import Episode

EXPECTED = 60
SIZES = {1: (4000, 12_000), 20: (800, 2000), 1000: (120, 200)}
"""Rows of training and slots of the stream, by number of entities."""


def budget_of(slots: int) -> float:
    """False episodes a day, so that `EXPECTED` are due within `slots`."""
    return EXPECTED * DAY_SLOTS / slots


@pytest.mark.parametrize("entities", SIZES)
@pytest.mark.parametrize("kind", ["stationary", "seasonal", "heavy-tailed", "autocorrelated"])
def test_half_to_twice_the_budget_is_opened(kind: str, entities: int) -> None:
    """Retracted episodes count."""
    rows, slots = SIZES[entities]
    model = fit(kind, entities, rows, budget_of(slots), seed=1)
    opened = sum(map(len, judged(model, values_of(kind, entities, slots, seed=2), poll=200 // entities + 20)))
    assert EXPECTED / 2 <= opened <= EXPECTED * 2, (model.alpha, model.immediate.shape, model.immediate.scale)


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_what_is_opened_follows_the_budget(factor: float) -> None:
    entities, rows, slots = 100, 300, 600
    given = budget_of(slots) * factor
    model = fit("stationary", entities, rows, given, seed=1)
    opened = sum(map(len, judged(model, values_of("stationary", entities, slots, seed=2))))
    assert EXPECTED * factor / 2.5 <= opened <= EXPECTED * factor * 2.5


@pytest.mark.parametrize("entities", [1, 20])
@pytest.mark.parametrize("kind", ["stationary", "seasonal", "heavy-tailed", "autocorrelated"])
def test_events_of_eight_sigma_are_found(kind: str, entities: int) -> None:
    """Five slots of all channels, at a tenth of the budget above: at least 95% are opened, and confirmed or open."""
    rows, slots = 2000, 3000 // entities * 4
    model = fit(kind, entities, rows, budget_of(slots) / 10, seed=1)
    values = values_of(kind, entities, slots, seed=3)
    places = planted(values)
    episodes = judged(model, values, poll=200 // entities + 20)
    found = [met(episodes[entity], slot) for entity, slot in places]
    assert len(places) >= 60
    assert np.mean(found) >= 0.95


def planted(values: np.ndarray) -> list[tuple[int, int]]:
    """Raise or lower all channels by 8 for five slots, every 200 slots, out of step between entities; where."""
    places = []
    for entity in range(len(values)):
        for turn, slot in enumerate(range(100 + 7 * entity % 90, values.shape[1] - 20, 150)):
            values[entity, slot : slot + 5] += 8 * (-1) ** turn
            places.append((entity, slot))
    return places


def met(episodes: list[Episode], slot: int) -> bool:
    """Whether an episode that was not retracted has a flag about the event that begins at `slot`."""
    return any(one.first <= slot + 5 and one.last >= slot and one.state != "retracted" for one in episodes)


def test_a_level_shift_that_stays_is_one_episode_until_it_is_accepted() -> None:
    """Numbers of a fused score that triple: flagged until the end of `accept` windows, usual after them."""
    rng = np.random.default_rng(0)
    tail = Tail.fit(rng.gamma(20, 0.02, 20_000).astype(np.float32))
    calibrator = Calibrator(tail, Learning(alpha=1e-4, accept=500, gap=QUIET))
    numbers = rng.gamma(20, 0.02, 3000).astype(np.float32)
    numbers[1000:] += 1
    one, flags = np.zeros(1, np.int32), np.zeros(3000, bool)
    for slot, number in enumerate(numbers):
        p, _ = calibrator.judge(one, np.array([number], np.float32))
        flags[slot] = p[0] < 1e-4
    assert flags[:1000].sum() <= 2
    assert flags[1000:1499].all()
    assert flags[1500:].mean() < 0.02


def test_a_crowd_drifts_one_by_one() -> None:
    """Drift is an entity's own: of 200, those that grow louder are followed, and the others keep their level."""
    rng = np.random.default_rng(1)
    calibrator = Calibrator(Tail.fit(rng.gamma(20, 0.02, 20_000).astype(np.float32)))
    everyone, louder = np.arange(200, dtype=np.int32), np.arange(200) < 50
    growth = np.where(louder, 0.4, 0.0)
    for slot in range(3000):
        x = (rng.gamma(20, 0.02, 200) * (1 + growth * slot / 3000)).astype(np.float32)
        calibrator.judge(everyone, x)
    drift = calibrator.rows(everyone)["drift"]
    assert drift[louder].min() > 0.05
    assert np.abs(drift[~louder]).max() < 0.05


def test_streams_of_known_truth_have_unit_scale() -> None:
    for kind in ("stationary", "heavy-tailed", "autocorrelated"):
        values = values_of(kind, 3, 4000, seed=0)
        assert values.shape == (3, 4000, CHANNELS)
        np.testing.assert_allclose(values.std(axis=1), 1, atol=0.25)
