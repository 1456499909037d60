"""The picture of an alert, judged by its pixels."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tsad.plot import DOWNWARDS, MARK, UPWARDS, Picture, draw_alert

T = 64
CHANNELS = ("cpu", "disk", "log.template.4", "tcp", "memory", "swap")
LEFT_COLUMN, RIGHT_COLUMN = slice(0, 740), slice(780, 1200)


def picture(**changes: Any) -> Picture:
    rng = np.random.default_rng(5)
    observed = rng.normal(0.3, 0.02, (T, len(CHANNELS))).astype(np.float32)
    observed[48:, 0] += 0.5
    contributions = list(zip(CHANNELS, (0.9, 0.6, 0.4, 0.2, 0.05, 0.01), strict=True))
    whole = Picture(
        entity="machine-1-6", stream="smd", severity="critical", state="confirmed", score=2.31, confidence=0.94,
        sentence="cpu rose to 0.83, usual range 0.26 to 0.34; disk followed.", step_ns=60 * 10**9,
        end_time=datetime(2020, 1, 5, 14, 23, tzinfo=UTC), observed=observed, lower=np.full(len(CHANNELS), 0.26),
        upper=np.full(len(CHANNELS), 0.34), features=CHANNELS, anomalous=(48, 63), contributions=contributions,
        explained_by="surrogate", votes={"forecast": True, "vote": False},
    )  # fmt: skip
    return replace(whole, **changes)


Draw = Callable[..., NDArray[np.int16]]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draw a picture with changes; its pixels, 700 x 1200 x 3. A warning is an error."""

    def drawn(**changes: Any) -> NDArray[np.int16]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw_alert(tmp_path / "alert.png", picture(**changes))
        return np.asarray(Image.open(tmp_path / "alert.png").convert("RGB")).astype(np.int16)

    return drawn


def painted(pixels: NDArray[np.int16], colour: str) -> NDArray[np.bool_]:
    """Where `colour` (#rrggbb) is."""
    red_green_blue = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return (np.abs(pixels - red_green_blue) <= 2).all(-1)


def margins_are_white(pixels: NDArray[np.int16]) -> bool:
    """Nothing runs out of the picture."""
    inner = np.zeros(pixels.shape[:2], np.bool_)
    inner[6:-6, 6:-6] = True
    return bool((pixels[~inner] == 255).all())


def test_the_picture_is_a_png_of_1200_by_700(tmp_path: Path) -> None:
    path = tmp_path / "alert.png"
    draw_alert(path, picture())
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (1200, 700))
        assert image.text["Title"].startswith("machine-1-6: cpu rose")


def test_the_noisiest_picture_stays_below_200_kilobytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{'channel ' * 12}{number}" for number in range(12)]
    noise = rng.normal(size=(1024, 12)).astype(np.float32)
    noisy = picture(
        observed=noise, lower=noise - rng.random(noise.shape), upper=noise + rng.random(noise.shape), features=names,
        anomalous=(400, 800), contributions=[(name, float(rng.normal())) for name in names], sentence="so it is " * 80,
        votes={f"detector {number}": number % 2 == 0 for number in range(8)},
    )  # fmt: skip
    draw_alert(tmp_path / "alert.png", noisy)
    assert (tmp_path / "alert.png").stat().st_size < 200_000


def test_the_same_alert_gives_the_same_picture(draw: Draw) -> None:
    assert np.array_equal(draw(), draw())


def test_the_anomalous_stretch_is_marked_where_it_is(draw: Draw) -> None:
    def centre(anomalous: tuple[int, int]) -> tuple[float, int]:
        columns = np.flatnonzero(painted(draw(anomalous=anomalous), MARK)[:640, LEFT_COLUMN].any(0))
        return float(columns.mean()), int(np.ptp(columns))

    early, late = centre((4, 9)), centre((50, 55))
    assert late[0] - early[0] == pytest.approx(46 * 666 / T, abs=6)
    assert early[1] == pytest.approx(late[1], abs=3)
    assert centre((4, 21))[1] == pytest.approx(3 * early[1], rel=0.1)


