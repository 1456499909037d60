"""Wrong input of every kind: one line that names the field, the value and what is allowed, and an exit code."""

import sqlite3
from pathlib import Path

import pytest

from tests.tsad.command_line import CONFIGURATION, fresh_home, tsad


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bogus",), "No such option: --bogus"),
        (("nonsense",), "No such command 'nonsense'"),
        (("run",), "Missing argument 'stream'"),
        (("alerts", "--since", "yesterday"), "Invalid value for '--since': 'yesterday' is no time"),
        (("alerts", "--since", "2026"), "'2026' is no time; write a date (2026-01-05), a time (2026-01-05T14:00"),
        (("alerts", "--since", "99999999"), "'99999999' is no time"),
        (("alerts", "--since", "2026-13-01"), "'2026-13-01' is no time"),
        (("alerts", "--limit", "0"), "greater than or equal to 1"),
        (("alerts", "--state", "bad"), "'--state': 'bad' is not one of 'open', 'confirmed', 'retracted', 'resolved'"),
        (("check", "-c", "none.toml"), "none.toml does not exist; `tsad init` writes one"),
        (("run", "s", "-c", "none.toml"), "none.toml does not exist"),
        (("check", "-c", "."), ". cannot be read: Is a directory"),
        (("run", "s"), "stream.s.telemetry.source is not set; name a file, a folder, or - (stdin)"),
        (("run", "nope", "--source", "live.jsonl"), "stream 'nope' is not in the configuration; configured: s"),
        (("run", "s", "--logs", "live.jsonl"), "configured to read telemetry only, not logs 'live.jsonl'"),
        (("dead-letters", "nope"), "there is no stream 'nope' in run 'live'; there is: s"),
        (("alerts", "--stream", "nope"), "there is no stream 'nope' in run 'live'; there is: s"),
        (("models", "--stream", "nope"), "there is no stream 'nope' in run 'live'; there is: s"),
        (("init",), "tsad.toml exists; --force overwrites it"),
        (("try", "none.csv"), "none.csv: there is no such file"),
        (("try", "live.jsonl", "--profile", "quick"), "profile = 'quick' is unknown; allowed: default"),
        (("try", "live.jsonl", "--budget", "0"), "stream.try.alert_budget = 0.0: Input should be greater than 0"),
        (("try", "live.jsonl", "--out", "tsad.toml"), "tsad.toml is a file; name a folder with --out"),
        (("try", "live.jsonl", "--out", "."), ". holds something else; name another folder with --out"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(watched_home: Path, arguments: tuple[str, ...], said: str) -> None:
    ended = tsad(watched_home, *arguments)
    assert said in ended.error
    assert ended.code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "s", "--source", "none.jsonl"), "none.jsonl: there is no such file or folder"),
        (("run", "s", "--source", "tsad.db"), "tsad.db: unknown suffix '.db'"),
        (("explain", "zzz"), "'zzz' is no alert's id"),
        (("explain", ""), "'' starts more than one alert's id"),
        (("models", "promote", "s", "v9"), "stream 's' has no model version 'v9'"),
        (("models", "rollback", "nope"), "stream 'nope' has no"),
        (("alerts", "--database", "nonsense"), "not a database URL: 'nonsense'; use sqlite:///tsad.db"),
        (("alerts", "--database", "mysql://me:secret@x/y"), "'mysql' is not supported"),
        (("alerts", "--database", "sqlite:////none/x.db"), "there is no folder /none"),
        (("alerts", "--database", "sqlite:///none.db"), "none.db does not exist yet"),
        (("alerts", "--database", "sqlite:///live.jsonl"), "live.jsonl"),
        (("run", "s", "--source", "live.jsonl", "--database", "sqlite:////proc/x.db"), "/proc/x.db"),
        (("init", "--from", "tsad.db", "-c", "new.toml"), "tsad.db: unknown suffix '.db'"),
    ],
)
def test_what_is_refused_is_one_line_and_code_1(watched_home: Path, arguments: tuple[str, ...], said: str) -> None:
    ended = tsad(watched_home, *arguments)
    assert said in ended.error
    assert "secret" not in ended.error
    assert ended.code == 1


def test_to_look_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / "tsad.toml").write_text(CONFIGURATION)
    assert tsad(tmp_path, "alerts").code == 1
    assert "tsad run" in tsad(tmp_path, "models").error
    checked = tsad(tmp_path, "check", "--json")
    assert checked.code == 0, checked.out
    assert [path.name for path in tmp_path.iterdir()] == ["tsad.toml"]


