"""A producer that has gone quiet, by the clock: an alert of its own kind, apart from the final rows.

A topic of a partition that has brought records before, and then nothing for `after`, though all that it holds is read.
What the clock decides can be no final row: a run that reads the same records tomorrow opens none.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from storage.types import NoData
from streaming.settings import SECOND
from streaming.types import Topic
from tsad.rows import utc


class Heard(Protocol):
    """A source that knows when it last brought something; see `KafkaSource`."""

    heard: int | None

    @property
    def waiting(self) -> bool:
        """Whether records are here."""
        ...

    def drained(self) -> bool:
        """Whether all that it holds now was taken."""
        ...


@dataclass(slots=True)
class Absence:
    """The quiet topics of one partition, `place` (run, stream, number). `after` (ns): None opens none any more."""

    place: tuple[str, str, int]
    after: int | None
    open: dict[str, NoData] = field(default_factory=dict)
    sources: Mapping[Topic, Heard] = field(default_factory=dict)
    _looked: int = 0

    def look(self, now: int) -> list[NoData]:
        """What is quiet, and what is no longer, since the last look; each is told once."""
        back = [topic for topic, row in self.open.items() if self._heard_after(topic, row.since)]
        found = [replace(self.open.pop(topic), resolved_at=utc(now)) for topic in back]
        # the end of a topic is the broker's to say: it is asked ten times in `after`, or once a second
        if self.after is not None and now - self._looked >= max(self.after // 10, SECOND):
            self._looked = now
            fresh = [self._opened(topic, now) for topic in self.sources if self._quiet(topic, now)]
            self.open |= {row.topic: row for row in fresh}
            found += fresh
        return found

    def _heard_after(self, topic: str, since: datetime) -> bool:
        heard = next((source.heard for name, source in self.sources.items() if name == topic), None)
        return heard is not None and utc(heard) > since

    def _quiet(self, topic: Topic, now: int) -> bool:
        source = self.sources[topic]
        if topic in self.open or source.heard is None or self.after is None or now - source.heard < self.after:
            return False
        return not source.waiting and source.drained()

    def _opened(self, topic: Topic, now: int) -> NoData:
        heard = self.sources[topic].heard or 0
        run, stream, number = self.place
        key = "".join(f"{len(part)}:{part}" for part in ("no_data", run, stream, str(number), topic, str(heard)))
        return NoData(hashlib.sha256(key.encode()).hexdigest()[:32], topic, utc(heard), utc(now))
