"""What changes for good: alerted, then accepted; channels without life: neither anomalous for ever nor blind for ever.

Each entity of one fleet lives one story; all are fitted and streamed together, which changes nothing for any of them.
"""

from functools import cache

import numpy as np
import pytest
from small_detectors import planes, windows_of

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.scorer import Scorer
from detectors.types import Rows

FIT, SLOTS, AT = 1500, 3000, 600
"""Trained slots, streamed slots, and the streamed slot at which a story turns."""
EVENT = 2500
ACCEPT, GAP = 200, 30
BUDGET = 0.5
"""False episodes that an entity may cost a day: one in the two days that are streamed."""
MINUTE = 60 * 10**9
FEATURES = ["a", "b", "c", "d"]
DETECTORS = {"linear": {}, "subspace": {}, "vote": {}}


def plain(rng):
    """Four channels that move together and by themselves, FIT + SLOTS rows."""
    own, common = rng.normal(size=(FIT + SLOTS, 4)), rng.normal(size=(FIT + SLOTS, 1))
    values = 0.7 * own + 0.7 * common
    for row in range(1, len(values)):
        values[row] += 0.5 * values[row - 1]
    return values


def after(at=AT):
    return slice(FIT + at, None)


def shift(values):
    values[after(), 0] += 15


def shift_of_all(values):
    values[after()] += 5


def shift_then_event(values):
    shift(values)
    values[FIT + EVENT : FIT + EVENT + 3, 1:] += 15


def slow_drift(values):
    values[after(), 0] += np.linspace(0, 6, SLOTS - AT)


def slow_drift_of_all(values):
    values[after()] += np.linspace(0, 3, SLOTS - AT)[:, None]


def constant(values):
    values[:, 0] = 7


def all_constant(values):
    values[:] = [7, 0, -3, 1e6]


def constant_moves(values):
    values[: FIT + AT, 0] = 7
    values[after(), 0] += 7


def all_constant_moves(values):
    values[: FIT + AT] = 7
    values[after()] += 7


def nearly_constant(values):
    values[:, 0] = 7 + 1e-6 * values[:, 0]
    values[500, 0] = 7.01


def missing(values):
    values[:, 0] = np.nan


def all_missing(values):
    values[:] = np.nan


def missing_comes(values):
    values[: FIT + AT, 0] = np.nan


def stops(values):
    values[after(), 0] = np.nan


def steps(values):
    values[:, 0] = np.arange(len(values)) // 170 % 2 * 5


def resets(values):
    values[:, 0] = np.arange(len(values)) % 333


def resets_after_the_fit(values):
    values[:, 0] = np.arange(len(values)) % (FIT + AT)


def grows_for_ever(values):
    values[:, 0] = np.arange(len(values))


def calm(values):
    """Nothing happens."""


CHANGES = (calm, shift, shift_of_all, shift_then_event, slow_drift, slow_drift_of_all, stops)
LIFELESS = (
    calm, constant, all_constant, constant_moves, all_constant_moves, nearly_constant, missing, all_missing,
    missing_comes,
)  # fmt: skip
JUMPS = (calm, steps, resets, resets_after_the_fit, grows_for_ever)


def lived(stories):
    rng = np.random.default_rng(11)
    lives = [plain(rng) for _ in stories]
    for story, values in zip(stories, lives, strict=True):
        story(values)
    return np.stack(lives).astype(np.float32)


def rows_of(values, names):
    entities, slots, _ = values.shape
    codes = np.repeat(np.arange(entities, dtype=np.int32), slots)
    return Rows(names, codes, np.tile(np.arange(slots, dtype=np.int64), entities), values.reshape(-1, 4), FEATURES)


@cache
def flags(stories, scope, accept=ACCEPT):
    """By story, which of the streamed slots are flagged."""
    names, values = [story.__name__ for story in stories], lived(stories)
    settings = EnsembleSettings(
        MINUTE, 32, DETECTORS, scope=scope, quiet=GAP, accept=accept, alert_budget=BUDGET * len(stories)
    )
    ensemble = Ensemble.fit(rows_of(values[:, :FIT], names), settings)
    scorer = Scorer(ensemble)
    scorer.bind(np.arange(len(values), dtype=np.int32), names)
    scaled = planes(scorer, values[:, FIT - 32 :], FIT - 32)
    parts = [range(start, start + 500) for start in range(32, SLOTS + 32, 500)]
    score = [scorer.score(windows_of(ensemble, scaled, part, first_slot=FIT - 32)).score for part in parts]
    flagged = np.concatenate([part.reshape(-1, len(values)) for part in score]) > 1
    return dict(zip(names, flagged.T, strict=True))


