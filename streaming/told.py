"""What is kept for people of the log lines of each (slot, entity by row, template), while the slot is in play."""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from streaming.types import Codes

Kept = TypeVar("Kept")
Place = tuple[int, int, int]


class Told(Generic[Kept]):
    """One thing at each place."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[int, dict[int, Kept]]] = {}

    def forget(self, before: int) -> None:
        """Drop the slots below `before`."""
        self._slots = {slot: rows for slot, rows in self._slots.items() if slot >= before}

    def erase(self, rows: Codes) -> None:
        """Forget everything of `rows`."""
        for row in rows.tolist():
            for cells in self._slots.values():
                cells.pop(row, None)

    def _cell(self, slot: int, row: int) -> Mapping[int, Kept]:
        """What is there, by template."""
        return self._slots.get(slot, {}).get(row, {})

    def _into(self, slot: int, row: int) -> dict[int, Kept]:
        """The same, to be added to."""
        return self._slots.setdefault(slot, {}).setdefault(row, {})

    def _sizes(self) -> dict[int, int]:
        """How many things each slot has."""
        return {slot: sum(map(len, rows.values())) for slot, rows in self._slots.items()}

    def _all(self) -> Iterator[tuple[Place, Kept]]:
        """Every place and what is there, in order of arrival."""
        for slot, rows in self._slots.items():
            for row, cell in rows.items():
                for template, one in cell.items():
                    yield (slot, row, template), one
