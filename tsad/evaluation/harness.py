"""`tsad evaluate`: many series through the path of live data, in parallel and resumable, and figures of each."""

import csv
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from streaming.settings import SECOND
from tsad.app import ensemble_settings
from tsad.config import StreamConfig, validated
from tsad.episodes import Rule
from tsad.evaluation.coldstart import ColdStart
from tsad.evaluation.measuring import Figures, measure
from tsad.evaluation.running import Scored, run_together
from tsad.evaluation.scorefile import code_mark, mark_of, read_scores, write_scores
from tsad.evaluation.series import Series, SeriesFile, TrainPart, find_series, read_series

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to evaluate. `budget`: false episodes a day that each series may cost, in either scope; `scores`: where
    score files go, None = nowhere; `cold`: as if little or nothing were known of an entity."""

    train: TrainPart = field(default_factory=TrainPart)
    scope: Literal["entity", "stream"] = "entity"
    budget: float = 1.0
    profile: str = "default"
    scores: Path | None = None
    cold: ColdStart | None = None

    @property
    def together(self) -> bool:
        """Whether series of a folder are fitted together."""
        return self.scope == "stream" or (self.cold is not None and self.cold.entity == "fleet")

    def run(self, group: Sequence[Series], config: StreamConfig) -> list[Scored]:
        """Score the test parts of series that share a model."""
        return run_together(group, config) if self.cold is None else self.cold.run(group, config)

    def config(self, step: int) -> StreamConfig:
        """The stream that a series of this step (ns) is."""
        stream = {
            "step": step / SECOND, "alert_budget": self.budget, "profile": self.profile,
            "scope": "stream" if self.together else "entity", "expected_entities": 1,
        }  # fmt: skip
        return validated({"stream": {"evaluated": stream}}, "tsad evaluate").of("evaluated")

    def told(self) -> dict[str, Any]:
        """What scores depend on, as JSON."""
        return {
            "config": self.config(SECOND).model_dump(mode="json"),
            "train": repr(self.train),
            "cold": repr(self.cold),
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one series."""

    folder: str
    series: str
    figures: Figures

    def row(self) -> dict[str, str | float | None]:
        """As one row."""
        return {"folder": self.folder, "series": self.series} | self.figures


@dataclass(slots=True)
class Evaluation:
    """What an evaluation found; `ended` is False where it was interrupted."""

    measured: list[Measured]
    ended: bool = True

    def means(self) -> dict[str, Figures]:
        """The mean of each figure over the series of a folder that have it, by folder."""
        folders = sorted({one.folder for one in self.measured})
        return {folder: _means([one.figures for one in self.measured if one.folder == folder]) for folder in folders}

    def mean(self) -> Figures:
        """The mean over folders."""
        return _means(list(self.means().values()))

    def figures(self) -> dict[str, object]:
        """Everything, as plain values."""
        return {"series": [one.row() for one in self.measured], "folders": self.means(), "mean": self.mean()}

    def write_csv(self, path: Path) -> None:
        """A row for each series."""
        rows = [one.row() for one in self.measured]
        names = list(dict.fromkeys(name for row in rows for name in row))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def evaluate(
    path: Path, plan: Plan, workers: int, tell: Callable[[int], None], stopping: Callable[[], bool]
) -> Evaluation:
    """Evaluate every series of `path`; ValueError where one cannot be read. `tell` counts series done.

    What was scored with the same code, data and settings is read from its score files instead.
    """
    ensemble_settings(plan.config(SECOND))  # a wrong profile is told before anything runs
    groups = _groups(find_series(path), plan)
    code = code_mark()
    measured: list[Measured] = []
    done = (_each if workers == 1 else _parallel)(groups, plan, code, workers, stopping)
    for part in done:
        measured += part
        tell(len(measured))
    measured.sort(key=lambda one: (one.folder, one.series))
    found = Evaluation(measured, len(measured) == sum(len(group) for group in groups))
    if plan.scores is not None and measured:
        found.write_csv(plan.scores / "series.csv")
    return found


