"""What an evaluation prints: a row a folder, and their mean; contestants side by side."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from tsad.evaluation.comparison import COMPARED, LEVEL, Interval, Standing
from tsad.evaluation.measuring import Figures
from tsad.evaluation.results import Evaluation

COLUMNS = {
    "series": "series", "vus_pr_100": "VUS-PR", "average_precision": "AP", "vus_roc_100": "VUS-ROC",
    "settled_vus_pr_100": "settled VUS-PR", "settled_average_precision": "settled AP", "event_recall": "events found",
    "event_f1": "event F1", "settled_event_f1": "settled event F1", "false_per_1000_rows": "false / 1,000 rows",
    "delay": "delay", "extent_hit_rate_100": "HitRate@100",
}  # fmt: skip
WHOLE = {"series", "events", "episodes", "false_episodes"}


def summary_table(found: Evaluation) -> Table:
    """Means by folder, and over folders; the figures of each series are in the CSV and in the JSON."""
    table = Table(title="Detection, causal; event F1 and what follows at the product's own threshold")
    table.add_column("folder", overflow="fold")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    folders = found.means()
    for name, means in folders.items():
        table.add_row(name, *cells(means))
    if len(folders) > 1:
        table.add_section()
        table.add_row("mean of folders", *cells(found.mean()))
    return table


def side_table(figure: str, standings: Sequence[Standing]) -> Table:
    """One figure of all contestants, and by how much ours are better."""
    ours = [one.name for one in standings if not one.against]
    table = Table(title=f"Side by side: {COMPARED[figure]}, {LEVEL:.0f}% intervals over series")
    table.add_column("", overflow="fold")
    for title in ("looks ahead", "mean", *(f"{name} is better by" for name in ours)):
        table.add_column(title, justify="right")
    for one in standings:
        apart = [one.against.get(name) for name in ours]
        told = ["" if it is None else f"{_interval(it.mean, '+.3f')}, p {it.p:.2g}" for it in apart]
        table.add_row(one.name, one.ahead, _interval(one.mean), *told, end_section=one.name == ours[-1])
    return table


def curve_table(curve: Mapping[str, Evaluation]) -> Table:
    """A row for each number of rows known: means over folders."""
    table = Table(title="Detection by the rows known of an entity, causal; means of folders")
    table.add_column("rows known", justify="right")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    for label, found in curve.items():
        table.add_row(label, *cells(found.mean() | {"series": len(found.measured)}))
    return table


def cells(means: Figures) -> list[str]:
    """The columns of a row."""
    return [written(name, means.get(name)) for name in COLUMNS]


def written(name: str, value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    return f"{value:.0f}" if name in WHOLE else f"{value:.1f}" if name == "delay" else f"{value:.3f}"


def _interval(one: Interval, form: str = ".3f") -> str:
    return f"{one.mean:{form}} ({one.low:{form}} to {one.high:{form}})"
