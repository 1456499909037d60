"""Each command as a user would type it: what it prints, its JSON, its exit code."""

import csv
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import chdir
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tsad.command_line import (
    CONFIGURATION,
    finished,
    fresh_home,
    lines_before_and_after,
    running_until,
    started,
    tsad,
)
from tests.tsad.streams import ENTITIES, FEATURES, FIT_SLOTS, SLOTS, START, cells_with_anomalies
from tsad.app import App
from tsad.config import load_config
from tsad.runner import Limits

LIVE_ROWS = len(ENTITIES) * (SLOTS - FIT_SLOTS)


def alerts_of(folder: Path) -> list[Any]:
    """Without what depends on when the run was."""
    return list(tsad(folder, "alerts", "--limit", "1000", "--json").json)


def test_alerts_are_listed_and_filtered(watched_home: Path) -> None:
    rows = alerts_of(watched_home)
    assert {"a", "c"} <= {row["entity"] for row in rows if row["state"] != "retracted"}
    assert all(row["sentence"] and row["features"] and row["votes"].keys() == {"subspace", "vote"} for row in rows)
    assert [row["event_time"] for row in rows] == sorted((row["event_time"] for row in rows), reverse=True)
    only_a = tsad(watched_home, "alerts", "--entity", "a", "--json").json
    assert only_a == [row for row in rows if row["entity"] == "a"]
    resolved = tsad(watched_home, "alerts", "--state", "resolved", "--state", "open", "--json").json
    assert resolved == [row for row in rows if row["state"] in ("resolved", "open")] != rows
    critical = tsad(watched_home, "alerts", "--severity", "critical", "--json").json
    assert critical == [row for row in rows if row["severity"] == "critical"]
    assert len(tsad(watched_home, "alerts", "--limit", "1", "--json").json) == 1
    assert tsad(watched_home, "alerts", "--since", "2030-01-01", "--json").json == []
    # an offset counts: noon in New York is 17:00 UTC
    newest = datetime.fromisoformat(rows[0]["last_time"])
    for hours, found in ((-1, True), (1, False)):
        moment = (newest + timedelta(hours=hours)).astimezone(timezone(timedelta(hours=-5)))
        assert bool(tsad(watched_home, "alerts", "--since", moment.isoformat(), "--json").json) == found
    for seconds, found in ((-1, True), (1, False)):
        moment = f"{newest.timestamp() + seconds:.0f}"
        assert bool(tsad(watched_home, "alerts", "--since", moment, "--json").json) == found
    table = tsad(watched_home, "alerts")
    assert all(row["id"][:12] in table.out for row in rows)


def test_one_alert_is_explained_and_drawn(watched_home: Path, tmp_path: Path) -> None:
    chosen = next(row for row in alerts_of(watched_home) if row["entity"] == "a" and row["state"] != "retracted")
    told = tsad(watched_home, "explain", chosen["id"], "--json").json
    assert told["id"] == chosen["id"]
    decision = [part for part in told["explanations"] if part["target"] == "decision"]
    assert max(decision, key=lambda part: part["value"])["feature"] == "cpu"
    picture = tmp_path / "why.png"
    said = tsad(watched_home, "explain", chosen["id"][:10], "--png", str(picture))
    assert said.code == 0
    assert chosen["sentence"] in " ".join(said.out.split())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in said.err


def test_models_are_listed_promoted_and_rolled_back(home: Path) -> None:
    first = tsad(home, "models", "--json").json[0]["version"]
    said = tsad(home, "fit", "s", "--from", "live.jsonl", "--candidate", "--json")
    second = said.json[0]["version"]
    assert (said.code, said.json[0]["state"]) == (0, "candidate")
    assert [row["state"] for row in tsad(home, "models", "--json").json] == ["active", "candidate"]
    assert tsad(home, "models", "promote", "s", second, "--json").json[0]["state"] == "active"
    assert [row["state"] for row in tsad(home, "models", "--json").json] == ["retired", "active"]
    assert tsad(home, "models", "rollback", "s", "--json").json[0]["version"] == first
    table = tsad(home, "models").out
    assert first in table
    assert second in table


def test_every_table_has_json_with_nothing_else_on_standard_output(home: Path) -> None:
    for arguments in (
        ("check",), ("alerts",), ("models",), ("detectors",), ("dead-letters", "s"), ("db", "prune"),
        ("run", "s", "--source", "live.jsonl"),
    ):  # fmt: skip
        said = tsad(home, *arguments, "--json")
        assert said.code == 0, said.err
        assert isinstance(json.loads(said.out), list | dict)
        assert tsad(home, *arguments).out.strip()