def test_every_fault_of_a_configuration_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "tsad.toml").write_text(CONFIGURATION + 'wndow = 3\nfusion = "mean"\n')
    said = tsad(tmp_path, "check")
    assert said.code == 2
    assert "stream.s.wndow is unknown; allowed here:" in said.err
    assert "stream.s.fusion = 'mean': Input should be 'power' or 'majority'" in said.err
    (tmp_path / "tsad.toml").write_bytes(b"\xff[")
    assert "tsad.toml is not valid TOML" in tsad(tmp_path, "check").error


@pytest.mark.parametrize(("version", "said"), [("0000", "newer"), (None, "no tsad tables")])
def test_a_schema_that_is_not_the_codes_is_refused(home: Path, version: str | None, said: str) -> None:
    with sqlite3.connect(home / "tsad.db") as database:
        if version is None:
            database.execute("DROP TABLE alembic_version")
        else:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
    ended = tsad(home, "alerts")
    assert ended.code == 1
    assert "tsad.db" in ended.error
    assert said in ended.error
    checked = tsad(home, "check", "--json")
    assert checked.code == 1
    assert [row["check"] for row in checked.json if not row["ok"]] == ["database"]


def test_a_missing_model_file_is_named(home: Path) -> None:
    for model in (home / "tsad-models" / "models").rglob("*.zip"):
        model.unlink()
    ended = tsad(home, "run", "s", "--source", "live.jsonl")
    assert ended.code == 1
    assert ".zip" in ended.error


def test_a_source_that_shrank_is_refused(home: Path) -> None:
    live = home / "live.jsonl"
    live.write_bytes(live.read_bytes()[:-200])
    ended = tsad(home, "run", "s", "--source", "live.jsonl")
    assert ended.code == 1
    assert "live.jsonl: has shrunk from" in ended.error


def test_a_stream_lives_through_the_worst_input(tmp_path: Path) -> None:
    home = fresh_home(tmp_path)
    good = (home / "live.jsonl").read_bytes().splitlines(keepends=True)
    bad = [
        b'{"entity": "a", "time":\n', b"[]\n", b"\x00\xff\xfe binary\n", b'{"entity": 5, "time": 1, "values": {}}\n',
        b'{"entity": "a", "values": {"cpu": 1}}\n', b'{"entity": "a", "time": "soon", "values": {"cpu": 1}}\n',
        b'{"entity": "a", "time": 0, "values": {"cpu": 1}}\n',
        b'{"entity": "a", "time": 99999999999, "values": {"cpu": 1}}\n',
        b'{"entity": "a", "time": 1700000000, "values": {"' + b"x" * 10_000_000 + b'": 1}}\n',
    ]  # fmt: skip
    (home / "mixed.jsonl").write_bytes(b"".join(good[:100] + bad + good[100:]))
    said = tsad(home, "run", "s", "--source", "mixed.jsonl", "--json")
    assert said.code == 0
    assert (said.json["rows"], said.json["dead_letters"]) == (len(good) + len(bad), len(bad))
    letters = tsad(home, "dead-letters", "s", "--json").json
    assert sum(letters["counts"].values()) == len(bad)
    assert all(len(row["payload"] or "") <= 4 * (64 << 10) for row in letters["rows"])
    mixed = tsad(home, "alerts", "--json").json
    clean = fresh_home(tmp_path / "clean")
    assert tsad(clean, "run", "s", "--source", "live.jsonl").code == 0
    assert tsad(clean, "alerts", "--json").json == mixed
    assert "\x00" not in tsad(home, "dead-letters", "s").out


@pytest.mark.parametrize("content", [b"", b"\n\n", bytes(range(256)) * 50])
def test_a_source_without_a_record_ends_well(tmp_path: Path, content: bytes) -> None:
    home = fresh_home(tmp_path)
    (home / "odd.jsonl").write_bytes(content)
    said = tsad(home, "run", "s", "--source", "odd.jsonl", "--json")
    assert said.code == 0
    assert (said.json["windows"], said.json["alerts"]) == (0, 0)
    assert said.json["dead_letters"] > 0
    refused = tsad(home, "fit", "s", "--from", "odd.jsonl")
    assert refused.code == 1
    assert "there is nothing to fit on" in refused.error
