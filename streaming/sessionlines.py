"""The lines of sessions, in order of arrival: flat arrays, and which session each is of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.types import Codes, Ints, State

COLUMNS = {"owners": np.int32, "templates": np.int32, "times": np.int64, "severities": np.int8}


class KeptLines:
    """Grows by doubling; what goes is closed up."""

    def __init__(self) -> None:
        self._at: dict[str, NDArray[Any]] = {name: np.empty(0, kind) for name, kind in COLUMNS.items()}
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def add(self, owners: Codes, templates: Codes, times: Ints, severities: NDArray[Any]) -> None:
        """N lines; `owners` (N) are the rows of their sessions."""
        stop = self._held + len(owners)
        if stop > len(self._at["owners"]):
            more = max(stop, 2 * self._held) - self._held
            self._at = {
                name: np.concatenate([column[: self._held], np.empty(more, column.dtype)])
                for name, column in self._at.items()
            }
        for column, values in zip(self._at.values(), (owners, templates, times, severities), strict=True):
            column[self._held : stop] = values
        self._held = stop

    def of(self, rows: Ints, width: int) -> tuple[Ints, Codes, Ints, NDArray[np.int8]]:
        """Bounds (S + 1), templates, times and severities of the lines of S `rows`, which are below `width`."""
        rank = np.full(width + 1, -1, np.int64)
        rank[rows] = np.arange(len(rows))
        owners = rank[self._at["owners"][: self._held]]
        places = np.flatnonzero(owners >= 0)
        times = self._at["times"][places]
        order = places[np.lexsort((times, owners[places]))]
        bounds = np.r_[0, np.cumsum(np.bincount(owners[places], minlength=len(rows)))].astype(np.int64)
        return bounds, self._at["templates"][order], self._at["times"][order], self._at["severities"][order]

    def drop(self, rows: Ints, width: int) -> None:
        """Forget the lines of `rows`."""
        going = np.zeros(width + 1, np.bool_)
        going[rows] = True
        stay = ~going[self._at["owners"][: self._held]]
        self._at = {name: column[: self._held][stay] for name, column in self._at.items()}
        self._held = len(self._at["owners"])

    def state(self, place: Codes) -> State:
        """Everything, with `place[row]` for each row."""
        arrays = {name: column[: self._held].copy() for name, column in self._at.items()}
        return State(arrays | {"owners": place[arrays["owners"]]})

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._at = {name: state.arrays[name].copy() for name in COLUMNS}
        self._held = len(self._at["owners"])
