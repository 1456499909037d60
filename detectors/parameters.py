"""What stands at a template's varying places: numbers out of their range, and words that never came there."""

from dataclasses import dataclass
from dataclasses import fields as columns_of
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from streaming.cells import FRACTION
from streaming.linefields import Fields
from streaming.linescores import MinedLines
from streaming.types import Codes, Ints, State

Nats = NDArray[np.float64]
KINDS = 1000
"""Words that a field has at most: one of more is no choice among few."""
FEW = 32
"""Numbers up to which a field of numbers is a choice among few, too."""
_LEAST, _LEAST_REST = 50, 10
"""Values that a field has at least, in the part that it is fitted on and in the rest."""
_FAITHFUL = 0.05
"""The share of the rest that may fall out of what a field was: one that keeps to nothing (a counter that rises, a
number made anew each time) is not judged."""
_COMMON, _BROAD = 0.01, 0.99
"""A value of that share of a field's is no surprise there; of a field where so many are rarer, it takes a rarer one."""
_SMALLEST = 0.01
"""A range is taken for at least so wide, and for that share of its larger bound."""
_TAIL = 0.001
"""The share of a field's numbers on either side that lies out of its range."""


@dataclass(frozen=True, slots=True)
class _Table:
    """F fields in rising order. `low` and `high` bound the numbers (NaN = of words), `outside` is the surprise of one
    just outside; `unseen` that of a value that never came, beyond what is usual there (0 = any may come); `values`
    (sorted, V) the known ones by `_mixed`, with their `surprise`. `count` and `kinds` (F): how many values there were,
    and distinct ones."""

    fields: Ints
    low: Nats
    high: Nats
    outside: Nats
    unseen: Nats
    count: Ints
    kinds: Ints
    values: Ints
    surprise: Nats

    @classmethod
    def of(cls, said: Fields, chosen: NDArray[np.bool_]) -> "_Table":
        """From R values, those that are `chosen` (R)."""
        names, keys, words = said.fields[chosen], said.keys[chosen], said.are_words[chosen]
        order = np.lexsort((_by_size(keys), names))
        names, keys, words = names[order], keys[order], words[order]
        starts = np.flatnonzero(np.diff(names, prepend=-1))
        count = np.diff(starts, append=len(names))
        first = np.flatnonzero((np.diff(names, prepend=-1) != 0) | (np.diff(keys, prepend=0) != 0))
        times, of_field = np.diff(first, append=len(names)), np.searchsorted(starts, first, side="right") - 1
        kinds = np.bincount(of_field, minlength=len(starts))
        low, high = _range(keys.view(np.float64), starts, count)
        low[words[starts]] = high[words[starts]] = np.nan
        few = np.where(words[starts], (kinds <= KINDS), (kinds <= FEW) & (count >= 20 * kinds))
        unseen = np.where(few, np.log((count + kinds) / np.maximum(kinds, 1)), 0.0)
        surprise = np.minimum(np.log((count + kinds)[of_field] / times), unseen[of_field])
        surprise[times >= _COMMON * count[of_field]] = 0
        usual = _usual(surprise, times, of_field, count)
        surprise, unseen = np.maximum(surprise - usual[of_field], 0), np.maximum(unseen - usual, 0)
        kept = np.flatnonzero(unseen[of_field] > 0)
        mixed = _mixed(names[first], keys[first])[kept]
        by_value = np.argsort(mixed, kind="stable")
        outside = np.log(1 / np.maximum(_TAIL, 1 / (count + 1)))
        values, rarities = mixed[by_value], surprise[kept[by_value]]
        return cls(names[starts], low, high, outside, unseen, count, kinds, values, rarities)

    def read(self, said: Fields) -> "_Read":
        """What is to be said of R values."""
        rows = np.full(len(said.fields), -1, np.int64)
        if len(self.fields):
            at = np.minimum(np.searchsorted(self.fields, said.fields), len(self.fields) - 1)
            rows = np.where(self.fields[at] == said.fields, at, -1)
        known = np.flatnonzero(rows >= 0)
        at, far, odd = rows[known], np.zeros(len(rows)), np.zeros(len(rows))
        odd[known] = self.unseen[at]
        seen = np.zeros(len(rows), np.bool_)
        if len(self.values):
            wanted = _mixed(said.fields[known], said.keys[known])
            place = np.minimum(np.searchsorted(self.values, wanted), len(self.values) - 1)
            found = (self.values[place] == wanted) & (self.unseen[at] > 0)
            odd[known[found]], seen[known[found]] = self.surprise[place[found]], True
        number = known[~said.are_words[known]]
        far[number] = self._outside(rows[number], said.numbers[number])
        return _Read(rows, far, odd, (far > 0) | ((odd > 0) & ~seen))

    def _outside(self, rows: Ints, values: Nats) -> Nats:
        low, high = self.low[rows], self.high[rows]
        beyond = np.maximum(np.maximum(values - high, low - values), 0)
        width = np.maximum(high - low, np.maximum(np.abs(low), np.abs(high)) * _SMALLEST)
        return np.where(beyond > 0, self.outside[rows] + 2 * np.log1p(beyond / np.maximum(width, _SMALLEST)), 0.0)


