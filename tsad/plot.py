"""One picture of one alert, for an incident report: the strongest channels over the window, and the SHAP values."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.settings import SECOND
from tsad.wording import one_line, signed, utc_text

WIDTH, HEIGHT, DPI = 12.0, 7.0, 100
PANELS, BARS = 4, 8
DAY = 86_400.0
# places are parts of the figure: text from MARGIN, panels LEFT to MIDDLE and above FLOOR, bars GUTTER to RIGHT
MARGIN, LEFT, MIDDLE, GUTTER, RIGHT, FLOOR = 0.018, 0.06, 0.615, 0.66, 0.98, 0.115

# Okabe and Ito's palette, which the colour-blind can tell apart; orange and blue also differ in lightness
INK, GREY, RULE = "#1b1f24", "#5f6873", "#d5dae0"
BAND, MARK = "#bcd8f0", "#fdebd8"
UPWARDS, DOWNWARDS = "#d55e00", "#0072b2"
BADGES = {"critical": "#b3261e", "warning": "#d55e00", "info": "#0072b2"}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What `draw_alert` shows, as plain values; T slots, F features.

    `observed` T x F float32 in raw units (NaN = missing); `lower`, `upper` the expected band in the same units, F or
    T x F (NaN = unknown); `anomalous` the first and last window index of the anomalous stretch, inclusive;
    `contributions` signed SHAP values by feature (positive = towards anomalous); `votes` by detector; `end_time` the
    aware time of the last slot; `step_ns` the slot length. ValueError where shapes disagree.
    """

    entity: str
    stream: str
    severity: str
    state: str
    score: float
    confidence: float
    sentence: str
    step_ns: int
    end_time: datetime
    observed: NDArray[np.float32]
    lower: NDArray[Any]
    upper: NDArray[Any]
    features: Sequence[str]
    anomalous: tuple[int, int]
    contributions: Sequence[tuple[str, float]]
    explained_by: str
    votes: dict[str, bool]

    def __post_init__(self) -> None:
        slots = len(self.observed)
        if self.observed.shape != (slots, len(self.features)) or slots == 0:
            raise ValueError(f"observed must be T x {len(self.features)} with T > 0, got {self.observed.shape}")
        for name, band in (("lower", self.lower), ("upper", self.upper)):
            if band.shape not in {self.observed.shape, self.observed.shape[1:]}:
                raise ValueError(f"{name} must be {self.observed.shape} or {self.observed.shape[1:]}, got {band.shape}")
        first, last = self.anomalous
        if not 0 <= first <= last < slots:
            raise ValueError(f"anomalous must lie in 0 to {slots - 1}, got {self.anomalous}")

    def strongest(self, count: int) -> list[int]:
        """The columns of the features to show: those that push most towards anomalous first, ties in feature order."""
        pushes = dict(self.contributions)
        return sorted(range(len(self.features)), key=lambda column: -pushes.get(self.features[column], 0.0))[:count]

    def times(self) -> list[datetime]:
        """The T slots' times, to the microsecond."""
        slots = len(self.observed)
        return [self.end_time - timedelta(microseconds=back * self.step_ns / 1000) for back in reversed(range(slots))]


def draw_alert(path: Path, picture: Picture) -> None:
    """Write `picture` to `path` as a PNG of 1200 x 700 pixels; OSError where it cannot be written.

    Matplotlib's object interface alone is used (no pyplot), so that no global figure list grows in a long run.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top = _heading(figure, picture)
    _channels(figure, picture, top)
    _bars(figure, picture, top, _votes(figure, picture))
    title = one_line(f"{picture.entity}: {picture.sentence}", 200)
    with any_letter():
        figure.savefig(path, format="png", metadata={"Title": title}, pil_kwargs={"compress_level": 9})


@contextmanager
def any_letter() -> Iterator[None]:
    """A letter that the font lacks is drawn as a box, and that is no reason to write to the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _write(figure: Any, x: float, y: float, text: str, room: float = 1.0, **style: Any) -> float:
    """Text on one line, cut to `room` (a part of the figure's width); returns the width it took.

    It is taken as it is: a `$` in a log template is no mathematics.
    """
    style = {"color": INK, "fontsize": 10, "parse_math": False, "va": "baseline"} | style
    artist = figure.text(x, y, one_line(text, 400), **style)
    width = _width(figure, artist)
    while width > room and len(artist.get_text()) > 1:
        fitting = int(len(artist.get_text()) * room / width)
        artist.set_text(one_line(artist.get_text(), min(fitting, len(artist.get_text()) - 1)))
        width = _width(figure, artist)
    return width


def _width(figure: Any, artist: Any) -> float:
    with any_letter():
        return float(artist.get_window_extent(figure.canvas.get_renderer()).width) / (WIDTH * DPI)


