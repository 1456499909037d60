"""One partition whose sources have no end of their own, run as they grow."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streaming.types import Topic
from tsad.progress import Progress, frozen_heap
from tsad.runner import Runner

PATIENCE = 0.2
"""Seconds until what has nothing looks again."""


class Unending(Protocol):
    """A source that grows: `PushedSource`, `PrometheusSource`."""

    @property
    def waiting(self) -> bool:
        """Whether something is there."""
        ...

    def at(self) -> int:
        """The position behind what was taken."""
        ...

    def end(self) -> int:
        """The position behind what is there now."""
        ...


@dataclass
class Endless:
    """Runs `runner` on its `sources`; `doze` waits (s) when there is nothing to do."""

    runner: Runner
    sources: Mapping[Topic, Unending]
    doze: Callable[[float], None] = field(default=time.sleep, kw_only=True)

    def run(
        self,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[Progress], None] = lambda _: None,
        until_end: bool = False,
    ) -> bool:
        """Go on until `stop` answers True (False), or with `until_end` to where the sources end now, and close every
        open slot (True). Both leave a snapshot."""
        ends = {topic: source.end() for topic, source in self.sources.items()} if until_end else {}
        with frozen_heap():
            while not stop():
                if ends and all(source.at() >= ends[topic] for topic, source in self.sources.items()):
                    self.runner.listen(last=True)
                    self.runner.close_all()
                    self.kept_up()
                    tell(self.runner.progress)
                    return True
                self.step(last=until_end)
                tell(self.runner.progress)
            self.runner.snapshot()
            self.kept_up()
        return False

    def step(self, last: bool = False) -> None:
        """One poll where something has come; else what can wait, and a moment's rest. With `last`, nothing more is
        awaited of a source that is read to its end."""
        if self.runner.waiting:
            self.runner.step()
            self.polled()
        elif last and any(source.waiting for source in self.sources.values()):
            self.runner.listen(last=True)
            self.doze(PATIENCE / 10)
        elif not self.runner.rest():
            self.doze(PATIENCE)
        self.kept_up()

    def polled(self) -> None:
        """Called behind each poll."""

    def kept_up(self) -> None:
        """Called when there may be a new snapshot."""
