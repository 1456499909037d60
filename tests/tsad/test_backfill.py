"""Runs over history: the stream's own rows, whatever the units; resumed, killed, and with files that are broken."""

from pathlib import Path

import pytest

from storage.backfills import Backfills
from tests.tsad.histories import Here, assert_same, backfilled, planned, rows_of
from tests.tsad.streams import SLOTS, START, STREAM, cells_with_anomalies, payloads
from tsad.app import App
from tsad.backfill.spec import Wanted
from tsad.config import load_config


@pytest.fixture
def app(home: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A stream that was fitted and watched."""
    monkeypatch.chdir(home)
    return App.open(load_config(Path("tsad.toml")))


def test_a_file_gives_the_rows_of_the_stream(app: App) -> None:
    assert backfilled(app, "june", Wanted("live.jsonl")) == "finished"
    assert_same(app, "june")
    (unit,) = Backfills(app.database).units("june")
    assert (unit.state, unit.attempts, unit.entities, unit.rows) == ("finished", 1, 3, 3 * (SLOTS - 300))
    assert unit.alerts == sum(alert["state"] != "retracted" for alert in rows_of(app, "june")["alerts"])
