"""Scope: one fitted detector for each entity, for each group, or for the whole stream.

Per entity detects best and costs most; per stream carries 10,000 entities (DESIGN §3, "Judgement").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.blocks import by_name
from detectors.types import Detector, Memory, Scope, Scores
from streaming.types import Codes, State, Windows

_STREAM = "stream"
LOOK_AHEAD = 10
"""Slots of a settled score, where a detector does not say."""


def resolve_scope(
    scope: Literal["auto"] | Scope, bytes_per_model: int, entities: int, model_memory: int = 1 << 30
) -> Scope:
    """`scope` itself; "auto" is per entity while `entities` models of `bytes_per_model` fit `model_memory` bytes."""
    if scope != "auto":
        return scope
    return "entity" if entities * bytes_per_model <= model_memory else "stream"


class Scoped:
    """A detector with window memory, fitted once for each key of its scope, and always once for the whole stream.

    The key is the entity's name (`scope == "entity"`) or its label in `groups` ("group"). A key with fewer than
    `min_windows` training windows gets no model of its own, and neither does an entity unknown in training or without
    a label: the stream's model scores them.
    """

    name: ClassVar[str] = "scoped"
    memory: ClassVar[Memory] = "window"

    def __init__(
        self,
        factory: Callable[[], Detector],
        scope: Scope = "stream",
        groups: Mapping[str, str] | None = None,
        min_windows: int = 256,
    ) -> None:
        self.scope, self.min_windows = scope, min_windows
        self._factory, self._groups = factory, dict(groups or {})
        self._stream = factory()
        self._own: dict[str, Detector] = {}

    @property
    def span(self) -> int | None:
        """That of its detector; None: the whole window."""
        return getattr(self._stream, "span", None)

    @property
    def look_ahead(self) -> int:
        """That of its detector; `LOOK_AHEAD` where it does not say."""
        return getattr(self._stream, "look_ahead", LOOK_AHEAD)

    @property
    def evidence(self) -> bool:
        """Whether its detector is evidence alone."""
        return getattr(self._stream, "evidence", False)

    @property
    def whole(self) -> bool:
        """Whether its detector wants all training windows in the end."""
        return getattr(self._stream, "whole", False)

    def fit(self, windows: Windows) -> None:
        """Fit the stream's model on all windows, and each key's on its own."""
        self.fit_stream(windows)
        self.fit_own(windows, self.owners(windows.entities, windows.names))

    def fit_stream(self, windows: Windows) -> None:
        """The stream's model alone."""
        self._stream, self._own = self._fitted(windows), {}

    def owners(self, entities: Codes, names: Sequence[str]) -> list[str]:
        """The keys that get a model of their own, of windows of `entities` (B, which index `names`)."""
        keys = sorted({key for name in names if (key := self.key(name)) is not None})
        place = self._places(entities, names, keys)
        counts = np.bincount(place[place >= 0], minlength=len(keys))
        if (counts == len(entities)).any():
            return []  # the stream is one entity or group: its model is the stream's
        return [key for key, count in zip(keys, counts, strict=True) if count >= self.min_windows]

    def fit_own(self, windows: Windows, keys: Sequence[str]) -> None:
        """The models of `keys`, each on its own windows."""
        place = self._places(windows.entities, windows.names, keys)
        self._own |= {key: self._fitted(windows.take(place == index)) for index, key in enumerate(keys)}

    def adopt(self, other: "Scoped") -> None:
        """Take the stream's model of `other`, which was fitted on the same windows."""
        self._stream = other._stream

    def own_state(self, key: str) -> State:
        """That of the model of `key`."""
        return self._own[key].state()

    def put_own(self, states: Mapping[str, State]) -> None:
        """Have models of keys that gave these states."""
        self._own |= {key: self._restored(state) for key, state in states.items()}

    def score(self, windows: Windows) -> Scores:
        """Each window by the model of its entity's key, else by the stream's."""
        if not self._own:
            return self._stream.score(windows)
        place = self._places(windows.entities, windows.names, list(self._own))
        values = np.empty(len(windows), dtype=np.float32)
        shares = np.empty((len(windows), len(windows.features)), dtype=np.float32)
        models = [*self._own.values(), self._stream]
        for index in np.unique(place):
            chosen = place == index
            scores = models[index].score(windows.take(chosen))
            values[chosen], shares[chosen] = scores.values, scores.shares
        return Scores(values, shares)

    def state(self) -> State:
        """All models."""
        state = State(meta={"keys": list(self._own), "scope": self.scope})
        for prefix, model in zip(self._prefixes(len(self._own)), (self._stream, *self._own.values()), strict=True):
            state.put(prefix, model.state())
        return state

    def restore(self, state: State) -> None:
        """Become what gave `state`; groups are the constructor's."""
        keys: list[str] = state.meta["keys"]
        self.scope = state.meta["scope"]
        self._stream, *own = (self._restored(state.part(prefix)) for prefix in self._prefixes(len(keys)))
        self._own = dict(zip(keys, own, strict=True))

    def bytes(self) -> int:
        """Size of one fitted model: the stream's, whose arrays have the shapes of the others'."""
        state = self._stream.state()
        return sum(array.nbytes for array in state.arrays.values()) + sum(map(len, state.blobs.values()))

    def model_of(self, entity: str) -> Detector:
        """The model that scores `entity`."""
        key = self.key(entity)
        return self._stream if key is None else self._own.get(key, self._stream)

    def key(self, entity: str) -> str | None:
        """Whose model scores `entity`; None: the stream's."""
        if self.scope == _STREAM:
            return None
        return entity if self.scope == "entity" else self._groups.get(entity)

    def _places(self, entities: Codes, names: Sequence[str], keys: Sequence[str]) -> NDArray[np.int64]:
        """B: which of `keys` each window belongs to, -1 = none."""
        known = {key: index for index, key in enumerate(keys)}

        def find(name: str) -> int:
            key = self.key(name)
            return -1 if key is None else known.get(key, -1)

        return by_name(find, entities, names)

    def _fitted(self, windows: Windows) -> Detector:
        model = self._factory()
        model.fit(windows)
        return model

    def _restored(self, state: State) -> Detector:
        model = self._factory()
        model.restore(state)
        return model

    @staticmethod
    def _prefixes(own: int) -> list[str]:
        return [_STREAM, *(f"own{index}" for index in range(own))]
