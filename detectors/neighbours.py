"""Distance to the nearest windows of training: what resembles nothing that was there is strange."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors import robust
from detectors.blocks import BLOCK, in_blocks
from detectors.centring import centred_blocks, missing_of
from detectors.compiled import compiled
from detectors.options import count, flag, share
from detectors.products import product
from detectors.residuals import shares_of, usual_errors
from detectors.space import Space
from detectors.types import Memory, Scores, Some
from streaming.types import Floats, Ints, State, Windows

_VARIANCE = 0.999
_CANDIDATES = 2048
"""Windows, evenly spread, among which the prototypes are chosen."""
_ROUNDS = 10
_BLAMED = 10
"""Newest slots whose differences from the nearest prototype make the shares."""


class Neighbours:
    """Mean distance to the `nearest` prototypes of training windows, in the space that holds their variance.

    The newest `slots` slots (fewer where windows are shorter) of all F channels are one vector, projected to at most
    `components` principal components. Prototypes are at most `prototypes` training windows, evenly spread, or as many
    means of a k-means over them (`means`). Training data may hold anomalies: the `trim` of the windows that resemble no
    window of another time are no prototypes. `level=False` takes each channel's own mean off each window, so that only
    its shape counts. The score is a root mean square over slots and channels, in training ranges; a channel's share
    follows its difference from the nearest prototype over the newest slots. Missing values are filled by the
    projection; of a window of which less than half the slots are there it has no opinion. A channel never seen in
    training is left out. `look_ahead`: slots of a settled score, at most a window. `whole`: in the end the prototypes
    are drawn from all of training, not from the part before validation alone.
    """

    name: ClassVar[str] = "neighbours"
    memory: ClassVar[Memory] = "window"

    def __init__(
        self,
        *,
        slots: int = 10,
        nearest: int = 5,
        prototypes: int = 512,
        components: int = 64,
        means: bool = False,
        level: bool = True,
        trim: float = 0.05,
        look_ahead: int = 20,
        whole: bool = False,
        block: int = BLOCK,
    ) -> None:
        count(1, slots=slots, nearest=nearest, prototypes=prototypes, components=components)
        count(1, look_ahead=look_ahead, block=block)
        flag(means=means, level=level, whole=whole)
        share(trim=trim)
        self.slots, self.nearest, self.prototypes, self.components = slots, nearest, prototypes, components
        self.means, self.level, self.trim, self.whole, self.block = means, level, trim, whole, block
        self.look_ahead = min(slots, look_ahead)
        self._space = Space.none()
        self._bank: Floats = np.zeros((0, 0), dtype=np.float32)
        self._turned = self._bank
        self._norms: Floats = np.zeros(0, dtype=np.float32)
        self._usual: Floats = np.zeros(0, dtype=np.float32)
        self._seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return self.slots

    def fit(self, windows: Windows) -> None:
        """Learn space and prototypes from B >= 1 windows."""
        newest = self._levelled(windows.values[:, -self.slots :])
        self._seen = np.asarray((~np.isnan(newest)).any(axis=(0, 1)))
        self._space = Space.fit(newest, _VARIANCE, self.components)
        chosen = _spread(len(newest), _CANDIDATES)
        places = in_blocks(lambda rows: self._space.inside(self._space.centred(rows)[0]), newest[chosen], self.block)
        kept = _ordinary(places, windows.ends[chosen], 4 * newest.shape[1], self.nearest, self.trim)
        places = places[kept]
        start = places[_spread(len(places), self.prototypes)]
        self._bank = _means(places, start) if self.means else start
        self._turned, self._norms = np.ascontiguousarray(self._bank.T), np.square(self._bank).sum(axis=1)
        self._usual = usual_errors(np.sqrt(self._differences(newest[chosen], self._answers(newest[chosen])[:, 1])))

    def score(self, windows: Windows) -> Scores:
        """Root mean square distance; NaN where no known channel has a value."""
        if not self._space.slots:
            raise RuntimeError("neighbours is not fitted")
        newest = windows.values if self.level else self._levelled(windows.values[:, -self._space.slots :])
        answers = self._answers(newest)

        def shares(some: Some) -> Floats:
            weights = self._differences(newest[some], answers[some, 1]) / np.square(self._usual)
            present = ~np.isnan(weights)
            return shares_of(np.where(present, weights, np.float32(0)), present)

        return Scores(np.ascontiguousarray(answers[:, 0]), shares)

    def state(self) -> State:
        """Space, prototypes, usual differences; parameters."""
        arrays = {"bank": self._bank, "norms": self._norms, "usual": self._usual, "seen": self._seen}
        state = State(arrays, {key: getattr(self, key) for key in ("slots", "nearest", "level", "block")})
        state.put("space", self._space.state())
        return state

    def restore(self, state: State) -> None:
        """Become the detector that gave `state`."""
        for key in ("slots", "nearest", "level", "block"):
            setattr(self, key, state.meta[key])
        self._space = Space.restore(state.part("space"))
        self._bank, self._norms = state.arrays["bank"], np.array(state.arrays["norms"])
        self._turned = np.ascontiguousarray(self._bank.T)
        self._usual, self._seen = state.arrays["usual"], state.arrays["seen"]

    def _levelled(self, newest: Floats) -> Floats:
        return newest if self.level else newest - robust.mean(newest, axis=1)[:, None]

    def _answers(self, newest: Floats) -> Floats:
        """B x 2: the distance, and the place of the nearest prototype."""
        return centred_blocks(self._block_answers, newest, self._space.mean, self.block)

    def _block_answers(self, flat: Floats, squares: Floats) -> Floats:
        missing = missing_of(flat, squares)
        if missing is not None:
            # What was filled in counts too, so that a young entity's windows are measured as whole ones are.
            self._space.fill(flat, missing)
            squares = np.vecdot(flat, flat)
        answers = np.empty((len(flat), 2), np.float32)
        nearest = np.empty((len(flat), min(self.nearest, len(self._bank))), np.float32)
        _nearest(product(self._space.inside(flat), self._turned), self._norms, nearest, answers[:, 1])
        # A window's whole square, so that what lies outside the space counts; it is the same for all prototypes.
        nearest += squares[:, None]
        np.sqrt(np.maximum(nearest, 0, out=nearest), out=nearest)
        slots, seen = self._space.slots, max(int(self._seen.sum()), 1)
        answers[:, 0] = nearest.mean(axis=1) / np.sqrt(np.float32(slots * seen))
        if missing is not None:
            there = (~missing.reshape(len(flat), slots, -1) & self._seen).any(axis=2)
            # From less than half its slots the rest cannot be told: its distance would be that of the filling.
            answers[2 * there.sum(axis=1) < slots, 0] = np.nan
        return answers

    def _differences(self, newest: Floats, nearest: Floats) -> Floats:
        """B x F: each channel's mean squared difference from the prototype at `nearest` (B) over the newest slots (NaN
        where the channel is absent or was never seen)."""
        slots = min(_BLAMED, self._space.slots)
        back = self._space.back[:, -slots * newest.shape[2] :]
        prototypes = in_blocks(lambda rows: product(rows, back), self._bank[nearest.astype(np.int64)], self.block)
        parts = newest[:, -slots:] - self._space.mean[-slots:]
        parts -= prototypes.reshape(parts.shape)
        missing = np.isnan(parts)
        np.copyto(parts, np.float32(0), where=missing)
        squares: Floats = np.square(parts, out=parts).sum(axis=1) / np.float32(slots)
        present = ~np.isnan(newest[:, -self._space.slots :]).all(axis=1) & self._seen
        return np.where(present, squares, np.float32(np.nan))


def _spread(count: int, most: int) -> Ints:
    """At most `most` of the places 0 .. `count` - 1, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _ordinary(places: Floats, ends: Ints, apart: int, nearest: int, trim: float) -> NDArray[np.bool_]:
    """Which of N windows are near one of another time, `apart` slots away: all but the farthest `trim`.

    An anomaly resembles the slots before and after itself, and itself on other entities; what is normal comes again.
    """
    farness = np.full(len(places), np.nan, dtype=np.float32)
    norms = np.square(places).sum(axis=1)
    for start in range(0, len(places), BLOCK):
        part = slice(start, start + BLOCK)
        squares = norms[part, None] + norms - 2 * (places[part] @ places.T)
        squares[np.abs(ends[part, None] - ends) < apart] = np.inf
        farness[part] = np.partition(squares, min(nearest, len(places)) - 1, axis=1)[:, min(nearest, len(places)) - 1]
    known = np.isfinite(farness)
    if not known.any():
        return np.ones(len(places), dtype=np.bool_)
    return ~(farness > np.quantile(farness[known], 1 - trim)) | ~known


