"""Entities that a partition has no claim to: their records are set aside, since another partition judges them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from streaming.bounded import kept
from streaming.broker.consumer import Messages
from streaming.columns import MAX_NAME
from streaming.deadletters import DeadLetters
from streaming.sessionintake import PART, SessionKeys
from streaming.types import Batch, Codes, Lines

Claim = Callable[[Sequence[str]], Mapping[str, int]]
"""Claims entities for a partition and answers which one each belongs to; what it has said of one it says for good."""


class Sieve(Protocol):
    """Keeps of what a partition reads what belongs there."""

    def sift(self, batch: Batch, messages: Messages, dead: DeadLetters) -> Batch:
        """`batch` (of `messages`) without what belongs elsewhere, which is `dead`."""
        ...


@dataclass(slots=True)
class Belonging:
    """What is known of where entities belong, for the partition `number`; `room` bounds the names in memory."""

    number: int
    claim: Claim
    room: int = 100_000
    _own: set[str] = field(default_factory=set)
    _foreign: dict[str, int] = field(default_factory=dict)

    def foreign(self, names: Sequence[str]) -> dict[str, int]:
        """Those of `names` that belong to another partition, with its number."""
        fresh = set(names) - self._own - self._foreign.keys()
        if fresh:
            self._ask(names, fresh)
        return {name: self._foreign[name] for name in names if name in self._foreign} if self._foreign else {}

    def _ask(self, names: Sequence[str], fresh: set[str]) -> None:
        if len(self._own) + len(self._foreign) + len(fresh) > self.room:
            self._own, self._foreign, fresh = set(), {}, set(names)  # they can be asked for again
        for name, home in self.claim(sorted(fresh)).items():
            if home == self.number:
                self._own.add(name)
            else:
                self._foreign[name] = home

    def sift(self, batch: Batch, messages: Messages, dead: DeadLetters) -> Batch:
        """`batch` (of `messages`) without the records of entities that belong elsewhere; they are `dead` letters."""
        return without(batch, batch.names, batch.codes, self.foreign(batch.names), messages, dead)


@dataclass(slots=True)
class SessionBelonging:
    """Lines on the partition `number` whose sessions, by `keys`, belong there as far as `sessions` knows. `entities`
    likewise; None where the topic is keyed by sessions: the lines of an entity then lie on all partitions, each of
    which watches its own part of it, called ENTITY@NUMBER."""

    number: int
    keys: SessionKeys
    sessions: Belonging
    entities: Belonging | None

    def sift(self, batch: Batch, messages: Messages, dead: DeadLetters) -> Batch:
        """As `Belonging.sift`. Letters of either kind are told in the order of the messages, whatever the polls are."""
        letters: list[Letter] = []
        if self.entities is not None:
            batch, letters = _parted(batch, batch.names, batch.codes, self.entities.foreign(batch.names), messages)
        if isinstance(batch, Lines):
            if self.entities is None:
                batch = replace(batch, names=[f"{name[: MAX_NAME - PART]}@{self.number}" for name in batch.names])
            names, codes = self.keys.of(batch)
            batch, more = _parted(batch, names, codes, self.sessions.foreign(names), messages, "session")
            letters = sorted([*letters, *more], key=lambda letter: letter[0])
        return _with_letters(batch, letters, dead)


Letter = tuple[int, str, bytes]
"""Offset, what is said, and the message."""


def without(
    batch: Batch, names: Sequence[str], codes: Codes, foreign: Mapping[str, int], messages: Messages, dead: DeadLetters
) -> Batch:
    """`batch` (of `messages`) without the records of `foreign` ones of `names`, which `codes` (N, -1 = none) index. A
    message that had some is a dead letter."""
    left, letters = _parted(batch, names, codes, foreign, messages)
    return _with_letters(left, letters, dead)


def _parted(
    batch: Batch, names: Sequence[str], codes: Codes, foreign: Mapping[str, int], messages: Messages,
    what: str = "entity",
) -> tuple[Batch, list[Letter]]:  # fmt: skip
    """What `without` leaves, and what is to be told of the messages, in their order."""
    if not foreign:
        return batch, []
    gone = np.array([*(name in foreign for name in names), False], np.bool_)[codes]
    positions, first, counts = np.unique(batch.positions[gone], return_index=True, return_counts=True)
    which, places = codes[gone][first], np.searchsorted(messages.offsets, positions)
    letters = []
    for place, code, count in zip(places.tolist(), which.tolist(), counts.tolist(), strict=True):
        others = f" (the first of {count} such rows in this message)" if count > 1 else ""
        home = f"belongs to partition {foreign[names[code]]}, where it came first; key topics by it"
        said = f"{what} {names[code]!r:.80}{others}: {home}"
        letters.append((int(messages.offsets[place]), said, messages.values[place]))
    return kept(batch, ~gone), letters


def _with_letters(batch: Batch, letters: Sequence[Letter], dead: DeadLetters) -> Batch:
    """`batch` with `letters`, which come in rising order, among its dead ones."""
    if not letters:
        return batch
    for offset, said, message in letters:
        dead.add(offset, "wrong_partition", said, message)
    letters_kept, counts = dead.take()
    counted = Counter(batch.dead_counts) + Counter(counts)
    return replace(batch, dead=[*batch.dead, *letters_kept], dead_counts=dict(counted))
