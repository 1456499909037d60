"""Log data sets cut in time, mined and judged: fitted on the first part without labels, scored on the second.

What is fitted sees lines before the cut only: a session that goes on after it is known as far as it had come. Sessions
that begin after the cut are judged whole. Lines are mined in order by the miner of live data; templates that it founds
after the cut are foreign to the fit.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.sessionmodel import DAY, MOST_ALPHA, FittedSessions
from streaming.miner import Miner
from streaming.sessions import Sessions
from streaming.types import Codes, Ints
from tsad.evaluation.extents import Bools, Doubles
from tsad.evaluation.logsets import LogFile, LogSet, read_logs
from tsad.evaluation.measuring import Figures
from tsad.evaluation.ranked import Ranked
from tsad.evaluation.results import Evaluation, Measured

MOST = 1000
"""Templates that a fit knows at most: the most frequent."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A data set cut in time: sessions to fit on and to judge, with codes of `texts` for templates.

    `judged` (sessions of `test`) index what is judged (G): `names`, `entities`, `starts` (ns) and `labels`.
    """

    train: Sessions
    test: Sessions
    texts: list[str]
    judged: Ints
    names: list[str]
    entities: list[str]
    starts: Ints
    labels: Bools
    by_line: bool

    @classmethod
    def of(cls, logs: LogSet, share: float, clean: bool) -> "Cut":
        """Cut where `share` of what is judged has begun; `clean`: without the anomalies of the first part."""
        begun = _starts(logs.judged[logs.owners], logs.times, len(logs.names))
        present = np.flatnonzero(begun >= 0)
        place = min(int(share * len(present)), len(present) - 1)
        moment = int(np.sort(begun[present])[place])
        early = (begun >= 0) & (begun < moment)
        known = int(np.searchsorted(logs.times, moment))
        owner_early = early[logs.judged[logs.owners]]
        taught = early & ~logs.labels if clean else early
        first = (np.arange(len(logs.times)) < known) & taught[logs.judged[logs.owners]]
        codes, texts = _mined(logs.messages, known, first)
        train, _ = _sessions(logs, codes, first)
        test, which = _sessions(logs, codes, ~owner_early)
        kept, judged = np.unique(logs.judged[which], return_inverse=True)
        names, entities = ([told[one] for one in kept.tolist()] for told in (logs.names, logs.entities))
        return cls(train, test, texts, judged, names, entities, begun[kept], logs.labels[kept], logs.by_line)

    def worst(self, values: Doubles) -> Doubles:
        """Of what is judged (G), the largest of its sessions' values."""
        found = np.full(len(self.names), -np.inf)
        np.maximum.at(found, self.judged, np.nan_to_num(values, nan=0.0))
        return found

    def alpha(self, budget: float) -> float:
        """The share of sessions that `budget` false alerts a day allow for, as a fit has it."""
        days = max(int(self.train.starts.max() - self.train.starts.min()), 1) / DAY
        return min(budget * days / len(self.train), MOST_ALPHA)


def _starts(owners: Ints, times: Ints, count: int) -> Ints:
    """The first time of each of `count` owners; -1 of one without lines. `times` rise."""
    found = np.full(count, -1, np.int64)
    first = np.unique(owners, return_index=True)
    found[first[0]] = times[first[1]]
    return found


def _mined(messages: Sequence[str], known: int, taught: NDArray[np.bool_]) -> tuple[Codes, list[str]]:
    """Codes of all lines, and the texts behind them as they were after the first `known` ones: the most frequent
    templates of the lines that are `taught`."""
    miner = Miner()
    early, _ = miner.learn(messages[:known])
    ids, counts = np.unique(early[taught[:known]], return_counts=True)
    kept = ids[np.argsort(-counts, kind="stable")[:MOST]]
    texts = [text or "" for text in miner.texts(kept.tolist())]
    late, _ = miner.learn(messages[known:])
    every = np.concatenate([early, late])
    table = np.zeros(int(every.max()) + 1, np.int32)
    table[kept] = np.arange(1, len(kept) + 1)
    return table[every], texts


