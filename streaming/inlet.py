"""One topic of one partition on its way into slots: what waits to be fed, to be closed, or to take effect late."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.cells import COUNTED, SCORE, SCORES, WORDS
from streaming.quotes import NONE, Quotes
from streaming.settings import Timing
from streaming.types import Codes, Ints, State, Topic
from streaming.watermark import Watermark

Reject = Callable[[Topic, int, str, str], None]
"""Called with (topic, position, reason, detail) for a record that cannot be used."""


@dataclass(frozen=True, slots=True)
class Held:
    """N records of one poll by rising slot, in order of arrival within a slot; the rest as in `cells.Samples`."""

    names: Sequence[str]
    codes: Codes
    slots: Ints
    times: Ints
    values: NDArray[Any]
    texts: Sequence[str] = ()
    quotes: Quotes = NONE

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: NDArray[Any] | slice) -> "Held":
        """The records at `index`."""
        values = self.values[index]
        codes, slots, times = self.codes[index], self.slots[index], self.times[index]
        return Held(self.names, codes, slots, times, values, self.texts, self.quotes)

    def by_slot(self) -> "Held":
        """Ordered by slot (stable)."""
        if (self.slots[1:] >= self.slots[:-1]).all():
            return self
        return self.take(np.argsort(self.slots, kind="stable"))

    def state(self) -> State:
        """Everything, with the names and texts in use only."""
        used, codes = np.unique(self.codes, return_inverse=True)
        state = State(meta={"names": [self.names[code] for code in used], "texts": [], "quotes": []})
        state.meta["counted"] = COUNTED
        state.arrays |= {"codes": codes.astype(np.int32), "slots": self.slots, "times": self.times}
        state.arrays["values"] = self.values
        if len(self.texts):
            words = self.values[:, WORDS]
            places, numbers = np.unique(words[words >= 0], return_inverse=True)
            words[words >= 0] = numbers
            values = state.arrays["values"] = self.values.copy()
            values[:, WORDS] = words
            state.meta["texts"] = [self.texts[place] for place in places.tolist()]
            state.meta["quotes"] = [self.quotes[place].read() for place in places.tolist()]
        return state

    @staticmethod
    def restored(state: State) -> "Held":
        """What `state` was taken of."""
        arrays = {key: value.copy() for key, value in state.arrays.items()}
        texts = state.meta["texts"]
        if arrays["values"].dtype.kind == "i" and state.meta.get("counted") != COUNTED:
            arrays["values"] = _without_reasons(arrays["values"])
        quotes = Quotes(state.meta.get("quotes", [""] * len(texts)))  # snapshots of older versions have none
        return Held(state.meta["names"], texts=texts, quotes=quotes, **arrays)


def _without_reasons(values: NDArray[Any]) -> NDArray[Any]:
    """Lines of a snapshot from before scores had reasons, when a line had two at most, as they are now."""
    before = np.full((len(values), COUNTED), -1, values.dtype)
    before[:, :SCORES] = values[:, :SCORES]
    for number, first in enumerate(range(SCORES, SCORES + 4, 2)):
        start = SCORES + SCORE * number
        before[:, start : start + 2] = values[:, first : first + 2]
    return np.concatenate([before, values[:, SCORES + 4 :]], axis=1)


@dataclass(slots=True)
class _Pending:
    """A batch, fed up to record `at`. `newest` (N, ns) and `marks` (N, slots): `Watermark.ahead`."""

    held: Held
    positions: Ints
    newest: Ints
    marks: Ints
    next_position: int
    at: int = 0

    def state(self) -> State:
        """Everything."""
        state = State({"positions": self.positions, "newest": self.newest, "marks": self.marks})
        state.meta = {"next_position": self.next_position, "at": self.at}
        state.put("held", self.held.state())
        return state

    @staticmethod
    def restored(state: State) -> "_Pending":
        """What `state` was taken of."""
        positions, newest, marks = (state.arrays[name].copy() for name in ("positions", "newest", "marks"))
        held, meta = Held.restored(state.part("held")), state.meta
        return _Pending(held, positions, newest, marks, meta["next_position"], meta["at"])


class Inlet:
    """A topic's watermark, the records of its open slots, and the late ones by the slot before whose close they count.

    `fed` is the position behind the last record that was really fed (None before the first). Late records beyond the
    horizon go to `reject`.
    """

    def __init__(self, topic: Topic, timing: Timing, reject: Reject) -> None:
        self.topic = topic
        self.mark = Watermark(timing.step, timing.lateness)
        self.waiting: dict[int, list[Held]] = {}
        self.fed: int | None = None
        self.late = 0
        self._timing, self._reject = timing, reject
        self._open: list[Held] = []
        self._pending: _Pending | None = None
        self._lifts: list[tuple[int, int]] = []

    @property
    def paused(self) -> bool:
        """Whether records wait to be fed."""
        return self._pending is not None

    @property
    def exhausted(self) -> bool:
        """Whether the topic has ended, or is idle, and everything was fed."""
        return (self.mark.ended or self.mark.idle) and not self.paused

    @property
    def first_mark(self) -> int | None:
        """Before anything was fed: the watermark's slot at the first record, None when there is none yet."""
        return None if self._pending is None else int(self._pending.marks[0])

    @property
    def newest_slot(self) -> int:
        """The newest slot of all records taken, fed or not; `NEVER` before the first."""
        pending = self._pending
        return self.mark.newest_slot if pending is None else int(pending.newest[-1]) // self._timing.step

    @property
    def next_slot(self) -> int | None:
        """The first slot that has a record waiting for its close."""
        return min((int(held.slots[0]) for held in self._open), default=None)

    def accept(self, held: Held, positions: Ints, next_position: int) -> None:
        """Take a batch in order of position; RuntimeError when the one before is not fed yet."""
        if self.paused:
            raise RuntimeError(f"{self.topic} is paused: its last batch is not fed yet")
        if not len(held):
            self.fed = next_position
            return
        self.mark.idle = False
        newest, marks = self.mark.ahead(held.times)
        for position, slot in self._lifts:
            marks = np.where(positions >= position, np.maximum(marks, slot), marks)
        self._lifts = [lift for lift in self._lifts if lift[0] > positions[-1]]
        self._pending = _Pending(held, positions, newest, marks, next_position)

    def lift(self, position: int, slot: int) -> None:
        """Records from `position` on find the slots below `slot` passed; an idle topic is idle up to there only."""
        if self.mark.idle and position >= (self.fed or 0):  # its next record lies there: nothing comes before
            self.mark.idle = False
            self.mark.floor = max(self.mark.floor, slot)
        else:
            self._lifts.append((position, slot))

    def feed(self, limit: int) -> None:
        """Feed records in their order, up to the first whose slot is not below `limit`.

        The watermark counts that one: it is the next in any case.
        """
        pending = self._pending
        if pending is None:
            return
        start, count = pending.at, len(pending.held)
        end = int(np.searchsorted(pending.newest // self._timing.step, limit))
        self.mark.newest = int(pending.newest[min(end, count - 1)])
        self.mark.floor = int(pending.marks[min(end, count - 1)])
        if end > start:
            self._sort_out(pending, slice(start, end))
            pending.at = end
            self.fed = pending.next_position if end == count else int(pending.positions[end])
        if end == count:
            self._pending = None

    def until(self, slot: int) -> list[Held]:
        """The records on time of the slots below `slot`; they stay."""
        parts = [held.take(slice(0, int(np.searchsorted(held.slots, slot)))) for held in self._open]
        return [part for part in parts if len(part)]

    def drop(self, slot: int) -> None:
        """Forget the records of the slots below `slot`."""
        parts = [held.take(slice(int(np.searchsorted(held.slots, slot)), None)) for held in self._open]
        self._open = [part for part in parts if len(part)]

    def state(self) -> State:
        """Everything, with the batch that waits to be fed: its log lines are mined already."""
        state = State(meta={"mark": self.mark.state(), "fed": self.fed, "late": self.late, "pending": None})
        if self._pending is not None:
            state.put("pending", self._pending.state())
        state.meta["open"] = len(self._open)
        state.meta["waiting"] = [[slot, len(parts)] for slot, parts in self.waiting.items()]
        for number, held in enumerate(self._open):
            state.put(f"open{number}", held.state())
        for slot, parts in self.waiting.items():
            for number, held in enumerate(parts):
                state.put(f"late{slot}-{number}", held.state())
        return state

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        meta = state.meta
        self.mark.restore(meta["mark"])
        self.fed, self.late = meta["fed"], meta["late"]
        self._pending = None if meta["pending"] is None else _Pending.restored(state.part("pending"))
        self._open = [Held.restored(state.part(f"open{number}")) for number in range(meta["open"])]
        self.waiting = {
            slot: [Held.restored(state.part(f"late{slot}-{number}")) for number in range(count)]
            for slot, count in meta["waiting"]
        }

    def _sort_out(self, pending: _Pending, part: slice) -> None:
        held, marks = pending.held.take(part), pending.marks[part]
        late = held.slots < marks
        if not late.any():
            self._open.append(held.by_slot())
            return
        if not late.all():
            self._open.append(held.take(~late).by_slot())
        lost = late & (held.slots < marks - self._timing.late_horizon)
        self._refuse(held.take(lost), marks[lost], pending.positions[part][lost])
        late &= ~lost
        self.late += int(late.sum())
        for mark in np.unique(marks[late]).tolist():
            self.waiting.setdefault(mark, []).append(held.take(late & (marks == mark)).by_slot())

    def _refuse(self, held: Held, marks: Ints, positions: Ints) -> None:
        for code, slot, mark, position in zip(
            held.codes.tolist(), held.slots.tolist(), marks.tolist(), positions.tolist(), strict=True
        ):
            behind = f"entity {held.names[code]!r}: slot {slot} is {mark - slot} slots below the watermark"
            self._reject(self.topic, position, "too_late", f"{behind}, {self._timing.late_horizon} are allowed")