def episodes(flagged):
    """How many runs of flags at most GAP slots apart there are."""
    at = np.flatnonzero(flagged)
    return 0 if not len(at) else 1 + int((np.diff(at) > GAP).sum())


BOTH = pytest.mark.parametrize("scope", ["entity", "stream"])
ACCEPTED = AT + ACCEPT + ACCEPT // 2
"""By then a new normal is one."""


@BOTH
@pytest.mark.parametrize("story", [shift, shift_of_all])
def test_a_level_shift_that_stays_is_an_alert_and_then_normal(story, scope):
    flagged = flags(CHANGES, scope)[story.__name__]
    assert flagged[AT : AT + 3].any()
    assert flagged[ACCEPTED:].mean() < 0.01
    assert flagged[AT:ACCEPTED].mean() > 4 * flagged[ACCEPTED:].mean()


@BOTH
def test_behind_an_accepted_shift_an_event_is_found(scope):
    told, other = flags(CHANGES, scope)["shift_then_event"], flags(CHANGES, scope)["shift"]
    assert told[EVENT : EVENT + 3].any()
    assert not other[EVENT : EVENT + 3].any()


@BOTH
@pytest.mark.parametrize("story", [slow_drift, slow_drift_of_all])
def test_slow_drift_is_no_storm(story, scope):
    """Five standard deviations of one channel, or more than two of all, in 40 hours: alerts that one can read."""
    flagged = flags(CHANGES, scope)[story.__name__]
    assert flagged[AT:].mean() < 0.02
    assert episodes(flagged) <= 16


@BOTH
@pytest.mark.parametrize("stories", [CHANGES, LIFELESS, JUMPS])
def test_beside_stories_of_change_what_does_not_change_raises_no_storm(stories, scope):
    flagged = flags(stories, scope)["calm"]
    assert episodes(flagged) <= 16
    assert flagged.mean() < 0.01


@BOTH
@pytest.mark.parametrize("story", [constant, all_constant, nearly_constant, missing, all_missing])
def test_a_channel_without_life_is_no_anomaly(story, scope):
    flagged = flags(LIFELESS, scope)[story.__name__]
    assert flagged.mean() < 0.01


@BOTH
@pytest.mark.parametrize("story", [constant_moves, all_constant_moves])
def test_a_constant_channel_that_starts_to_move_is_found_at_once_and_not_anomalous_for_ever(story, scope):
    flagged = flags(LIFELESS, scope)[story.__name__]
    assert flagged[:AT].mean() < 0.01
    assert flagged[AT : AT + 3].any()
    assert flagged[AT : AT + ACCEPT // 2].mean() > 0.9
    assert not flagged[ACCEPTED:].any()


@BOTH
def test_a_channel_that_comes_to_life_is_not_anomalous_for_ever(scope):
    flagged = flags(LIFELESS, scope)["missing_comes"]
    assert flagged[ACCEPTED:].mean() < 0.01


@BOTH
def test_a_channel_that_stops_is_not_anomalous_for_ever(scope):
    assert flags(CHANGES, scope)["stops"][ACCEPTED:].mean() < 0.01


@BOTH
@pytest.mark.parametrize("story", [steps, resets, grows_for_ever])
def test_steps_and_counters_that_were_there_in_training_are_usual(story, scope):
    flagged = flags(JUMPS, scope)[story.__name__]
    assert flagged.mean() < 0.02


@BOTH
def test_the_first_reset_of_a_counter_is_an_event_and_the_counter_is_usual_before_and_after(scope):
    flagged = flags(JUMPS, scope)["resets_after_the_fit"]
    assert flagged[:AT].mean() < 0.01
    assert flagged[AT : AT + 3].any()
    assert flagged[ACCEPTED:].mean() < 0.02


def test_who_never_accepts_goes_on_alerting():
    """`accept` is what ends it: with more windows than are streamed nothing becomes normal."""
    flagged = flags(LIFELESS, "stream", accept=10 * SLOTS)["all_constant_moves"]
    assert flagged[ACCEPTED:].mean() > 0.9