def _sessions(logs: LogSet, codes: Codes, lines: NDArray[np.bool_]) -> tuple[Sessions, Ints]:
    """The sessions that the chosen lines make, by start, and which of the data set's they are."""
    chosen = np.flatnonzero(lines)
    which, first, inverse = np.unique(logs.owners[chosen], return_index=True, return_inverse=True)
    rank = np.argsort(first, kind="stable")  # lines are by time
    places = np.empty(len(which), np.int64)
    places[rank] = np.arange(len(which))
    owners = places[inverse]
    chosen = chosen[np.argsort(owners, kind="stable")]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(which)))]).astype(np.int64)
    times = logs.times[chosen]
    names = [str(one) for one in which[rank].tolist()]
    starts, ends = times[bounds[:-1]], times[bounds[1:] - 1]
    return Sessions(names, starts, ends, bounds, codes[chosen], times, logs.severities[chosen]), which[rank]


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of G things: `score` (higher is stranger), `surprise` (above 1 is an alert), `p`."""

    score: Doubles
    surprise: Doubles
    p: Doubles
    fit_seconds: float = 0.0
    score_seconds: float = 0.0

    @property
    def alert(self) -> Bools:
        """Which are alerts."""
        found: Bools = self.surprise > 1
        return found


Judge = Callable[[Cut, float], Judged]
"""Fits on the first part of a cut and judges the second, at a budget of false alerts a day."""


def by_tsad(cut: Cut, budget: float) -> Judged:
    """What the product says. ValueError where there is too little to fit on."""
    begun = time.perf_counter()
    model = FittedSessions.fit(cut.texts, cut.train, budget)
    if model is None:
        raise ValueError(f"{len(cut.train)} sessions are too few to fit on")
    fitted = time.perf_counter()
    said = model.score(cut.test)
    spent = time.perf_counter() - fitted
    p = -cut.worst(-np.nan_to_num(said.p, nan=1.0))
    fused, surprise = (cut.worst(values.astype(np.float64)) for values in (said.fused, said.score))
    return Judged(fused, surprise, p, fitted - begun, spent)


@dataclass(frozen=True, slots=True)
class LogPlan:
    """How to evaluate logs: `share` of what is judged is fitted on, `clean`: less its anomalies; `scores`: where score
    files go; `judge` is who judges."""

    share: float = 0.5
    clean: bool = False
    budget: float = 1.0
    scores: Path | None = None
    judge: Judge = field(default=by_tsad)

    def of_peer(self, name: str, judge: Judge) -> "LogPlan":
        """The same, judged by a peer."""
        return replace(self, judge=judge, scores=self.scores and self.scores / "baselines" / name)


def percentage(text: str) -> float:
    """The part of a log that is fitted on, "50%"; ValueError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", text.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise ValueError(f"of logs --train is a percentage such as 50%, got {text!r}")
    return float(match[1])


def judge_logs(
    files: Sequence[LogFile],
    plans: Sequence[LogPlan],
    tell: Callable[[int], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Evaluation]:
    """Evaluate every data set by every plan; ValueError naming one that cannot be. `tell` counts what is done."""
    measured: list[list[Measured]] = [[] for _ in plans]
    for file in files:
        logs = read_logs(file)
        for plan, so_far in zip(plans, measured, strict=True):
            if stopping():
                break
            try:
                so_far.append(_measured(logs, plan))
            except ValueError as error:
                raise ValueError(f"{file.lines}: {error}") from None
            tell(sum(map(len, measured)))
    return [_ended(plan, part, len(files)) for plan, part in zip(plans, measured, strict=True)]


def _measured(logs: LogSet, plan: LogPlan) -> Measured:
    cut = Cut.of(logs, plan.share, plan.clean)
    judged = plan.judge(cut, plan.budget)
    if plan.scores is not None:
        write_log_scores(plan.scores / logs.file.folder / f"{logs.file.name}.parquet", cut, judged)
    return Measured(logs.file.folder, logs.file.name, log_figures(cut, judged))


def _ended(plan: LogPlan, measured: list[Measured], wanted: int) -> Evaluation:
    found = Evaluation(measured, len(measured) == wanted)
    if plan.scores is not None and measured:
        found.write_csv(plan.scores / "series.csv")
    return found


def log_figures(cut: Cut, judged: Judged) -> Figures:
    """Over all thresholds, and at the judge's own, which has seen no label."""
    anomalies, alerts = int(cut.labels.sum()), int(judged.alert.sum())
    right = int((judged.alert & cut.labels).sum())
    found: Figures = {"fitted_on": len(cut.train), "judged": len(cut.names), "anomalies": anomalies, "alerts": alerts}
    if 0 < anomalies < len(cut.labels):
        ranked = Ranked(cut.labels, judged.score)
        found |= {
            "average_precision": ranked.average_precision, "roc_auc": ranked.roc_auc, "best_f1": ranked.best_f1,
            "f1": 2 * right / (alerts + anomalies), "precision": right / alerts if alerts else None,
            "recall": right / anomalies,
        }  # fmt: skip
    found["false_per_1000"] = 1000 * (alerts - right) / max(len(cut.names) - anomalies, 1)
    return found | {"fit_seconds": judged.fit_seconds, "stream_seconds": judged.score_seconds}


def write_log_scores(path: Path, cut: Cut, judged: Judged) -> None:
    """One row for each thing that is judged: `session`, or of lines `entity` and `time` (ns); `score`, `p`, `alert`."""
    what = {"entity": cut.entities, "time": cut.starts} if cut.by_line else {"session": cut.names}
    columns = what | {"score": judged.surprise, "p": judged.p, "alert": judged.alert}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.table(columns), partial, compression="zstd")
    partial.rename(path)
