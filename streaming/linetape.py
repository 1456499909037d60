"""The lines of a history as their templates follow each other: what line models are fitted on."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from streaming.types import Codes, Ints

Texts = Callable[[Iterable[int]], list[str | None]]
"""The current text of each template id; None for one that is not held any more."""
MOST = 4_000_000
"""Lines that are kept at most (24 bytes each): the newest."""


class LineTape:
    """Keeps, of each line, entity, slot, template id and the ids before it, in position order; `texts` of templates."""

    def __init__(self, texts: Texts, most: int = MOST) -> None:
        self.texts = texts
        self.names: dict[str, int] = {}
        self._most = most
        self._held = 0
        self._parts: list[tuple[Codes, Ints, Codes, Codes]] = []

    def add(self, names: Sequence[str], codes: Codes, slots: Ints, ids: Codes, before: Codes) -> None:
        """N lines: `codes` (N) index `names`; `slots` (N), `ids` (N), `before` (N x 2)."""
        number = np.array([self.names.setdefault(name, len(self.names)) for name in names], np.int32)
        self._parts.append((number[codes], slots, ids, before))
        self._held += len(codes)
        while self._held - len(self._parts[0][0]) >= self._most:
            self._held -= len(self._parts.pop(0)[0])

    def read(self) -> tuple[Codes, Ints, Codes, Codes]:
        """Entities (N, index `names`), slots (N), ids (N) and the ids before (N x 2)."""
        if not self._parts:
            none = np.empty(0, np.int32)
            return none, np.empty(0, np.int64), none, np.empty((0, 2), np.int32)
        entities, slots, ids, before = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        return entities, slots, ids, before
