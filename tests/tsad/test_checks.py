"""One line for each thing that is looked at."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tsad.command_line import fresh_home
from tests.tsad.streams import START
from tsad.checks import check_all
from tsad.config import parse_config


def checked(folder: Path, **stream: Any) -> dict[str, tuple[bool, str]]:
    config = parse_config(
        {
            "database": f"sqlite:///{folder}/tsad.db", "models": f"{folder}/models", "history": f"{folder}/history",
            "stream": {"s": {"window": 16, "settle": 5, "quiet": 8} | stream},
        }
    )  # fmt: skip
    return {row["check"]: (row["ok"], row["detail"]) for row in check_all(config)}


def test_all_is_well_before_the_first_run(tmp_path: Path) -> None:
    fresh_home(tmp_path)
    found = checked(tmp_path, telemetry={"source": str(tmp_path / "live.jsonl")})
    assert all(ok for ok, _ in found.values()), found
    assert found["s telemetry"][1] == "360 records read, 3 entities, 4 features; late: 0.00%, too late: 0.00%"
    assert "not there yet" in found["database"][1]
    assert "none yet" in found["s models"][1]
    assert not (tmp_path / "tsad.db").exists()


def test_the_share_of_late_records_is_told(tmp_path: Path) -> None:
    slots = [*range(100), 95, 96, 50]
    lines = [{"entity": "a", "time": START + 60 * slot, "values": {"x": slot}} for slot in slots]
    file = tmp_path / "late.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    _, said = checked(tmp_path, telemetry={"source": str(file)})["s telemetry"]
    assert "103 records read" in said
    assert f"too late: {1 / 103:.2%}" in said
    assert f"late: {2 / 103:.2%}" in said or f"late: {3 / 103:.2%}" in said


@pytest.mark.parametrize(
    ("stream", "check", "said"),
    [
        ({"profile": "quick"}, "stream s", "profile = 'quick' is unknown; allowed: default, few, fast"),
        ({"detectors": ["none"]}, "stream s", "detector 'none' is unknown; allowed:"),
        (
            {"detector_options": {"linear": {"wat": 1}}},
            "stream s",
            "detector_options.linear.wat = 1 is unknown; allowed: lags,",
        ),
        (
            {"detector_options": {"subspace": {"slots": -3}}},
            "stream s",
            "detector_options.subspace: slots = -3: a whole number of at least 1 is needed",
        ),
        ({"detector_options": {"subspace": {"rank": "x"}}}, "stream s", "rank = 'x': a whole number of at least 1"),
        ({"detector_options": {"vote": {"floor": 0}}}, "stream s", "floor = 0: a number above 0 is needed"),
        ({"detector_options": {"forecast": {"rate": float("nan")}}}, "stream s", "rate = nan: a number above 0"),
        ({"detector_options": {"linear": {"decay": 1.5}}}, "stream s", "decay = 1.5: a number from 0 to 1 is needed"),
        ({"detector_options": {"neighbours": {"level": 1}}}, "stream s", "level = 1: true or false is needed"),
        ({"detector_options": {"bent": {"of": "none"}}}, "stream s", "detector_options.bent: detector 'none' is"),
        ({"detector_options": {"bent": {"rank": True}}}, "stream s", "bent: rank = True: a whole number"),
        ({"telemetry": {"source": "/none.jsonl"}}, "s telemetry", "/none.jsonl: there is no such file"),
        ({"telemetry": {"source": "/dev"}}, "s telemetry", "/dev"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, stream: dict[str, Any], check: str, said: str) -> None:
    ok, detail = checked(tmp_path, **stream)[check]
    assert not ok
    assert said in detail
    assert "\n" not in detail


def test_a_source_without_a_usable_record_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text("{\n" * 20)
    ok, detail = checked(tmp_path, telemetry={"source": str(file)})["s telemetry"]
    assert not ok
    assert "no record of the first 20 could be used" in detail


def test_standard_input_and_no_source_are_no_faults(tmp_path: Path) -> None:
    assert checked(tmp_path, telemetry={"source": "-"})["s telemetry"] == (True, "standard input")
    assert checked(tmp_path)["s telemetry"][0]


def test_logs_are_read_with_their_own_pattern(tmp_path: Path) -> None:
    file = tmp_path / "app.log"
    file.write_text("".join(f"{START + 60 * i} INFO served {i}\n" for i in range(30)))
    logs = {"source": str(file), "layout": "text", "pattern": r"(?P<time>\d+) (?P<severity>\w+) (?P<message>.*)"}
    ok, detail = checked(tmp_path, telemetry=False, logs=logs)["s logs"]
    assert ok
    assert detail.startswith("30 records read, 1 entity, ")


def test_a_database_of_something_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "tsad.db").write_bytes(b"no database at all, but long enough to look at" * 40)
    ok, detail = checked(tmp_path)["database"]
    assert not ok
    assert "tsad.db" in detail
