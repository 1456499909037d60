"""Scores of seasonal series through the ensemble: no period is left in them, whatever the clock does, and a value that
comes at the wrong hour is found."""

import numpy as np
import pytest
from seasonal_rows import BERLIN, HOUR, course, ns, rows_of
from small_detectors import planes, windows_of

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.scorer import Scorer

STEP = HOUR // 2
DAY = 48
TRAIN_DAYS = 56
DETECTORS = {"linear": {}, "subspace": {}, "vote": {}}
BEGINNINGS = {"spring": "2024-01-22", "autumn": "2024-08-26"}
"""Trained for eight weeks from here; the clock changes in the second or first week behind them."""


def fit(first, **changes):
    times = ns(first) + np.arange(TRAIN_DAYS * DAY) * STEP
    settings = EnsembleSettings(
        **(
            {"step_ns": STEP, "window": 16, "detectors": DETECTORS, "timezone": BERLIN, "scope": "stream"}
            | {"alert_budget": 0.01}
            | changes
        )
    )
    return Ensemble.fit(rows_of(ns(first), course(times, 1), STEP), settings)


@pytest.fixture(scope="module")
def fitted():
    found = {}
    for name, first in BEGINNINGS.items():
        found[name] = fit(first)
    return found


@pytest.fixture(scope="module")
def plain():
    return fit(BEGINNINGS["spring"], seasons=False)


def later(name, days=28, seed=7):
    """Values of the weeks behind the train part, and the first slot."""
    first = ns(BEGINNINGS[name]) + TRAIN_DAYS * DAY * STEP
    return course(first + np.arange(days * DAY) * STEP, seed), first // STEP


def verdicts(ensemble, values, first_slot, names=("host-000",)):
    """What is said of each slot of one entity."""
    scorer = Scorer(ensemble)
    scorer.bind(np.zeros(1, np.int32), list(names))
    scaled = planes(scorer, values[None], first_slot)
    return scorer.score(windows_of(ensemble, scaled, range(len(values)), first_slot=first_slot))


def periodic(score, lag):
    """Autocorrelation of the ranks of a score at a lag."""
    ranks = score.argsort().argsort().astype(float)
    return float(np.corrcoef(ranks[lag:], ranks[:-lag])[0, 1])


@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_score_of_normal_data_has_no_period_left(name, fitted):
    values, first = later(name)
    assert fitted[name].seasons.length[0].tolist() == [24, 168, 0]
    score = verdicts(fitted[name], values, first).fused[DAY:]
    aside = [periodic(score, lag) for lag in range(DAY + 18, DAY + 30)]
    for lag in (DAY, 7 * DAY):
        assert periodic(score, lag) < 0.3, lag
        assert periodic(score, lag) - np.mean(aside) < 0.3, lag


def test_without_seasons_there_is_one(plain, fitted):
    values, first = later("spring")
    unseasonal, seasonal = (verdicts(model, values, first).fused[DAY:] for model in (plain, fitted["spring"]))
    for lag in (DAY, 7 * DAY):
        assert periodic(unseasonal, lag) > 3 * max(periodic(seasonal, lag), 0.05), lag


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_change_of_the_clock_is_no_event(name, fitted):
    """Summer time began on 31 March 2024 and ended on 27 October: what follows the local hour goes on as before."""
    values, first = later(name)
    scored = verdicts(fitted[name], values, first)
    assert (scored.score > 1).sum() == 0
    alarmed = verdicts(fit(BEGINNINGS[name], timezone="UTC"), values, first)
    last_week = slice(-7 * DAY, None)
    assert np.median(alarmed.fused[last_week]) > 1.5 * np.median(scored.fused[last_week])


@pytest.mark.parametrize("name", BEGINNINGS)
@pytest.mark.parametrize(("hour", "value", "channel"), [(3, 15.0, 0), (11, 10.0, 0), (11, 200.0, 1)])
def test_a_usual_value_at_the_wrong_hour_is_found(name, hour, value, channel, fitted):
    """Noon's load in the night, the night's at noon, a Sunday's on a Wednesday: all inside the usual range. It lasts
    for six slots, so that neither its level nor its edges are anything new."""
    values, first = later(name)
    wednesday = 16 * DAY + 2 * hour + 2  # days begin at midnight UTC
    values[wednesday : wednesday + 6, channel] = value
    low, high = later(name)[0][:, channel].min(), later(name)[0][:, channel].max()
    assert low <= value <= high
    scored = verdicts(fitted[name], values, first)
    assert scored.score[wednesday : wednesday + 6].max() > 1
    strongest = int(scored.score.argmax())
    assert wednesday <= strongest < wednesday + 16
    assert scored.shares[wednesday].argmax() == channel


def test_a_model_comes_back_with_its_seasons(fitted):
    model = fitted["spring"]
    again = Ensemble.restore(model.state())
    values, first = later("spring", days=3)
    ours, theirs = verdicts(model, values, first), verdicts(again, values, first)
    assert again.settings.timezone == BERLIN
    assert ours.p.tobytes() == theirs.p.tobytes()


def test_an_expected_band_moves_with_the_hour(fitted):
    """raw = origin + width x scaled at each slot, for explanations."""
    values, first = later("spring", days=1)
    scorer = Scorer(fitted["spring"])
    one = np.zeros(1, np.int32)
    scorer.bind(one, ["host-000"])
    for slot in (first + 6, first + 24):
        row = values[slot - first][None]
        origin, width = scorer.ranges(one, slot)
        np.testing.assert_allclose(origin + width * scorer.scale(one, slot, row), row, rtol=1e-4, atol=1e-3)
    night, noon = (scorer.ranges(one, first + 2 * hour)[0][0] for hour in (2, 10))
    assert noon[0] - night[0] == pytest.approx(5, abs=0.7)
    assert noon[2] == night[2]


def test_late_rows_of_any_slots_are_scaled_as_they_were_on_time(fitted):
    values, first = later("spring", days=4)
    scorer = Scorer(fitted["spring"])
    scorer.bind(np.zeros(1, np.int32), ["host-000"])
    on_time = planes(scorer, values[None], first)[0]
    slots = first + np.arange(len(values), dtype=np.int64)
    again = scorer.scale(np.zeros(len(values), np.int32), slots, values, learn=False)
    assert again.tobytes() == on_time.tobytes()


def test_times_that_are_told_replace_those_of_the_slots(fitted):
    model = fitted["spring"]
    values, first = later("spring", days=2)
    shifted = Scorer(model, times=lambda slots: (slots + first) * STEP)
    shifted.bind(np.zeros(1, np.int32), ["host-000"])
    by_slot = Scorer(model)
    by_slot.bind(np.zeros(1, np.int32), ["host-000"])
    promoted = shifted.promote(model)
    everything = [
        planes(one, values[None], at).tobytes() for one, at in ((shifted, 0), (by_slot, first), (promoted, 0))
    ]
    assert everything[0] == everything[1] == everything[2]
    assert planes(by_slot, values[None], 7).tobytes() != everything[0]
