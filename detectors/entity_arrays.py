"""Named arrays with one row per entity, which grow by themselves: what a part learns of each entity online."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streaming.types import Codes


@dataclass(frozen=True, slots=True)
class Field:
    """Shape of one entity's row, its type, and the value that says "nothing learnt yet"."""

    shape: tuple[int, ...]
    dtype: DTypeLike
    empty: float = 0.0


class EntityArrays:
    """Arrays by name; the first axis is the entity's row code. Rows that nobody wrote hold the empty value."""

    def __init__(self, fields: dict[str, Field]) -> None:
        self._fields = fields
        self._arrays = {name: _empty(field, 0) for name, field in fields.items()}
        self._size = 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The whole array of `name`, entities first; no copy."""
        return self._arrays[name]

    def __len__(self) -> int:
        return self._size

    def reach(self, entities: Codes) -> None:
        """Grow (doubling) until every code in `entities` has a row."""
        needed = int(np.maximum.reduce(entities, initial=-1)) + 1
        if needed <= self._size:
            return
        self._size = max(needed, 2 * self._size)
        for name, old in self._arrays.items():
            self._arrays[name] = _empty(self._fields[name], self._size)
            self._arrays[name][: len(old)] = old

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]:
        """A copy of the rows of `entities`."""
        self.reach(entities)
        at = stretch(entities)
        if isinstance(at, slice):
            return {name: array[at].copy() for name, array in self._arrays.items()}
        return {name: array[at] for name, array in self._arrays.items()}

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None:
        """Overwrite the rows of `entities`; ValueError naming the array where a name or a shape is not ours."""
        if arrays.keys() != self._fields.keys():
            raise ValueError(f"rows need {sorted(self._fields)}, got {sorted(arrays)}")
        self.reach(entities)
        at = stretch(entities)
        for name, values in arrays.items():
            if values.shape != (len(entities), *self._fields[name].shape):
                raise ValueError(f"{name} must be {(len(entities), *self._fields[name].shape)}, got {values.shape}")
            self._arrays[name][at] = values

    def forget(self, entities: Codes) -> None:
        """Empty the rows of `entities`."""
        self.reach(entities)
        for name, array in self._arrays.items():
            array[entities] = self._fields[name].empty


def stretch(entities: Codes) -> Codes | slice:
    """`entities` as an index of rows: a slice where they follow one another, which is read and written faster."""
    count = len(entities)
    if count and int(entities[-1]) - int(entities[0]) == count - 1 and bool((entities[1:] > entities[:-1]).all()):
        return slice(int(entities[0]), int(entities[-1]) + 1)
    return entities


def _empty(field: Field, size: int) -> NDArray[Any]:
    return np.full((size, *field.shape), field.empty, dtype=field.dtype)
