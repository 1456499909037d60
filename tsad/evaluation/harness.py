"""`tsad evaluate`: many series through the path of live data, in parallel and resumable, and figures of each."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from detectors.channels import timing
from streaming.channels import continuous
from streaming.settings import SECOND
from tsad.config import StreamConfig, validated
from tsad.detection import ensemble_settings
from tsad.episodes import Rule
from tsad.evaluation.baselines import baseline, run_baseline
from tsad.evaluation.coldstart import ColdStart
from tsad.evaluation.measuring import measure
from tsad.evaluation.results import Evaluation, Measured
from tsad.evaluation.running import Scored, run_together
from tsad.evaluation.scorefile import code_mark, mark_of, read_scores, write_scores
from tsad.evaluation.series import Series, SeriesFile, TrainPart, find_series, read_series

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to evaluate. `budget`: false episodes a day that each series may cost, in either scope; `scores`: where
    score files go, None = nowhere; `baseline`: what scores instead of tsad; `stream`: the configuration to take in
    place of `profile` and `budget`; `pictures`: whether each series gets one; `cold`: as if little or nothing were
    known of an entity."""

    train: TrainPart = field(default_factory=TrainPart)
    scope: Literal["entity", "stream"] = "entity"
    budget: float = 1.0
    profile: str = "default"
    scores: Path | None = None
    baseline: str | None = None
    stream: StreamConfig | None = None
    pictures: bool = False
    cold: ColdStart | None = None

    @property
    def together(self) -> bool:
        """Whether series of a folder are fitted together."""
        return self.scope == "stream" or (self.cold is not None and self.cold.entity == "fleet")

    def run(self, group: Sequence[Series], config: StreamConfig) -> list[Scored]:
        """Score the test parts of series that share a model."""
        if self.baseline is not None:
            return [run_baseline(baseline(self.baseline), series, config.alert_budget) for series in group]
        return run_together(group, config) if self.cold is None else self.cold.run(group, config)

    def config(self, step: int, channels: int | None = None) -> StreamConfig:
        """The stream that a series of this step (ns) is, as `tsad init` would write it."""
        if self.stream is not None:
            return self.stream
        stream = {
            "step": step / SECOND, "alert_budget": self.budget, "profile": self.profile,
            "scope": "stream" if self.together else "entity", "expected_entities": 1,
            **({} if channels is None else timing(channels)),
        }  # fmt: skip
        return validated({"stream": {"evaluated": stream}}, "tsad evaluate").of("evaluated")

    def config_of(self, group: Sequence[Series]) -> StreamConfig:
        """The stream that series with the same channels and step are."""
        return self.config(group[0].step, max(continuous(series.train) for series in group))

    def of_baseline(self, name: str) -> "Plan":
        """The same, scored by a baseline, which has a model for each series."""
        scores = None if self.scores is None else self.scores / "baselines" / name
        return replace(self, baseline=name, scope="entity", scores=scores, pictures=False)

    def read(self, file: SeriesFile) -> Series:
        """The series, cut; one of a configured stream has its step."""
        series = read_series(file, self.train)
        return series if self.stream is None else replace(series, step=self.stream.step)

    def told(self) -> dict[str, Any]:
        """What scores depend on, as JSON."""
        if self.baseline is None:
            config = self.config(SECOND).model_dump(mode="json")
            return {"config": config, "train": repr(self.train), "cold": repr(self.cold)}
        packages = {"scikit-learn", baseline(self.baseline).package or "scikit-learn"}
        budget = self.config(SECOND).alert_budget
        return {
            "baseline": self.baseline, "budget": budget, "train": repr(self.train),
            "packages": {name: version(name) for name in sorted(packages)},
        }  # fmt: skip

    def code(self) -> str:
        """The mark of the code that scores."""
        return code_mark(self.baseline is not None)

    def check(self) -> None:
        """ConfigError for a wrong profile, ValueError for a wrong baseline, before anything runs."""
        if self.baseline is None:
            ensemble_settings(self.config(SECOND))
        else:
            baseline(self.baseline)


@dataclass(frozen=True, slots=True)
class _Job:
    """Series that share a model, the plan that they go by and its place among the plans, and the mark of the code."""

    place: int
    plan: Plan
    files: list[SeriesFile]
    code: str


