"""An evaluation as one HTML file that needs nothing else: tables, and a picture of each series."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import unpack

from tsad.evaluation.comparison import COMPARED, LEVEL, RESAMPLES, Difference, Interval, Standing
from tsad.evaluation.measuring import Figures
from tsad.evaluation.results import Evaluation, Measured
from tsad.evaluation.summary import COLUMNS, LOG_COLUMNS, cells, written
from tsad.webpage import facts as fact_line
from tsad.webpage import table, text, tiles, write
from tsad.wording import counted


@dataclass(frozen=True, slots=True)
class Told:
    """What a page tells of an evaluation: figures by their headings, above, by folder and by series; and `how`."""

    tiles: Mapping[str, str]
    by_folder: Mapping[str, str]
    by_series: Mapping[str, str]
    how: str


OF_SERIES = Told(
    tiles={
        "vus_pr_100": "VUS-PR", "settled_vus_pr_100": "VUS-PR, settled", "average_precision": "average precision",
        "event_recall": "events found", "event_f1": "event F1", "false_per_1000_rows": "false episodes / 1,000 rows",
        "delay": "rows of delay",
    },
    by_folder=COLUMNS,
    by_series={
        "vus_pr_100": "VUS-PR", "settled_vus_pr_100": "settled VUS-PR", "average_precision": "AP", "events": "events",
        "event_recall": "found", "false_episodes": "false episodes", "delay": "rows of delay",
    },
    how="""Each series is fitted on its train part and streamed row by row through the path of live data; what is said
of a row depends on earlier rows only. Event F1, events found, false episodes and delay are at the product's own
threshold, which has seen no label; VUS-PR and average precision are over all thresholds. No figure is point-adjusted.
Means are over series, then over folders.""",
)  # fmt: skip
OF_LOGS = Told(
    tiles={"average_precision": "average precision", "f1": "F1", "precision": "precision", "recall": "recall"},
    by_folder=LOG_COLUMNS,
    by_series=LOG_COLUMNS,
    how="""Lines are mined in order by the miner of live data. The fit knows what came before the cut in time, and no
label; sessions (or lines) that begin after the cut are judged whole. F1, precision, recall and alerts are at the
product's own threshold, which has seen no label; average precision and the best F1 are over all thresholds. Means are
over data sets, then over folders.""",
)
KEY = """<p class="note">A score above 1 is a flag.<span class="key" style="background:#fdebd8"></span>labelled event
<span class="key" style="background:#009e73"></span>event found, episode that meets one
<span class="key" style="background:#b3261e"></span>event missed
<span class="key" style="background:#d55e00"></span>false episode; hollow: retracted when its score settled. Below: the
channels that bear most of the score.</p>"""

BESIDE = f"""<p class="note">Intervals: {LEVEL:.0f}% percentiles of {RESAMPLES:,} bootstrap resamples of the series
within each folder. Differences are paired by series; p is that of Wilcoxon's signed-rank test, not corrected for the
number of baselines, and what follows it are the series won : lost. A baseline that looks ahead could not have said so
when the row came in. Its threshold is the quantile of its scores of the train part that the budget leaves room
for.</p>"""


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    found: Evaluation,
    sides: Mapping[str, Sequence[Standing]],
    told: Told = OF_SERIES,
) -> None:
    """Write the page to `path`. `facts` say how it was made; `sides` are comparisons by figure, empty without peers."""
    parts = [
        f"<h1>{text(title)}</h1>",
        fact_line(facts),
        _tiles(found, told.tiles),
        "<h2>By folder</h2>",
        _folders(found, told.by_folder),
        f'<p class="note">{told.how}</p>',
        *(_side(COMPARED[figure], standings) for figure, standings in sides.items()),
        BESIDE if sides else "",
        "<h2>By series</h2>",
        _series(found.measured, told.by_series),
        "<h2>Pictures</h2>" + KEY if any(one.picture for one in found.measured) else "",
        *(_picture(place, one) for place, one in enumerate(found.measured)),
    ]
    write(path, title, parts)


def _tiles(found: Evaluation, figures: Mapping[str, str]) -> str:
    mean = found.mean()
    there = {name: value for name in figures if (value := mean.get(name)) is not None}
    return tiles({figures[name]: written(name, value) for name, value in there.items()})


def _folders(found: Evaluation, columns: Mapping[str, str]) -> str:
    means = found.means()
    rows: list[tuple[str, list[str]]] = [
        ("", [text(name), *cells(figures, columns)]) for name, figures in means.items()
    ]
    if len(means) > 1:
        rows.append(("total", ["mean of folders", *cells(found.mean(), columns)]))
    return table(["folder", *columns.values()], rows)


def _side(figure: str, standings: Sequence[Standing]) -> str:
    """One figure of all contestants."""
    folders = sorted({folder for one in standings for folder in one.folders})
    ours = [one.name for one in standings if not one.against]
    heads = ["", "looks ahead", "mean", *map(text, folders)]
    heads += [f"{name} is better by" for name in ours]
    rows = []
    for one in standings:
        row = [text(one.name), one.ahead, _interval(one.mean)]
        row += [written("", one.folders.get(folder)) for folder in folders]
        row += [_difference(one.against.get(name)) for name in ours]
        rows.append(("" if one.against else "ours", row))
    return f"<h2>Side by side: {figure}</h2>{table(heads, rows)}"


def _interval(one: Interval, form: str = ".3f") -> str:
    return f"{one.mean:{form}} <small>{one.low:{form}} to {one.high:{form}}</small>"


def _difference(one: Difference | None) -> str:
    if one is None:
        return "–"
    return f"{_interval(one.mean, '+.3f')} <small>p {one.p:.2g}, {one.won} : {one.lost}</small>"


def _series(measured: Sequence[Measured], figures: Mapping[str, str]) -> str:
    rows = []
    for place, one in enumerate(measured):
        name = text(f"{one.folder} / {one.series}")
        link = f'<a href="#s{place}">{name}</a>' if one.picture else name
        rows.append(("", [link, *(written(figure, one.figures.get(figure)) for figure in figures)]))
    return table(["series", *figures.values()], rows)


def _picture(place: int, one: Measured) -> str:
    if not one.picture:
        return ""
    name = text(f"{one.folder} / {one.series}")
    width, height = unpack(">II", one.picture[16:24])  # known before it is shown: a link to it goes to the right place
    image = b64encode(one.picture).decode()
    told = f'alt="Score, events, episodes and channels of {name}" width="{width}" height="{height}" loading="lazy"'
    source = f'src="data:image/png;base64,{image}"'
    return f'<h3 id="s{place}">{name}</h3><p class="facts">{_said(one.figures)}</p><img {told} {source}>'


def _said(figures: Figures) -> str:
    """The counts of a series in words."""
    parts = [counted(int(figures["rows"] or 0), "row")]
    events, episodes, false = (figures.get(name) for name in ("events", "episodes", "false_episodes"))
    if events:
        parts.append(f"{counted(int(events), 'event')}, {round(events * (figures.get('event_recall') or 0))} found")
    if episodes is not None:
        wrong = "" if false is None else f", {int(false)} false"
        parts.append(f"{counted(int(episodes), 'episode')}{wrong}, {int(figures.get('retracted') or 0)} retracted")
    if figures.get("vus_pr_100") is not None:
        parts.append(f"VUS-PR {written('', figures['vus_pr_100'])}")
    return " · ".join(parts)
