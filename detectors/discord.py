"""Distance to the nearest window of training or of the entity's own past: what resembles neither is strange.

A subsequence far from every one before it is a left discord (Keogh, Lin and Fu, "HOT SAX", ICDM 2005; Lu et al.,
"Matrix profile XXIV", KDD 2022, arXiv 2207.05286). Kept: the distance to the past alone, so that nothing looks ahead.
Changed: distances are in training ranges, not z-normalised (which is worse on real series: measured); the past is
bounded; and it is screened. A strange stretch is no past to be compared with, so that the second outage alarms like the
first, unless it goes on for `persist` slots: then it is the new state, and normal.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors import registry
from detectors.blocks import slot_runs
from detectors.entity_arrays import EntityArrays
from detectors.options import count
from detectors.past import Past
from detectors.types import Detector, Fitted, Memory, Scores, Within
from streaming.types import Codes, Floats, State, Windows

_USUAL, _BEYOND = 0.98, 1.2
"""Strange is what lies a fifth beyond the 98% quantile of distances of held-out training windows."""
_EARLY = 0.7
_RUN = 256
"""Windows of the same entities that are lived through together."""


class Discord:
    """The lesser of two mean distances: to the `nearest` prototypes of training (detector `neighbours`, which takes the
    other options), and to the `nearest` windows of the entity's own last `history` slots.

    Only those windows of the past count that were not strange themselves, or whose strange stretch has lasted for
    `persist` slots, and that ended 100 slots (or two windows) ago at least. Missing values are carried forward in the
    past. State: some 15 bytes for each slot of `history`, entity and channel.
    """

    name: ClassVar[str] = "discord"
    memory: ClassVar[Memory] = "online"

    def __init__(
        self,
        *,
        slots: int = 40,
        nearest: int = 5,
        level: bool = True,
        history: int = 1024,
        persist: int = 200,
        look_ahead: int = 20,
        whole: bool = False,
        prototypes: int = 512,
        components: int = 64,
    ) -> None:
        count(1, history=history, persist=persist)
        self.slots, self.nearest, self.level = slots, nearest, level
        self.history, self.persist = max(history, nearest), persist
        kind: Callable[..., Detector] = registry.load("neighbours")
        self._make = partial(
            kind, slots=slots, nearest=nearest, level=level, look_ahead=look_ahead, whole=whole, prototypes=prototypes,
            components=components,
        )  # fmt: skip
        self._bank: Detector = self._make()
        self._shape(0, slots, 1, np.inf)

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return self.slots

    @property
    def look_ahead(self) -> int:
        """That of the prototypes' detector."""
        return int(self._bank.look_ahead)  # type: ignore[attr-defined]

    @property
    def whole(self) -> bool:
        """Whether it wants all training windows in the end."""
        return bool(self._bank.whole)  # type: ignore[attr-defined]

    def within(self, scoped: Within) -> None:
        """Fit the prototypes per scope: `scoped` makes a detector that is from one that makes its models."""
        self._bank = scoped(self._make)

    @property
    def fitted(self) -> Fitted:
        """The part that is a pure function of the model and the window: the distance to training."""
        return self._bank.score

    def bytes(self) -> int:
        """Size of one fitted model."""
        return int(self._bank.bytes()) if hasattr(self._bank, "bytes") else 0

    def fit(self, windows: Windows) -> None:
        """Learn prototypes from B >= 1 windows, and from the first 70% of them what is usual in the rest."""
        early = windows.ends <= np.quantile(windows.ends, _EARLY)
        limit = np.inf
        if not early.all():
            self._bank.fit(windows.take(early))
            said = self._bank.score(windows.take(~early)).values
            if not np.isnan(said).all():
                limit = _BEYOND * float(np.nanquantile(said, _USUAL))
        self._bank.fit(windows)
        values = windows.values[:, -self.slots :]
        seen = int((~np.isnan(values)).any(axis=(0, 1)).sum())
        self._shape(values.shape[2], values.shape[1], max(seen, 1), limit)

    def score(self, windows: Windows, learn: bool = True) -> Scores:
        """Judge the newest slot of each window by what was learnt up to the slot before, and learn it."""
        if not self._past.width:
            raise RuntimeError("discord is not fitted")
        trained = self._bank.score(windows)
        past = self._lived(windows, trained.values) if learn else self._looked_up(windows)
        return Scores(np.minimum(trained.values, past), trained.shares)

    def state(self) -> State:
        """The prototypes, and what is strange."""
        past = self._past
        state = State(
            meta={
                "shape": [past.width, past.slots, past.seen],
                "limit": past.limit if np.isfinite(past.limit) else None,
            }
        )
        state.put("bank", self._bank.state())
        return state

    def restore(self, state: State) -> None:
        """Take those of `state`; what was learnt of entities is emptied."""
        self._bank.restore(state.part("bank"))
        (width, slots, seen), limit = state.meta["shape"], state.meta["limit"]
        self._shape(width, slots, seen, np.inf if limit is None else limit)

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]:
        """Copies of what was learnt of `entities`."""
        return self._learnt.rows(entities)

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None:
        """Set what `rows` gave. ValueError where its shape is not ours."""
        self._learnt.put_rows(entities, arrays)

    def forget(self, entities: Codes) -> None:
        """Empty the rows of `entities`."""
        self._learnt.forget(entities)

    def _shape(self, width: int, slots: int, seen: int, limit: float) -> None:
        """Empty arrays for `width` channels (`seen` of them in training) and windows of `slots`."""
        self._past = Past(width, slots, seen, self.history, self.nearest, self.level, self.persist, limit)
        self._learnt = EntityArrays(self._past.fields())

    def _lived(self, windows: Windows, trained: Floats) -> Floats:
        """B distances to the past, learnt from slot by slot."""
        self._learnt.reach(windows.entities)
        past = np.empty(len(windows), np.float32)
        for run in slot_runs(windows, _RUN):
            part = slice(run.start, run.stop)
            entities = windows.entities[run.start : run.start + run.step]
            known, shape = self._learnt.rows(entities), (-1, len(entities))
            newest = windows.values[part, -1].reshape(*shape, self._past.width)
            past[part] = self._past.live(known, newest, trained[part].reshape(shape)).ravel()
            known["slot"][:] = windows.ends[run.stop - 1]
            self._learnt.put_rows(entities, known)
        return past

    def _looked_up(self, windows: Windows) -> Floats:
        """B distances to what is known of the past by now; of windows that came by earlier, to what was before them."""
        self._learnt.reach(windows.entities)
        past = np.full(len(windows), np.inf, np.float32)
        values = windows.values[:, -self._past.slots :].transpose(0, 2, 1)
        for place, (entity, end) in enumerate(zip(windows.entities.tolist(), windows.ends.tolist(), strict=True)):
            if self._learnt["count"][entity]:
                known = {name: self._learnt[name][entity] for name in ("values", "normal", "slot")}
                past[place] = self._past.look_up(known, end, values[place])
        return past
