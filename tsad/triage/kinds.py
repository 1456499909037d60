"""Types of incidents: one is like the first of its type, or is the first of a new one.

An incident is compared by its signature with the first one of each type that began before it: the most alike, if it is
enough so, is its type. A type stays what its first incident was: were it to move with those that join, what belongs to
it would depend on the order in which they were looked at.
"""

from collections.abc import Iterable, Mapping
from math import sqrt

from storage.incidents import IncidentRow, TypeRow

Signature = Mapping[str, float]


class Kinds:
    """The types known so far, oldest first; `alike` is the least likeness within a type."""

    def __init__(self, alike: float, known: Iterable[TypeRow] = ()) -> None:
        self._alike = alike
        self._sizes: dict[str, float] = {}
        self._having: dict[str, list[tuple[str, float]]] = {}
        for row in known:
            self.add(row.id, row.signature)

    def add(self, identity: str, signature: Signature) -> None:
        """A new type."""
        self._sizes[identity] = _size(signature)
        for key, part in signature.items():
            self._having.setdefault(key, []).append((identity, part))

    def of(self, signature: Signature) -> tuple[str, float] | None:
        """The type that a signature is of, and how alike they are; None: it would be a new one."""
        products: dict[str, float] = {}
        for key, part in signature.items():
            for identity, theirs in self._having.get(key, ()):
                products[identity] = products.get(identity, 0.0) + part * theirs
        size = _size(signature)
        best: tuple[str, float] | None = None
        for identity in self._sizes:  # the older one counts where two are equally alike
            likeness = products.get(identity, 0.0) / (size * self._sizes[identity] or 1.0)
            if likeness >= self._alike and (best is None or likeness > best[1] + 1e-9):
                best = identity, min(round(likeness, 4), 1.0)
        return best


def type_of(row: IncidentRow) -> TypeRow:
    """The type that begins with an incident."""
    return TypeRow(row.id, row.run, row.number, row.first_time, row.title, row.signature)


def _size(signature: Signature) -> float:
    return sqrt(sum(part * part for part in signature.values()))
