"""Sessions of log lines beside slots, from lines to alerts: fitted on a history, scored as they close."""

from pathlib import Path
from typing import Any

import pytest

from storage.read import AlertFilter
from storage.types import Alert
from tests.tsad.block_lines import BROKEN, KEY, payloads, said
from tests.tsad.streams import STREAM, ListApp, configuration, list_app
from tsad.runner import Limits

SESSIONS = f"{STREAM}.sessions"
LIVE_SLOT = 60
HISTORY = payloads(said(600, seed=1))
LIVE = payloads(said(150, seed=2, faults=[200]), LIVE_SLOT)


def settings(folder: Path, **sessions: Any) -> Any:
    return configuration(
        folder, f"sqlite:///{folder}/tsad.db", telemetry=False, logs={}, late_horizon=2, lateness="10s",
        sessions={"key": KEY, "gap": "90s"} | sessions,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A version fitted on the history, as (folder of models, row)."""
    folder = tmp_path_factory.mktemp("model")
    app = list_app(settings(folder), {"logs": HISTORY})
    row = app.fit(STREAM, app.collect(STREAM, {}))
    app.close()
    return folder / "models", row


def watching(folder: Path, model: Any, lines: list[bytes], **sessions: Any) -> ListApp:
    app = list_app(settings(folder, **sessions), {"logs": lines})
    models, row = model
    (folder / "models").mkdir()
    (folder / "models" / "models").symlink_to(models / "models")
    app.models.add(row)
    app.models.promote(STREAM, row.version)
    return app


def alerts(app: ListApp) -> dict[str, Alert]:
    found = app.reader.alerts(AlertFilter(stream=SESSIONS, limit=None))
    assert len({alert.entity for alert in found}) == len(found)
    return {alert.entity: alert for alert in found}


def test_broken_sessions_are_alerts_and_say_why(tmp_path: Path, model: Any) -> None:
    app = watching(tmp_path, model, LIVE)
    runner = app.runner(STREAM, {}, limits=Limits(poll=200))
    runner.run()
    found = alerts(app)
    for alert in found.values():
        print(alert.entity, alert.score, alert.state, alert.sentence)
    assert set(found) == set(BROKEN)
    app.close()
