"""A small fleet of hosts with correlated channels, cut into windows: what the detectors' tests stand on."""

from collections.abc import Sequence

import numpy as np

from streaming.types import Windows

FEATURES = ("cpu", "load", "memory", "network", "disk", "idle")
"""cpu and load move together, network and disk too; memory is alone; idle never moves."""


def fleet(hosts: int, slots: int, seed: int = 0) -> np.ndarray:
    """Hosts x slots x 6 values in about [0, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(slots)
    phase = rng.uniform(0, 6, (hosts, 1))
    shocks = rng.standard_normal((3, hosts, slots))
    work = 0.5 + 0.2 * np.sin(2 * np.pi * time / 48 + phase) + 0.04 * shocks[0]
    traffic = 0.4 + 0.2 * np.cos(2 * np.pi * time / 30 + phase) + 0.04 * shocks[1]
    memory = 0.5 + 0.05 * shocks[2]
    noise = 0.008 * rng.standard_normal((4, hosts, slots))
    channels = [work + noise[0], 0.9 * work + noise[1], memory, traffic + noise[2], 1.1 * traffic + noise[3]]
    return np.stack([*channels, np.full((hosts, slots), 0.3)], axis=2).astype(np.float32)


def cut(values: np.ndarray, window: int, first: int = 0, names: Sequence[str] | None = None) -> Windows:
    """All windows of hosts x slots x F values that are complete, in stream order: by (end slot, host)."""
    hosts, slots, channels = values.shape
    ends = np.arange(window - 1, slots)
    stacked = np.lib.stride_tricks.sliding_window_view(values, window, axis=1)  # hosts x ends x F x T
    ordered = stacked.transpose(1, 0, 3, 2).reshape(-1, window, channels)
    return Windows(
        np.tile(np.arange(hosts, dtype=np.int32), len(ends)),
        np.repeat(ends, hosts).astype(np.int64) + first,
        np.ascontiguousarray(ordered),
        [*FEATURES, *(f"extra{index}" for index in range(channels))][:channels],
        list(names) if names else [f"host-{host}" for host in range(hosts)],
    )


def with_gaps(values: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """A copy with a `share` of the values missing."""
    holes = np.random.default_rng(seed).random(values.shape) < share
    return np.where(holes, np.float32(np.nan), values)
