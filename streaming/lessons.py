"""When a model of lines learns on: behind a slot, from the lines since it learnt last.

All of it follows from the order of the topic's lines, and not from how they were read: a line is judged by what came
before its lesson, whatever poll it came in.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.related import Related
from streaming.types import Ints, State

LEAST, SLOTS, ENOUGH = 1024, 64, 4096
"""Between two lessons lie so many lines and slots at least; so many lines do without the slots."""
MOST = 8192
"""Lines that a lesson is of at most: the first."""
_NEVER = np.iinfo(np.int64).min // 2


class Learner(Protocol):
    """What learns. `learnt` is all that changed by it; `relearn` takes it back."""

    def learn(self, related: Related) -> None:
        """From named values of lines, in position order."""
        ...

    def learnt(self) -> State:
        """All."""
        ...

    def relearn(self, state: State) -> None:
        """What `learnt` gave."""
        ...


class Lessons:
    """Lines that wait until `learner` learns from them."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._parts: list[Related] = []
        self._waiting = 0
        self._since = 0
        self._slot = self._learnt = _NEVER

    def until(self, now: Ints) -> int:
        """How many of the next lines, by the topic's newest slot as each comes (N), are judged before the next lesson:
        it begins with a slot, once lines and slots enough have come. 0 = `learn` now."""
        lines, slots = self._since + np.arange(len(now)), now - self._learnt
        begins = np.diff(now, prepend=self._slot) > 0
        due = np.flatnonzero(begins & ((lines >= ENOUGH) | ((lines >= LEAST) & (slots >= SLOTS))))
        return int(due[0]) if len(due) else len(now)

    def hear(self, related: Related | None, on_time: NDArray[np.bool_], now: Ints) -> None:
        """N lines were judged. Late ones count, and teach nothing."""
        self._since += len(now)
        self._slot = int(now[-1]) if len(now) else self._slot
        if related is not None and self._waiting < MOST:
            kept = related.take(np.flatnonzero(on_time)[: MOST - self._waiting]).without_texts()
            self._waiting += len(kept)
            self._parts.append(kept)

    def learn(self, slot: int) -> None:
        """From those that wait, as a slot begins."""
        self._learner.learn(Related.joined(self._parts))
        self._parts, self._waiting, self._since, self._learnt = [], 0, 0, slot

    def state(self) -> State:
        """What waits, and what was learnt."""
        related = Related.joined(self._parts)
        told = {"names": list(related.names), "since": self._since, "slot": self._slot, "last": self._learnt}
        whole = State({"keys": related.keys}, told)
        whole.put("learnt", self._learner.learnt())
        return whole

    def restore(self, state: State) -> None:
        """What `state` gave."""
        kept = Related.of_keys(tuple(state.meta["names"]), state.arrays["keys"].copy())
        self._parts, self._waiting = [kept], len(kept)
        self._since, self._slot = state.meta["since"], state.meta["slot"]
        self._learnt = state.meta.get("last", _NEVER)  # snapshots of older versions have none
        self._learner.relearn(state.part("learnt"))
