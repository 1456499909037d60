"""Calibration of slots with few entities, window by window in plain floats: what `Calibrator.judge` does, bit for bit.

Where one entity streams, a poll holds hundreds of slots of one window each, and a slot's thirty calls of numpy cost
fifteen times as much as the numbers. Transcendental functions are numpy's here, too: the C library's have other bits.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from detectors.calibration import (
    COMMON,
    DEAF,
    FAR,
    FEWEST_LOGARITHM,
    LEARNT,
    LOWEST_DRIFT,
    SLACK,
    SMALLEST,
    Calibrator,
)
from detectors.fusion import Doubles
from streaming.types import Codes, Floats

_FEW = 16
"""Entities of a slot up to which the loop is the faster one."""
_MOST_WINDOWS = 1 << 24
"""So far float32 counts."""


@dataclass(slots=True)
class _Entity:
    """What was learnt of one entity (the fields of `Calibrator`); `factor` = e^-drift."""

    drift: float
    windows: float
    cluster: int
    length: int
    level: float
    factor: float = 0.0

    def __post_init__(self) -> None:
        self.factor = float(np.exp(-self.drift))


def judge_slots(
    calibrator: Calibrator, entities: Codes, x: Floats, slots: Sequence[slice], learn: bool
) -> tuple[Doubles, Floats]:
    """P(X > x) for the numbers x (B) of `entities` (B) by `slots`, and `calibrator.confidence` (B) before each slot:
    each slot is judged by what was learnt up to the slot before it, then learnt from."""
    if not learn or calibrator.learning.mode == "frozen":
        return calibrator.judge(entities, x, learn=False), calibrator.confidence(entities)
    if len(x) <= _FEW * len(slots):
        return _OneByOne(calibrator).judge(entities, x)
    p, confidence = np.empty(len(x)), np.empty(len(x), np.float32)
    for part in slots:
        confidence[part] = calibrator.confidence(entities[part])
        p[part] = calibrator.judge(entities[part], x[part])
    return p, confidence


class _OneByOne:
    """Judges and learns for `calibrator`."""

    def __init__(self, calibrator: Calibrator) -> None:
        tail, learning = calibrator.tail, calibrator.learning
        self._calibrator, self._tail, self._learning = calibrator, tail, learning
        self._inner, self._bins = tail.plain()
        self._common = max(2 * learning.alpha, COMMON)
        self._log_alpha = float(np.log(learning.alpha))

    def judge(self, entities: Codes, x: Floats) -> tuple[Doubles, Floats]:
        """`judge_slots`; NaN stays NaN, and teaches nothing."""
        own = self._calibrator.reached(entities)
        p, windows = np.full(len(x), np.nan), np.empty(len(x), np.float32)
        met: dict[int, _Entity] = {}
        for place, (code, number) in enumerate(zip(entities.tolist(), x.tolist(), strict=True)):
            entity = met.get(code)
            if entity is None:
                entity = met[code] = _Entity(*(own[name].item(code) for name in LEARNT))
            windows[place] = entity.windows
            if not isnan(number):
                level = entity.factor * number
                p[place] = rare = self._probability(level)
                self._learn(entity, level, rare)
        for code, entity in met.items():
            for name in LEARNT:
                own[name][code] = getattr(entity, name)
        return p, self._calibrator.trust(windows)

    def _probability(self, level: float) -> float:
        tail = self._tail
        start, width, low, rise = self._bins[bisect_right(self._inner, level)]
        p = low + rise * min((level - start) / width, 1.0)
        if level > tail.threshold:
            power = min(float(np.log(level / tail.threshold)) * tail.shape, 700.0)
            rare = float(np.expm1(power)) / tail.shape / tail.scale
            p *= float(np.exp(-(2 * FAR - FAR * FAR / rare if rare > FAR else rare)))
        return max(p, SMALLEST)

    def _learn(self, entity: _Entity, level: float, p: float) -> None:
        learning = self._learning
        wanted = SLACK * self._common if entity.drift >= 0 else self._common
        step = -learning.rate * wanted
        if p < self._common:
            score = float(np.log(p)) / self._log_alpha
            step = learning.rate * ((1 - wanted) * min(max((DEAF - score) / (DEAF - 1), 0.0), 1.0))
        flagged = p < learning.alpha
        if flagged or entity.cluster > 0:
            accepted = self._cluster(entity, level, flagged)
            step = step if accepted is None else accepted
        if entity.windows < _MOST_WINDOWS:
            entity.windows += 1
        drift = float(np.float32(max(entity.drift + step, LOWEST_DRIFT)))
        if drift != entity.drift:
            entity.drift, entity.factor = drift, float(np.exp(-drift))

    def _cluster(self, entity: _Entity, level: float, flagged: bool) -> float | None:
        """Go on with a cluster: the step that makes it the new normal, None where it is not accepted."""
        left = self._learning.gap if flagged else max(entity.cluster - 1, 0)
        length, total = 0, 0.0
        if left:
            goes_on = entity.cluster > 0
            length = entity.length + 1 if goes_on else 1
            total = float(np.log(max(level / self._tail.threshold, FEWEST_LOGARITHM)))
            total = (entity.level if goes_on else 0.0) + total
        if length >= self._learning.accept:
            entity.cluster, entity.length, entity.level = 0, 0, 0.0
            return max(total / max(length, 1), 0.0)
        entity.cluster, entity.length, entity.level = left, length, float(np.float32(total))
        return None
