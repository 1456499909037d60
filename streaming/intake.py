"""One poll of payloads on its way through a decoder: which records are still good, and what was wrong with the rest."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.columns import MAX_NAME, all_legal, legal_name
from streaming.deadletters import DeadLetters, DeadReason
from streaming.json_records import RecordError
from streaming.timestamps import OK, REASON_OF_FAULT, EventTimes
from streaming.types import Codes, Ints


class Intake:
    """N payloads, of which M parse into rows; the first fault of a record is the one that counts.

    `place` (M) tells each row's payload and `good` (M) which rows are still good.
    """

    def __init__(self, payloads: Sequence[bytes], max_record_bytes: int = 1 << 20) -> None:
        self.payloads = payloads
        self.place: Ints = np.zeros(0, np.int64)
        self.good: NDArray[np.bool_] = np.zeros(0, bool)
        self._limit = max_record_bytes
        self._rejects: dict[int, RecordError] = {}
        self._untold: set[int] = set()

    def parse(self, fast: Callable[[bytes], Any], careful: Callable[[bytes], Any]) -> list[Any]:
        """Rows of the payloads that parse: by `fast`, and where that raises, by `careful`."""
        rows: list[Any] = []
        if max(map(len, self.payloads), default=0) > self._limit:
            fast, careful = self._bounded(fast), self._bounded(careful)
        going = iter(self.payloads)
        while len(rows) < len(self.payloads):
            try:
                rows.extend(map(fast, going))  # those before one that raises stay
            except (ValueError, RecursionError):
                rows.append(self._carefully(len(rows), careful))
            except RecordError as error:
                self.refuse(len(rows), error)
                rows.append(None)
        if self._rejects:
            self.accept([i for i, row in enumerate(rows) if row is not None])
            return [row for row in rows if row is not None]
        self.accept(range(len(rows)))
        return rows

    def accept(self, place: Sequence[int]) -> None:
        """The payloads at `place` have become rows, in this order."""
        self.place = np.array(place, dtype=np.int64)
        self.good = np.ones(len(place), bool)

    def keep(self, rows: NDArray[np.bool_], refused: bool) -> None:
        """Go on with some of the rows (M booleans) alone, and without the payloads refused so far unless `refused`."""
        self.place, self.good = self.place[rows], self.good[rows]
        if not refused:
            self._rejects.clear()

    def hush(self, rows: NDArray[np.bool_]) -> None:
        """What is wrong with some of the rows (M booleans) is for others to tell."""
        self._untold.update(self.place[rows].tolist())

    @property
    def ours(self) -> NDArray[np.bool_]:
        """Which rows (M) are good, and not for others to tell of."""
        return self.good & ~np.isin(self.place, list(self._untold)) if self._untold else self.good

    def refuse(self, payload: int, error: RecordError) -> None:
        """The payload of this number has not become a row."""
        self._rejects[payload] = error

    def reject(self, row: int, reason: DeadReason, detail: str) -> None:
        """Row `row` is bad, for `reason` unless it was bad before."""
        if self.good[row]:
            self.good[row] = False
            self.refuse(int(self.place[row]), RecordError(reason, detail))

    def take(self, rows: list[Any]) -> list[Any]:
        """Those of `rows` (M) that are good."""
        if self.good.all():
            return rows
        return [row for row, good in zip(rows, self.good.tolist(), strict=True) if good]

    def judge_entities(self, entities: Sequence[str]) -> None:
        """Reject rows (M) whose entity has a name that cannot be stored."""
        if all_legal(entities):
            return
        illegal = {name for name in set(entities) if not legal_name(name)}
        if illegal:
            for row in [i for i, name in enumerate(entities) if name in illegal]:
                said = f"entity: {entities[row]!r:.80}; 1 to {MAX_NAME} characters without NUL are allowed"
                self.reject(row, "bad_entity" if entities[row] else "missing_entity", said)

    def judge_times(self, times: EventTimes, raw: Any, ingested: Ints) -> Ints:
        """Event times (M) in ns, of a sequence or an Arrow array; rejects rows without one, or from the future."""
        ns, faults = times.read_column(raw, ingested) if isinstance(raw, pa.Array) else times.read(raw, ingested)
        for row in np.flatnonzero(faults != OK).tolist():
            fault = int(faults[row])
            self.reject(row, REASON_OF_FAULT[fault], times.explain(fault, _plain(raw[row]), int(ingested[row])))
        return ns

    def bury(self, dead: DeadLetters, positions: Ints) -> None:
        """Hand the rejected records to `dead`, in position order."""
        for i in sorted(self._rejects.keys() - self._untold):
            reject = self._rejects[i]
            dead.add(int(positions[i]), reject.reason, reject.detail, self.payloads[i])

    def _bounded(self, parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        """`parse`, which refuses what is too long."""

        def bounded(payload: bytes) -> Any:
            if len(payload) > self._limit:
                raise RecordError("too_long", f"longer than {self._limit} bytes, the most that is allowed")
            return parse(payload)

        return bounded

    def _carefully(self, i: int, careful: Callable[[bytes], Any]) -> Any:
        try:
            return careful(self.payloads[i])
        except RecordError as error:
            self.refuse(i, error)
            return None


def _plain(value: Any) -> Any:
    """A value as Python has it: Arrow's timestamps beyond Python's years, and the like, as text."""
    if not isinstance(value, pa.Scalar):
        return value
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return str(value.cast(pa.int64()))


def encode(entities: Sequence[str]) -> tuple[list[str], Codes]:
    """The distinct entities in order of appearance, and each row's number among them."""
    index: dict[str, int] = {}
    codes = np.fromiter([index.setdefault(name, len(index)) for name in entities], np.int32, len(entities))
    return list(index), codes