def _heading(figure: Any, picture: Picture) -> float:
    """Badge, entity, time, facts and the sentence; returns where the room below them begins."""
    box = {"boxstyle": "round,pad=0.4", "facecolor": BADGES.get(picture.severity, GREY), "edgecolor": "none"}
    badge: dict[str, Any] = {"color": "white", "weight": "bold", "va": "center", "bbox": box}
    wide = _write(figure, MARGIN + 0.006, 0.95, picture.severity.upper(), 0.2, **badge)
    time = f"{utc_text(picture.end_time)} UTC"
    room = RIGHT - _write(figure, RIGHT, 0.941, time, fontsize=14, ha="right")
    start = MARGIN + wide + 0.022
    _write(figure, start, 0.939, picture.entity, room - start - 0.02, fontsize=18, weight="bold")
    facts = (
        f"stream {one_line(picture.stream, 40)}", picture.state, _stretch(picture),
        f"score {picture.score:.2f} (above 1 is anomalous)", f"confidence {picture.confidence:.0%}",
    )  # fmt: skip
    _write(figure, MARGIN, 0.893, "   ·   ".join(facts), RIGHT - MARGIN, color=GREY)
    lines = wrap(one_line(picture.sentence, 360), 120)[:3]
    for number, line in enumerate(lines):
        _write(figure, MARGIN, 0.852 - 0.032 * number, line, RIGHT - MARGIN, fontsize=11.5)
    return 0.852 - 0.032 * max(len(lines), 1)


def _stretch(picture: Picture) -> str:
    times = picture.times()
    first, last = (utc_text(times[slot], fine=picture.step_ns < SECOND)[11:] for slot in picture.anomalous)
    return f"anomalous at {first}" if first == last else f"anomalous {first} to {last}"


def _channels(figure: Any, picture: Picture, top: float) -> None:
    """The strongest channels as small panels over one time axis."""
    columns = picture.strongest(PANELS)
    times = np.asarray([time.timestamp() / DAY for time in picture.times()])
    half = picture.step_ns / SECOND / DAY / 2
    first, last = times[picture.anomalous[0]] - half, times[picture.anomalous[1]] + half
    bands = np.stack([np.broadcast_to(edge, picture.observed.shape) for edge in (picture.lower, picture.upper)])
    share = (top - FLOOR) / max(len(columns), 1)
    for place, column in enumerate(columns):
        bottom = top - (place + 1) * share
        _write(figure, LEFT, bottom + share - 0.03, picture.features[column], MIDDLE - LEFT, weight="bold")
        panel = bare_axes(figure, (LEFT, bottom, MIDDLE - LEFT, share - 0.04))
        panel.axvspan(first, last, color=MARK, linewidth=0, zorder=0)
        _series(panel, times, picture.observed[:, column], bands[:, :, column], picture.anomalous)
        panel.set_xlim(times[0] - half, times[-1] + half)
        _time_axis(panel, labelled=place == len(columns) - 1)
    _legend(figure)


def bare_axes(figure: Any, place: tuple[float, float, float, float]) -> Any:
    """Axes with no more ink than needed."""
    panel = figure.add_axes(place)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color(RULE)
    panel.tick_params(colors=GREY, labelsize=9, length=3, color=RULE)
    panel.margins(y=0.12)
    return panel


def _series(
    panel: Any, times: NDArray[Any], observed: NDArray[Any], band: NDArray[Any], anomalous: tuple[int, int]
) -> None:
    """The expected band (2 x T), the observed line, and its anomalous stretch in colour; lone values are dots."""
    panel.fill_between(times, *band, where=np.isfinite(band).all(0), color=BAND, linewidth=0, zorder=1)
    values = np.where(np.isfinite(observed), observed, np.nan).astype(np.float64)
    present = ~np.isnan(values)
    if not present.any():
        centre = {"transform": panel.transAxes, "ha": "center", "va": "center"}
        panel.text(0.5, 0.5, "no values in this window", color=GREY, fontsize=10, **centre)
    neighbours = np.pad(present, 1)
    lone = present & ~neighbours[:-2] & ~neighbours[2:]
    marked = np.zeros(len(values), np.bool_)
    marked[anomalous[0] : anomalous[1] + 1] = True
    dots = {"linestyle": "none", "marker": "o"}
    panel.plot(times, values, color=INK, linewidth=1.2, zorder=3)
    panel.plot(times[lone], values[lone], color=INK, markersize=2.5, zorder=3, **dots)
    panel.plot(times, np.where(marked, values, np.nan), color=UPWARDS, linewidth=2, zorder=4)
    panel.plot(times[marked], values[marked], color=UPWARDS, markersize=3, zorder=4, **dots)
    value_axis(panel)


def value_axis(panel: Any) -> None:
    """Two to four round ticks, written with as few digits as tell them apart."""
    from matplotlib.ticker import MaxNLocator

    low, high = panel.get_ylim()
    ticks = [tick for tick in MaxNLocator(3).tick_values(low, high) if low <= tick <= high]
    written = ([_number(tick, digits) for tick in ticks] for digits in range(3, 10))
    labels = next((labels for labels in written if len(set(labels)) == len(ticks)), [repr(tick) for tick in ticks])
    panel.set_yticks(ticks, labels)
    panel.set_ylim(low, high)


