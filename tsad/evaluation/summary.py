"""What an evaluation prints: a row a folder, and their mean; contestants side by side."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from tsad.evaluation.comparison import COMPARED, LEVEL, Interval, Standing
from tsad.evaluation.measuring import Figures
from tsad.evaluation.results import Evaluation

RANKED = {
    "series": "series", "vus_pr_100": "VUS-PR", "average_precision": "AP", "vus_roc_100": "VUS-ROC",
    "settled_vus_pr_100": "settled VUS-PR", "settled_average_precision": "settled AP",
}  # fmt: skip
JUDGED = {
    "event_recall": "events found", "event_f1": "event F1", "settled_event_f1": "settled event F1",
    "false_per_1000_rows": "false / 1,000 rows", "delay": "delay", "extent_hit_rate_100": "HitRate @100",
}  # fmt: skip
COLUMNS = RANKED | JUDGED
"""What is told over all thresholds, and what at the product's own."""
LOG_RANKED = {
    "fitted_on": "fitted on", "judged": "judged", "anomalies": "anomalies", "average_precision": "AP",
    "roc_auc": "ROC AUC", "best_f1": "best F1",
}  # fmt: skip
LOG_JUDGED = {
    "f1": "F1", "precision": "precision", "recall": "recall", "alerts": "alerts", "false_per_1000": "false / 1,000",
}  # fmt: skip
LOG_COLUMNS = LOG_RANKED | LOG_JUDGED
"""The same of logs."""
WHOLE = {"series", "events", "episodes", "false_episodes", "fitted_on", "judged", "anomalies", "alerts"}


def summary_table(found: Evaluation) -> Group:
    """Means by folder, and over folders; the figures of each series are in the CSV and in the JSON."""
    folders = found.means()
    total = {"mean of folders": found.mean()} if len(folders) > 1 else {}
    return _tables("folder", folders, total)


def side_table(figure: str, standings: Sequence[Standing]) -> Table:
    """One figure of all contestants, and by how much our immediate score is better; pages and JSON say more."""
    ours = [one.name for one in standings if not one.against]
    table = Table(title=f"Side by side: {COMPARED[figure]}, {LEVEL:.0f}% intervals over series", box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for title in ("looks ahead", "mean", f"{ours[0]} is better by"):
        table.add_column(title, justify="right")
    for one in standings:
        apart = one.against.get(ours[0])
        told = "" if apart is None else f"{_interval(apart.mean, '+.3f')}, p {apart.p:.2g}"
        table.add_row(one.name, one.ahead, _interval(one.mean), told, end_section=one.name == ours[-1])
    return table


def curve_table(curve: Mapping[str, Evaluation]) -> Group:
    """A row for each number of rows known: means over folders."""
    return _tables(
        "rows known", {label: found.mean() | {"series": len(found.measured)} for label, found in curve.items()}, {}
    )


def _tables(first: str, rows: Mapping[str, Figures], total: Mapping[str, Figures]) -> Group:
    """Two tables, each as wide as a terminal of 80 characters."""
    titles = {"Detection over all thresholds, causal": RANKED, "At the product's own threshold": JUDGED}
    return Group(*(_table(title, first, columns, rows, total) for title, columns in titles.items()))


def _table(
    title: str, first: str, columns: Mapping[str, str], rows: Mapping[str, Figures], total: Mapping[str, Figures]
) -> Table:
    table = Table(title=title)
    table.add_column(first, overflow="fold")
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for part in (rows, total):
        for name, figures in part.items():
            table.add_row(name, *(written(column, figures.get(column)) for column in columns))
        table.add_section()
    return table


def log_tables(found: Evaluation) -> Group:
    """A row for each log data set."""
    rows = {f"{one.folder} / {one.series}": one.figures for one in found.measured}
    titles = {
        "Sessions (or lines) of logs, over all thresholds": LOG_RANKED,
        "At the product's own threshold": LOG_JUDGED,
    }
    return Group(*(_table(title, "data set", columns, rows, {}) for title, columns in titles.items()))


def cells(means: Figures, columns: Mapping[str, str] = COLUMNS) -> list[str]:
    """The columns of a row."""
    return [written(name, means.get(name)) for name in columns]


def written(name: str, value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    return f"{value:.0f}" if name in WHOLE else f"{value:.1f}" if name == "delay" else f"{value:.3f}"


def _interval(one: Interval, form: str = ".3f") -> str:
    return f"{one.mean:{form}} ({one.low:{form}} to {one.high:{form}})"
