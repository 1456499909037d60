"""Which feature has which column: one list that only grows."""

from collections.abc import Iterable, Sequence

MAX_NAME = 256
"""Characters that the name of a feature or an entity may have: the database indexes them."""

OTHERS = "(others)"
"""Under this name unknown features are counted once `Columns.max_unknown` names are known."""


def legal_name(name: str) -> bool:
    """Whether `name` can be stored and indexed: 1 to 256 characters, no NUL."""
    return 0 < len(name) <= MAX_NAME and "\0" not in name


def all_legal(names: Sequence[str]) -> bool:
    """Whether every one of `names` is legal, at a tenth of the cost of asking for each."""
    sizes = list(map(len, names))
    return not sizes or (min(sizes) > 0 and max(sizes) <= MAX_NAME and "\0" not in "".join(names))


class Columns:
    """Feature name -> column number, append-only, shared by all inputs of a partition.

    While `open`, new names are admitted in their order of appearance, up to `max_features`. Closed (a model is
    loaded), a new name has no column: it is counted by name, for at most `max_unknown` names, and dropped.
    """

    def __init__(
        self, names: Iterable[str] = (), *, open: bool = True, max_features: int = 4096, max_unknown: int = 1000
    ) -> None:
        self.open = open
        self.max_features = max_features
        self.max_unknown = max_unknown
        self.unknown: dict[str, int] = {}
        self._index: dict[str, int] = {}
        self.restore(list(names))

    def __len__(self) -> int:
        return len(self._index)

    @property
    def names(self) -> list[str]:
        """The features in column order (a copy: it does not grow with the columns)."""
        return list(self._index)

    def find(self, name: str) -> int:
        """The column of `name`, -1 when it has none. Admits nothing."""
        return self._index.get(name, -1)

    def index(self, name: str) -> int:
        """The column of `name`, admitted here if it is new, legal and there is room; else -1."""
        column = self._index.get(name, -1)
        if column < 0 and self.open and len(self._index) < self.max_features and legal_name(name):
            column = self._index[name] = len(self._index)
        return column

    def admit(self, names: Iterable[str]) -> None:
        """Give `names` columns also while closed: a model that knows them is to judge."""
        was_open, self.open = self.open, True
        for name in names:
            self.index(name)
        self.open = was_open

    def count_unknown(self, name: str, count: int) -> str:
        """Count `count` values of a feature without a column; returns the name they were counted under."""
        known = name in self.unknown or (len(self.unknown) < self.max_unknown and legal_name(name))
        label = name if known else OTHERS
        self.unknown[label] = self.unknown.get(label, 0) + count
        return label

    def state(self) -> list[str]:
        """The names in column order, for `restore`."""
        return self.names

    def restore(self, names: Sequence[str]) -> None:
        """Take over `names` as the columns; ValueError on a repeated name or one that cannot be stored."""
        for name in names:
            if not legal_name(name):
                raise ValueError(f"feature name {name[:40]!r} must have 1 to {MAX_NAME} characters and no NUL")
        index = {name: i for i, name in enumerate(names)}
        if len(index) != len(names):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            raise ValueError(f"feature names must differ, repeated: {twice}")
        self._index = index
