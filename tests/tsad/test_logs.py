"""Standard error as JSON lines: each says when, how bad, what, and of which stream and partition; none has a secret."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from tests.tsad.command_line import CONFIGURATION, finished, fresh_home, running_until, started
from tests.tsad.kafka_streams import KafkaStream
from tests.tsad.streams import FIT_SLOTS, STREAM, cells_with_anomalies, payloads
from tsad.config import ConfigError, parse_config
from tsad.console import interruptible
from tsad.logs import configure, say, structured
from tsad.operating import LogFormat

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    structlog.reset_defaults()


def parsed(err: str) -> list[dict[str, Any]]:
    """Every line, which must be whole."""
    lines = [json.loads(line) for line in err.splitlines()]
    for line in lines:
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
        assert line["level"] in ("info", "warning", "error", "critical")
        assert line["event"]
        assert line["stream"] == STREAM
    return lines


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, partitions=2)
    made.fill({"telemetry": LIVE})
    yield made
    made.close()


def home(app: Any, stream: KafkaStream, folder: Path, database: str) -> Path:
    folder.mkdir()
    (folder / "tsad.toml").write_text(
        f"database = {database!r}\nmodels = {app.config.models!r}\nhistory = {app.config.history!r}\npatience = '2s'\n"
        f"[kafka]\nbootstrap = {stream.address!r}\ngroup = {app.config.kafka.group!r}\n"
        f"[log]\nformat = 'json'\n{CONFIGURATION}"
        f"[stream.{STREAM}.telemetry]\nsource = 'kafka'\ntopic = {stream.topics['telemetry']!r}"
    )
    return folder


def test_a_worker_says_what_it_does_in_json(
    stream: KafkaStream, postgresql_server: str, postgresql_url: str, tmp_path: Path
) -> None:
    """From its start until the database refuses it for good, with a password that nobody may read."""
    app = stream.app(postgresql_url)
    process = started(
        home(app, stream, tmp_path / "home", postgresql_url.replace("tsad@", f"tsad:{SECRET}@")), "run", STREAM
    )
    running_until(process, lambda: saved(app) == len(LIVE))
    app.close()
    name = postgresql_url.rsplit("/", 1)[1]
    with psycopg.connect(f"{postgresql_server}postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        stream.fill({"telemetry": LIVE[:20]})
        process.wait(60)
        said = finished(process)
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    lines = parsed(said.err)
    events = [(line["event"], line.get("partition")) for line in lines]
    assert {("partition taken up", 0), ("partition taken up", 1)} <= set(events)
    assert any(line["event"] == "model in force" and line["partition"] in (0, 1) for line in lines)
    assert ("the database is held up", None) in events
    assert (said.code, lines[-1]["level"]) == (1, "error")
    assert "tsad:***@127.0.0.1" in lines[-1]["event"]
    assert SECRET not in said.err + said.out


def saved(app: Any) -> int:
    points = [app.store.restore("live", STREAM, number).checkpoint for number in (0, 1)]
    places = [place for one in points if one is not None for place in one.positions.values()]
    return sum(place["row"] for place in places if isinstance(place, dict))


def test_the_option_and_the_variable_go_before_the_file(tmp_path: Path) -> None:
    folder = fresh_home(tmp_path / "home", "log.level = 'info'\n" + CONFIGURATION)
    plain = finished(started(folder, "run", STREAM, "--source", "nowhere.jsonl"))
    assert (plain.code, plain.error.startswith("nowhere.jsonl")) == (1, True)
    asked = finished(started(folder, "run", STREAM, "--source", "nowhere.jsonl", "--log-format", "json"))
    assert [line["level"] for line in parsed(asked.err)][-1] == "error"
    wrong = finished(started(folder, "run", "other", "--log-format", "json"))
    assert (wrong.code, json.loads(wrong.err)["stream"]) == (2, "other")


def test_what_nobody_expected_is_a_line_too(tmp_path: Path) -> None:
    script = "from tsad.logs import configure\nconfigure('json', stream='s')\n1 / 0"
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    (line,) = parsed(said.stderr)
    assert (said.returncode, line["level"], line["event"]) == (1, "critical", "ZeroDivisionError: division by zero")
    assert "Traceback" in line["exception"]


def test_levels_and_forms(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "error", stream="s")
    log = structlog.get_logger()
    log.warning("not shown")
    log.error("shown", stream="other", thing=Path("x"))
    assert structured()
    shown = json.loads(capsys.readouterr().err)
    assert (shown["event"], shown["stream"], shown["thing"]) == ("shown", "other", "x")
    configure()
    assert not structured()
    log.info("not shown")
    say("a remark")
    assert capsys.readouterr().err == "a remark\n"
    log.warning("shown")
    assert "shown" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["console", "json"])
def test_of_a_fault_it_is_said_where_and_no_variable(capsys: pytest.CaptureFixture[str], form: LogFormat) -> None:
    def judged(secret: str) -> float:
        return len(secret) / 0

    configure(form)
    try:
        judged("-".join(["held", "in", "a", "variable"]))
    except ZeroDivisionError:
        structlog.get_logger().error("a request failed", exc_info=True)
    said = capsys.readouterr().err
    configure()
    assert "in judged" in said
    assert "division by zero" in said
    assert "held-in-a-variable" not in said


def test_a_form_or_level_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"log\.format = 'xml'"):
        parse_config({"log": {"format": "xml"}})
    with pytest.raises(ConfigError, match=r"log\.level = 'loud'"):
        parse_config({"log": {"level": "loud"}})


class Interrupted(io.StringIO):
    """A signal comes in the middle of the first line that is written."""

    def write(self, text: str) -> int:
        if not self.tell():
            super().write(" ")
            os.kill(os.getpid(), signal.SIGTERM)
        return super().write(text)


def test_a_signal_amid_a_line_that_is_written_waits_for_nobody() -> None:
    """Whoever logs holds a lock, which the words of the handler need too."""
    with redirect_stderr(Interrupted()) as said:
        configure("json")
        with interruptible() as stopping:
            say("a poll is done")
            assert stopping()
    lines = [json.loads(line)["event"] for line in said.getvalue().splitlines()]
    assert lines[0] == "a poll is done"
    assert lines[1].startswith("stopping after this step")
