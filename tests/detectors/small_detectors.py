"""Two real detectors of a few lines, and streams to feed them: what the ensemble's tests stand on."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.scorer import Scorer
from detectors.types import Rows, Scores, Verdicts
from streaming.types import State, Windows

MINUTE = 60 * 10**9


class Level:
    """Distance of the newest row from the training mean, mean over channels."""

    name: ClassVar[str] = "level"
    memory: ClassVar[str] = "window"

    def __init__(self, *, weight=1.0):
        self.weight = np.float32(weight)
        self.mean = np.zeros(0, np.float32)

    def fit(self, windows):
        newest = windows.values[:, -1]
        self.mean = np.nan_to_num(np.nanmean(newest, axis=0)) if len(newest) else np.zeros(0, np.float32)

    def score(self, windows):
        apart = np.abs(windows.values[:, -1] - self.mean)
        return scores_of(apart * self.weight)

    def state(self):
        return State({"mean": self.mean})

    def restore(self, state):
        self.mean = state.arrays["mean"]


class Drift:
    """Distance of the newest row from the entity's own running mean: an online detector."""

    name: ClassVar[str] = "drift"
    memory: ClassVar[str] = "online"
    evidence: ClassVar[bool] = True

    def __init__(self, *, rate=0.05):
        self.rate = np.float32(rate)
        self.mean = None

    def fit(self, windows):
        self._reach(0, len(windows.features))

    def score(self, windows, learn=True):
        self._reach(int(windows.entities.max()) + 1, len(windows.features))
        apart = np.empty((len(windows), len(windows.features)), np.float32)
        for end in np.unique(windows.ends):
            here = windows.ends == end
            entities, newest = windows.entities[here], windows.values[here, -1]
            mean = np.where(np.isnan(self.mean[entities]), newest, self.mean[entities])
            apart[here] = np.abs(newest - mean)
            if learn:
                self.mean[entities] = np.where(np.isnan(newest), mean, mean + self.rate * (newest - mean))
        return scores_of(apart)

    def state(self):
        return State({}, {"features": 0 if self.mean is None else self.mean.shape[1]})

    def restore(self, state):
        self.mean = np.full((0, state.meta["features"]), np.nan, np.float32)

    def rows(self, entities):
        self._reach(int(entities.max(initial=-1)) + 1, self.mean.shape[1])
        return {"mean": self.mean[entities]}

    def put_rows(self, entities, arrays):
        self._reach(int(entities.max(initial=-1)) + 1, arrays["mean"].shape[1])
        self.mean[entities] = arrays["mean"]

    def forget(self, entities):
        if self.mean is not None:
            self._reach(int(entities.max(initial=-1)) + 1, self.mean.shape[1])
            self.mean[entities] = np.nan

    def _reach(self, size, features):
        if self.mean is None:
            self.mean = np.full((0, features), np.nan, np.float32)
        if size > len(self.mean):
            more = np.full((size - len(self.mean), features), np.nan, np.float32)
            self.mean = np.concatenate([self.mean, more])


class Faulty(Level):
    """Raises wherever a window's newest first value is beyond 3; beyond 4, memory is short."""

    name: ClassVar[str] = "faulty"

    def score(self, windows):
        if (windows.values[:, -1, 0] > 4).any():
            raise MemoryError("no room for it")
        if (windows.values[:, -1, 0] > 3).any():
            raise FloatingPointError("too large for me")
        return super().score(windows)


DETECTORS = {kind.name: kind for kind in (Level, Drift, Faulty)}


def load(name):
    """A detector class by name; `vote` is the product's."""
    if name == "vote":
        from detectors.vote import Vote

        return Vote
    return DETECTORS[name]


def scores_of(apart):
    known = ~np.isnan(apart)
    count = known.sum(axis=1)
    filled = np.where(known, apart, np.float32(0))
    total = filled.sum(axis=1, keepdims=True)
    values = np.where(count > 0, total[:, 0] / np.maximum(count, 1), np.nan).astype(np.float32)
    return Scores(values, filled / np.where(total > 0, total, np.float32(1)))


def noise(entities, slots, features=3, seed=0):
    """Independent normal values (entities x slots x features) around a level of each entity's own."""
    rng = np.random.default_rng(seed)
    levels = np.random.default_rng(100).normal(0, 100, (entities, 1, features))
    return (levels + rng.normal(size=(entities, slots, features))).astype(np.float32)


def names_of(entities):
    return [f"host-{entity:03d}" for entity in range(entities)]


def rows_of(values, first_slot=0):
    entities, slots, features = values.shape
    return Rows(
        names_of(entities),
        np.repeat(np.arange(entities, dtype=np.int32), slots),
        np.tile(np.arange(first_slot, first_slot + slots, dtype=np.int64), entities),
        values.reshape(-1, features),
        [f"f{channel}" for channel in range(features)],
    )


def settings_of(**changes):
    given = {"step_ns": MINUTE, "window": 8, "detectors": {"level": {}, "drift": {}}, "scope": "stream", "settle": 10}
    return EnsembleSettings(**(given | changes))


def fitted(entities=4, slots=400, features=3, **changes):
    return Ensemble.fit(rows_of(noise(entities, slots, features)), settings_of(**changes), load=load)


def scorer_of(ensemble, entities, **options):
    scorer = Scorer(ensemble, **options)
    scorer.bind(np.arange(entities, dtype=np.int32), names_of(entities))
    return scorer


def planes(scorer, values, first_slot=0):
    """Scaled values (entities x slots x features), learning slot by slot."""
    everyone = np.arange(len(values), dtype=np.int32)
    return np.stack(
        [scorer.scale(everyone, first_slot + slot, values[:, slot]) for slot in range(values.shape[1])], axis=1
    )


def windows_of(ensemble, scaled, slots, entities=None, first_slot=0):
    """The windows that end at `slots` (places in `scaled`), ordered by (slot, entity), NaN before the first slot."""
    entities = np.arange(len(scaled), dtype=np.int32) if entities is None else np.asarray(entities, np.int32)
    width = ensemble.settings.window
    padded = np.concatenate([np.full((len(scaled), width - 1, scaled.shape[2]), np.nan, np.float32), scaled], axis=1)
    parts = [padded[entities, slot : slot + width] for slot in slots]
    values = np.concatenate(parts) if parts else np.zeros((0, width, scaled.shape[2]), np.float32)
    ends = np.repeat(np.asarray(slots, np.int64) + first_slot, len(entities))
    return Windows(np.tile(entities, len(parts)), ends, values, list(ensemble.features), names_of(len(scaled)))


def polls(total, sizes) -> Iterator[range]:
    """Slots 0..total - 1 in polls of the given sizes, over and over."""
    start, turn = 0, 0
    while start < total:
        size = sizes[turn % len(sizes)]
        yield range(start, min(start + size, total))
        start, turn = start + size, turn + 1


def bits(verdicts: Verdicts):
    """Every array of the verdicts as bytes."""
    return {name: getattr(verdicts, name).tobytes() for name in ARRAYS}


ARRAYS = ("ratios", "tails", "fused", "p", "score", "votes", "shares", "settled", "settled_p", "confidence")


def joined(parts):
    """Verdicts of consecutive polls as one dictionary of arrays, windows last (shares: first)."""
    return {
        name: np.concatenate([getattr(part, name) for part in parts], axis=0 if name == "shares" else -1)
        for name in ARRAYS
    }
