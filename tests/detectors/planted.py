"""Correlated telemetry, a small real ensemble over it, and windows with one planted channel: what explanations are
tested on."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from detectors.inject import Kind, noise, plant
from detectors.subspace import Subspace
from streaming.types import Windows

SLOTS = 40
ENTITY = "host-1"


def telemetry(channels: int, rows: int, seed: int) -> np.ndarray:
    """Rows x channels: a few oscillations and slow drifts, mixed, with each channel's own autocorrelated noise."""
    rng = np.random.default_rng(seed)
    factors = max(2, channels // 6)
    time = np.arange(rows)[:, None]
    period = np.exp(rng.uniform(np.log(12), np.log(40), factors))
    drift, own = np.zeros((rows, factors)), np.zeros((rows, channels))
    shocks, noises = rng.standard_normal((rows, factors)), rng.standard_normal((rows, channels))
    for row in range(1, rows):
        drift[row] = 0.95 * drift[row - 1] + 0.2 * shocks[row]
        own[row] = 0.5 * own[row - 1] + noises[row]
    hidden = np.sin(2 * np.pi * time / period + rng.uniform(0, 6, factors)) + 0.6 * drift
    mixing = rng.standard_normal((factors, channels)) * (rng.random((factors, channels)) < 0.3)
    mixing[rng.integers(0, factors, channels), np.arange(channels)] += rng.choice([-1.5, 1.5], channels)
    mixed = hidden @ mixing
    return mixed / mixed.std(axis=0) + rng.uniform(0.1, 0.25, channels) * own / own.std(axis=0)


def cut(values: np.ndarray, ends: np.ndarray) -> Windows:
    """The windows of one entity that end at `ends`."""
    stacked = np.stack([values[end - SLOTS + 1 : end + 1] for end in ends]).astype(np.float32)
    names = [f"c{k}" for k in range(values.shape[1])]
    return Windows(np.zeros(len(ends), np.int32), np.asarray(ends, np.int64), stacked, names, [ENTITY])


class Pair:
    """Two subspace detectors of different length, fused by a power mean (p = 3) over their validation quantiles."""

    def __init__(self, windows: Windows) -> None:
        fit, check = windows.take(slice(0, None, 2)), windows.take(slice(1, None, 2))
        self.parts = [Subspace(slots=10), Subspace(slots=SLOTS, rank=40)]
        for part in self.parts:
            part.fit(fit)
        self.scales = [float(np.quantile(part.score(check).values, 0.98)) for part in self.parts]

    def ratios(self, windows: Windows) -> np.ndarray:
        scores = [part.score(windows).values for part in self.parts]
        return np.stack([score / scale for score, scale in zip(scores, self.scales, strict=True)])

    def __call__(self, windows: Windows) -> np.ndarray:
        return np.mean(self.ratios(windows).astype(np.float64) ** 3, axis=0) ** (1 / 3)

    def shares(self, windows: Windows) -> np.ndarray:
        weights = self.ratios(windows) ** 3
        shares = np.stack([part.score(windows).shares for part in self.parts])
        summed = (weights[:, :, None] * shares).sum(axis=0)
        return (summed / summed.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass
class Setting:
    """What an explainer is fitted and judged on: windows of training and, later, of the test."""

    train: Windows
    background: Windows
    later: Windows
    score: Pair
    sigma: np.ndarray

    def planted(self, kind: Kind, size: float, length: int, count: int = 200) -> tuple[Windows, np.ndarray]:
        """`count` random later windows with an anomaly in one random channel each, and those channels."""
        rng = np.random.default_rng(5)
        windows = self.later.take(rng.permutation(len(self.later))[:count])
        channel = rng.integers(0, len(self.sigma), count)
        at = np.arange(len(self.sigma)) == channel[:, None]
        sizes, lengths = np.full(count, size, np.float32), np.full(count, length)
        return plant(windows, at, kind, sizes=sizes, lengths=lengths, sigma=self.sigma, rng=rng), channel


@cache
def setting(channels: int, seed: int = 0, rows: int = 4000) -> Setting:
    """Scaled as the stream is: training minimum-maximum to [0, 1], clipped to [-4, 4]."""
    raw, split = telemetry(channels, rows, seed), rows * 3 // 4
    low, high = raw[:split].min(axis=0), raw[:split].max(axis=0)
    values = np.clip((raw - low) / (high - low), -4, 4)
    train = cut(values, np.arange(SLOTS - 1, split))
    background = train.take(np.sort(np.random.default_rng(seed).choice(len(train), 256, replace=False)))
    return Setting(train, background, cut(values, np.arange(split + SLOTS, rows)), Pair(train), noise(train))
