"""Sessions and alert lines of shared logs: tsad beside PCA, neighbours, isolation forest and DeepLog, on one cut.

HDFS: fitted on the sessions that begin in the first half, by time, on lines before the cut alone, once unlabelled and
once without the anomalies; the second half is judged. BGL: each line by itself, the same. Hadoop: applications, by
their containers; so few that the figures say little, and no LSTM is taught for them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.deeplog import deeplog
from tsad.evaluation.logbaselines import PEERS, judge_by
from tsad.evaluation.logruns import Cut, Judge, by_tsad, log_figures
from tsad.evaluation.logsets import find_logs, read_logs

SETS = {"hdfs": "log_hdfs_2pct", "bgl": "log_loghub_2k/BGL", "hadoop": "log_hadoop"}
SHARE, BUDGET = 0.5, 1.0


def figures(folder: Path, lstm: bool = True) -> dict[str, float | None]:
    """Of one data set: of tsad `ap_unlabelled`, `f1_unlabelled`, `ap_clean` and `f1_clean`, and the same of the
    references."""
    logs = read_logs(find_logs(folder)[0])
    judges: dict[str, Judge] = {"tsad": by_tsad, **{name: partial(judge_by, fit) for name, fit in PEERS.items()}}
    if lstm:
        judges["deeplog"] = partial(judge_by, partial(deeplog, logs.by_line))
    found: dict[str, dict[str, float | None]] = {name: {} for name in judges}
    for kind, clean in (("unlabelled", False), ("clean", True)):
        cut = Cut.of(logs, SHARE, clean)
        for name, judge in judges.items():
            told = log_figures(cut, judge(cut, BUDGET))
            found[name] |= {f"ap_{kind}": told.get("average_precision"), f"f1_{kind}": told.get("f1")}
    ours: dict[str, Any] = found.pop("tsad")
    return ours | {"references": found, "judged": told["judged"], "anomalies": told["anomalies"]}


def sessions(data: Path) -> dict[str, dict[str, Any]]:
    """The figures of the data sets that are there and have labels."""
    there = {name: data / place for name, place in SETS.items() if find_logs(data / place)}
    return {name: figures(folder, lstm=name != "hadoop") for name, folder in there.items()}


def show_sessions(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print them."""
    for name, one in found.items():
        print(f"{name}: {one['anomalies']} anomalies among {one['judged']}; AP and F1 unlabelled, clean")
        for who, told in {"tsad": one, **one["references"]}.items():
            said = (told[f"{figure}_{kind}"] for kind in ("unlabelled", "clean") for figure in ("ap", "f1"))
            print(f"  {who:17}" + " ".join("    -" if value is None else f"{value:.3f}" for value in said))
