"""The space in which training windows lie: mean and principal components, and what a window with gaps is in it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from detectors.blocks import has_gaps
from detectors.products import product
from streaming.types import Floats, Ints, State

_IMPUTATIONS = 3
_STILL = 1e-8
"""Variance below which a direction does not move, in squared training ranges."""
_NOTHING = 1e-9
_CHUNK = 2048
_ENOUGH = 8192
"""Windows from which a space is learnt: their products cost more than all else of a fit."""


@dataclass(frozen=True, slots=True)
class Space:
    """`mean` (S x F) of the windows' S slots, and an orthonormal `basis` ((S F) x R) of the directions that matter.

    All methods treat rows independently; products need blocks of one size (`detectors.blocks`).
    """

    mean: Floats
    basis: Floats
    back: Floats = field(init=False, repr=False)
    """The basis turned round, which a product reads in order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "back", np.ascontiguousarray(self.basis.T))

    @classmethod
    def fit(cls, windows: Floats, variance: float, rank: int, among: Ints | None = None) -> "Space":
        """From B >= 1 windows (B x S x F, NaN = missing): the components that hold `variance`, at most `rank`.

        Directions without variance say nothing, and few windows span their own space exactly: five a component. Of
        many windows an even part is read. `among`: the places of the windows that count (None: all do).
        """
        among = np.arange(len(windows)) if among is None else among
        windows = windows[among[np.linspace(0, len(among) - 1, min(len(among), _ENOUGH)).astype(np.int64)]]
        n, slots, channels = windows.shape
        total, count = np.zeros((slots, channels)), np.zeros((slots, channels))
        for start in range(0, n, _CHUNK):
            part = windows[start : start + _CHUNK]
            present = ~np.isnan(part)
            total += np.where(present, part, np.float32(0)).sum(axis=0, dtype=np.float64)
            count += present.sum(axis=0)
        mean = (total / np.maximum(count, 1)).astype(np.float32)
        gram = np.zeros((slots * channels, slots * channels))
        for start in range(0, n, _CHUNK):
            centred = np.nan_to_num(windows[start : start + _CHUNK] - mean).reshape(-1, slots * channels)
            gram += centred.T @ centred
        total_variance = float(np.trace(gram))
        size = len(gram)
        values, vectors = eigh(gram, subset_by_index=(max(size - rank, 0), size - 1), overwrite_a=True, driver="evr")
        share = np.cumsum(values[::-1]) / max(total_variance, np.finfo(np.float64).tiny)
        kept = min(int(np.searchsorted(share, variance)) + 1, rank, int((values > n * _STILL).sum()), n // 5)
        basis = np.ascontiguousarray(vectors[:, ::-1][:, :kept], dtype=np.float32)
        # What a channel that does not move leaves in a basis is smaller than a normal number: a hundred times as slow.
        basis[np.abs(basis) < _NOTHING] = 0
        return cls(mean, basis)

    @classmethod
    def none(cls) -> "Space":
        """Of nothing: unfitted."""
        return cls(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))

    def state(self) -> State:
        """As plain arrays."""
        return State({"mean": self.mean, "basis": self.basis})

    @classmethod
    def restore(cls, state: State) -> "Space":
        """The inverse of `state`."""
        return cls(state.arrays["mean"], state.arrays["basis"])

    @property
    def slots(self) -> int:
        """S; 0 where nothing was fitted."""
        return len(self.mean)

    def centred(self, windows: Floats) -> tuple[Floats, NDArray[np.bool_] | None]:
        """B x S x F `windows`, overwritten, as B x (S F) around the mean, and what was missing (None: nothing).

        What is missing is filled by the projection itself, a few times over.
        """
        windows -= self.mean
        flat = windows.reshape(len(windows), -1)
        missing = np.isnan(flat) if has_gaps(flat) else None
        self.fill(flat, missing)
        return flat, missing

    def fill(self, flat: Floats, missing: NDArray[np.bool_] | None) -> None:
        """Put into B x (S F) what was `missing`."""
        if missing is not None:
            flat[missing] = 0
            for _ in range(_IMPUTATIONS):
                np.copyto(flat, self.projected(flat), where=missing)

    def inside(self, flat: Floats) -> Floats:
        """B x R coordinates of centred windows."""
        return product(flat, self.basis)

    def projected(self, flat: Floats) -> Floats:
        """B x (S F): the nearest place in the space."""
        return product(self.inside(flat), self.back)