@dataclass(frozen=True, slots=True)
class _Read:
    """Of R values: their `rows` in a table (-1 = in none), the surprise of how `far` each is out of the range and of
    how `odd` it is to be that one, and whether it is `fallen` out of what the field was."""

    rows: Ints
    far: Nats
    odd: Nats
    fallen: NDArray[np.bool_]


class Parameters:
    """Surprise of what stands at a line's varying places, beyond what is usual.

    A number within the range of all but 0.1% of those before on either side is no surprise; beyond, one as of a tail
    that falls with the square of the distance in widths of the range. A word, or a number of few, is as surprising as
    it is rare there, one that never came as by Witten and Bell's discount. A line's surprise is that of its strangest
    value above the `quantile` of lines that were held out. Fields are judged that kept to what they were there.
    """

    name: ClassVar[str] = "field"
    asks: ClassVar[Literal["which", "how", "else"]] = "how"

    def __init__(self, quantile: float = 0.999, least: int = 100) -> None:
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
        self._quantile, self._least = quantile, least
        self._usual = np.zeros(2)
        none, nothing = np.zeros(0, np.int64), np.zeros(0)
        self._table = _Table(none, *(nothing,) * 4, none, none, none, nothing)

    @property
    def fields(self) -> Ints:
        """The fields that are judged."""
        return self._table.fields

    def fit(self, lines: MinedLines, templates: int, rest: NDArray[np.bool_]) -> Codes | None:
        """Learn; the score of each line, where `rest` holds as judged by the other ones (N, int32).

        None where no field is worth judging."""
        if lines.said is None or not templates:
            return None
        said = lines.said
        held_out = rest[said.lines]
        known = _Table.of(said, ~held_out)
        read = known.read(said)
        kept, tested = _faithful(known, read, held_out)
        if not kept.any():
            return None
        far, odd = (_highest(nats * tested, said.lines, len(lines)) for nats in (read.far, read.odd))
        judged = np.bincount(said.lines[tested], minlength=len(lines)) > 0
        if np.count_nonzero(judged) < self._least:
            return None
        self._usual = np.array([np.quantile(nats[judged], self._quantile, method="higher") for nats in (far, odd)])
        scores = _whole(np.maximum(far - self._usual[0], odd - self._usual[1]))
        self._table = _Table.of(said, np.isin(said.fields, known.fields[kept]))
        # what is seldom is the more of a surprise the more was seen, by no more than this
        self._usual += np.log(len(held_out) / np.count_nonzero(~held_out))
        found: Codes = np.where(rest, scores, self.score(lines))
        return found

    def score(self, lines: MinedLines) -> Codes:
        """Nats above what is usual of N lines (N, int32, in 1/64)."""
        if lines.said is None:
            return np.zeros(len(lines), np.int32)
        return _whole(_highest(self._beyond(lines.said), lines.said.lines, len(lines)))

    def _beyond(self, said: Fields) -> Nats:
        read = self._table.read(said)
        beyond: Nats = np.maximum(read.far - self._usual[0], read.odd - self._usual[1])
        beyond[read.rows < 0] = -np.inf
        return beyond

    def reasons(self, lines: MinedLines, places: Ints) -> list[str]:
        """Which value of each of some lines (by their places, rising) is the strangest, and what was usual there."""
        if lines.said is None:
            return [""] * len(places)
        said = lines.said.of_lines(places)
        read, beyond = self._table.read(said), self._beyond(said)
        order = np.lexsort((-beyond, said.lines))
        worst = order[np.searchsorted(said.lines[order], places)]
        return [self._reason(said, read, place) for place in worst.tolist()]

    def _reason(self, said: Fields, read: "_Read", place: int) -> str:
        row, table = int(read.rows[place]), self._table
        value, around, unit = said.told(int(said.lines[place]), int(said.fields[place]))
        begun = f'value {value} at "{around}"'
        if read.far[place] - self._usual[0] >= read.odd[place] - self._usual[1]:
            low, high = (f"{bound / unit:.6g}" for bound in (table.low[row], table.high[row]))
            return f"{begun}, usually {low} to {high}"
        if read.fallen[place]:
            return f"{begun}, never there in {table.count[row]:,} lines of {table.kinds[row]:,} values"
        return f"{begun}, hardly ever there in {table.count[row]:,} lines"

    def state(self) -> State:
        """Ranges and values by field, and what is usual."""
        arrays = {column.name: getattr(self._table, column.name) for column in columns_of(_Table)}
        return State({f"table/{name}": array for name, array in arrays.items()} | {"usual": self._usual})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._usual = state.arrays["usual"]
        self._table = _Table(**{column.name: state.arrays[f"table/{column.name}"] for column in columns_of(_Table)})