def _means(places: Floats, start: Floats) -> Floats:
    """Lloyd's k-means of N x R `places` from the K means `start`; one without members stays where it is."""
    means = start.copy()
    for _ in range(_ROUNDS):
        norms = np.square(means).sum(axis=1)
        member = (norms - 2 * (places @ means.T)).argmin(axis=1)
        count = np.bincount(member, minlength=len(means)).astype(np.float32)
        total = np.zeros_like(means)
        np.add.at(total, member, places)
        means = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], means)
    return means


@compiled("void(f4[:, ::1], f4[::1], f4[:, ::1], f4[:])")
def _nearest(products: Floats, norms: Floats, nearest: Floats, first: Floats) -> None:
    """The least of |prototype|^2 - 2 x product for each of the `products` (B x K), in rising order into `nearest`
    (B x n), and the place of the `first` (B)."""
    count = nearest.shape[1]
    for row in range(len(products)):
        found, product = nearest[row], products[row]
        found[:], first[row] = np.inf, 0
        for place in range(len(norms)):
            distance = norms[place] - np.float32(2) * product[place]
            if distance >= found[count - 1]:
                continue
            at = count - 1
            while at > 0 and found[at - 1] > distance:
                found[at] = found[at - 1]
                at -= 1
            found[at] = distance
            if at == 0:
                first[row] = place
