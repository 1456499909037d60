"""One picture of one evaluated series: score and threshold, labelled events, episodes, and the strongest channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from tsad.episodes import Episode, Rule
from tsad.evaluation.causes import ranking
from tsad.evaluation.decisions import episodes_of, met_by
from tsad.evaluation.extents import Bools, Doubles, Extents
from tsad.evaluation.running import Scored
from tsad.evaluation.series import Series
from tsad.plot import DOWNWARDS, GREY, INK, MARK, RULE, any_letter, bare_axes, value_axis
from tsad.wording import one_line

WIDTH, DPI = 11.0, 120
CHANNELS = 3
# places in inches: left and right edges, and heights of the panels with the gaps below them
LEFT, RIGHT = 0.85, 0.1
SCORE, STRIP, CHANNEL, GAP, FOOT, HEAD = 1.5, 0.42, 0.72, 0.25, 0.46, 0.26
PIXELS = int((WIDTH - LEFT - RIGHT) * DPI)
LEAST_BAR = 3
"""Pixels that a bar is wide at least: an event of one row among 24,000 is to be seen."""
FOUND, MISSED, FALSE = "#009e73", "#b3261e", "#d55e00"
COLOURS = 64


@dataclass(frozen=True, slots=True)
class Judgement:
    """Labelled events (None = no labels) with which of them were found, and episodes with which of them were true."""

    events: Extents | None
    found: Bools
    episodes: list[Episode]
    true: list[bool]

    @classmethod
    def of(cls, series: Series, scored: Scored, rule: Rule) -> "Judgement":
        """As the figures have it: an event is found by a flag in it, an episode is true where it meets an event."""
        episodes = episodes_of(scored.surprise, scored.settled_surprise, rule)
        if series.labels is None:
            return cls(None, np.zeros(0, np.bool_), episodes, [])
        events = Extents.of(series.labels)
        found = events.maxima(scored.alert.astype(np.float64)) > 0 if len(events) else np.zeros(0, np.bool_)
        return cls(events, found, episodes, [len(met_by(events, one)) > 0 for one in episodes])


def draw_series(series: Series, scored: Scored, rule: Rule) -> bytes:
    """A PNG of `WIDTH` inches. Lines are drawn from the lowest and highest value of each pixel column."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    told = Judgement.of(series, scored, rule)
    shown = strongest_channels(series, scored)
    height = HEAD + SCORE + GAP + STRIP + (GAP + CHANNEL) * len(shown) + FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    top = height - HEAD - SCORE
    panels = [_place(figure, height, top, SCORE), _place(figure, height, top - GAP - STRIP, STRIP)]
    top -= GAP + STRIP
    panels += [_place(figure, height, top - (GAP + CHANNEL) * (place + 1), CHANNEL) for place in range(len(shown))]
    _scores(panels[0], scored, told)
    _strip(panels[1], scored, told)
    for panel, channel in zip(panels[2:], shown, strict=True):
        _channel(panel, series, scored, told, channel)
    for panel in panels:
        panel.set_xlim(scored.row[0] - 0.5, scored.row[-1] + 0.5)
        panel.tick_params(labelbottom=panel is panels[-1])
    panels[-1].set_xlabel("row of the test file", color=GREY, fontsize=9)
    with any_letter():
        canvas.draw()
    return _png(canvas)


def strongest_channels(series: Series, scored: Scored) -> list[int]:
    """Columns of `series.test` that bear most of the score over flagged and labelled rows, or, where there are none,
    over all; the first channels where the scores have no shares."""
    place = {name: number for number, name in enumerate(series.channels)}
    chosen = scored.alert if series.labels is None else scored.alert | series.labels
    if not chosen.any():
        chosen = np.ones(len(scored.row), np.bool_)
    order = ranking(scored.shares[chosen].astype(np.float64), scored.score[chosen].astype(np.float64))
    named = [place[scored.channels[number]] for number in order.tolist()]
    return (named or list(place.values()))[:CHANNELS]


def envelope(rows: Doubles, values: Doubles, columns: int) -> tuple[Doubles, Doubles]:
    """A line of at most 2 x `columns` points with the lowest and highest of each of `columns` stretches of N values,
    which looks as that of all; NaN where a stretch has no value."""
    if len(values) <= 2 * columns:
        return rows, values
    starts = np.unique(np.linspace(0, len(values), columns, endpoint=False).astype(np.int64))
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    return np.repeat(rows[starts], 2), np.stack([low, high], axis=1).ravel()


def _place(figure: Any, height: float, bottom: float, tall: float) -> Any:
    return bare_axes(figure, (LEFT / WIDTH, bottom / height, (WIDTH - LEFT - RIGHT) / WIDTH, tall / height))


