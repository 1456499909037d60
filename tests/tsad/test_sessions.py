"""Sessions of log lines beside slots, from lines to alerts: fitted on a history, scored as they close."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.tsad.block_lines import (
    BROKEN,
    LIVE_SLOT,
    SESSIONS,
    Said,
    configured,
    fitted_on_blocks,
    payloads,
    said,
    session_alerts,
)
from tests.tsad.streams import NOT_COMPARED, STREAM, ListApp, final_rows, list_app, run_through
from tsad.runner import Limits

LIVE = said(90, seed=2, faults=[200])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fitted_on_blocks(tmp_path_factory.mktemp("model"))


def watching(folder: Path, model: Any, lines: Sequence[Said], crashes: Any = None, **sessions: Any) -> ListApp:
    folder.mkdir(exist_ok=True)
    app = list_app(configured(folder, **sessions), {"logs": payloads(lines, LIVE_SLOT)}, crashes)
    models, row = model
    (folder / "models").mkdir()
    (folder / "models" / "models").symlink_to(models / "models")
    app.models.add(row)
    app.models.promote(STREAM, row.version)
    return app


def whole(app: ListApp) -> dict[str, Any]:
    """The final rows of the stream and of its sessions."""
    reader, found = app.reader, session_alerts(app)
    parts = [asdict(part) for alert in found.values() for part in reader.alert(alert.id)[1]]
    scores = [row for name in found for row in reader.scores(SESSIONS, name, limit=None)]
    tables = {"alerts": map(asdict, found.values()), "parts": parts, "audit": reader.audit(SESSIONS, limit=100_000)}
    plain = {
        name: sorted(repr({key: value for key, value in row.items() if key not in NOT_COMPARED}) for row in rows)
        for name, rows in (tables | {"scores": scores}).items()
    }
    return final_rows(app) | plain


def test_broken_sessions_are_alerts_and_say_why(tmp_path: Path, model: Any) -> None:
    app = watching(tmp_path / "a", model, LIVE)
    runner = app.runner(STREAM, {}, limits=Limits(poll=200))
    runner.run()
    found = session_alerts(app)
    assert set(found) == set(BROKEN)
    assert runner.counts["sessions"] == 93
    for alert in found.values():
        state = "confirmed" if alert.entity == BROKEN[2] else "resolved"
        assert (alert.state, alert.explanation, alert.explained_by) == (state, "done", "sessions")
    app.close()
    unserved, again, failed = (found[name].sentence for name in BROKEN)
    assert 'no line "<IP> Served block <ID> to <IP>"' in unserved
    assert '14 lines "Receiving block <ID> src: <IP> dest: <IP>", usually 2' in again
    assert "writeBlock <ID> received exception java.io.IOException: disk of <PATH> is gone" in failed


def delayed(lines: Sequence[Said]) -> list[Said]:
    """Every 13th line comes when 45 others have, and every third one of serving when 180 have: after its session has
    closed, or too late."""
    behind = [
        180 if "Served" in text and place % 3 == 0 else 45 * (place % 13 == 5) for place, (_, text) in enumerate(lines)
    ]
    places = [place + more for place, more in enumerate(behind)]
    return [lines[place] for place in sorted(range(len(lines)), key=lambda place: (places[place], place))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Any) -> dict[str, Any]:
    app = watching(tmp_path_factory.mktemp("undisturbed") / "a", model, delayed(LIVE))
    app.runner(STREAM, {}, limits=Limits(poll=5000)).run()
    rows = whole(app)
    app.close()
    assert all(any(reason in row for row in rows["audit"]) for reason in ("retracted", "resolved")), "late lines came"
    return rows


@settings(max_examples=5, deadline=None, phases=[Phase.generate])  # to shrink takes minutes
@given(
    poll=st.sampled_from([7, 50, 333]),
    every=st.integers(1, 6),
    polls=st.sets(st.integers(1, 700), max_size=3),
    saves=st.sets(st.integers(1, 700), max_size=2),
)
def test_the_rows_are_those_of_an_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory, model: Any, undisturbed: dict[str, Any], poll: int, every: int,
    polls: set[int], saves: set[int],
) -> None:  # fmt: skip
    """Whatever the polls are and wherever the process is killed; late lines have changed what was said before."""
    saved = {number * poll for number in saves}
    app = watching(
        tmp_path_factory.mktemp("killed") / "a", model, delayed(LIVE), {"logs poll": polls, "logs save": saved}
    )
    run_through(app, Limits(poll=poll, snapshot_every=every))
    rows = whole(app)
    app.close()
    assert rows == undisturbed


def test_a_hopeless_session_is_an_alert_before_it_closes(tmp_path: Path, model: Any) -> None:
    """It is written on and on, for longer than all others: what it says at last is said of it when it has closed."""
    key = "blk_-900004"
    again = f"Receiving block {key} src: /10.250.1.1:1024 dest: /10.250.1.1:50010"
    endless = [(200 + 5 * place, again) for place in range(60)]
    lines = sorted([*said(90, seed=2), *endless])
    app = watching(tmp_path / "a", model, lines, gap="100s")
    runner, seen = app.runner(STREAM, {}, limits=Limits(poll=20)), list[tuple[str, float, Any]]()
    while runner.step():
        found = session_alerts(app).get(key)
        if found is not None and (not seen or seen[-1][:2] != (found.state, found.score)):
            seen.append((found.state, found.score, found.evidence["lines"]))
    runner.finish()
    app.close()
    states, scores, counts = zip(*seen, strict=True)
    assert (states[0], states[-1]) == ("open", "confirmed")
    assert 1 < scores[0] <= scores[-1], "it was hopeless by then"
    assert counts[0] < 60 == counts[-1]
    assert list(scores) == sorted(scores)