def test_the_detectors_of_every_profile_are_listed(tmp_path: Path) -> None:
    rows = tsad(tmp_path, "detectors", "--json").json
    assert {"forecast", "reconstruction", "vote", "subspace", "linear"} <= {row["name"] for row in rows}
    assert all(row["summary"] and row["memory"] in ("window", "online") for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_running_twice_adds_nothing_and_says_so(home: Path) -> None:
    before = alerts_of(home)
    said = tsad(home, "run", "s", "--source", "live.jsonl", "--json")
    assert (said.code, said.json["rows"]) == (0, 0)
    assert "nothing new" in said.err
    assert alerts_of(home) == before


def test_a_grown_file_is_read_on(home: Path) -> None:
    live = home / "live.jsonl"
    record = {"entity": "a", "time": START + 60 * SLOTS, "values": dict.fromkeys(FEATURES, 0.5) | {"new": 1.0}}
    with live.open("a") as file:
        file.write(json.dumps(record) + "\n{broken\n")
    said = tsad(home, "run", "s", "--source", "live.jsonl", "--json").json
    assert (said["rows"], said["dead_letters"], said["unknown_features"]) == (2, 1, {"new": 1})
    letters = tsad(home, "dead-letters", "s", "--json").json
    assert letters["counts"] == {"broken_json": 1}
    assert letters["rows"][0]["position"] == LIVE_ROWS + 1
    assert letters["rows"][0]["payload"] == "{broken"
    assert tsad(home, "dead-letters", "s", "--reason", "other", "--json").json["rows"] == []
    shown = tsad(home, "dead-letters", "s")
    assert "broken_json 1" in shown.err
    assert {"Partition", "Offset"} <= set(shown.out.replace("┃", " ").split())
    exported = tsad(home, "dead-letters", "s", "--export", "rejected.jsonl", "--limit", "1", "--json")
    assert (exported.json, exported.err) == (
        {"file": "rejected.jsonl", "written": 1},
        "wrote 1 dead letter to rejected.jsonl\n",
    )
    (line,) = (home / "rejected.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert (said["payload"], said["partition"], said["offset"], said["origin"]) == ("{broken", 0, LIVE_ROWS + 1, None)
    assert tsad(home, "dead-letters", "s", "--reason", "other", "--export", "rejected.jsonl").out == ""
    assert (home / "rejected.jsonl").read_text() == ""
    assert "no/such" in tsad(home, "dead-letters", "s", "--export", "no/such/file").error


def test_without_a_model_vote_watches_alone_and_says_how_many_slots_are_missing(tmp_path: Path) -> None:
    home = fresh_home(tmp_path)
    said = tsad(home, "run", "s", "--source", "live.jsonl", "--json")
    assert said.code == 0
    wanted = 2000 + 8 + 5  # fit_after, late_horizon, settle
    assert f"no model yet: `vote` watches alone, with low confidence; {wanted} slots are missing" in said.err
    assert said.json["slots_to_first_model"] == wanted - (SLOTS - FIT_SLOTS)
    assert tsad(home, "models", "--json").json == []
    assert all(row["confidence"] < 0.5 for row in alerts_of(home))
    again = tsad(home, "run", "s", "--source", "live.jsonl")
    assert f"; {wanted - (SLOTS - FIT_SLOTS)} slots are missing" in again.err


def test_a_stream_without_a_model_fits_itself(tmp_path: Path) -> None:
    home = fresh_home(tmp_path, CONFIGURATION + "fit_after = 100\n")
    said = tsad(home, "run", "s", "--source", "live.jsonl", "--json")
    assert said.json["slots_to_first_model"] is None
    assert [row["state"] for row in tsad(home, "models", "--json").json] == ["active"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_init_from_a_sample_leads_to_a_stream_that_runs(kind: str, tmp_path: Path) -> None:
    rows = [(START + 60 * slot, entity, *map(float, values))
            for (entity, slot), values in sorted(cells_with_anomalies().items()) if slot < 120]  # fmt: skip
    names = ("time", "host", *FEATURES)
    sample = tmp_path / f"sample.{kind}"
    if kind == "csv":
        with sample.open("w") as file:
            csv.writer(file).writerows([names, *rows])
    else:
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), sample)
    said = tsad(tmp_path, "init", "--from", sample.name, "--stream", "hosts")
    assert said.code == 0
    assert "tsad fit hosts" in said.err
    checked = tsad(tmp_path, "check", "--json")
    assert checked.code == 0
    assert any("360 records read, 3 entities, 4 features" in row["detail"] for row in checked.json)
    ran = tsad(tmp_path, "run", "hosts", "--json")
    assert (ran.json["rows"], ran.json["dead_letters"]) == (360, 0)


@pytest.mark.parametrize(
    ("joined", "figures", "text"),
    [("true", (120, 0, 120), "request <NUM> served no time here"), ("false", (240, 120, 120), "request <NUM> served")],
)
def test_raw_log_lines_with_a_pattern(tmp_path: Path, joined: str, figures: tuple[int, int, int], text: str) -> None:
    (tmp_path / "tsad.toml").write_text(
        CONFIGURATION
        + f"""telemetry = false
[stream.s.logs]
layout = "text"
join_lines = {joined}
pattern = '(?P<time>\\S+ \\S+) (?P<severity>\\w+) (?P<message>.*)'
time_format = "%Y-%m-%d %H:%M:%S"
"""
    )
    with (tmp_path / "app.log").open("w") as file:
        for slot in range(120):
            time = datetime.fromtimestamp(START + 60 * slot, UTC)
            file.write(f"{time:%Y-%m-%d %H:%M:%S} INFO request {slot} served\nno time here\n")
    said = tsad(tmp_path, "run", "s", "--logs", "app.log", "--json")
    assert (said.json["rows"], said.json["dead_letters"], said.json["windows"]) == figures
    with sqlite3.connect(tmp_path / "tsad.db") as database:
        texts = [text for (text,) in database.execute("SELECT text FROM log_templates")]
    assert texts == [text]
    refused = tsad(tmp_path, "fit", "s", "--from", "app.log")
    assert refused.code == 2
    assert "read logs only, not telemetry 'app.log'" in refused.error


def test_the_database_is_upgraded_and_pruned(home: Path, tmp_path: Path) -> None:
    made = f"sqlite:///{tmp_path}/other.db"
    fresh_home(tmp_path)
    assert tsad(tmp_path, "db", "upgrade", "--database", made).code == 0
    assert tsad(tmp_path, "alerts", "--database", made, "--json").json == []
    with (home / "tsad.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write("retention_days = { score_rollups = 0 }\n" + text)
    gone = tsad(home, "db", "prune", "--json").json
    kept_for_a_while = "scores score_rollups dead_letters audit no_data context_events homes deliveries"
    assert gone.keys() == set(kept_for_a_while.split())
    assert set(tsad(home, "db", "prune", "--json").json.values()) == {0}


def test_check_finds_what_is_wrong(home: Path) -> None:
    model = next((home / "tsad-models" / "models").rglob("*.zip"))
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    said = tsad(home, "check", "--json")
    assert said.code == 1
    wrong = [row for row in said.json if not row["ok"]]
    assert [row["check"].split()[:2] for row in wrong] == [["s", "model"]]
    assert "wrong" in tsad(home, "check").out


def test_help_names_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    said = tsad(tmp_path, "--help")
    assert said.code == 0
    text = " ".join(said.out.replace("│", " ").split())
    for name in ("try", "init", "check", "fit", "run", "alerts", "explain", "models", "detectors", "dead-letters",
                 "demo", "db", "0 done, 1 wrong", "2 usage, 130 interrupted"):  # fmt: skip
        assert name in text
    bare = tsad(tmp_path)
    assert (bare.code, bare.out.strip(), bare.err) == (2, said.out.strip(), "")


def test_standard_input(home: Path, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path}/stdin.db"
    live = lines_before_and_after()[1]
    said = finished(started(home, "run", "s", "--source", "-", "--database", other, "--json"), live)
    assert (said.code, said.json["rows"]) == (0, LIVE_ROWS)


def with_model_alone(watched_home: Path, folder: Path, times: int = 30) -> Path:
    """A folder as it is behind `tsad fit`, with a stream of 360 rows `times` over."""
    home = fresh_home(folder)
    shutil.copytree(watched_home / "tsad-models" / "models", home / "tsad-models" / "models")
    shutil.copy(watched_home / "tsad.db", home / "tsad.db")
    with sqlite3.connect(home / "tsad.db") as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in ("models", "alembic_version") and not table.startswith("sqlite_"):
                database.execute(f"DELETE FROM {table}")
    rows = [json.loads(line) for line in lines_before_and_after()[1].splitlines()]
    with (home / "live.jsonl").open("w") as file:
        for again in range(times):
            for row in rows:
                later = row["time"] + again * 60 * (SLOTS - FIT_SLOTS)
                file.write(json.dumps(row | {"time": later}) + "\n")
    return home


def saved(home: Path) -> str:
    """The checkpoint, as text."""
    with sqlite3.connect(f"file:{home}/tsad.db?mode=ro", uri=True, timeout=30) as database:
        return str(database.execute("SELECT positions FROM checkpoints").fetchall())


def test_killed_and_interrupted_runs_end_as_an_undisturbed_one(watched_home: Path, tmp_path: Path) -> None:
    cut, whole = (with_model_alone(watched_home, tmp_path / name) for name in ("cut", "whole"))
    for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        before = saved(cut)
        process = started(cut, "run", "s", "--source", "live.jsonl", "--json")
        running_until(process, lambda before=before: saved(cut) != before)  # type: ignore[misc]
        process.send_signal(end)
        assert finished(process).code == code
        assert saved(cut) != before
    last = tsad(cut, "run", "s", "--source", "live.jsonl", "--json")
    assert last.json["ended"] is True
    assert 0 < last.json["rows"] < 10_800
    assert tsad(whole, "run", "s", "--source", "live.jsonl", "--json").json["rows"] == 10_800
    assert alerts_of(cut) == alerts_of(whole) != []


def saved_something(database: Path) -> None:
    """Wait until a run has saved how far it has come."""
    for _ in range(600):
        with sqlite3.connect(database) as file:
            if file.execute("SELECT count(*) FROM checkpoints").fetchone()[0]:
                return
        time.sleep(0.05)
    raise AssertionError("nothing was saved within 30 s")


def test_ctrl_c_while_standard_input_is_open(home: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/stdin.db"
    process = started(home, "run", "s", "--source", "-", "--database", url, "--json", bufsize=0)
    live = lines_before_and_after()[1].splitlines(keepends=True)
    process.stdin.write(live[0])  # type: ignore[union-attr]
    assert b"no model yet" in process.stderr.readline()  # type: ignore[union-attr]
    second = tsad(home, "run", "s", "--source", "live.jsonl", "--database", url)
    assert second.code == 1
    assert "is in use by another `tsad run`" in second.error
    saved_something(tmp_path / "stdin.db")
    process.send_signal(signal.SIGINT)
    said = finished(process, b"".join(live[1:]))
    assert said.code == 130, said.err
    assert said.json["ended"] is False
    assert "the next run goes on from here" in said.err
    other = tsad(home, "run", "s", "--source", "live.jsonl", "--database", url)
    assert other.code == 1
    assert "was read from standard input before" in other.error


def test_another_file_is_refused_by_name_and_standard_input_goes_on(home: Path) -> None:
    said = tsad(home, "run", "s", "--source", "history.jsonl")
    assert said.code == 1
    assert "was read from live.jsonl before, and this is another file" in said.error
    record = {"entity": "a", "time": START + 60 * SLOTS, "values": dict.fromkeys(FEATURES, 0.5)}
    went_on = finished(started(home, "run", "s", "--source", "-", "--json"), json.dumps(record).encode())
    assert (went_on.code, went_on.json["rows"]) == (0, 1)


def test_standard_input_does_not_stand_in_for_a_file_that_has_to_be_read_again(
    watched_home: Path, tmp_path: Path
) -> None:
    """A file run dies behind its last snapshot: the next needs the file once, and only then goes on elsewhere."""
    home = with_model_alone(watched_home, tmp_path, 1)
    record = json.dumps({"entity": "a", "time": START + 60 * SLOTS, "values": dict.fromkeys(FEATURES, 0.5)}).encode()
    with chdir(home):
        dying = App.open(load_config(Path("tsad.toml")))
        runner = dying.runner("s", {"telemetry": "live.jsonl"}, limits=Limits(poll=60))
        for _ in range(4):
            runner.step()
        assert runner.snapshot_slot is not None
        dying.close()
    refused = finished(started(home, "run", "s", "--source", "-"), record)
    assert refused.code == 1
    assert "live.jsonl has to be read again from row 60 to 240" in refused.error
    whole = tsad(home, "run", "s", "--source", "live.jsonl", "--json")
    assert (whole.code, whole.json["rows"]) == (0, LIVE_ROWS - 240)
    went_on = finished(started(home, "run", "s", "--source", "-", "--json"), record)
    assert (went_on.code, went_on.json["rows"]) == (0, 1)


def test_the_package_is_a_command(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tsad", "detectors", "--json"], cwd=tmp_path, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == tsad(tmp_path, "detectors", "--json").json


SEEN = """
import json, sys
from tsad.cli import main
try:
    main()
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [("--help",), ("alerts", "--json"), ("check", "--json"), ("models", "--json")])
def test_who_only_looks_does_not_wait_for_the_learning_libraries(
    watched_home: Path, arguments: tuple[str, ...]
) -> None:
    ran = subprocess.run([sys.executable, "-c", SEEN, *arguments], cwd=watched_home, capture_output=True, check=False)
    loaded = set(json.loads(ran.stderr.splitlines()[-1]))
    assert "tsad" in loaded
    assert not loaded & {"torch", "numba", "shap", "xgboost", "sklearn", "scipy", "pandas", "matplotlib"}