def cold_start_curve(
    path: Path,
    plan: Plan,
    points: Sequence[ColdStart],
    workers: int = 1,
    tell: Callable[[int], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Evaluation]:
    """An evaluation of every series of `path` for each of `points` (`ColdStart.parse("0,50,all", "fleet")`), by label.

    What is compared is `.mean()["vus_pr_100"]` along the points. Scores go into a folder for each point. `tell` counts
    series done, of all points. ValueError where a series cannot be read, or has no neighbour and needs one.
    """
    curve: dict[str, Evaluation] = {}
    for point in points:
        done = sum(len(found.measured) for found in curve.values())
        scores = plan.scores and plan.scores / f"{point.entity}-{point.label}"
        part = replace(plan, cold=point, scores=scores)
        curve[point.label] = evaluate(path, part, workers, lambda count, done=done: tell(done + count), stopping)  # type: ignore[misc]
        if not curve[point.label].ended:
            break
    return curve


def evaluate_group(files: Sequence[SeriesFile], plan: Plan, code: str) -> list[Measured]:
    """Score series that share a model, or read their scores, and measure them."""
    group = [read_series(file, plan.train) for file in files]
    mark = mark_of(code, [path for file in files for path in file.files], plan.told())
    config = plan.config(group[0].step)
    scored = _kept(group, plan, mark)
    if scored is None:
        scored = plan.run(group, config)
        if plan.scores is not None:
            for series, one in zip(group, scored, strict=True):
                write_scores(_place(plan.scores, series.file), one, mark)
    rule = Rule(config.settle, config.quiet)
    return [
        Measured(series.file.folder, series.file.name, measure(series, one, rule))
        for series, one in zip(group, scored, strict=True)
    ]


def _groups(files: Sequence[SeriesFile], plan: Plan) -> list[list[SeriesFile]]:
    """Series that share a model: each alone, or those of a folder that have the same channels and step."""
    if not plan.together:
        return [[file] for file in files]
    groups: dict[tuple[object, ...], list[SeriesFile]] = {}
    for file in files:
        series = read_series(file, plan.train)
        groups.setdefault((file.folder, *series.channels, series.step, series.times is None), []).append(file)
    return list(groups.values())


def _place(folder: Path, file: SeriesFile) -> Path:
    return folder / file.folder / f"{file.name}.parquet"


def _kept(group: Sequence[Series], plan: Plan, mark: str) -> list[Scored] | None:
    """The scores that an earlier run left, where it left all of the group."""
    if plan.scores is None:
        return None
    found = [read_scores(_place(plan.scores, series.file), mark) for series in group]
    whole = [one for one in found if one is not None]
    return whole if len(whole) == len(group) else None


def _each(
    groups: Sequence[Sequence[SeriesFile]], plan: Plan, code: str, _: int, stopping: Callable[[], bool]
) -> Iterator[list[Measured]]:
    for group in groups:
        if stopping():
            return
        yield evaluate_group(group, plan, code)


def _parallel(
    groups: Sequence[Sequence[SeriesFile]], plan: Plan, code: str, workers: int, stopping: Callable[[], bool]
) -> Iterator[list[Measured]]:
    """In processes of one thread each; what runs is finished when `stopping` answers True, what waits is dropped."""
    for name in THREADS:  # which the children read as they start
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_ignore_interrupt) as pool:
        # the longest first, so that none is left alone at the end
        ordered = sorted(groups, key=lambda group: -sum(path.stat().st_size for one in group for path in one.files))
        waiting = {pool.submit(evaluate_group, group, plan, code) for group in ordered}
        while waiting:
            ready, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ready)
            if stopping():
                waiting = {future for future in waiting if not future.cancel()}


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process of the terminal: the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _means(parts: Sequence[Figures]) -> Figures:
    names = list(dict.fromkeys(name for part in parts for name in part))
    means: Figures = {"series": len(parts)}
    for name in names:
        known = [value for part in parts if (value := part.get(name)) is not None]
        means[name] = sum(known) / len(known) if known else None
    return means
