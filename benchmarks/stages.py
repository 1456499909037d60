"""Exclusive time by stage, measured from outside: methods of the objects in use are wrapped."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any


class Stages:
    """CPU seconds by stage; time inside a nested stage belongs to that one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        now = time.process_time()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def enter(self, stage: str) -> None:
        """What follows is `stage`'s."""
        self._switch()
        self._stack.append(stage)

    def leave(self) -> None:
        """What follows is the outer stage's again."""
        self._switch()
        self._stack.pop()

    def wrap(self, stage: str, owner: Any, method: str) -> None:
        """Count calls of `owner.method` as `stage`."""
        setattr(owner, method, self.timed(stage, getattr(owner, method)))

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, counted as `stage`."""

        def counted(*args: Any, **named: Any) -> Any:
            self.enter(stage)
            try:
                return call(*args, **named)
            finally:
                self.leave()

        return counted

    def wrap_iterator(self, stage: str, owner: Any, method: str) -> None:
        """Count what the iterator that `owner.method` returns does, and not what its reader does in between."""
        call = getattr(owner, method)

        def counted(*args: Any) -> Iterator[Any]:
            items = iter(self.timed(stage, call)(*args))
            end = object()
            step = self.timed(stage, lambda: next(items, end))
            while (item := step()) is not end:
                yield item

        setattr(owner, method, counted)


def watch(stages: Stages, runner: Any) -> None:
    """Wrap the stages of a runner whose first slot is judged."""
    partition, era = runner.partition, runner.partition.era
    for source in runner.sources.values():
        stages.wrap("decode", source, "poll")
    if runner.intake is not None:
        stages.wrap("mine", runner.intake, "take")
    stages.wrap_iterator("window", partition.windower, "process")
    stages.wrap("scale", era, "take_in")
    stages.wrap("gather", era.plane, "gather")
    scorer = era.scorer
    for name, detector in scorer.ensemble.detectors.items():
        stages.wrap(f"detect:{name}", scorer._online.get(name, detector), "score")
    stages.wrap("decide", scorer, "score")
    stages.wrap("judge", partition.judge, "close_all")
    stages.wrap("explain", runner.explanations, "of")
    stages.wrap("history", partition.history, "add")
    stages.wrap("history", partition.history, "flush")
    stages.wrap("save", runner.store, "save")
