"""Side by side: means over data sets with bootstrap intervals over series, and paired tests against each baseline.

A mean is that of the folders' means. A resample draws as many series with replacement from each folder as it has (the
folders are given, their series are a sample), 2,000 times with one seed; intervals are the 2.5% and 97.5% percentiles.
Differences are those of the same series, their test is Wilcoxon's signed-rank test (two-sided, not corrected for the
number of baselines).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tsad.evaluation.baselines import BASELINES
from tsad.evaluation.extents import Doubles
from tsad.evaluation.results import Evaluation

RESAMPLES, SEED, LEVEL = 2_000, 7, 95.0
OURS, SETTLED = "tsad", "tsad, settled"
COMPARED = {"vus_pr_100": "VUS-PR", "average_precision": "average precision", "event_f1": "event F1 at its threshold"}
"""The figures that contestants are held against each other by."""
Key = tuple[str, str]
Values = Mapping[Key, float]
"""One figure of series by folder and name."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over folders, and between what it lies."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Ours less the other's on the `series` that both have; `p` of the signed-rank test, 1 where all are equal."""

    mean: Interval
    p: float
    won: int
    lost: int
    series: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One contestant and one figure: its mean by folder and over folders, and how ours stand against it."""

    name: str
    ahead: str
    folders: dict[str, float]
    mean: Interval
    against: dict[str, Difference]

    def figures(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


class Contest:
    """An evaluation and those of the baselines on the same series; `sides` are the standings by figure."""

    def __init__(self, ours: Evaluation, peers: Mapping[str, Evaluation]) -> None:
        self.ours = ours
        self.peers = peers
        sides = {figure: compare(ours, peers, figure) for figure in COMPARED if peers}
        self.sides = {figure: standings for figure, standings in sides.items() if standings}

    @property
    def ended(self) -> bool:
        """Whether every series was evaluated by all."""
        return all(one.ended for one in (self.ours, *self.peers.values()))

    def figures(self) -> dict[str, object]:
        """Everything, as plain values."""
        found = self.ours.figures()
        if self.peers:
            found["baselines"] = {name: one.figures() for name, one in self.peers.items()}
            found["side_by_side"] = {name: [one.figures() for one in side] for name, side in self.sides.items()}
        return found


def compare(ours: Evaluation, peers: Mapping[str, Evaluation], figure: str) -> list[Standing]:
    """Ours first (immediate, then settled), then the baselines by falling mean; those that lack the figure are left
    out."""
    own = {OURS: values_of(ours, figure), SETTLED: values_of(ours, f"settled_{figure}")}
    own = {name: values for name, values in own.items() if values}
    theirs = {name: values for name, found in peers.items() if (values := values_of(found, figure))}
    others = [_standing(name, values, own) for name, values in theirs.items()]
    return [_standing(name, values, {}) for name, values in own.items()] + sorted(others, key=lambda o: -o.mean.mean)


def _standing(name: str, values: Values, own: Mapping[str, Values]) -> Standing:
    against = {ours: difference(mine, values) for ours, mine in own.items()}
    apart = {ours: found for ours, found in against.items() if found is not None}
    return Standing(name, ahead_of(name), _by_folder(values), interval(values), apart)


def values_of(found: Evaluation, figure: str) -> dict[Key, float]:
    """The series that have the figure."""
    known = (((one.folder, one.series), one.figures.get(figure)) for one in found.measured)
    return {key: value for key, value in known if value is not None}


def ahead_of(name: str) -> str:
    """How far a contestant looks ahead, in words."""
    if name == SETTLED:
        return "settling"
    ahead = BASELINES[name].ahead if name in BASELINES else 0
    return "whole file" if ahead is None else f"{ahead} rows" if ahead else "no"


def interval(values: Values) -> Interval:
    """The mean over folders, and its percentiles over resamples; at least one series."""
    means = _resampled(values)
    low, high = np.percentile(means, [50 - LEVEL / 2, 50 + LEVEL / 2])
    return Interval(_mean(values), float(low), float(high))


def difference(ours: Values, theirs: Values) -> Difference | None:
    """Paired by series; None where they share none."""
    from scipy.stats import wilcoxon

    paired = {key: ours[key] - theirs[key] for key in sorted(ours.keys() & theirs.keys())}
    if not paired:
        return None
    apart = np.array(list(paired.values()))
    p = float(wilcoxon(apart).pvalue) if apart.any() else 1.0
    return Difference(interval(paired), p, int((apart > 0).sum()), int((apart < 0).sum()), len(apart))


def _resampled(values: Values) -> Doubles:
    """The mean over folders in each resample."""
    rng, folders = np.random.default_rng(SEED), _grouped(values)
    means = []
    for group in folders.values():
        drawn = rng.integers(0, len(group), (RESAMPLES, len(group)))
        means.append(np.asarray(group)[drawn].mean(axis=1))
    over: Doubles = np.mean(means, axis=0)
    return over


def _grouped(values: Values) -> dict[str, Sequence[float]]:
    folders: dict[str, list[float]] = {}
    for (folder, _), value in sorted(values.items()):
        folders.setdefault(folder, []).append(value)
    return dict(folders)


def _by_folder(values: Values) -> dict[str, float]:
    return {folder: float(np.mean(group)) for folder, group in _grouped(values).items()}


def _mean(values: Values) -> float:
    return float(np.mean(list(_by_folder(values).values())))
