"""Runs over history beside the stream's own: the same rows, but for names of runs, partitions and positions."""

from collections.abc import Iterable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from storage.backfills import Backfills
from storage.types import LIVE, alert_id
from tests.tsad.streams import STREAM, differences, final_rows
from tsad.app import App
from tsad.backfill.driving import Driver, begin, version_of
from tsad.backfill.planning import Planned, plan
from tsad.backfill.spec import Wanted
from tsad.config import load_config
from tsad.engines.tasks import Outcome, Task, perform, place_of


@contextmanager
def opened(home: Path) -> Iterator[App]:
    """The application of the folder `home`, in it."""
    with chdir(home):
        app = App.open(load_config(Path("tsad.toml")))
        try:
            yield app
        finally:
            app.close()


PLACE = {"run", "alert_id", "content", "partition", "position", "topic"}
"""What says which run, which part of it, and where a record lay."""


class Here:
    """An engine that does everything in this process, one after the other; `crashes`: the tasks, by number, whose
    process is gone the next so many times."""

    def __init__(self, crashes: dict[int, int] | None = None) -> None:
        self.crashes = crashes or {}
        self.done: list[int] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        for task in tasks:
            if self.crashes.get(task.number, 0):
                self.crashes[task.number] -= 1
                yield Outcome(task.number, None, "its process was killed by SIGKILL", crashed=True)
                continue
            outcome = Outcome(task.number, *perform(place_of(task), task.request))
            self.done.append(task.number)
            yield outcome


def planned(app: App, wanted: Wanted, stream: str = STREAM) -> list[Planned]:
    version = version_of(app, stream, None)
    return plan(app, stream, wanted, [app.shelf(stream).read(version).ensemble])


def backfilled(app: App, run: str, wanted: Wanted, engine: Here | None = None, stream: str = STREAM) -> str:
    """Drive a run to its end; its state."""
    row = Backfills(app.database).row(run)
    row = row or begin(app, run, stream, version_of(app, stream, None).version, wanted, planned(app, wanted, stream))
    return Driver(app, row, engine or Here()).drive()


def rows_of(app: App, run: str) -> dict[str, list[Any]]:
    """The final rows of a run. Explanations say whose they are by the alert's entity and slot."""
    found = final_rows(app, run)
    places = [(alert["entity"], alert["opened_slot"]) for alert in found["alerts"]]
    whose = {alert_id(run, STREAM, *place): place for place in places}
    for part in found["explanations"]:
        part["of"] = whose[part["alert_id"]]
    for event in found["audit"]:
        event["of"] = whose.get(event["alert_id"])
    return {name: sorted((_plain(row) for row in rows), key=repr) for name, rows in found.items()}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in PLACE}


def assert_same(app: App, run: str, other: App | None = None) -> None:
    """The run over history has the rows of the stream (of `other`)."""
    live = rows_of(other or app, LIVE)
    assert len(live["alerts"]) > 3
    assert live["explanations"]
    found = differences(rows_of(app, run), live)
    assert not found, found
