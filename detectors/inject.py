"""Seeded anomalies planted into windows: what the surrogate learns from and what tests are made with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from detectors.robust import median
from detectors.scaling import LIMIT
from streaming.types import Floats, Ints, Windows

Kind = Literal["spike", "shift", "flat", "noise", "decorrelate", "trend"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Injected:
    """B windows with one or more channels changed.

    `channels` B x F says which; `kinds` (B) index `KINDS`; `sizes` (B) are multiples of the channel's noise (a flat
    line and a broken correlation have no size: theirs is what the window makes of it); `lengths` (B) are the newest
    slots that were changed.
    """

    windows: Windows
    channels: NDArray[np.bool_]
    kinds: Ints
    sizes: Floats
    lengths: Ints


def noise(windows: Windows, floor: float = 1e-2) -> Floats:
    """Each channel's own noise (F): 1.4826 x the median distance from the window's own median, at least `floor`.

    In scaled units, so the floor is a hundredth of the training range: a constant channel has one too.
    """
    values = windows.values
    centred = (values - median(values, 1)[:, None, :]).reshape(-1, values.shape[2])
    sigma: Floats = np.maximum(np.nan_to_num(1.4826 * median(np.abs(centred), 0)), floor)
    return sigma.astype(np.float32)


def plant(
    windows: Windows,
    channels: NDArray[np.bool_],
    kind: Kind,
    *,
    sizes: Floats,
    lengths: Ints,
    sigma: Floats,
    rng: np.random.Generator,
) -> Windows:
    """The windows with `kind` planted in `channels` (B x F) over the newest `lengths` (B) slots of each.

    `sizes` (B) are signed multiples of `sigma` (F). Missing values stay missing; results are clipped to the scaled
    range. The input is left alone.
    """
    slots = windows.values.shape[1]
    age = np.arange(slots - 1, -1, -1)
    recent = age[None, :] < lengths[:, None]
    height = sizes[:, None, None] * sigma
    changed = _SHAPES[kind](windows.values, recent, height, rng)
    mask = recent[:, :, None] & channels[:, None, :]
    values = np.where(mask, np.clip(changed, -LIMIT, LIMIT), windows.values).astype(np.float32)
    return replace(windows, values=values)


def inject(
    windows: Windows, sigma: Floats, seed: int, kinds: Sequence[Kind] = KINDS, sizes: tuple[float, float] = (1.0, 32.0)
) -> Injected:
    """One random anomaly in each window: kind, sign, size and length (1 to T; both log-uniform) and channels.

    Most are in one channel; a third spread to more (geometric), as incidents do.
    """
    rng = np.random.default_rng(seed)
    b, slots, f = windows.values.shape
    kind = rng.integers(0, len(kinds), b)
    size = np.exp(rng.uniform(np.log(sizes[0]), np.log(sizes[1]), b)) * rng.choice([-1.0, 1.0], b)
    length = np.ceil(np.exp(rng.uniform(0.0, np.log(max(slots, 1)), b))).astype(np.int64)
    count = np.minimum(rng.geometric(2 / 3, b), f)
    channels = rng.random((b, f)).argsort(axis=1).argsort(axis=1) < count[:, None]
    values = windows.values.copy()
    for code, name in enumerate(kinds):
        at = np.flatnonzero(kind == code)
        planted = plant(
            windows.take(at), channels[at], name,
            sizes=size[at].astype(np.float32), lengths=length[at], sigma=sigma, rng=rng,
        )  # fmt: skip
        values[at] = planted.values
    codes = np.array([KINDS.index(name) for name in kinds], np.int64)[kind]
    return Injected(replace(windows, values=values), channels, codes, size.astype(np.float32), length)


Shape = Callable[[Floats, NDArray[np.bool_], Floats, np.random.Generator], Floats]


def _spike(values: Floats, recent: NDArray[np.bool_], height: Floats, _: np.random.Generator) -> Floats:
    """One slot only: the newest."""
    newest = np.arange(values.shape[1]) == values.shape[1] - 1
    return np.where((recent & newest)[:, :, None], values + height, values)


def _shift(values: Floats, _: NDArray[np.bool_], height: Floats, __: np.random.Generator) -> Floats:
    return values + height


def _flat(values: Floats, recent: NDArray[np.bool_], _: Floats, __: np.random.Generator) -> Floats:
    """The sensor sticks at what it said when the stretch began."""
    first = values.shape[1] - recent.sum(axis=1)
    stuck = np.take_along_axis(values, first[:, None, None].clip(0, values.shape[1] - 1), axis=1)
    return np.broadcast_to(stuck, values.shape)


def _noise(values: Floats, _: NDArray[np.bool_], height: Floats, rng: np.random.Generator) -> Floats:
    noisy: Floats = values + height * rng.standard_normal(values.shape, np.float32)
    return noisy


def _decorrelate(values: Floats, _: NDArray[np.bool_], __: Floats, rng: np.random.Generator) -> Floats:
    """The same channel from another time: another window's, read backwards, so that peers no longer agree."""
    if len(values) < 2:
        return values[:, ::-1]
    other = (np.arange(len(values)) + rng.integers(1, len(values), len(values))) % len(values)
    return values[other, ::-1]


def _trend(values: Floats, recent: NDArray[np.bool_], height: Floats, _: np.random.Generator) -> Floats:
    """A ramp that reaches the full height at the newest slot."""
    ramp = recent.cumsum(axis=1) / np.maximum(recent.sum(axis=1, keepdims=True), 1)
    risen: Floats = values + height * ramp[:, :, None].astype(np.float32)
    return risen


_SHAPES: dict[Kind, Shape] = {
    "spike": _spike,
    "shift": _shift,
    "flat": _flat,
    "noise": _noise,
    "decorrelate": _decorrelate,
    "trend": _trend,
}
