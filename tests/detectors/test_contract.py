"""What DESIGN asks of every detector, for every name in the registry."""

import io
import json
from functools import cache

import numpy as np
import pytest
from sample_windows import FEATURES, cut, fleet, with_gaps

from detectors import registry
from detectors.types import Detector, OnlineDetector, Scores
from streaming.types import State, Windows

WINDOW = 20
CASES = (
    {name: {} for name in sorted(registry.DETECTORS)}
    | {f"{name}-default": options for name, options in registry.profile("default").items() if options}
    | {"neighbours-shape": {"level": False}, "neighbours-means": {"means": True, "nearest": 1, "prototypes": 64}}
)
NAMES = list(CASES)
GRADUAL = ("bent", "reconstruction-default", "linear-far-default", "subspace-long-default", "neighbours-long-default")
ONLINE = [name for name in NAMES if registry.load(name).memory == "online"]
WINDOWED = [name for name in NAMES if name not in ONLINE]
each = pytest.mark.parametrize("name", NAMES)


def made(name: str) -> Detector:
    return registry.load(name)(**CASES[name])


@cache
def training() -> Windows:
    return cut(fleet(3, 420), WINDOW)


@cache
def stream() -> Windows:
    """Another stretch of the same hosts, with gaps in it."""
    return cut(with_gaps(fleet(3, 140, seed=7), 0.02), WINDOW, first=1000)


@cache
def fitted_state(name: str) -> State:
    detector = made(name)
    detector.fit(training())
    return detector.state()


def fitted(name: str) -> Detector:
    """A fresh instance with the fitted state; an online one has seen the training stream."""
    detector = made(name)
    detector.restore(fitted_state(name))
    if isinstance(detector, OnlineDetector):
        detector.score(training())
    return detector


def read(detector: Detector, windows: Windows) -> Scores:
    """Score without a trace: an online detector looks only."""
    return detector.score(windows, learn=False) if isinstance(detector, OnlineDetector) else detector.score(windows)


def same(left: Scores, right: Scores) -> None:
    np.testing.assert_array_equal(left.values, right.values)
    np.testing.assert_array_equal(left.shares, right.shares)