def test_the_legend_shows_every_colour_of_the_line(draw: Draw) -> None:
    """Dark where it is usual, orange on its mark where it is anomalous."""
    legend = draw()[650:, LEFT_COLUMN]
    dark = legend.max(-1) < 80  # a thin line is blended with what lies behind it; the words are lighter
    signs = (dark, painted(legend, MARK), painted(legend, UPWARDS))
    usual, mark, anomalous = (np.nonzero(sign)[1] for sign in signs)
    assert min(map(len, (usual, mark, anomalous))) > 10
    assert usual.max() < mark.min()
    assert abs(anomalous.min() - mark.min()) <= 2
    assert abs(anomalous.max() - mark.max()) <= 2


def test_bars_say_direction_by_colour(draw: Draw) -> None:
    votes: dict[str, bool] = {}
    up = draw(contributions=[("cpu", 0.9)], votes=votes)[:, RIGHT_COLUMN]
    down = draw(contributions=[("cpu", -0.9)], votes=votes)[:, RIGHT_COLUMN]
    assert painted(up, UPWARDS).sum() > 20 * painted(up, DOWNWARDS).sum()
    assert painted(down, DOWNWARDS).sum() > 20 * painted(down, UPWARDS).sum()


def test_bars_are_as_long_as_their_values(draw: Draw) -> None:
    pixels = draw(contributions=[("cpu", 0.8), ("disk", 0.4)], votes={})
    lengths = painted(pixels, UPWARDS)[200:, RIGHT_COLUMN].sum(1)
    lengths = lengths[lengths > 50]
    assert lengths.max() == pytest.approx(2 * lengths.min(), abs=4)


def test_only_the_eight_largest_values_have_bars(draw: Draw) -> None:
    many = [(f"f{number}", 1.0) for number in range(30)]
    rows = painted(draw(contributions=many, votes={}), UPWARDS)[200:, RIGHT_COLUMN].sum(1) > 100
    assert int((np.diff(rows.astype(int)) == 1).sum()) == 8


def test_who_voted_is_filled(draw: Draw) -> None:
    def dots(votes: dict[str, bool]) -> int:
        return int(painted(draw(votes=votes), UPWARDS)[600:, RIGHT_COLUMN].sum())

    both, one, none = (dots({"forecast": first, "vote": second}) for first, second in ((1, 1), (1, 0), (0, 0)))
    assert both > one > none


def test_the_strongest_channels_are_shown_first() -> None:
    pushes = [("swap", 0.5), ("tcp", 0.1), ("cpu", -0.9), ("somewhere else", 3.0)]
    assert picture(contributions=pushes).strongest(3) == [5, 3, 1]
    assert picture(contributions=[]).strongest(4) == [0, 1, 2, 3]


def test_a_channel_that_is_not_shown_changes_nothing(draw: Draw) -> None:
    other = picture().observed.copy()
    other[:, 5] = 99
    shown = other.copy()
    shown[:, 1] = 99
    before = draw()
    assert np.array_equal(draw(observed=other), before)
    assert not np.array_equal(draw(observed=shown), before)


def test_the_band_may_differ_by_slot(draw: Draw) -> None:
    lower, upper = (np.broadcast_to(edge, (T, len(CHANNELS))) for edge in (picture().lower, picture().upper))
    assert np.array_equal(draw(lower=lower, upper=upper), draw())
    assert not np.array_equal(draw(lower=lower - np.linspace(0, 1, T)[:, None], upper=upper), draw())


def test_times_end_with_the_last_slot() -> None:
    times = picture(step_ns=250_000_000).times()
    assert len(times) == T
    assert times[-1] == datetime(2020, 1, 5, 14, 23, tzinfo=UTC)
    assert times[-5] == times[-1] - timedelta(seconds=1)