def _spans(scored: Scored, starts: Sequence[int], stops: Sequence[int]) -> list[tuple[float, float]]:
    """Rows from `starts` to `stops` (exclusive) as bars (left, width) that can be seen."""
    least = LEAST_BAR * len(scored.row) / PIXELS
    first = float(scored.row[0]) - 0.5
    wide = [(start + first, float(stop - start)) for start, stop in zip(starts, stops, strict=True)]
    return [(left - max(least - width, 0) / 2, max(width, least)) for left, width in wide]


def _shade(panel: Any, scored: Scored, told: Judgement) -> None:
    """Labelled events behind a panel."""
    if told.events is None or not len(told.events):
        return
    spans = _spans(scored, told.events.starts.tolist(), told.events.stops.tolist())
    _bars(panel, spans, (0.0, 1.0), MARK, transform=panel.get_xaxis_transform(), zorder=0)


def _bars(panel: Any, spans: list[tuple[float, float]], rows: tuple[float, float], colour: str, **style: Any) -> None:
    if spans:
        panel.broken_barh(spans, rows, **({"facecolor": colour, "linewidth": 0} | style))


def _scores(panel: Any, scored: Scored, told: Judgement) -> None:
    rows = scored.row.astype(np.float64)
    _shade(panel, scored, told)
    both = scored.surprise, scored.settled_surprise
    for values, colour, label in zip(both, (INK, DOWNWARDS), ("surprise", "settled surprise"), strict=True):
        line = envelope(rows, np.maximum(values.astype(np.float64), 0), PIXELS)
        panel.plot(*line, color=colour, linewidth=0.8, label=label)
    panel.axhline(1, color=FALSE, linewidth=1, linestyle=(0, (4, 2)), label="threshold")
    # linear up to the threshold, logarithmic beyond: an event may reach a hundred times the threshold
    panel.set_yscale("symlog", linthresh=1, linscale=1)
    top = max(*(float(values.max()) for values in both), 1.0)
    panel.set_ylim(0, 1.3 * top)
    ticks = [0, 0.5, 1, *(tick for tick in (3, 10, 30, 100, 300, 1000) if tick < 1.3 * top)]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    _legend(panel, told)


def _legend(panel: Any, told: Judgement) -> None:
    from matplotlib.patches import Patch

    handles, _ = panel.get_legend_handles_labels()
    if told.events is not None:
        handles.append(Patch(facecolor=MARK, label="labelled event"))
    panel.legend(
        handles=handles[::-1], loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=4, frameon=False, fontsize=8.5,
        labelcolor=GREY, borderpad=0.2, handlelength=1.6, columnspacing=1.4,
    )  # fmt: skip


def _strip(panel: Any, scored: Scored, told: Judgement) -> None:
    """Two lines of bars: events (found, missed) and episodes (true, false; retracted ones are hollow)."""
    panel.set_ylim(0, 2)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.set_yticks([0.5, 1.5], ["episodes", "events"])
    panel.axhline(1, color=RULE, linewidth=0.6)
    if told.events is not None and len(told.events):
        spans = _spans(scored, told.events.starts.tolist(), told.events.stops.tolist())
        for known, colour in ((True, FOUND), (False, MISSED)):
            chosen = [span for span, found in zip(spans, told.found, strict=True) if found == known]
            _bars(panel, chosen, (1.12, 0.76), colour)
    spans = _spans(scored, [one.first for one in told.episodes], [one.last + 1 for one in told.episodes])
    for place, (span, episode) in enumerate(zip(spans, told.episodes, strict=True)):
        colour = (FOUND if told.true[place] else FALSE) if told.true else GREY
        hollow: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "linewidth": 1}
        _bars(panel, [span], (0.12, 0.76), colour, **(hollow if episode.state == "retracted" else {}))


def _channel(panel: Any, series: Series, scored: Scored, told: Judgement, channel: int) -> None:
    _shade(panel, scored, told)
    rows, values = scored.row.astype(np.float64), series.test[:, channel].astype(np.float64)
    known = ~np.isnan(values)
    panel.plot(*envelope(rows, values, PIXELS), color=INK, linewidth=0.7)
    if known.any():
        value_axis(panel)
    title = one_line(series.channels[channel], 80)
    panel.set_title(title, loc="left", fontsize=9, color=INK, pad=2, parse_math=False)


def _png(canvas: Any) -> bytes:
    """With few colours: a third of the bytes, and nobody sees it."""
    from PIL import Image

    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    written = BytesIO()
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()
