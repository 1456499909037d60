"""Sessions of log lines beside slots, from lines to alerts: fitted on a history, scored as they close."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from prometheus_client import generate_latest

from storage.outbox import Outbox
from storage.types import ModelRow
from streaming.sessionintake import SessionKeys
from streaming.settings import SECOND
from tests.tsad.block_lines import (
    BROKEN,
    KEY,
    LIVE_SLOT,
    SESSIONS,
    Said,
    all_alerts,
    configured,
    fitted_on_blocks,
    payloads,
    said,
    session_alerts,
)
from tests.tsad.streams import NOT_COMPARED, STREAM, ListApp, final_rows, list_app, run_through
from tsad import background
from tsad.announcing import Announcer
from tsad.config import ConfigError, parse_config
from tsad.pictures import draw
from tsad.report import alert_row
from tsad.runner import Limits
from tsad.texts import template_texts

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
    reader, found = app.reader, all_alerts(app)
    parts = [asdict(part) for alert in found for part in reader.alert(alert.id)[1]]
    scores = [row for name in {one.entity for one in found} for row in reader.scores(SESSIONS, name, limit=None)]
    tables = {"alerts": map(asdict, found), "parts": parts, "audit": reader.audit(SESSIONS, limit=100_000)}
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


@settings(max_examples=4, deadline=None, phases=[Phase.generate])  # to shrink takes minutes
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
            seen.append((found.state, found.score, found.evidence["length"]))
    runner.finish()
    app.close()
    states, scores, counts = zip(*seen, strict=True)
    assert (states[0], states[-1]) == ("open", "confirmed")
    assert 1 < scores[0] <= scores[-1], "it was hopeless by then"
    assert counts[0] < 60 == counts[-1]
    assert list(scores) == sorted(scores)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"key": "("}, r"sessions\.key = '\(': no regular expression: missing \), unterminated subpattern"),
        ({"key": "blk"}, r"what the one group of the expression finds; it has 0"),
        ({"key": "(a)(b)"}, r"sessions\.key = '\(a\)\(b\)': .* it has 2"),
        ({"key": "(a)", "gap": "0s"}, r"sessions\.gap = '0s': must be longer than 0s"),
        ({"key": "(a)", "max_lines": 1}, r"sessions\.max_lines = 1: .* greater than or equal to 2"),
        ({"key": "(a)", "keyed_by": "host"}, r"sessions\.keyed_by = 'host': .*'entity' or 'session'"),
        ({"key": "(a)", "pattern": "b"}, r"sessions\.pattern is unknown; allowed here: key, field, gap, max_length"),
        ({}, r"say either key, what is sought in a line's text, or field"),
        ({"key": "(a)", "field": "b"}, r"say either key, what is sought in a line's text, or field"),
    ],
)
def test_a_wrong_configuration_is_named(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({"stream": {"s": {"telemetry": False, "logs": {}, "sessions": section}}})


def test_sessions_need_logs_and_a_name_of_their_own() -> None:
    sessions = {"key": "(a)"}
    with pytest.raises(ConfigError, match=r"sessions are of log lines: the stream needs a \[logs\] section"):
        parse_config({"stream": {"s": {"sessions": sessions}}})
    with pytest.raises(ConfigError, match="serves a stream of logs alone"):
        parse_config({"stream": {"s": {"logs": {}, "sessions": sessions | {"keyed_by": "session"}}}})
    both = {"s": {"telemetry": False, "logs": {}, "sessions": sessions}, "s.sessions": {}}
    with pytest.raises(ConfigError, match=r"stream\.s\.sessions is what the sessions of stream 's' are called"):
        parse_config({"stream": both})


def test_a_key_that_came_with_a_line(tmp_path: Path) -> None:
    """In a field of its own, which the scorers of lines do not see: the same alerts as by a key in the text."""

    def told(lines: Sequence[Said], first_slot: int = 0) -> list[bytes]:
        names, codes = SessionKeys(KEY).within([text for _, text in lines])
        records = map(json.loads, payloads(lines, first_slot))
        pairs = zip(records, codes.tolist(), strict=True)
        return [json.dumps(record | {"block": names[code] if code >= 0 else None}).encode() for record, code in pairs]

    config = configured(tmp_path, key=None, field="block")
    app = list_app(config, {"logs": told(said(300, seed=1))})
    row = app.fit(STREAM, app.collect(STREAM, {}))
    app.models.promote(STREAM, row.version)
    app.lists["logs"] = [*told(LIVE, LIVE_SLOT), *payloads([(LIVE[-1][0], "no block")], LIVE_SLOT)]
    runner = app.runner(STREAM, {})
    runner.run()
    assert set(session_alerts(app)) == set(BROKEN)
    assert runner.counts["sessions"] == 93
    app.close()
    pattern = {"layout": "text", "pattern": r"(?P<time>\S+) (?P<request>\S+) (?P<message>.*)"}
    right = {"telemetry": False, "logs": pattern, "sessions": {"field": "request"}}
    assert parse_config({"stream": {"s": right}}).of("s").format_of("logs").relations == ("request",)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"sessions\.field = 'time': logs.pattern has no such group; it has request"):
        parse_config({"stream": {"s": right | {"sessions": {"field": "time"}}}})


def test_a_stream_without_a_session_model_groups_and_says_nothing(tmp_path: Path) -> None:
    """Few sessions make no model; the slots are fitted and watched all the same."""
    app = list_app(configured(tmp_path), {"logs": payloads(said(15, seed=3, every=200))})
    row = app.fit(STREAM, app.collect(STREAM, {}))
    app.models.promote(STREAM, row.version)
    assert app.shelf(STREAM).read(row).sessions is None
    app.lists["logs"] = payloads(LIVE, LIVE_SLOT)
    runner = app.runner(STREAM, {})
    runner.run()
    assert (session_alerts(app), runner.counts["sessions"]) == ({}, 93)
    app.close()


def test_a_refit_from_closed_slots_keeps_what_judges_sessions(tmp_path: Path, model: Any) -> None:
    short = said(90, seed=2)
    app = watching(tmp_path / "a", model, [one for hour in range(12) for one in _shifted(short, 600 * hour)])
    app.runner(STREAM, {}).run()
    before = app.shelf(STREAM).read(model[1]).sessions
    answer = background.fit(app, STREAM)
    after = app.shelf(STREAM).read(ModelRow(STREAM, **answer["model"], created_at=app.now())).sessions
    app.close()
    assert before is not None and after is not None
    assert after.state().meta == before.state().meta


def _shifted(lines: Sequence[Said], seconds: int) -> list[Said]:
    return [(second + seconds, text) for second, text in lines]


def everything(
    folder: Path, model: Any, lines: Sequence[Said], poll: int, **sessions: Any
) -> tuple[dict[str, Any], Any]:
    """The rows of a run in polls of that size, and what was counted."""
    app = watching(folder, model, lines, **sessions)
    runner = app.runner(STREAM, {}, limits=Limits(poll=poll))
    runner.run()
    rows = whole(app)
    app.close()
    return rows, runner.counts


def test_what_is_evicted_is_scored_and_counted_and_does_not_depend_on_polls(tmp_path: Path, model: Any) -> None:
    """Six places for some ten blocks at a time: each is judged by the part that it had by then."""
    rows, counts = everything(tmp_path / "a", model, LIVE, 5000, max_open=6)
    assert counts["sessions evicted"] > 90
    assert counts["sessions"] > 93, "what comes after an eviction is another session"
    assert any(BROKEN[2] in row for row in rows["alerts"])
    assert everything(tmp_path / "b", model, LIVE, 37, max_open=6) == (rows, counts)


def test_parts_of_a_long_session_have_names_of_their_own(tmp_path: Path, model: Any) -> None:
    """Two begin in one slot: each has an alert, and a late line goes to the newest that it is near to."""
    rows, _ = everything(tmp_path / "a", model, LIVE, 5000, max_lines=9)
    names = {f"{BROKEN[1]}{part}" for part in ("", " #2", " #3")}
    assert {name for name in names if any(repr(name) in row for row in rows["alerts"])} >= {f"{BROKEN[1]} #2"}
    assert everything(tmp_path / "b", model, LIVE, 11, max_lines=9)[0] == rows


def test_others_are_told_of_sessions_as_of_episodes(tmp_path: Path, model: Any) -> None:
    """Each change of an alert is a message in the outbox, with its row; one more line alone is none."""
    app = watching(tmp_path / "a", model, LIVE)
    runner = app.runner(STREAM, {}, limits=Limits(poll=50))
    runner.announcer = Announcer("alerts", None, {})
    runner.run()
    messages = Outbox(app.database).take(STREAM, {0: runner.epoch}, 1000)
    app.close()
    bodies = [json.loads(message.payload) for message in messages]
    told = [body for body in bodies if body["stream"] == SESSIONS]
    assert {body["entity"] for body in told} == set(BROKEN)
    assert {message.key for message in messages} >= {body["id"] for body in told}
    of_first = [(body["state"], body["revision"]) for body in told if body["entity"] == BROKEN[0]]
    assert of_first == [("confirmed", 1), ("resolved", 2)]
    one = told[0]
    assert (one["kind"], one["explained_by"], one["explanation"]) == ("anomaly", "sessions", "done")
    assert one["evidence"]["contributions"][0][1] > 0
    schema = Draft202012Validator(json.loads((files("tsad") / "schemas" / "alert.v1.json").read_text()))
    for body in told:
        schema.validate(body)


def test_changes_of_sessions_are_counted_with_all_others(tmp_path: Path, model: Any) -> None:
    app = watching(tmp_path / "a", model, LIVE)
    meter = app.meter
    app.runner(STREAM, {}, limits=Limits(poll=50)).run()
    app.close()
    lines = generate_latest(meter.registry).decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("tsad_alert_changes_total"))
    opened = sum(float(count) for name, count in found.items() if 'state="open"' in name)
    resolved = sum(float(count) for name, count in found.items() if 'state="resolved"' in name)
    assert (opened, resolved) == (3, 2)


def test_an_alert_of_a_session_is_listed_and_has_no_picture(tmp_path: Path, model: Any) -> None:
    app = watching(tmp_path / "a", model, LIVE)
    app.runner(STREAM, {}).run()
    alert = session_alerts(app)[BROKEN[2]]
    parts = app.reader.alert(alert.id)[1]
    app.close()
    row = alert_row(alert, parts, template_texts(alert))
    assert "session.unknown" in [part["feature"] for part in row["features"]]
    assert any(text.startswith("writeBlock") for text in row["templates"])
    assert sum(part.value for part in parts) + parts[0].residual == pytest.approx(alert.score, rel=1e-4)
    with pytest.raises(ValueError, match=r"is of a session, of which there are no curves to draw"):
        draw(alert, 60 * SECOND, tmp_path / "a.png")
