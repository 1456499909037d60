"""A stream that is pushed: its journals followed as they grow, and dropped behind what no start reads again."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from storage.types import LIVE
from streaming.columns import Columns
from streaming.journalreader import JournalReader
from streaming.pushed import PushedSource
from streaming.types import Source, Topic
from tsad.app import App
from tsad.endless import Endless
from tsad.progress import Limits
from tsad.pushing import bytes_of, journal_of

SNAPSHOTS = 2
"""Snapshots that are kept: what the older one needs is not dropped."""


@dataclass
class Follower(Endless):
    """Runs the one partition of a pushed stream. `kept`: the positions of the snapshots that are kept, the newest last;
    `most`: bytes that a journal may hold."""

    sources: Mapping[Topic, PushedSource]
    most: int
    kept: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=SNAPSHOTS))
    _snapshot: int | None = None

    def __post_init__(self) -> None:
        self._snapshot = self.runner.snapshot_slot

    @override
    def polled(self) -> None:
        """Where a journal is half full, a snapshot that frees segments cannot wait."""
        if not self.kept or self.runner.partition.windower.closed_through == self.runner.snapshot_slot:
            return
        for topic, source in self.sources.items():
            if self._row(self.kept[-1], topic) < source.reader.begun and source.reader.held() * 2 > self.most:
                self.runner.snapshot()
                return

    @override
    def kept_up(self) -> None:
        """Note a snapshot that was made, and delete what lies before every one that is kept."""
        if self.runner.snapshot_slot == self._snapshot:
            return
        self._snapshot = self.runner.snapshot_slot
        self.kept.append(dict(self.runner.positions))
        if len(self.kept) == SNAPSHOTS:
            for topic, source in self.sources.items():
                source.reader.drop(min(self._row(position, topic) for position in self.kept))

    def _row(self, position: Mapping[str, Any], topic: Topic) -> int:
        return int((position.get(topic) or {}).get("row", 0))


def follower(app: App, stream: str, run: str = LIVE, limits: Limits | None = None) -> Follower:
    """A follower of a pushed stream, brought back to where it was. It takes the partition from whoever had it."""
    opened: dict[Topic, PushedSource] = {}
    config = app.config.of(stream)

    def open_sources(columns: Columns) -> dict[Topic, Source]:
        for topic in config.topics:
            reader = JournalReader(journal_of(app.config, stream, topic))
            opened[topic] = PushedSource(
                f"push:{stream}.{topic}", reader, config.format_of(topic), columns,
                clock=app.clock, max_ahead=config.max_ahead,
            )  # fmt: skip
        return dict(opened)

    runner = app.partition_runner(stream, 0, open_sources, run, limits)
    for source in opened.values():
        source.open()
    runner.attend(opened)
    kept = app.store.restore(run, stream, 0).snapshots  # the newest first
    positions = (row.position for row in reversed(kept[:SNAPSHOTS]))
    return Follower(runner, opened, bytes_of(app.config), deque(positions, maxlen=SNAPSHOTS))