def _number(value: float, digits: int) -> str:
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if max(10.0**power, 1e4) <= abs(value) < 1e15:
            return f"{value / 10.0**power:.{digits}g}{unit}"
    return f"{value:.{digits}g}"


def _time_axis(panel: Any, labelled: bool) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=UTC, minticks=4, maxticks=9)
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    panel.xaxis.get_offset_text().set(color=GREY, fontsize=9)
    if not labelled:
        panel.tick_params(labelbottom=False)
        panel.xaxis.get_offset_text().set_visible(False)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    signs = [
        Line2D([], [], color=INK, linewidth=1.2),
        Patch(color=BAND, linewidth=0),
        (Patch(color=MARK, linewidth=0), Line2D([], [], color=UPWARDS, linewidth=2)),  # one over the other
    ]
    labels = ["observed", "expected range", "anomalous stretch"]
    figure.legend(
        handles=signs, labels=labels, loc="lower left", bbox_to_anchor=(LEFT - 0.008, 0.008), ncols=3, frameon=False,
        fontsize=9.5, labelcolor=GREY, handlelength=1.6, columnspacing=1.8,
    )  # fmt: skip


def _votes(figure: Any, picture: Picture) -> float:
    """Who voted, at the foot of the right column; returns the height above it."""
    if not picture.votes:
        return FLOOR
    names = sorted(picture.votes, key=lambda name: not picture.votes[name])
    lines = -(-len(names) // 2)
    top = 0.03 + 0.034 * lines
    agree = sum(picture.votes.values())
    _write(figure, GUTTER, top + 0.012, f"Detectors: {agree} of {len(names)} voted anomalous", weight="bold")
    column = (RIGHT - GUTTER) / 2
    for place, name in enumerate(names):
        voted = picture.votes[name]
        x, y = GUTTER + place % 2 * column, top - 0.034 * (place // 2 + 1) + 0.012
        _write(figure, x, y, "●" if voted else "○", color=UPWARDS if voted else GREY, fontsize=11)
        _write(figure, x + 0.018, y, name, column - 0.03, color=INK if voted else GREY)
    return top + 0.06


def _bars(figure: Any, picture: Picture, top: float, foot: float) -> None:
    """The signed SHAP values, largest first: each a line of name and value over its bar."""
    shown = sorted(picture.contributions, key=lambda part: -abs(part[1]))[:BARS]
    rest = sum(value for _, value in picture.contributions) - sum(value for _, value in shown)
    _write(figure, GUTTER, top - 0.03, "What pushed the score (SHAP)", weight="bold")
    _write(figure, RIGHT, top - 0.03, f"by {picture.explained_by}", 0.12, color=GREY, ha="right", fontsize=9)
    if not shown:
        _write(figure, GUTTER, top - 0.08, "not explained yet", color=GREY)
        return
    room = top - 0.075 - foot
    row = min(room / BARS, 0.075)
    area = figure.add_axes((GUTTER, top - 0.075 - row * len(shown), RIGHT - GUTTER, row * len(shown)))
    area.axis("off")
    values = [value for _, value in shown]
    low, high = min(0.0, *values), max(0.0, *values)
    area.set(xlim=(low, high) if high > low else (0, 1), ylim=(len(shown), 0))
    area.barh(
        [place + 0.62 for place in range(len(shown))], values, height=0.34,
        color=[UPWARDS if value > 0 else DOWNWARDS for value in values],
    )  # fmt: skip
    area.vlines([0] * len(shown), *([place + edge for place in range(len(shown))] for edge in (0.4, 0.84)), color=GREY)
    for place, (name, value) in enumerate(shown):
        y = top - 0.075 - row * (place + 0.3)
        taken = _write(figure, RIGHT, y, signed(value), ha="right", fontsize=9.5, color=INK)
        _write(figure, GUTTER, y, name, RIGHT - GUTTER - taken - 0.015, fontsize=9.5)
    _key(figure, picture, top, rest)


def _key(figure: Any, picture: Picture, top: float, rest: float) -> None:
    """What the colours mean, and what the bars leave out."""
    more = len(picture.contributions) - BARS
    left = f"; {more} more: {signed(rest)}" if more > 0 else ""
    wide = _write(figure, GUTTER, top - 0.06, "■", color=UPWARDS, fontsize=9)
    wide += _write(figure, GUTTER + wide + 0.004, top - 0.06, "towards anomalous", color=GREY, fontsize=9) + 0.014
    wide += _write(figure, GUTTER + wide, top - 0.06, "■", color=DOWNWARDS, fontsize=9) + 0.004
    _write(figure, GUTTER + wide, top - 0.06, f"towards normal{left}", RIGHT - GUTTER - wide, color=GREY, fontsize=9)
