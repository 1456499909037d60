"""Lines as they came, cleaned of secrets when they are read: thousands are strange, a few are kept."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

Clean = Callable[[str], str]


@dataclass(slots=True)
class Texts:
    """What is kept of the told lines of a poll, masked and as they came (empty where no line is quoted)."""

    masked: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Quote:
    """A line that is cleaned when it is first read."""

    line: str
    clean: Clean = str

    def read(self) -> str:
        """The line, cleaned."""
        self.line, self.clean = self.clean(self.line), str
        return self.line


class Quotes:
    """Lines by number. Those of a snapshot were cleaned before, so each part knows how its lines are."""

    def __init__(self, lines: Sequence[str] = (), clean: Clean = str) -> None:
        self._parts: list[tuple[Sequence[str], Clean]] = [(lines, clean)] if lines else []
        self._starts = [0] if lines else []
        self._count = len(lines)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> "Quote":
        if not 0 <= place < self._count:
            raise IndexError(f"line {place} of {self._count}")
        part = bisect_right(self._starts, place) - 1
        lines, clean = self._parts[part]
        return Quote(lines[place - self._starts[part]], clean)

    def __iter__(self) -> Iterator["Quote"]:
        return (Quote(line, clean) for lines, clean in self._parts for line in lines)

    def __add__(self, other: "Quotes") -> "Quotes":
        """The lines of both; nothing is read."""
        both = Quotes()
        both._parts = self._parts + other._parts
        both._starts = self._starts + [start + self._count for start in other._starts]
        both._count = self._count + other._count
        return both


NONE = Quotes()