def _faithful(table: _Table, read: _Read, held_out: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which fields kept to what they were in the values that were held out, and which of these are of such a field."""
    tested = (read.rows >= 0) & held_out
    tests = np.bincount(read.rows[tested], minlength=len(table.fields))
    failed = np.bincount(read.rows[tested & read.fallen], minlength=len(table.fields))
    kept = (table.count >= _LEAST) & (tests >= _LEAST_REST) & (failed <= _FAITHFUL * tests)
    kept &= (table.unseen > 0) | ~np.isnan(table.low)
    return kept, tested & kept[read.rows]


def _highest(nats: Nats, lines: Ints, number: int) -> Nats:
    """The highest above 0 for each of `number` lines, to which values (R) belong."""
    found, some = np.zeros(number), np.flatnonzero(nats > 0)
    np.maximum.at(found, lines[some], nats[some])
    return found


def _whole(nats: Nats) -> Codes:
    found: Codes = np.rint(np.maximum(nats, 0) * FRACTION).astype(np.int32)
    return found


def _range(values: Nats, starts: Ints, count: Ints) -> tuple[Nats, Nats]:
    """Bounds of each stretch of rising values, without the tails."""
    out = (count * _TAIL).astype(np.int64)
    return values[starts + out], values[starts + count - 1 - out]


def _usual(surprise: Nats, times: Ints, of_value: Ints, count: Ints) -> Nats:
    """The surprise that all but a share of the values of each field (F) keep to: `surprise` and `times` (V) of distinct
    ones, which belong to the fields `of_value`, rising; `count` (F) are all."""
    order = np.lexsort((surprise, of_value))
    before = np.cumsum(count) - count
    within = np.cumsum(times[order]) - before[of_value[order]]
    enough = np.flatnonzero(within >= _BROAD * count[of_value[order]])
    first = enough[np.searchsorted(of_value[order[enough]], np.arange(len(count)))]
    found: Nats = surprise[order[first]]
    return found


def _by_size(keys: Ints) -> Ints:
    """Keys that are the bits of numbers so that they rise as the numbers do."""
    return keys ^ ((keys >> 63) & np.int64((1 << 63) - 1))


def _mixed(names: Ints, keys: Ints) -> Ints:
    """One number for a field and a value."""
    return names * np.int64(-7046029254386353131) ^ keys
