"""Lines of templates that hardly ever came: the cheapest line scorer."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from streaming.cells import FRACTION
from streaming.linescores import FOREIGN, MinedLines
from streaming.types import Codes, State


class Rarity:
    """Counts a line whose template came in fewer than `slots` slots of the history, or never."""

    name: ClassVar[str] = "rare"
    asks: ClassVar[Literal["which", "how", "else"]] = "which"

    def __init__(self, slots: int = 3) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self._slots = slots
        self._usual: NDArray[np.bool_] = np.zeros(1, np.bool_)

    def fit(self, lines: MinedLines, templates: int, rest: NDArray[np.bool_]) -> Codes | None:
        """Learn; the score of each line, where `rest` holds as judged by the other ones (N, int32).

        None where there is no other one, or no template came often enough."""
        self._usual = self._learnt(lines, templates, ~rest)
        held_out = self.score(lines)
        self._usual = self._learnt(lines, templates, np.ones(len(lines), np.bool_))
        found: Codes = np.where(rest, held_out, self.score(lines))
        return found if self._usual.any() and not rest.all() else None

    def _learnt(self, lines: MinedLines, templates: int, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
        cells = np.unique(np.stack([lines.codes[known], lines.slots[known]]), axis=1)
        usual: NDArray[np.bool_] = np.bincount(cells[0], minlength=templates + 1) >= self._slots
        usual[FOREIGN] = False
        return usual

    def score(self, lines: MinedLines) -> Codes:
        """1 line or none for each of N lines (N, int32, in 1/64)."""
        return np.where(self._usual[lines.codes], 0, FRACTION).astype(np.int32)

    def state(self) -> State:
        """Which templates are usual."""
        return State({"usual": self._usual})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._usual = state.arrays["usual"]
