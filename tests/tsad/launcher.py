"""`tsad` with what a round wants broken (`TSAD_SABOTAGE`), or where this process is to stand still (`TSAD_STAND`).

A comparison that cannot fail is found out by the first. The second makes a worker that sleeps in the middle of a save,
by its own SIGSTOP at a place rather than by somebody else's at a moment: "before:3" is the third save that opens an
alert, before its transaction; "within:3" the same behind the look at its lease, whose row is locked then. `TSAD_POLL`
is how many records a poll takes at most: many small ones have more moments to be killed at.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import storage.store
import tsad.app
import tsad.recovery
from storage.store import Store
from storage.types import Changes, Checkpoint, Saved
from streaming.types import Topic
from tsad.cli import main
from tsad.progress import Limits
from tsad.runner import Runner


def any_epoch() -> None:
    """Every save is taken, whoever owns the partition."""
    storage.store.held = lambda *_: True  # type: ignore[assignment]


def no_replay() -> None:
    """A partition goes on at its checkpoint, whatever its memory has not seen."""

    def skip(runner: Runner, checkpoint: Checkpoint) -> list[Topic]:
        for topic, source in runner.sources.items():
            if topic in checkpoint.positions:
                source.seek(checkpoint.positions[topic])
        return []

    tsad.recovery._replay = skip


SABOTAGE = {"epoch": any_epoch, "replay": no_replay}


@dataclass
class Stand:
    """Stops this process `within` the transaction of the `left`-th save that opens an alert, or before it.

    Such a save, written late, leaves an alert open that its successor has closed long since: it cannot go unnoticed.
    """

    within: bool
    left: int
    here: bool = False

    def install(self) -> None:
        """Stand between the pipeline and the store."""
        save, held = Store.save, storage.store.held

        def saving(store: Store, bundles: Sequence[Changes]) -> Saved:
            if any(alert.state == "open" for bundle in bundles for alert in bundle.alerts):
                self.left -= 1
                self.here = self.left == 0
            self._stop(self.here and not self.within)
            return save(store, bundles)

        def holding(*place: Any) -> bool:
            mine = held(*place)
            self._stop(self.here)
            return mine

        Store.save = saving  # type: ignore[method-assign]
        storage.store.held = holding

    def _stop(self, now: bool) -> None:
        if now:
            self.here = False
            os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    if broken := os.environ.get("TSAD_SABOTAGE"):
        SABOTAGE[broken]()
    if where := os.environ.get("TSAD_STAND"):
        Stand(where.startswith("within"), int(where.split(":")[1])).install()
    tsad.app.Limits = partial(Limits, poll=int(os.environ["TSAD_POLL"]))  # type: ignore[assignment, misc]
    main()
