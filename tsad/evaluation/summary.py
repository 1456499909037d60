"""What an evaluation prints: a row a folder, and their mean."""

from collections.abc import Mapping

from rich.table import Table

from tsad.evaluation.harness import Evaluation
from tsad.evaluation.measuring import Figures

COLUMNS = {
    "series": "series", "vus_pr_100": "VUS-PR", "average_precision": "AP", "vus_roc_100": "VUS-ROC",
    "settled_vus_pr_100": "settled VUS-PR", "settled_average_precision": "settled AP", "event_recall": "events found",
    "event_f1": "event F1", "settled_event_f1": "settled event F1", "false_per_1000_rows": "false / 1,000 rows",
    "delay": "delay", "extent_hit_rate_100": "HitRate@100",
}  # fmt: skip


def summary_table(found: Evaluation) -> Table:
    """Means by folder, and over folders; the figures of each series are in the CSV and in the JSON."""
    table = Table(title="Detection, causal; event F1 and what follows at the product's own threshold")
    table.add_column("folder", overflow="fold")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    folders = found.means()
    for name, means in folders.items():
        table.add_row(name, *_cells(means))
    if len(folders) > 1:
        table.add_section()
        table.add_row("mean of folders", *_cells(found.mean()))
    return table


def curve_table(curve: Mapping[str, Evaluation]) -> Table:
    """A row for each number of rows known: means over folders."""
    table = Table(title="Detection by the rows known of an entity, causal; means of folders")
    table.add_column("rows known", justify="right")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    for label, found in curve.items():
        table.add_row(label, *_cells(found.mean() | {"series": len(found.measured)}))
    return table


def _cells(means: Figures) -> list[str]:
    return [_cell(name, means.get(name)) for name in COLUMNS]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name == "series" else f"{value:.1f}" if name == "delay" else f"{value:.3f}"
