"""`tsad try` on files of one's own."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tsad.command_line import tsad
from tests.tsad.streams import START
from tsad.config import ConfigError
from tsad.console import Bars
from tsad.trial import TrialReport, try_out

SHIFT = 500
"""The row at which the planted level shift begins; it lasts 30 rows."""


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def planted(rows: int = 600) -> np.ndarray:
    """Three channels; a shift in the second."""
    rng = np.random.default_rng(3)
    swing = np.sin(np.arange(rows) / 12)
    values = np.stack([swing, 0.5 * swing, -swing], 1) + rng.normal(0, 0.1, (rows, 3))
    values[SHIFT : SHIFT + 30, 1] += 5
    return values


def tried(file: Path, **changes: Any) -> TrialReport:
    options: dict[str, Any] = {"folder": file.parent / "out", "budget": 2.0, "profile": "fast"} | changes
    return try_out(file, bars=Bars(quiet=True), stopping=lambda: False, **options)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> TrialReport:
    file = table(
        tmp_path_factory.mktemp("trial") / 'we"ird [bold] 名.csv',
        ["timestamp", "cpu", "[red]mem", "温度"],
        ((START + 60 * i, *row) for i, row in enumerate(planted())),
    )
    return tried(file)


def test_the_planted_shift_is_found_explained_and_drawn(report: TrialReport) -> None:
    standing = [row for row in report.rows if row["state"] != "retracted"]
    first = max(standing, key=lambda row: float(str(row["score"])))
    at = (first["event_time"].timestamp() - START) / 60  # type: ignore[attr-defined]
    assert SHIFT - 1 <= at <= SHIFT + 3
    assert first["features"][0]["feature"] == "[red]mem"  # type: ignore[index]
    assert report.pictures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in report.pictures)


def test_the_report_says_what_was_done_and_what_to_type_next(
    report: TrialReport, capsys: pytest.CaptureFixture[str]
) -> None:
    report.print()
    said = " ".join(capsys.readouterr().out.split())
    assert "600 rows of 1 entity in slots of 60s; fitted on the first 300" in said
    retracted = sum(row["state"] == "retracted" for row in report.rows)
    assert f"{len(report.rows) - retracted} alert" in said
    assert f"{retracted} more that were retracted" in said
    assert f"next: tsad alerts --database {report.facts['database']}" in said
    assert "[red]mem" in said
    figures = report.figures()
    assert (figures["rows"], figures["fitted_rows"], figures["step"]) == (600, 300, "60s")
    assert not report.interrupted


def test_an_earlier_trial_makes_room_and_nothing_else_does(report: TrialReport, tmp_path: Path) -> None:
    out = report.pictures[0].parent
    (out / "left over").touch()
    with pytest.raises(ConfigError, match="is unknown"):
        tried(report.file, folder=out, profile="none")
    assert (out / "left over").exists()
    inside = out / "mine.csv"
    inside.write_bytes(report.file.read_bytes())
    with pytest.raises(ConfigError, match="would be emptied"):
        tried(inside, folder=out)
    assert inside.exists()
    (tmp_path / "something").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        tried(report.file, folder=tmp_path)
    inside.unlink()


def rows_of(values: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [(START + 60 * i, *row) for i, row in enumerate(values)]


NOISE = np.random.default_rng(5).normal(size=200).tolist()
ODD_TABLES: dict[str, list[tuple[Any, ...]]] = {
    "one column is constant": rows_of((5, value) for value in NOISE),
    "all are constant": rows_of((5, 7) for _ in NOISE),
    "one column is empty": rows_of(("", value) for value in NOISE),
    "times come twice": [(START + 60 * (i // 2), value, 1.0) for i, value in enumerate(NOISE)],
    "one time only": [(START, value, 1.0) for value in NOISE],
    "times in 1970": [(60 * i, value, 1.0) for i, value in enumerate(NOISE)],
    "shuffled": [(START + 60 * (i * 77 % 200), value, 1.0) for i, value in enumerate(NOISE)],
    "a year without a row": [(START + 60 * (i + 500_000 * (i > 150)), value, 1.0) for i, value in enumerate(NOISE)],
}


@pytest.mark.parametrize("name", [name for name in ODD_TABLES if name != "a year without a row"])
def test_odd_tables_are_watched_without_an_alert_storm(name: str, tmp_path: Path) -> None:
    found = tried(table(tmp_path / "odd.csv", ["time", "x", "y"], ODD_TABLES[name]))
    assert found.facts["rows"] == 200
    assert sum(row["state"] != "retracted" for row in found.rows) <= 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no rows"),
        (b"time,x\n", "has no rows"),
        (b"time,x\n2024-01-01T00:00:00Z,1\n", "has 1 usable rows"),
        (b"a,b\n" + b"foo,bar\n" * 60, "no column of numbers"),
        (b"time,x\n" + b"soon,1\n" * 60, "column 'time' holds no times, e.g. 'soon'"),
        (b'a,"b\rc\rd,e\n' * 9, "odd.csv"),
        (b"a\rb,c\n1,2\n", "odd.csv"),
        (b"time,x,x\n1,2,3\n", "names ['x'] more than once"),
        (b"time,x\n" + b"".join(b"%d,1\n" % (START + 60 * i) for i in range(20)), "20 rows are too few"),
        (b"time,x\n" + b"".join(b"%d,1\n" % (9_000_000_000 + 60 * i) for i in range(60)), "'future': 60"),
        (b"time,x\n" + b"".join(b"%d,nan\n" % (START + 60 * i) for i in range(60)), "odd.csv|nothing to fit on"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_bytes(content)
    ended = tsad(tmp_path, "try", "odd.csv", "--profile", "fast", "--json")
    assert any(part in ended.error for part in said.split("|"))
    assert ended.code == 1


def test_a_folder_or_a_binary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "is not a file" in tsad(tmp_path, "try", "folder.csv").error
    for name in ("x.parquet", "x.jsonl", "x.csv"):
        (tmp_path / name).write_bytes(np.random.default_rng(1).bytes(20_000))
        assert name in tsad(tmp_path, "try", name).error


def test_json_lines_with_broken_ones_among_them(tmp_path: Path) -> None:
    lines = [json.dumps({"entity": "a/../b", "time": START + 60 * i, "values": {"x": v}}) for i, v in enumerate(NOISE)]
    lines[50:50] = ["{broken", "[]", '{"entity": "a"}']
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines))
    said = tsad(tmp_path, "try", "mixed.jsonl", "--profile", "fast", "--json")
    assert said.code == 0
    assert said.json["rows"] == 200
    assert any("rejected rows" in note for note in said.json["notes"])


def test_an_interrupted_trial_says_so(tmp_path: Path) -> None:
    file = table(tmp_path / "fine.csv", ["time", "x", "y"], ODD_TABLES["one column is constant"])
    asked = iter([False] * 3)
    with pytest.raises(KeyboardInterrupt):
        try_out(file, tmp_path / "out", 1.0, "fast", Bars(quiet=True), lambda: next(asked, True))
