"""What is left for an engine to do, and what it has to do again."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from tsad.engines.tasks import Engine, Outcome, Task

_STEP = 1.0
"""Seconds of a pause between two looks whether to stop."""


class Queue:
    """Numbers of tasks in the order in which they are begun. One whose process is gone comes back, but behind a pause:
    memory that others take for a while is free again by then, and a node that has none does not use up all attempts of
    all that is left."""

    pauses: ClassVar[tuple[float, ...]] = (1.0, 15.0, 60.0)
    """Seconds until a task is begun again, by how often it has crashed. There is no attempt after the last."""

    def __init__(
        self, numbers: Iterable[int], now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._left, self._due = deque(numbers), dict[int, float]()
        self._crashes = Counter[int]()
        self._now, self._wait = now, wait

    def run(
        self, engine: Engine, task: Callable[[int], Task], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Outcome]:
        """Outcomes as they come, until nothing is left or `stopping`. `task` is asked for a task when it is begun."""
        while (self._left or self._due) and not stopping():
            yield from engine.run(_Tasks(lambda: None if stopping() else self._take(), task))
            while self._due and not self._left and not stopping():
                self._wait(min(_STEP, max(0.0, min(self._due.values()) - self._now())))
                self._ripen()

    def again(self, number: int) -> bool:
        """Whether the task, which has crashed, is begun again: it is put back."""
        self._crashes[number] += 1
        crashes = self._crashes[number]
        if crashes > len(self.pauses):
            return False
        self._due[number] = self._now() + self.pauses[crashes - 1]
        return True

    def _take(self) -> int | None:
        self._ripen()
        return self._left.popleft() if self._left else None

    def _ripen(self) -> None:
        """What has waited long enough comes behind what has not been begun."""
        now = self._now()
        for number in sorted(self._due, key=self._due.__getitem__):
            if self._due[number] <= now:
                del self._due[number]
                self._left.append(number)


class _Tasks(Iterator[Task]):
    """Where `take` has none, it may have one later."""

    def __init__(self, take: Callable[[], int | None], task: Callable[[int], Task]) -> None:
        self._take, self._task = take, task

    def __next__(self) -> Task:
        number = self._take()
        if number is None:
            raise StopIteration
        return self._task(number)
