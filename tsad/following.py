"""A stream that is pushed: its journals followed as they grow, and dropped behind what no start reads again."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.types import LIVE
from streaming.columns import Columns
from streaming.journalreader import JournalReader
from streaming.pushed import PushedSource
from streaming.types import Source, Topic
from tsad.app import App
from tsad.progress import Limits, Progress, frozen_heap
from tsad.pushing import bytes_of, journal_of
from tsad.runner import Runner

PATIENCE = 0.2
"""Seconds until what has nothing looks again."""
SNAPSHOTS = 2
"""Snapshots that are kept: what the older one needs is not dropped."""


@dataclass
class Follower:
    """Runs the one partition of a pushed stream. `kept`: the positions of the snapshots that are kept, the newest last;
    `most`: bytes that a journal may hold; `doze` waits (s) when there is nothing to do."""

    runner: Runner
    sources: Mapping[Topic, PushedSource]
    most: int
    kept: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=SNAPSHOTS))
    doze: Callable[[float], None] = time.sleep
    _snapshot: int | None = None

    def __post_init__(self) -> None:
        self._snapshot = self.runner.snapshot_slot

    def run(
        self,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[Progress], None] = lambda _: None,
        until_end: bool = False,
    ) -> bool:
        """Go on until `stop` answers True (False), or with `until_end` to where the journals end now, and close every
        open slot (True). Both leave a snapshot."""
        ends = {topic: source.reader.end() for topic, source in self.sources.items()} if until_end else {}
        with frozen_heap():
            while not stop():
                if ends and all(source.at() >= ends[topic] for topic, source in self.sources.items()):
                    self.runner.listen(last=True)
                    self.runner.close_all()
                    self._drop()
                    tell(self.runner.progress)
                    return True
                self.step(last=until_end)
                tell(self.runner.progress)
            self.runner.snapshot()
            self._drop()
        return False

    def step(self, last: bool = False) -> None:
        """One poll where something has come; else what can wait, and a moment's rest. With `last`, nothing more is
        awaited of a journal that is read to its end."""
        if self.runner.waiting:
            self.runner.step()
            self._make_room()
        elif last and any(source.waiting for source in self.sources.values()):
            self.runner.listen(last=True)
            self.doze(PATIENCE / 10)
        elif not self.runner.rest():
            self.doze(PATIENCE)
        self._drop()

    def _make_room(self) -> None:
        """Where a journal is half full, a snapshot that frees segments cannot wait."""
        if not self.kept or self.runner.partition.windower.closed_through == self.runner.snapshot_slot:
            return
        for topic, source in self.sources.items():
            if self._row(self.kept[-1], topic) < source.reader.begun and source.reader.held() * 2 > self.most:
                self.runner.snapshot()
                return

    def _drop(self) -> None:
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
