"""Named values that came with log lines (user, host, component), of which a model learns which go together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from streaming.types import Codes, Ints

ABSENT = -1
LONGEST = 200
"""Characters of a value that count."""


@dataclass(frozen=True, slots=True)
class Related:
    """What N lines say of R `names`: `codes` (N x R, int32) index the distinct `texts`, -1 = nothing. `kept` are the
    `keys`, once they were made; they may be there without texts."""

    names: tuple[str, ...]
    codes: Codes
    texts: Sequence[str]
    kept: Ints | None = None

    @classmethod
    def none(cls, lines: int) -> "Related":
        """Lines that were not asked."""
        return cls((), np.zeros((lines, 0), np.int32), ())

    @classmethod
    def of(cls, names: tuple[str, ...], values: Sequence[Sequence[Any]]) -> "Related":
        """From R values of each line: texts, numbers and truth values count, everything else is nothing."""
        known: dict[Any, int] = {}
        texts: list[str] = []
        codes = np.full((len(values), len(names)), ABSENT, np.int32)
        for line, said in enumerate(values):
            for place, value in enumerate(said):
                if value is None or isinstance(value, dict | list) or value == "":
                    continue
                key = (type(value), value)
                code = known.get(key)
                if code is None:
                    code = known[key] = len(texts)
                    texts.append(_text(value))
                codes[line, place] = code
        return cls(names, codes, texts)

    @classmethod
    def joined(cls, parts: Sequence["Related"]) -> "Related":
        """Those of lines one after another, of the names of the first part that has any; others' say nothing."""
        names = next((part.names for part in parts if part.names), ())
        if any(part.kept is not None for part in parts):
            nothing = (np.full((len(part), len(names)), ABSENT) for part in parts)
            own_keys = [part.keys if part.names == names else none for part, none in zip(parts, nothing, strict=True)]
            return cls.of_keys(names, np.concatenate(own_keys))
        texts: list[str] = []
        codes = []
        for part in parts:
            own = part.codes if part.names == names else np.full((len(part), len(names)), ABSENT, np.int32)
            codes.append(np.where(own >= 0, own + len(texts), ABSENT).astype(np.int32))
            texts += part.texts
        return cls(names, np.concatenate(codes) if codes else np.zeros((0, 0), np.int32), texts)

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: NDArray[Any] | slice) -> "Related":
        """The lines at `index`."""
        return Related(self.names, self.codes[index], self.texts, None if self.kept is None else self.kept[index])

    def keyed(self) -> "Related":
        """The same with its keys, so that they are made once for all parts that are taken of it."""
        return replace(self, kept=self.keys)

    def without_texts(self) -> "Related":
        """The same for models, which know keys: of long histories the texts are too much to keep."""
        return self.of_keys(self.names, self.keys)

    @classmethod
    def of_keys(cls, names: tuple[str, ...], keys: Ints) -> "Related":
        """Without texts: `keys` (N x R), equal ones for equal values, -1 = nothing."""
        return cls(names, np.full(keys.shape, ABSENT, np.int32), (), keys)

    def without(self, name: str) -> "Related | None":
        """All but what the lines say of `name`; None where that is all."""
        kept = [place for place, one in enumerate(self.names) if one != name]
        if not kept:
            return None
        keys = None if self.kept is None else self.kept[:, kept]
        return Related(tuple(self.names[place] for place in kept), self.codes[:, kept], self.texts, keys)

    @property
    def keys(self) -> Ints:
        """N x R: equal ones for equal values, -1 = nothing."""
        if self.kept is not None:
            return self.kept
        of_text = np.array([*(crc32(text.encode("utf-8", "surrogatepass")) for text in self.texts), ABSENT], np.int64)
        found: Ints = of_text[self.codes]
        return found

    def text(self, line: int, place: int) -> str:
        """What a line says of the name at `place`; "" = nothing."""
        code = int(self.codes[line, place])
        return self.texts[code] if code >= 0 else ""


def _text(value: Any) -> str:
    said = str(value).lower() if isinstance(value, bool) else str(value)
    return said[:LONGEST].replace("\0", "\ufffd")
