"""A part of a source: the records of a stretch of event time."""

from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.types import Batch, Records, Source


class Bounded:
    """The records of `source` from `since` to before `until` (event time in ns; None = without bound). Positions, dead
    letters and all else are the source's."""

    def __init__(self, source: Source, since: int | None = None, until: int | None = None) -> None:
        self.topic = source.topic
        self.truncated: tuple[int, int] | None = None
        self._source, self._since, self._until = source, since, until

    @property
    def waiting(self) -> bool:
        """Whether a poll would find something at once."""
        return self._source.waiting

    def poll(self, max_records: int = 5000) -> Batch | None:
        """The next batch without what lies beyond the bounds: perhaps an empty one. None at the end."""
        batch = self._source.poll(max_records)
        if batch is None:
            return None
        inside = np.ones(len(batch.times), np.bool_)
        if self._since is not None:
            inside &= batch.times >= self._since
        if self._until is not None:
            inside &= batch.times < self._until
        return batch if inside.all() else kept(batch, inside)

    def position(self, next_position: int) -> dict[str, Any]:
        """The source's position."""
        return self._source.position(next_position)

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`."""
        self._source.seek(position)
        self.truncated = self._source.truncated

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def kept(batch: Batch, keep: NDArray[np.bool_]) -> Batch:
    """The records at `keep` (N), with the names that are left."""
    shared: dict[str, Any] = {name: getattr(batch, name)[keep] for name in ("times", "positions", "ingested")}
    left, codes = np.unique(batch.codes[keep], return_inverse=True)
    names = [batch.names[code] for code in left.tolist()]
    shared |= {"names": names, "codes": codes.astype(np.int32)}
    if isinstance(batch, Records):
        labels = {name: batch.labels[name] for name in names if name in batch.labels}
        return replace(batch, values=batch.values[keep], labels=labels, **shared)
    messages = list(compress(batch.messages, keep.tolist()))
    templates = list(compress(batch.templates, keep.tolist()))
    related = None if batch.related is None else batch.related.take(keep)
    severities = batch.severities[keep]
    return replace(batch, messages=messages, severities=severities, templates=templates, related=related, **shared)
