"""Entities that a partition has no claim to: their records are set aside, since another partition judges them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.broker.consumer import Messages
from streaming.deadletters import DeadLetters
from streaming.types import Batch, Records

Claim = Callable[[Sequence[str]], Mapping[str, int]]
"""Claims entities for a partition and answers which one each belongs to; what it has said of one it says for good."""


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


def without(batch: Batch, foreign: Mapping[str, int], messages: Messages, dead: DeadLetters) -> Batch:
    """`batch` (of `messages`) without the records of `foreign` entities. A message that had some is a dead letter."""
    if not foreign:
        return batch
    gone = np.array([name in foreign for name in batch.names], np.bool_)[batch.codes]
    positions, first, counts = np.unique(batch.positions[gone], return_index=True, return_counts=True)
    codes, places = batch.codes[gone][first], np.searchsorted(messages.offsets, positions)
    for place, code, count in zip(places.tolist(), codes.tolist(), counts.tolist(), strict=True):
        name = batch.names[code]
        others = f" (the first of {count} such rows in this message)" if count > 1 else ""
        said = (
            f"entity {name!r:.80}{others}: belongs to partition {foreign[name]}, where it came first; key topics by it"
        )
        dead.add(int(messages.offsets[place]), "wrong_partition", said, messages.values[place])
    letters, more = dead.take()
    counted = Counter(batch.dead_counts) + Counter(more)
    return replace(_kept(batch, ~gone, foreign), dead=[*batch.dead, *letters], dead_counts=dict(counted))


def _kept(batch: Batch, keep: NDArray[np.bool_], foreign: Mapping[str, int]) -> Batch:
    """The records at `keep` (N), with the names that are left."""
    left = np.array([name not in foreign for name in batch.names], np.bool_)
    shared: dict[str, Any] = {name: getattr(batch, name)[keep] for name in ("times", "positions", "ingested")}
    shared["names"] = [name for name in batch.names if name not in foreign]
    shared["codes"] = (np.cumsum(left) - 1).astype(np.int32)[batch.codes[keep]]
    if isinstance(batch, Records):
        labels = {name: labels for name, labels in batch.labels.items() if name not in foreign}
        return replace(batch, values=batch.values[keep], labels=labels, **shared)
    messages = list(compress(batch.messages, keep.tolist()))
    templates = list(compress(batch.templates, keep.tolist()))
    return replace(batch, messages=messages, severities=batch.severities[keep], templates=templates, **shared)
