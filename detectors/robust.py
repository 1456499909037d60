"""Means and medians that skip missing values: no warnings, and the same bits for a window alone and in a crowd."""

import numpy as np
from numpy.typing import NDArray

from streaming.types import Floats


def mean(values: Floats, axis: int) -> Floats:
    """The mean of what is there along `axis`; NaN where nothing is."""
    missing = np.isnan(values)
    if not missing.any():
        whole: Floats = values.mean(axis=axis, dtype=np.float32)
        return whole
    total = np.where(missing, np.float32(0), values).sum(axis=axis)
    return _over(total, (~missing).sum(axis=axis))


def median(values: Floats, axis: int) -> Floats:
    """The median of what is there along `axis`; NaN where nothing is."""
    if not values.shape[axis]:
        return np.full(np.delete(values.shape, axis), np.nan, np.float32)
    if not np.isnan(values).any():
        return np.median(values, axis=axis).astype(np.float32)
    ordered = np.sort(values, axis=axis)  # NaN last
    count = np.expand_dims((~np.isnan(values)).sum(axis=axis), axis)
    low, high = (np.take_along_axis(ordered, middle, axis) for middle in (np.maximum(count - 1, 0) // 2, count // 2))
    both = (low + high) / np.float32(2)
    return np.where(count > 0, both, np.float32(np.nan)).squeeze(axis).astype(np.float32)


def spread(values: Floats, axis: int) -> Floats:
    """The standard deviation of what is there along `axis`; NaN where nothing is."""
    return np.sqrt(mean(np.square(values - np.expand_dims(mean(values, axis), axis)), axis))


def _over(total: Floats, count: NDArray[np.int64]) -> Floats:
    found = total / np.maximum(count, 1)
    return np.where(count > 0, found, np.nan).astype(np.float32)
