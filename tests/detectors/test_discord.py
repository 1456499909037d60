"""The past of an entity: distances as a plain loop finds them, screened, bounded, and the same however asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_windows import cut

from detectors.discord import Discord
from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.types import OnlineDetector, PartlyOnline, Rows

SLOTS, PERSIST, HISTORY, APART = 10, 60, 300, 100
EVENT = 30
"""Slots of an event, which is over before it persists."""


def made(**options):
    return Discord(**({"slots": SLOTS, "persist": PERSIST, "history": HISTORY} | options))


def waves(slots, seed, channels=1, events=()):
    """One entity x slots x channels: a noisy wave within 0 and 1, higher by .8 in `events` (start, stop)."""
    rng = np.random.default_rng(seed)
    values = (
        0.5
        + 0.2 * np.sin(np.arange(slots)[:, None] / 7 + np.arange(channels))
        + 0.03 * rng.normal(size=(slots, channels))
    )
    for start, stop in events:
        values[start:stop] += 0.8
    return values[None].astype(np.float32)


def fitted(seed=0, channels=1, **options):
    detector = made(**options)
    detector.fit(cut(waves(400, seed, channels), SLOTS))
    return detector


def scores_of(detector, values, first=0):
    """One score a slot from the window that is whole on."""
    return detector.score(cut(values, SLOTS, first=first)).values


def by_loop(detector, values, at):
    """The distance of the window that ends at row `at` of S x F `values` to those before it, by definition."""
    steps = np.rint(np.clip(values, -4, 4) * np.float32(256)).astype(np.int64)
    found = []
    for end in range(max(SLOTS - 1, at - APART - detector.history + 1), at - APART + 1):
        apart = steps[at - SLOTS + 1 : at + 1] - steps[end - SLOTS + 1 : end + 1]
        if not detector.level:
            apart = apart - apart.mean(axis=0)
        found.append(np.sqrt((apart.astype(float) ** 2).sum() / (SLOTS * values.shape[1])) / 256)
    nearest = sorted(found)[: detector.nearest]
    return np.mean(nearest) if len(nearest) == detector.nearest else np.inf


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), channels=st.integers(1, 3), level=st.booleans(), slots=st.integers(112, 450))
def test_the_past_is_as_far_as_a_plain_loop_finds_it(seed, channels, level, slots):
    detector = fitted(seed, channels, level=level, nearest=3)
    detector._limit = np.inf  # everything may be compared with
    values = waves(slots, seed + 100, channels)
    windows = cut(values, SLOTS)
    past = detector._past_of(windows, np.full(len(windows), 9, np.float32))
    for at in (SLOTS, 111, slots - 1):
        # rows of the first, unfinished window are there too: the stream begins with its first whole window
        known = np.concatenate([np.zeros((SLOTS - 1, channels), np.float32), values[0, SLOTS - 1 :]])
        there = at - (SLOTS - 1)
        if there - APART < SLOTS - 1 + detector.nearest:
            assert np.isinf(past[there]) or there >= APART + SLOTS - 1
            continue
        assert past[there] == pytest.approx(by_loop(detector, known[SLOTS - 1 :], there), rel=1e-6, abs=1e-6)


def test_a_window_is_judged_by_the_nearer_of_training_and_past():
    detector, values = fitted(), waves(500, 3)
    windows = cut(values, SLOTS)
    trained = detector.fitted(windows).values
    said = detector.score(windows).values
    assert (said <= trained).all()
    assert (said[:APART] == trained[:APART]).all()
    assert (said[APART + SLOTS + 20 :] < trained[APART + SLOTS + 20 :]).mean() > 0.2


def test_an_event_that_comes_again_is_as_strange_as_the_first():
    detector = fitted()
    first, again = (200, 200 + EVENT), (380, 380 + EVENT)
    said = scores_of(detector, waves(500, 5, events=(first, again)))
    peaks = [said[start - SLOTS + 1 : stop - SLOTS + 1].max() for start, stop in (first, again)]
    assert peaks[1] > 0.9 * peaks[0]
    assert peaks[0] > 3 * detector._limit


def test_a_state_that_stays_is_strange_until_it_persists_and_normal_then():
    detector, start = fitted(), 200
    said = scores_of(detector, waves(700, 5, events=((start, 700),)))
    strange = said > detector._limit
    shifted = start - SLOTS + 1
    assert strange[shifted + SLOTS : shifted + PERSIST].all()
    assert strange[shifted + PERSIST + APART :].mean() < 0.02
    back = scores_of(detector, waves(60, 5), first=700)
    assert not (back[SLOTS:] > detector._limit).any(), "what was normal before is normal still"


def test_what_persists_is_a_matter_of_the_option():
    said = [
        scores_of(fitted(persist=persist), waves(700, 5, events=((200, 700),))) > fitted()._limit
        for persist in (40, 250, 10_000)
    ]
    lasted = [int(strange.sum()) for strange in said]
    assert lasted[0] < lasted[1] < lasted[2]
    assert lasted[2] > 480


def test_a_look_at_the_next_window_says_what_the_close_will_say():
    detector, values = fitted(level=False), waves(420, 8, events=((250, 260),))
    windows = cut(values, SLOTS)
    for at in (0, 5, 150, 245, 300, 400):
        detector = fitted(level=False)
        detector.score(windows.take(slice(0, at)))
        one = windows.take(slice(at, at + 1))
        looked = detector.score(one, learn=False).values
        assert looked.tobytes() == detector.score(one).values.tobytes()


def test_a_window_that_is_read_again_says_the_same_again():
    """Nothing that it may be compared with has come since."""
    detector, windows = fitted(), cut(waves(420, 8), SLOTS)
    said = detector.score(windows).values
    for back in (1, 7, 40):
        again = detector.score(windows.take(slice(len(said) - back, len(said))), learn=False).values
        assert again.tobytes() == said[-back:].tobytes()


def test_a_channel_that_falls_silent_stays_where_it_was():
    detector, values = fitted(channels=2), waves(400, 4, channels=2)
    values[0, 350:, 1] = np.nan
    said = scores_of(detector, values)
    assert np.isfinite(said).all()
    values[0, 350:] = np.nan
    assert np.isnan(scores_of(fitted(channels=2), values)[-1])


def test_what_is_not_there_teaches_nothing():
    detector, values = fitted(), waves(600, 4)
    values[0, 200:350] = np.nan
    detector.score(cut(values, SLOTS))
    normal = detector.rows(np.array([0], np.int32))["normal"][0]
    assert not normal[-1 - (600 - 1 - np.arange(220, 340))].any()
    assert normal[-1 - (600 - 1 - np.arange(460, 560))].mean() > 0.9


def test_many_channels_and_long_windows_are_counted_in_wide_numbers():
    detector = fitted(channels=40, slots=60)
    detector.fit(cut(waves(200, 0, channels=40), 60))
    assert detector.rows(np.array([0], np.int32))["squares"].dtype == np.int64
    assert fitted().rows(np.array([0], np.int32))["squares"].dtype == np.int32
    far = waves(300, 1, channels=40)
    far[:, 200:] = -9
    assert (detector.score(cut(far, 60)).values >= 0).all()


def test_the_model_alone_explains():
    rows = waves(900, 0)[0]
    table = Rows(["a"], np.zeros(900, np.int32), np.arange(900, dtype=np.int64), rows, ["x"])
    told = EnsembleSettings(step_ns=60 * 10**9, window=SLOTS, detectors={"discord": {"slots": SLOTS}, "vote": {}})
    model = Ensemble.fit(table, told)
    assert isinstance(model.detectors["discord"], PartlyOnline)
    assert not isinstance(model.detectors["vote"], PartlyOnline)
    assert isinstance(model.detectors["vote"], OnlineDetector)
    windows = cut(waves(60, 2, events=((40, 60),)), SLOTS)
    named = type(windows)(windows.entities, windows.ends, windows.values, ["x"], ["a"])
    fused = model.fused(named)
    assert fused[-1] > 3 * np.median(fused[:20])
    assert model.fused(named).tobytes() == fused.tobytes()


def test_each_entity_of_a_stream_may_have_its_own_prototypes():
    low, high = waves(700, 0), waves(700, 1) + 0.3
    values = np.concatenate([low[0], high[0]])
    table = Rows(
        ["low", "high"], np.repeat(np.arange(2, dtype=np.int32), 700), np.tile(np.arange(700, dtype=np.int64), 2),
        values, ["x"],
    )  # fmt: skip
    settings_of = {"step_ns": 60 * 10**9, "window": SLOTS, "detectors": {"discord": {"slots": SLOTS}}}
    bank = {
        scope: Ensemble.fit(table, EnsembleSettings(**settings_of, scope=scope)).detectors["discord"]._bank
        for scope in ("entity", "stream")
    }
    assert bank["entity"].model_of("low") is not bank["entity"].model_of("high")
    assert bank["stream"].model_of("low") is bank["stream"].model_of("high")
    restored = Ensemble.restore(Ensemble.fit(table, EnsembleSettings(**settings_of, scope="entity")).state())
    again = restored.detectors["discord"]._bank
    assert again.model_of("low") is not again.model_of("high")


@pytest.mark.parametrize("wrong", [{"history": 0}, {"persist": -1}, {"slots": 2.5}, {"level": 1}])
def test_options_are_checked_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        made(**wrong)


def test_it_is_refused_before_it_is_fitted():
    with pytest.raises(RuntimeError, match="not fitted"):
        made().score(cut(waves(30, 0), SLOTS))
