"""The picture of a series: what its lines keep, what its colours say, and what it is drawn of."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_series import series_from, waves
from PIL import Image

from tsad.episodes import Rule
from tsad.evaluation.drawing import FALSE, FOUND, MISSED, Judgement, draw_series, envelope, strongest_channels
from tsad.evaluation.running import Scored
from tsad.plot import MARK

RULE = Rule(settle=3, quiet=4)
ROWS = 120


def rows_of(*stretches, count=ROWS):
    found = np.zeros(count, bool)
    for start, stop in stretches:
        found[start:stop] = True
    return found


def scored_as(flags, settled=None, shares=None, channels=("m0", "m1", "m2")):
    """Scores of 2 where flagged, .2 elsewhere; settled ones as `settled`, or the same."""
    score = np.where(flags, 2.0, 0.2).astype(np.float32)
    late = score if settled is None else np.where(settled, 2.0, 0.2).astype(np.float32)
    count = len(score)
    told = np.full((count, len(channels)), 1 / max(len(channels), 1), np.float32) if shares is None else shares
    none = np.zeros((count, 0), np.float32)
    return Scored(np.arange(count), score, late, np.ones(count), score, late, told, none, tuple(channels), ())


def made(labels, count=ROWS, **more):
    values = waves(count + 50, 1)
    return series_from(values[:50], values[50:], labels, **more)


def picture(series, scored):
    return Image.open(BytesIO(draw_series(series, scored, RULE))).convert("RGB")


def has(image, colour, near=26):
    """Whether some pixel is of the colour, but for what few colours change."""
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return bool((np.abs(np.asarray(image).astype(int) - wanted).max(axis=-1) <= near).any())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-9, 9, width=32) | st.just(float("nan")), min_size=1, max_size=300), st.integers(1, 40))
def test_a_line_of_few_points_reaches_as_far_as_all_values(values, columns):
    rows, every = np.arange(float(len(values))), np.array(values, float)
    x, y = envelope(rows, every, columns)
    assert len(x) == len(y) <= max(2 * columns, len(values) if len(values) <= 2 * columns else 0)
    assert (np.diff(x) >= 0).all()
    known, kept = every[~np.isnan(every)], y[~np.isnan(y)]
    assert set(kept.tolist()) <= set(known.tolist())
    if len(known):
        assert (kept.min(), kept.max()) == (known.min(), known.max())
    else:
        assert not len(kept)


def test_a_single_spike_among_many_rows_is_kept_where_it_is():
    values = np.zeros(50_000)
    values[31_234] = 7
    x, y = envelope(np.arange(50_000.0), values, 1000)
    assert len(x) == 2000
    assert abs(x[y.argmax()] - 31_234) <= 50


def test_events_are_found_by_a_flag_and_episodes_true_by_an_event():
    labels = rows_of((20, 30), (60, 70))
    told = Judgement.of(made(labels), scored_as(rows_of((25, 27), (90, 92))), RULE)
    assert told.found.tolist() == [True, False]
    assert [(one.first, true) for one, true in zip(told.episodes, told.true, strict=True)] == [(25, True), (90, False)]
    without = Judgement.of(made(None), scored_as(rows_of((25, 27))), RULE)
    assert (without.events, without.true, len(without.episodes)) == (None, [], 1)


def test_what_was_found_missed_and_false_has_its_colour():
    labels = rows_of((20, 30), (60, 70))
    all_three = picture(made(labels), scored_as(rows_of((25, 27), (90, 92))))
    assert has(all_three, FOUND)
    assert has(all_three, MISSED)
    assert has(all_three, MARK, near=12)
    clean = picture(made(labels), scored_as(rows_of((25, 27), (65, 66))))
    assert has(clean, FOUND)
    assert not has(clean, MISSED)
    missed = picture(made(labels), scored_as(rows_of()))
    assert has(missed, MISSED)
    assert not has(missed, FOUND)


def test_a_false_episode_is_filled_and_a_retracted_one_hollow():
    flags = rows_of((80, 95))
    filled, hollow, none = (
        np.asarray(picture(made(rows_of()), scored_as(flag, settled)))
        for flag, settled in ((flags, flags), (flags, rows_of()), (rows_of(), rows_of()))
    )
    wanted = np.array([int(FALSE[place : place + 2], 16) for place in (1, 3, 5)])
    counts = [int((np.abs(image.astype(int) - wanted).max(axis=-1) <= 26).sum()) for image in (filled, hollow, none)]
    assert counts[0] > counts[1] > counts[2]


def test_an_event_of_one_row_among_many_can_be_seen():
    count = 30_000
    labels = rows_of((15_000, 15_001), count=count)
    assert has(picture(made(labels, count), scored_as(rows_of(count=count))), MISSED)


def test_the_channels_shown_bear_most_of_the_score_where_it_counts():
    labels = rows_of((20, 30))
    shares = np.tile(np.array([0.8, 0.1, 0.06, 0.04], np.float32), (ROWS, 1))
    shares[15:35] = [0.0, 0.2, 0.5, 0.3]
    channels = ("a", "b", "c", "d")
    values = np.zeros((ROWS, 4))
    series = series_from(values, values, labels, names=channels)
    scored = scored_as(rows_of((18, 32)), shares=shares, channels=channels)
    assert strongest_channels(series, scored) == [2, 3, 1]
    calm = scored_as(rows_of(), shares=shares, channels=channels)
    assert strongest_channels(series_from(values, values, names=channels), calm)[0] == 0
    # the scores may name channels in another order than the file, or fewer
    fewer = scored_as(rows_of((18, 32)), shares=shares[:, [3, 2]], channels=("d", "c"))
    assert strongest_channels(series, fewer) == [2, 3]
    nothing = scored_as(rows_of((18, 32)), shares=shares[:, :0], channels=())
    assert strongest_channels(series, nothing) == [0, 1, 2]


@pytest.mark.parametrize("channels", [1, 2, 3, 9])
def test_it_is_a_png_as_tall_as_its_channels(channels):
    values = np.random.default_rng(2).normal(size=(ROWS, channels))
    names = [f"m{place}" for place in range(channels)]
    told = draw_series(series_from(values, values, rows_of((5, 9))), scored_as(rows_of((5, 9)), channels=names), RULE)
    image = Image.open(BytesIO(told))
    assert image.format == "PNG"
    assert image.width == 1320
    assert image.height == pytest.approx(120 * (2.89 + 0.97 * min(channels, 3)), abs=3)
    assert len(told) < 80_000


def test_odd_names_missing_values_and_one_row_are_drawn(recwarn):
    values = np.full((1, 2), np.nan)
    names = [r"$\frac{1}{", "通道 <b>" + "x" * 300]
    told = draw_series(
        series_from(np.zeros((5, 2)), values, names=names), scored_as(rows_of(count=1), channels=names), RULE
    )
    assert Image.open(BytesIO(told)).format == "PNG"
    assert not [str(one.message) for one in recwarn]


def test_the_same_series_gives_the_same_picture():
    series, scored = made(rows_of((20, 30))), scored_as(rows_of((25, 27)))
    assert draw_series(series, scored, RULE) == draw_series(series, scored, RULE)
