"""What has been told of around a stream, in runs over its history: each judges with what was told when it began."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.events import ContextEvent
from streaming.settings import SECOND
from tests.tsad.command_line import tsad
from tests.tsad.deploys import DEPLOYS, deployed, event, home_of
from tests.tsad.histories import Here, assert_same, backfilled, planned, rows_of
from tests.tsad.streams import FIT_SLOTS, START, STREAM, differences
from tests.tsad.test_backfill import table
from tsad.app import App
from tsad.backfill.driving import Driver, begin, version_of
from tsad.backfill.spec import Wanted
from tsad.config import load_config
from tsad.engines.tasks import Outcome, Task

WANTED = Wanted("live.parquet", unit_rows=1)
BY_HAND = DEPLOYS[1]
"""Of this deploy the file says nothing."""
RULES = '[[stream.s.context.rules]]\nkind = "deploy"\n[stream.s.telemetry]\nlayout = "wide"\n'


def told(slot: int, entity: str) -> ContextEvent:
    """What somebody tells of a deploy."""
    return ContextEvent("deploy", datetime.fromtimestamp(START + 60 * slot, UTC), entity, title=f"told {slot}")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a stream with deploys was fitted and watched; of one deploy somebody has told by hand."""
    cells = deployed()
    events = "".join(event(slot, entity="a") for slot in DEPLOYS[2:])
    home = home_of(tmp_path_factory.mktemp("told"), cells, events, RULES)
    for name, later in (("history", False), ("live", True)):
        part = {key: values for key, values in cells.items() if (key[1] >= FIT_SLOTS) is later}
        pq.write_table(table(part), home / f"{name}.parquet")
    start = told(BY_HAND, "a").start.isoformat()
    for arguments in (
        ("fit", STREAM, "--from", "history.parquet"),
        ("context", "add", STREAM, "deploy", "--entity", "a", "--start", start, "--title", f"told {BY_HAND}"),
        ("run", STREAM, "--source", "live.parquet"),
    ):
        said = tsad(home, *arguments)
        assert said.code == 0, said.err
    return home


@pytest.fixture
def app(watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    shutil.copytree(watched, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    app = App.open(load_config(Path("tsad.toml")))
    yield app
    app.close()


class Meanwhile(Here):
    """Tells more when the first unit is done."""

    def __init__(self, more: Callable[[], None], crashes: dict[int, int] | None = None) -> None:
        super().__init__(crashes)
        self.more = more

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        for outcome in super().run(tasks):
            if len(self.done) == 1:
                self.more()
            yield outcome


def tell_more(app: App) -> None:
    """Of every deploy, for everybody, in the file and by hand."""
    Path("events.jsonl").write_text("".join(event(slot) for slot in DEPLOYS))
    app.context_events.add(STREAM, [told(slot, "*") for slot in DEPLOYS])


def explained(app: App, run: str) -> list[str]:
    """The titles and entities of what explains alerts away."""
    return [
        f"{row['entity']} {row['explained_by_event']['title']}"
        for row in rows_of(app, run)["alerts"]
        if row["explained_by_event"]
    ]


def test_what_was_told_explains_in_a_run_what_it_explains_in_the_stream(app: App) -> None:
    assert backfilled(app, "june", WANTED) == "finished"
    assert_same(app, "june")
    assert f"a told {BY_HAND}" in explained(app, "june")
    assert len(explained(app, "june")) == 4


def test_what_is_told_while_a_run_goes_on_is_for_the_next(app: App) -> None:
    """Units that come later, one that is begun again, and those of another driver judge as the first has."""
    assert backfilled(app, "june", WANTED, Meanwhile(lambda: tell_more(app), {0: 1})) == "finished"
    assert_same(app, "june")
    early = Wanted("live.parquet", until=(START + 60 * (DEPLOYS[0] + 40)) * SECOND)
    assert backfilled(app, "july", early) == "finished"
    assert len(explained(app, "july")) == 1  # nothing had been told of that deploy


def test_the_next_driver_judges_with_what_was_told_when_the_run_began(app: App) -> None:
    row = begin(app, "june", STREAM, version_of(app, STREAM, None).version, WANTED, planned(app, WANTED))
    first = Here()
    assert Driver(app, row, first, stopping=lambda: len(first.done) == 1).drive() == "running"
    tell_more(app)
    assert Driver(app, row, Here()).drive() == "finished"
    assert differences(rows_of(app, "june"), rows_of(app, "live")) == []


def test_a_file_of_events_that_is_gone_is_no_obstacle(app: App) -> None:
    Path("events.jsonl").unlink()
    assert backfilled(app, "june", WANTED) == "finished"
    assert_same(app, "june")  # the stream has kept what was in it
