"""What each part of the ensemble is worth: the detectors' own ratios, as score files keep them, fused in other ways."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.ensemble import build, evidence_only, look_aheads
from detectors.fusion import decisive, power_mean, settled_mean
from detectors.registry import load
from streaming.types import Floats, Ints
from tsad.config import StreamConfig
from tsad.detection import ensemble_settings
from tsad.evaluation.ranked import Ranked
from tsad.evaluation.running import Scored
from tsad.evaluation.vus import volume

AS_IT_IS = "as it is"
LOOK_AHEADS = (1, 3, 10, 20, 40)
_BLOCK = 2000
"""Rows that are settled at a time."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The ratios M x D of a series' rows by `names`; which are `evidence` only, and how far each looks `ahead` (D)."""

    names: tuple[str, ...]
    ratios: Floats
    evidence: NDArray[np.bool_]
    ahead: Ints

    @classmethod
    def of(cls, scored: Scored, config: StreamConfig) -> "Parts":
        """What was scored by a stream so configured."""
        told = ensemble_settings(config)
        settings = replace(told, detectors=told.detectors | (told.few_channels or {}))
        unfitted = {name: build(name, settings, "stream", load) for name in scored.detectors}
        return cls(scored.detectors, scored.ratios, evidence_only(unfitted), look_aheads(unfitted, settings.settle))

    def only(self, kept: Sequence[bool]) -> "Parts":
        """Those of the detectors (D) that are kept."""
        chosen = np.flatnonzero(kept)
        names = tuple(self.names[place] for place in chosen)
        return Parts(names, self.ratios[:, chosen], self.evidence[chosen], self.ahead[chosen])

    def settled(self) -> Floats:
        """M x D: the mean of each row's ratios and those after it, at the end over what is left."""
        reach = int(self.ahead.max())
        rows, count = self.ratios.shape
        padded = np.concatenate([self.ratios, np.full((reach - 1, count), np.nan, np.float32)])
        stretches = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=0)  # M x D x S
        parts = [stretches[start : start + _BLOCK].transpose(2, 1, 0) for start in range(0, rows, _BLOCK)]
        return np.concatenate([settled_mean(part, self.ahead) for part in parts], axis=1).T


def variants(parts: Parts) -> Iterator[tuple[str, Floats, Floats]]:
    """Each way to fuse: what it is called, its immediate and its settled numbers (M each)."""
    decide = ~parts.evidence
    for name, chosen, how in _choices(parts, decide):
        yield name, *(_fused(chosen, ratios, how) for ratios in (chosen.ratios, chosen.settled()))
    immediate = _fused(parts, parts.ratios, "power")
    for slots in LOOK_AHEADS:
        other = Parts(parts.names, parts.ratios, parts.evidence, np.full_like(parts.ahead, slots))
        yield f"settled over {slots} throughout", immediate, _fused(other, other.settled(), "power")


def _choices(parts: Parts, decide: NDArray[np.bool_]) -> Iterator[tuple[str, Parts, str]]:
    yield AS_IT_IS, parts, "power"
    everyone = Parts(parts.names, parts.ratios, np.zeros_like(parts.evidence), parts.ahead)
    yield "evidence decides too", everyone, "power"
    for how in ("mean", "maximum"):
        yield f"{how} in place of the power mean", parts, how
    for place in np.flatnonzero(decide):
        apart = np.arange(len(decide)) == place
        yield f"without {parts.names[place]}", parts.only(~apart), "power"
        yield f"{parts.names[place]} alone", parts.only(apart), "power"


def _fused(parts: Parts, ratios: Floats, how: str) -> Floats:
    counted = decisive(np.ascontiguousarray(ratios.T), parts.evidence)
    if how == "power":
        return np.nan_to_num(power_mean(counted))
    silent = np.isnan(counted).all(axis=0)
    counted[:, silent] = 0
    fused: Floats = np.nanmean(counted, axis=0) if how == "mean" else np.nanmax(counted, axis=0)
    return fused


def ablated(scored: Scored, labels: NDArray[np.bool_], config: StreamConfig) -> dict[str, dict[str, float]]:
    """VUS-PR (buffer 100) and average precision of each variant, immediate and settled."""
    return {
        name: _figures(labels, immediate, "") | _figures(labels, settled, "settled_")
        for name, immediate, settled in variants(Parts.of(scored, config))
    }


def _figures(labels: NDArray[np.bool_], scores: Floats, start: str) -> dict[str, float]:
    values = scores.astype(np.float64)
    precision = Ranked(labels, values).average_precision
    return {f"{start}vus_pr_100": volume(labels, values, 100).pr, f"{start}average_precision": precision}