def test_a_time_in_another_zone_is_shown_in_utc(draw: Draw) -> None:
    moved = picture().end_time.astimezone(timezone(timedelta(hours=9)))
    assert np.array_equal(draw(end_time=moved), draw())


# --- what must not break it


@pytest.mark.parametrize(
    "changes",
    [
        {"observed": np.full((T, 6), np.nan, np.float32)},
        {"observed": np.full((T, 6), np.inf, np.float32)},
        {"observed": np.zeros((T, 6), np.float32)},
        {"observed": np.full((T, 6), 3e38, np.float32)},
        {"observed": np.where(np.arange(T)[:, None] % 2, 1e9, np.nan).astype(np.float32) * np.ones((1, 6), np.float32)},
        {"observed": (1e6 + np.arange(T)[:, None] % 2 * 0.25 + np.zeros((1, 6))).astype(np.float32)},
        {"lower": np.full(6, np.nan), "upper": np.full(6, np.inf)},
        {"contributions": [], "votes": {}, "explained_by": ""},
        {"contributions": [("cpu", 0.0), ("disk", 0.0)]},
        {"contributions": [("cpu", float("nan")), ("disk", 1.0)]},
        {"severity": "unheard of", "state": "", "sentence": ""},
        {"step_ns": 1_000_000},
        {"step_ns": 86_400 * 10**9},
        {"anomalous": (0, 0)},
        {"anomalous": (0, T - 1)},
        {"votes": {f"a detector with a name of some length {number}": True for number in range(9)}},
    ],
)
def test_odd_values_are_drawn_without_a_warning(draw: Draw, changes: dict[str, Any]) -> None:
    pixels = draw(**changes)
    assert margins_are_white(pixels)
    assert (pixels < 100).all(-1).sum() > 2000


def test_one_channel_and_few_slots(draw: Draw) -> None:
    one = {"observed": np.ones((1, 1), np.float32), "lower": np.zeros(1), "upper": np.ones(1), "features": ["x"]}
    assert margins_are_white(draw(**one, anomalous=(0, 0), contributions=[("x", 1.0)]))


TEXT = st.text(max_size=60) | st.sampled_from(
    ["$x", "$a$ and $b", "W" * 300, "log.template <*> of " * 9, "データ" * 40, "a\nb"]
)


# drawing takes too long to shrink a failing example
@settings(
    max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(entity=TEXT, stream=TEXT, sentence=TEXT, feature=TEXT, detector=TEXT)
def test_any_text_stays_inside(
    draw: Draw, entity: str, stream: str, sentence: str, feature: str, detector: str
) -> None:
    features = [feature, *CHANNELS[1:]]
    pixels = draw(
        entity=entity, stream=stream, sentence=sentence, features=features,
        contributions=[(feature, 1.0), ("disk", -1)], votes={detector: True}, state="confirmed",
    )  # fmt: skip
    assert margins_are_white(pixels)
    assert (pixels[165:640, 745:785] == 255).all(), "the left column runs into the right one"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"observed": np.zeros((T, 5), np.float32)}, "observed must be T x 6"),
        ({"observed": np.zeros((0, 6), np.float32)}, "observed must be T x 6 with T > 0"),
        ({"lower": np.zeros(5)}, "lower must be"),
        ({"upper": np.zeros((T, 5))}, "upper must be"),
        ({"anomalous": (5, 4)}, "anomalous must lie in 0 to 63"),
        ({"anomalous": (60, T)}, "anomalous must lie in 0 to 63"),
    ],
)
def test_shapes_that_disagree_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        picture(**changes)


def test_a_naive_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zone"):
        draw_alert(tmp_path / "alert.png", picture(end_time=datetime(2020, 1, 5)))
    assert not (tmp_path / "alert.png").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        draw_alert(tmp_path / "nowhere" / "alert.png", picture())
