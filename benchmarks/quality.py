"""How well tsad detects: every set of a data root, by profile and scope, beside its peers (`make bench-quality`).

Parts, each of which may be run alone and goes on where it stopped (what is done lies in benchmarks/out/quality):
  quality     tsad by profile and scope            baselines   the peers, through the same door
  thresholds  the budget's promise, by budget      cost        µs a row, bytes an entity, seconds of a fit
  ablation    the same scores, fused in other ways     coldstart   VUS-PR against training rows
Every call ends by writing docs/quality.md and benchmarks/out/quality.json from what there is.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.ablation import ablated  # noqa: E402
from benchmarks.pipeline import bytes_of_state  # noqa: E402
from benchmarks.quality_page import write_document  # noqa: E402
from detectors.registry import PROFILES  # noqa: E402
from tsad.evaluation.baselines import BASELINES, DAY  # noqa: E402
from tsad.evaluation.coldstart import ColdStart  # noqa: E402
from tsad.evaluation.harness import Plan, evaluate_all, scored_group  # noqa: E402
from tsad.evaluation.running import Scored, Stream, first_slot, fit_together  # noqa: E402
from tsad.evaluation.scorefile import code_mark  # noqa: E402
from tsad.evaluation.series import Series, SeriesFile, TrainPart, find_series, read_series  # noqa: E402
from tsad.evaluation.vus import volume  # noqa: E402

PARTS = ("quality", "baselines", "ablation", "thresholds", "cost", "coldstart")
SETS = ("smd", "asd", "skab", "jumpstarter_d2", "nab", "ms_cloud", "aiops_kpi", "ucr")
TRAIN = {"skab": "400", "nab": "15%,750"}
"""The train parts of files that have none; 25% elsewhere."""
FEW = 3
"""Up to so many channels, peers also get windows of 100."""
TRAIN_ROWS = (0, 50, 200, 1000, None)
"""Rows that a cold start may have seen; None = all there are."""
Result = dict[str, Any]


class Bench:
    """What was asked for, and the folder of what is done."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.out: Path = given.out / "quality"
        self.code = code_mark()

    def files(self, name: str) -> list[SeriesFile]:
        """The series of a set, or `limit` of them, evenly spaced."""
        every = find_series(self.given.data / name)
        count = min(self.given.limit or len(every), len(every))
        return [every[place * len(every) // count] for place in range(count)]

    def train(self, name: str) -> TrainPart:
        """How a set is cut."""
        return TrainPart.parse(TRAIN.get(name, "25%"))

    def plan(self, name: str, profile: str, scope: str, budget: float = 1.0) -> Plan:
        """Scores of the same settings lie in one folder, whichever part asks for them."""
        scores = self.out / "scores" / f"{profile}-{scope}-{budget:g}"
        return Plan(self.train(name), scope, budget, profile, scores)  # type: ignore[arg-type]

    def keep(self, part: str, kind: str, name: str, make: Callable[[], Result], code: str | None = None) -> None:
        """Write what `make` gives for (part, kind, set), unless it is there, of the same code and series."""
        path, wanted = self.out / "parts" / part / kind / f"{name}.json", {"code": code or self.code}
        wanted["series"] = [file.name for file in self.files(name)]
        if path.exists() and {key: json.loads(path.read_text()).get(key) for key in wanted} == wanted:
            return
        begun = time.time()
        print(f"{part} {kind} {name} ...", end=" ", flush=True)
        found = {**wanted, "of": len(find_series(self.given.data / name)), **make()}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.rename(path)
        print(f"{time.time() - begun:.0f} s", flush=True)

    def evaluated(self, name: str, plan: Plan) -> Result:
        """Figures of each series of a set, and how many channels it has."""
        files = self.files(name)
        (found,) = evaluate_all(files, [plan], self.given.workers, lambda _: None, lambda: False)
        channels = len(read_series(files[0], plan.train).channels)
        return {"channels": channels, "train": TRAIN.get(name, "25%"), "rows": [one.row() for one in found.measured]}


def quality(bench: Bench, name: str) -> None:
    """tsad at a budget of one false episode a day for each series."""
    for profile, scope in combinations(bench.given):
        plan = bench.plan(name, profile, scope)
        bench.keep("quality", f"{profile}-{scope}", name, lambda plan=plan: bench.evaluated(name, plan))  # type: ignore[misc]


def baselines(bench: Bench, name: str) -> None:
    """The peers; on sets of many channels without windows of 100."""
    few = len(read_series(bench.files(name)[0], bench.train(name)).channels) <= FEW
    for peer in bench.given.baselines or [one for one in BASELINES if few or "-100" not in one]:
        scores = bench.out / "scores"
        plan = replace(bench.plan(name, "default", "entity"), scores=scores).of_baseline(peer)
        try:
            plan.check()
        except ValueError as missing:
            print(missing)
            continue
        bench.keep("baselines", peer, name, lambda plan=plan: bench.evaluated(name, plan), plan.code())  # type: ignore[misc]


def ablation(bench: Bench, name: str) -> None:
    """The ensemble without each of its parts, from the score files of `quality`."""
    for profile, scope in combinations(bench.given):
        plan = bench.plan(name, profile, scope)

        def made(plan: Plan = plan) -> Result:
            rows = []
            for file in bench.files(name):
                (series,), (scored,), config = scored_group([file], plan, plan.code())
                if series.labels is not None and 0 < series.labels.sum() < len(series.labels):
                    rows.append(ablated(scored, series.labels, config))
            return {"variants": means(rows)}

        if scope == "entity":
            bench.keep("ablation", f"{profile}-{scope}", name, made)


def means(rows: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean over series of each figure of each variant that all of them have."""
    shared = [name for name in (rows[0] if rows else {}) if all(name in row for row in rows)]
    return {
        name: {figure: float(np.mean([row[name][figure] for row in rows])) for figure in rows[0][name]}
        for name in shared
    }


def thresholds(bench: Bench, name: str) -> None:
    """False episodes that were opened (retracted ones too) against those that the budget expects in unlabelled rows."""
    for profile, scope in combinations(bench.given):
        for budget in bench.given.budgets:
            plan = bench.plan(name, profile, scope, budget)

            def made(plan: Plan = plan, budget: float = budget) -> Result:
                found = bench.evaluated(name, plan)
                series = [read_series(file, plan.train) for file in bench.files(name)]
                days = [float(one.step / DAY * (~one.labels).sum()) for one in series if one.labels is not None]
                return found | {"budget": budget, "expected": budget * sum(days)}

            bench.keep("thresholds", f"{profile}-{scope}-{budget:g}", name, made)


def cost(bench: Bench, name: str) -> None:
    """One series (`entity`) or the set's series together (`stream`): CPU seconds, and bytes by what they are for."""
    for profile, scope in combinations(bench.given):
        plan = bench.plan(name, profile, scope)
        files = bench.files(name)[: 1 if scope == "entity" else None]
        bench.keep("cost", f"{profile}-{scope}", name, lambda p=plan, f=files: costs(p, f))  # type: ignore[misc]


def costs(plan: Plan, files: Sequence[SeriesFile]) -> Result:
    """Of a fit on `files` and of the stream of the first one."""
    group = together([read_series(file, plan.train) for file in files])
    config, begun = plan.config_of(group), time.process_time()
    start = first_slot(group)
    ensemble = fit_together(group, config, start)
    fitted = time.process_time()
    stream = Stream(config, ensemble, start, group[0])
    rows = len(group[0].test)
    stream.run(5000)
    spent, state = time.process_time() - fitted, ensemble.state()
    model = sum(array.nbytes for array in state.arrays.values()) + sum(map(len, state.blobs.values()))
    return {
        "channels": len(group[0].channels), "train_rows": sum(len(one.train) for one in group), "entities": len(group),
        "fit_seconds": fitted - begun, "us_per_row": spent / rows * 1e6, "model_bytes": model,
        **{f"{what}_bytes": count for what, count in bytes_of_state(stream.partition).items()},
    }  # fmt: skip


def together(group: Sequence[Series]) -> list[Series]:
    """Those that may share a model with the first."""
    return [one for one in group if (one.channels, one.step) == (group[0].channels, group[0].step)]


def coldstart(bench: Bench, name: str) -> None:
    """Each series as a first entity, and as a new one of a fleet fitted on the others of its set, if those are one:
    they share its channels, of which there are more than a few."""
    for profile in bench.given.profiles:
        plan = bench.plan(name, profile, "entity")

        def made(plan: Plan = plan) -> Result:
            every = [read_series(file, plan.train) for file in bench.files(name)]
            curves = (curves_of(one, every, plan) for one in every if one.labels is not None and one.labels.any())
            return {"curves": list(itertools.islice(curves, bench.given.cold))}

        bench.keep("coldstart", profile, name, made)


def curves_of(series: Series, every: Sequence[Series], plan: Plan) -> Result:
    """VUS-PR by training rows, of a series with an event."""
    group = together([series, *every]) if len(series.channels) > FEW else []
    others = [one for one in group if one.file != series.file]
    found: Result = {"series": series.file.name, "first": {}, "fleet": {}}
    for kind in ("first", "fleet") if others else ("first",):
        for rows in TRAIN_ROWS:
            point = ColdStart(rows, kind)  # type: ignore[arg-type]
            if rows is None or rows <= len(series.train):
                config = replace(plan, cold=point).config_of([series])
                found[kind][point.label] = figures(series, point.of(series, others, config))
    return found


def figures(series: Series, scored: Scored) -> dict[str, float]:
    """VUS-PR of the immediate and of the settled score over the test part."""
    labels = series.labels if series.labels is not None else np.zeros(len(series.test), np.bool_)
    both = {"immediate": scored.score, "settled": scored.settled}
    return {kind: volume(labels, values.astype(np.float64), 100).pr for kind, values in both.items()}


def combinations(given: argparse.Namespace) -> list[tuple[str, str]]:
    """Profiles by scopes."""
    return [(profile, scope) for profile in given.profiles for scope in given.scopes]


def asked(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line, or `words`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="a folder of sets")
    parser.add_argument("--sets", nargs="+", help="only these (default: those of the eight that are there)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--profiles", nargs="+", choices=list(PROFILES), default=["default", "fast"])
    parser.add_argument("--scopes", nargs="+", choices=("entity", "stream"), default=["entity", "stream"])
    parser.add_argument("--baselines", nargs="+", choices=list(BASELINES), help="only these peers")
    parser.add_argument("--budgets", nargs="+", type=float, default=[1.0, 10.0, 100.0], help="false episodes a day")
    parser.add_argument("--limit", type=int, help="only so many series of each set, evenly spaced")
    parser.add_argument("--cold", type=int, default=3, help="series of each set whose cold start is followed")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out")
    parser.add_argument("--document", type=Path, default=ROOT / "docs" / "quality.md")
    given = parser.parse_args(words)
    given.sets = given.sets or [name for name in SETS if (given.data / name).is_dir()]
    if not given.sets:
        parser.error(f"{given.data} holds none of: {', '.join(SETS)}; name some with --sets")
    return given


def main(words: Sequence[str] | None = None) -> None:
    """Run the parts that were asked for, and write down what there is."""
    given = asked(words)
    bench = Bench(given)
    doing = {
        "quality": quality, "baselines": baselines, "ablation": ablation, "thresholds": thresholds, "cost": cost,
        "coldstart": coldstart,
    }  # fmt: skip
    for part in given.parts:
        for name in given.sets:
            doing[part](bench, name)
    write_document(bench.out / "parts", given.document, given.out / "quality.json", bench.code)
    print(f"written to {given.document} and {given.out / 'quality.json'}")


if __name__ == "__main__":
    main()