def through_bytes(state: State) -> State:
    """As a file would: npz without pickle, JSON, raw bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **state.arrays)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return State(arrays, json.loads(json.dumps(state.meta)), {key: bytes(blob) for key, blob in state.blobs.items()})


@each
def test_is_what_the_protocol_says(name: str) -> None:
    kind = registry.load(name)
    assert kind.name == registry.registered(name)
    assert isinstance(made(name), Detector)
    assert isinstance(made(name), OnlineDetector) == (kind.memory == "online")


@each
def test_scores_have_the_promised_shape(name: str) -> None:
    scores = read(fitted(name), stream())
    assert scores.values.shape == (len(stream()),) and scores.values.dtype == np.float32
    assert scores.shares.shape == (len(stream()), len(FEATURES)) and scores.shares.dtype == np.float32
    said = np.isfinite(scores.values)
    assert said.mean() > 0.99
    assert (scores.shares >= 0).all()
    np.testing.assert_allclose(scores.shares[said].sum(axis=1), 1, atol=1e-5)
    assert (scores.shares[~said] == 0).all()


@each
def test_alone_as_in_a_crowd(name: str) -> None:
    detector, windows = fitted(name), stream()
    crowd = read(detector, windows)
    for place in (0, 1, 63, 64, 200, len(windows) - 1):
        alone = read(detector, windows.take(slice(place, place + 1)))
        same(alone, Scores(crowd.values[place : place + 1], crowd.shares[place : place + 1]))


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_order_and_batches_do_not_matter(name: str, channels: int) -> None:
    values = with_gaps(fleet(3, 140, seed=7), 0.02)[:, :, :channels]
    detector, windows = made(name), cut(values, WINDOW)
    detector.fit(cut(fleet(3, 130)[:, :, :channels], WINDOW))
    whole = detector.score(windows)
    order = np.random.default_rng(1).permutation(len(windows))
    same(detector.score(windows.take(order)), Scores(whole.values[order], whole.shares[order]))
    parts = [detector.score(windows.take(slice(start, start + 37))) for start in range(0, len(windows), 37)]
    same(
        Scores(np.concatenate([p.values for p in parts]), np.concatenate([p.shares for p in parts])),
        whole,
    )


@pytest.mark.parametrize("name", WINDOWED)
def test_many_random_batches_give_the_same_bits(name: str) -> None:
    detector, windows = fitted(name), stream()
    whole = detector.score(windows)
    rng = np.random.default_rng(2)
    for size in (2, 3, 17, 129, 300):
        chosen = rng.choice(len(windows), size)
        same(detector.score(windows.take(chosen)), Scores(whole.values[chosen], whole.shares[chosen]))


@pytest.mark.parametrize("name", ONLINE)
def test_an_online_detector_does_not_care_how_the_stream_is_cut(name: str) -> None:
    windows = stream()
    whole = fitted(name).score(windows)
    for size in (1, 7, 100):
        detector = fitted(name)
        parts = [detector.score(windows.take(slice(start, start + size))) for start in range(0, len(windows), size)]
        same(
            Scores(np.concatenate([p.values for p in parts]), np.concatenate([p.shares for p in parts])),
            whole,
        )


@pytest.mark.parametrize("name", ONLINE)
def test_an_entity_is_judged_by_its_own_windows_alone(name: str) -> None:
    windows = stream()
    whole = fitted(name).score(windows)
    for host in range(3):
        mine = windows.entities == host
        same(fitted(name).score(windows.take(mine)), Scores(whole.values[mine], whole.shares[mine]))


@pytest.mark.parametrize("name", ONLINE)
def test_row_codes_are_only_places(name: str) -> None:
    windows, detector, other = stream(), made(name), made(name)
    for one in (detector, other):
        one.restore(fitted_state(name))
    swapped = Windows(40 - windows.entities, windows.ends, windows.values, windows.features, windows.names)
    order = np.lexsort((swapped.entities, swapped.ends))
    scores = other.score(swapped.take(order))
    same(scores, Scores(*(part[order] for part in _parts(detector.score(windows)))))


def _parts(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    return scores.values, scores.shares


@each
def test_state_comes_back_bit_for_bit(name: str) -> None:
    original, copy = made(name), made(name)
    original.fit(training())
    copy.restore(through_bytes(original.state()))
    same(copy.score(stream()), original.score(stream()))
    again, first = copy.state(), original.state()
    assert again.meta == first.meta
    assert again.blobs == first.blobs
    assert again.arrays.keys() == first.arrays.keys()
    for key, array in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[key], array)


@pytest.mark.parametrize("name", ONLINE)
def test_rows_travel(name: str) -> None:
    windows, half = stream(), len(stream()) // 2 // 3 * 3
    original = fitted(name)
    original.score(windows.take(slice(0, half)))
    everyone = np.arange(3, dtype=np.int32)
    rows = through_bytes(State(original.rows(everyone))).arrays
    moved = made(name)
    moved.restore(original.state())
    moved.put_rows(everyone, rows)
    rest = windows.take(slice(half, None))
    same(moved.score(rest), original.score(rest))


@pytest.mark.parametrize("name", ONLINE)
def test_forgetting_begins_anew(name: str) -> None:
    used, fresh = fitted(name), made(name)
    fresh.restore(fitted_state(name))
    used.forget(np.array([1], dtype=np.int32))
    mine = stream().take(stream().entities == 1)
    same(used.score(mine), fresh.score(mine))
    others = used.rows(np.array([0], dtype=np.int32))
    kept = fitted(name).rows(np.array([0], dtype=np.int32))
    for key, array in kept.items():
        np.testing.assert_array_equal(others[key], array)


@pytest.mark.parametrize("name", ONLINE)
def test_looking_without_learning_changes_nothing(name: str) -> None:
    looked, plain = fitted(name), fitted(name)
    first = looked.score(stream(), learn=False)
    same(looked.score(stream(), learn=False), first)
    same(looked.score(stream()), plain.score(stream()))


@each
@pytest.mark.parametrize("channel", [0, 2, 5])
def test_a_planted_anomaly_is_seen_slot_by_slot(name: str, channel: int) -> None:
    """Related, alone, and constant channels: fed as a live stream would be, one slot at a time."""
    values = fleet(3, 180, seed=11)
    planted = 150
    values[1, planted:, channel] += 1.5
    windows = cut(values, WINDOW, first=1000)
    detector = fitted(name)
    scores = [detector.score(windows.take(windows.ends == end)) for end in np.unique(windows.ends)]
    score = np.stack([part.values for part in scores])  # slots x hosts
    before, at = score[: planted - WINDOW + 1], score[planted - WINDOW + 1 : planted - WINDOW + 3, 1]
    assert at.max() > np.nanquantile(before, 0.99)
    shares = scores[planted - WINDOW + 1 + int(at.argmax())].shares[1]
    assert shares.argmax() == channel


@each
def test_missing_values_are_no_anomaly(name: str) -> None:
    values = fleet(3, 160, seed=5)
    whole = read(fitted(name), cut(values, WINDOW)).values
    holes = read(fitted(name), cut(with_gaps(values, 0.1), WINDOW)).values
    assert np.isfinite(holes).mean() > 0.99
    assert np.median(holes) < np.quantile(whole, 0.99)


@each
def test_a_silent_window_gets_no_opinion(name: str) -> None:
    windows = stream().take(slice(0, 3))
    silent = Windows(
        windows.entities, windows.ends, np.full_like(windows.values, np.nan), windows.features, windows.names
    )
    scores = read(fitted(name), silent)
    assert np.isnan(scores.values).all()
    assert (scores.shares == 0).all()


@each
def test_a_missing_channel_takes_no_share(name: str) -> None:
    values = fleet(3, 60, seed=5)
    values[:, :, 3] = np.nan
    scores = read(fitted(name), cut(values, WINDOW))
    assert np.isfinite(scores.values).all()
    assert (scores.shares[:, 3] == 0).all()


@each
def test_a_channel_never_seen_in_training_has_no_say(name: str) -> None:
    past = fleet(2, 300)
    past[:, :, 3] = np.nan
    detector = made(name)
    detector.fit(cut(past, WINDOW))
    scores = detector.score(cut(fleet(2, 26, seed=3), WINDOW))
    if detector.memory == "window":
        assert np.isfinite(scores.values).all()
        assert (scores.shares[:, 3] == 0).all()
    else:  # it learns: the channel votes once it has enough values
        assert (scores.shares[:6, 3] == 0).all()


@each
def test_constant_series_are_normal_until_they_move(name: str) -> None:
    still = np.full((2, 300, 3), 0.5, dtype=np.float32)
    detector = made(name)
    detector.fit(cut(still, WINDOW))
    scores = detector.score(cut(still, WINDOW))
    known = scores.values[np.isfinite(scores.values)]
    assert known.max() < 0.05
    moved = still[:, : WINDOW + 4].copy()
    moved[0, -1:, 1] += 0.5
    after = read(detector, cut(moved, WINDOW)).values[-2:]
    assert after[0] > 10 * max(after[1], 1e-3)


@each
def test_one_window_is_enough_to_fit(name: str) -> None:
    one = cut(fleet(1, WINDOW), WINDOW)
    detector = made(name)
    detector.fit(one)
    assert len(read(detector, one).values) == 1
    strange = Windows(one.entities, one.ends, one.values.copy(), one.features, one.names)
    strange.values[:, -1] += 3
    if detector.memory == "window":
        assert detector.score(strange).values[0] > detector.score(one).values[0]


@each
@pytest.mark.parametrize("window", [8, 64])
def test_short_and_long_windows(name: str, window: int) -> None:
    detector = made(name)
    windows = cut(fleet(2, 120)[:, :, :3], window)
    detector.fit(windows)
    assert np.isfinite(read(detector, windows).values).all() or detector.memory == "online"
    assert np.isfinite(detector.score(windows).values[-2:]).all()


@each
def test_an_empty_batch_is_answered(name: str) -> None:
    scores = fitted(name).score(stream().take(slice(0, 0)))
    assert scores.values.shape == (0,)
    assert scores.shares.shape == (0, len(FEATURES))


@each
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    detector = made(name)
    detector.fit(training())
    again = made(name)
    again.restore(fitted_state(name))
    same(detector.score(stream()), again.score(stream()))


@each
def test_anomalies_in_training_do_not_hide_later_ones(name: str) -> None:
    """Three per cent of the training slots are shifted in one channel; the same shift must still stand out."""
    past = fleet(3, 420)
    past[:, 200:213, 2] += 1.0
    detector = made(name)
    detector.fit(cut(past, WINDOW))
    if isinstance(detector, OnlineDetector):
        detector.score(cut(past, WINDOW))
    now = fleet(3, 100, seed=9)
    now[0, 90:, 2] += 1.0
    windows = cut(now, WINDOW, first=1000)
    score = detector.score(windows).values.reshape(-1, 3)
    slot = 90 - WINDOW + 1
    # The mean over a long window rises slowly, and a bent scale makes far values differ less.
    slots, times = (10, 1.5) if name in GRADUAL else (3, 2)
    assert score[slot : slot + slots, 0].max() > times * np.nanquantile(score[: slot - 5], 0.98)


@pytest.mark.parametrize("name", WINDOWED)
def test_scoring_before_fitting_is_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        made(name).score(stream())


@each
def test_inputs_are_left_as_they_were(name: str) -> None:
    windows = stream()
    copy = windows.values.copy()
    detector = fitted(name)
    detector.score(windows)
    np.testing.assert_array_equal(windows.values, copy)