_Done = tuple[_Job, list[Measured]]


def evaluate(
    path: Path, plan: Plan, workers: int, tell: Callable[[int], None], stopping: Callable[[], bool]
) -> Evaluation:
    """Evaluate every series of `path`; ValueError where one cannot be read. `tell` counts series done.

    What was scored with the same code, data and settings is read from its score files instead.
    """
    (found,) = evaluate_all(find_series(path), [plan], workers, tell, stopping)
    return found


def evaluate_all(
    files: Sequence[SeriesFile],
    plans: Sequence[Plan],
    workers: int,
    tell: Callable[[int], None],
    stopping: Callable[[], bool],
) -> list[Evaluation]:
    """`evaluate` the same series by several plans, side by side; `tell` counts series of all plans."""
    for plan in plans:
        plan.check()
    codes = [plan.code() for plan in plans]
    jobs = [
        _Job(place, plan, group, codes[place]) for place, plan in enumerate(plans) for group in _groups(files, plan)
    ]
    measured: list[list[Measured]] = [[] for _ in plans]
    for job, part in (_each if workers == 1 else _parallel)(jobs, workers, stopping):
        measured[job.place] += part
        tell(sum(map(len, measured)))
    return [_ended(plan, part, len(files)) for plan, part in zip(plans, measured, strict=True)]


def _ended(plan: Plan, measured: list[Measured], wanted: int) -> Evaluation:
    measured.sort(key=lambda one: (one.folder, one.series))
    found = Evaluation(measured, len(measured) == wanted)
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
    group, scored, config = scored_group(files, plan, code)
    rule = Rule(config.settle, config.quiet)
    return [_measured(series, one, rule, plan.pictures) for series, one in zip(group, scored, strict=True)]


def scored_group(files: Sequence[SeriesFile], plan: Plan, code: str) -> tuple[list[Series], list[Scored], StreamConfig]:
    """Series that share a model, what is said of their test rows (read where it was kept), and the stream they are."""
    group = [plan.read(file) for file in files]
    mark = mark_of(code, [path for file in files for path in file.files], plan.told())
    config = plan.config_of(group)
    scored = _kept(group, plan, mark)
    if scored is None:
        scored = plan.run(group, config)
        if plan.scores is not None:
            for series, one in zip(group, scored, strict=True):
                write_scores(_place(plan.scores, series.file), one, mark)
    return group, scored, config


def _measured(series: Series, scored: Scored, rule: Rule, picture: bool) -> Measured:
    figures = measure(series, scored, rule)
    if not picture:
        return Measured(series.file.folder, series.file.name, figures)
    from tsad.evaluation.drawing import draw_series

    return Measured(series.file.folder, series.file.name, figures, draw_series(series, scored, rule))


def _groups(files: Sequence[SeriesFile], plan: Plan) -> list[list[SeriesFile]]:
    """Series that share a model: each alone, or those of a folder that have the same channels and step."""
    if not plan.together:
        return [[file] for file in files]
    groups: dict[tuple[object, ...], list[SeriesFile]] = {}
    for file in files:
        series = plan.read(file)
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


def _each(jobs: Sequence[_Job], _: int, stopping: Callable[[], bool]) -> Iterator[_Done]:
    for job in jobs:
        if stopping():
            return
        yield job, evaluate_group(job.files, job.plan, job.code)


def _parallel(jobs: Sequence[_Job], workers: int, stopping: Callable[[], bool]) -> Iterator[_Done]:
    """In processes of one thread each; what runs is finished when `stopping` answers True, what waits is dropped."""
    for name in THREADS:  # which the children read as they start
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_ignore_interrupt) as pool:
        # the longest first, so that none is left alone at the end
        ordered = sorted(jobs, key=lambda job: -sum(path.stat().st_size for one in job.files for path in one.files))
        known = {pool.submit(evaluate_group, job.files, job.plan, job.code): job for job in ordered}
        waiting = set(known)
        while waiting:
            ready, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            yield from ((known[future], future.result()) for future in ready)
            if stopping():
                waiting = {future for future in waiting if not future.cancel()}


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process of the terminal: the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
