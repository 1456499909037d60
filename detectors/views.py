"""Metrics and log lines, each looked at by detectors of their own, and one number out of both.

Counts of lines are noise of another kind than metrics: most templates come rarely, and twenty such columns beside ten
metrics hide what the metrics do (measured: of 28 faults that metrics alone find, 6 were left). So where a stream has
both, a detector with window memory is fitted twice, on either, and the surprise of each view counts, -log of its
tail probability: the greater one decides. That number has one calibrated tail, as any fused number has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Tail
from detectors.types import Detector, Memory, Scores
from streaming.logfeatures import is_log_feature
from streaming.types import Codes, Floats, State, Windows

VIEW = "view"
"""The option of a detector that says which channels it sees."""
METRICS, LINES = "metrics", "logs"
EVERYTHING = ""
COVERED = 0.5
"""Part of the rows, of entities that write lines, that must have some for a view of their own: of fewer no tail is
known."""
Combine = Callable[[NDArray[np.bool_]], Floats]
"""The number (B) of some of the detectors (D)."""


def in_views(
    detectors: Mapping[str, dict[str, Any]], features: Sequence[str], load: Callable[[str], type[Detector]]
) -> dict[str, dict[str, Any]]:
    """The detectors of a stream with such features: one of each view, where there are metrics and lines."""
    if len({is_log_feature(name) for name in features}) < 2:
        return dict(detectors)
    found: dict[str, dict[str, Any]] = {}
    for name, options in detectors.items():
        kind = load(name)
        if kind.memory != "window" or getattr(kind, "evidence", False) or VIEW in options:
            found[name] = options
            continue
        found |= {name: options | {VIEW: METRICS}, f"{name}-{LINES}": options | {VIEW: LINES}}
    return found


def covered(codes: Codes, values: Floats, features: Sequence[str]) -> bool:
    """Whether there are counts of lines in enough of N rows (N x F, NaN = not covered) of the entities that write any
    (`codes`, N): what never writes says nothing about how seldom lines are there."""
    lines = [place for place, name in enumerate(features) if is_log_feature(name)]
    there: NDArray[np.bool_] = np.asarray(~np.isnan(values[:, lines]).all(axis=1))
    writing = np.isin(codes, codes[there])
    return bool(there.any()) and float(there[writing].mean()) >= COVERED


class Viewed:
    """A detector with window memory that sees the channels of one view; without any it has no opinion."""

    name: ClassVar[str] = "viewed"
    memory: ClassVar[Memory] = "window"

    def __init__(self, detector: Detector, view: str) -> None:
        if view not in (METRICS, LINES):
            raise ValueError(f"view must be {METRICS!r} or {LINES!r}, got {view!r}")
        self._detector, self._lines = detector, view == LINES
        for said in ("span", "look_ahead", "evidence", "whole"):
            if hasattr(detector, said):
                setattr(self, said, getattr(detector, said))

    def fit(self, windows: Windows) -> None:
        """Fit the detector on the view's channels."""
        self._detector.fit(self._seen(windows)[0])

    def score(self, windows: Windows) -> Scores:
        """What the detector says; the other channels have no share in it."""
        seen, at = self._seen(windows)
        if not len(at):
            nothing = np.full(len(windows), np.nan, np.float32)
            return Scores(nothing, np.zeros((len(windows), len(windows.features)), np.float32))
        said = self._detector.score(seen)
        shares = np.zeros((len(windows), len(windows.features)), np.float32)
        shares[:, at] = said.shares
        return Scores(said.values, shares)

    def state(self) -> State:
        """The detector's."""
        return self._detector.state()

    def restore(self, state: State) -> None:
        """Likewise."""
        self._detector.restore(state)

    def _seen(self, windows: Windows) -> tuple[Windows, NDArray[np.int64]]:
        at = np.flatnonzero([is_log_feature(name) == self._lines for name in windows.features])
        names = [windows.features[place] for place in at.tolist()]
        values = np.ascontiguousarray(windows.values[:, :, at])
        return Windows(windows.entities, windows.ends, values, names, windows.names), at


@dataclass(frozen=True, slots=True)
class Views:
    """Which view each of D detectors has; those that are `evidence` only (D) serve every view."""

    of: tuple[str, ...]
    evidence: NDArray[np.bool_]
    members: list[NDArray[np.bool_]] = field(init=False)
    """The detectors of each view (D), in order of appearance; one view where all see everything."""

    def __post_init__(self) -> None:
        told = [view for view, quiet in zip(self.of, self.evidence, strict=True) if not quiet or len(self.of) == 1]
        each = [np.array([view == one for view in self.of]) | self.evidence for one in dict.fromkeys(told)]
        object.__setattr__(self, "members", each if len(each) > 1 else [np.ones(len(self.of), np.bool_)])

    @classmethod
    def told(cls, detectors: Mapping[str, Mapping[str, Any]], names: Sequence[str], evidence: Any) -> "Views":
        """From the options of the detectors called `names`."""
        return cls(tuple(detectors.get(name, {}).get(VIEW, EVERYTHING) for name in names), evidence)

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.members) > 1

    def numbers(self, combine: Combine) -> list[Floats]:
        """What `combine` makes of the detectors of each view."""
        return [combine(members) for members in self.members]


def surprise(numbers: Sequence[Floats], tails: Sequence[Tail]) -> Floats:
    """The greatest surprise (B) of several views' numbers by their `tails`; the number itself where there is one view.
    NaN where no view has an opinion."""
    if len(numbers) == 1:
        return numbers[0]
    each = [-np.log(tail.probability(number)) for number, tail in zip(numbers, tails, strict=True)]
    greatest: Floats = np.fmax.reduce(each).astype(np.float32)
    return greatest
