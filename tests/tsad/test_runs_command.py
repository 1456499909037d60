"""`tsad runs`, as it is typed, over two runs of a small stream."""

import shutil
from contextlib import chdir
from io import StringIO
from pathlib import Path

import pytest

from storage.backfills import Backfills, UnitRow
from storage.files import folder_of
from tests.tsad.command_line import tsad
from tsad.app import App
from tsad.config import load_config
from tsad.progress import Limits

SPEC = {"input": "live.jsonl", "query": None, "since": 1_699_999_980_000_000_000, "unit_rows": 1000}


@pytest.fixture(scope="module")
def with_runs(watched_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside `live` the runs `june`, a backfill of two units of which one failed, and `june.new`, which saw nothing of
    the entity `b`. Not to be changed."""
    home = tmp_path_factory.mktemp("runs") / "home"
    shutil.copytree(watched_home, home)
    lines = (home / "live.jsonl").read_bytes().splitlines(keepends=True)
    (home / "less.jsonl").write_bytes(b"".join(line for line in lines if b'"entity":"b"' not in line))
    with chdir(home):
        app = App.open(load_config(Path("tsad.toml")))
        version = app.models.listing("s")[0].version
        for run, file in (("june", "live.jsonl"), ("june.new", "less.jsonl")):
            backfills = Backfills(app.database, app.now)
            units = [UnitRow(run, 0, {}, 3, 360, "finished", 1, 4, 1.5)]
            failed = [UnitRow(run, 1, {}, 0, 0, "failed", 3, 0, 0.1, "part-2.parquet: cut <off>")]
            backfills.add(run, "s", version, SPEC, [*units, *(failed if run == "june" else [])])
            app.runner("s", {"telemetry": file}, run=run, limits=Limits(explain_per_poll=50, snapshot_every=50)).run()
            backfills.end(run, backfills.drive(run), "finished")
        app.close()
    return home


@pytest.fixture
def own(with_runs: Path, tmp_path: Path) -> Path:
    """A copy of it of the test's own."""
    shutil.copytree(with_runs, tmp_path / "home")
    return tmp_path / "home"


def test_runs_are_listed(with_runs: Path) -> None:
    rows = tsad(with_runs, "runs", "list", "--json").json
    names = ("run", "stream", "state", "units", "finished", "failed")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("june", "s", "finished", 2, 1, 1), ("june.new", "s", "finished", 1, 1, 0),
    ]  # fmt: skip
    assert rows[0]["alerts"] > rows[1]["alerts"] > 0
    said = tsad(with_runs, "runs", "list").out
    assert "june.new" in said
    assert "1 of 2," in said
    assert "live" not in said


def test_a_run_is_shown(with_runs: Path) -> None:
    found = tsad(with_runs, "runs", "show", "june", "--json").json
    assert found["reads"] == {"input": "live.jsonl", "from": "2023-11-14 22:13:00"}
    assert (found["rows"], found["seconds"]) == (360, 1.6)
    assert found["failures"] == [{"unit": 1, "attempts": 3, "reason": "part-2.parquet: cut <off>"}]
    assert sum(found["severities"].values()) == found["alerts"] == sum(row["alerts"] for row in found["channels"])
    assert {row["entity"] for row in found["busiest"]} == {"a", "b", "c"}
    assert found["entities"] == 3
    said = tsad(with_runs, "runs", "show", "june").out
    for part in ("Run june", "1 of 2, 1 failed", "part-2.parquet: cut", "Leading channels", "2023-11-14 22:13:00"):
        assert part in said


@pytest.mark.parametrize("command", ["show", "delete", "compare"])
def test_a_run_must_be_there(with_runs: Path, command: str) -> None:
    more = ["june"] if command == "compare" else []
    wrong = tsad(with_runs, "runs", command, "july", *more)
    assert (wrong.code, wrong.error) == (1, "there is no run 'july'; there is: june, june.new")
    live = tsad(with_runs, "runs", command, "live", *more)
    assert live.code == 1
    assert "`live` is what the streams found" in live.error


def test_two_runs_are_compared(with_runs: Path) -> None:
    found = tsad(with_runs, "runs", "compare", "june", "june.new", "--json")
    assert found.err == ""
    assert found.json["counts"]["vanishes"] >= 1
    assert {row["entity"] for row in found.json["cases"] if row["kind"] == "vanishes"} == {"b"}
    assert found.json["before"]["alerts"] == tsad(with_runs, "runs", "show", "june", "--json").json["alerts"]
    back = tsad(with_runs, "runs", "compare", "june.new", "june", "--json").json
    assert back["counts"]["appears"] == found.json["counts"]["vanishes"]
    said = tsad(with_runs, "runs", "compare", "june", "june.new").out
    assert "june.new against june" in said
    assert "Vanish: the strongest" in said


def test_a_run_is_not_compared_with_itself(with_runs: Path) -> None:
    assert tsad(with_runs, "runs", "compare", "june", "june").error == "a run is not compared with itself: 'june'"


def test_runs_of_which_nothing_says_what_they_read_are_compared_with_a_remark(own: Path) -> None:
    with chdir(own):
        app = App.open(load_config(Path("tsad.toml")))
        app.runner("s", {"telemetry": "live.jsonl"}, run="by hand").run()
        app.close()
    found = tsad(own, "runs", "compare", "june", "by hand")
    assert found.code == 0
    assert "nothing says that both runs read the same input" in found.err
    row = next(row for row in tsad(own, "runs", "list", "--json").json if row["run"] == "by hand")
    assert (row["state"], row["units"], row["stream"]) == (None, 0, "s")
    assert row["model_version"]


def test_a_run_is_written_as_a_page(with_runs: Path, tmp_path: Path) -> None:
    said = tsad(with_runs, "runs", "report", "june", "--out", str(tmp_path / "june.html"), "--compare", "june.new")
    assert (said.code, said.out) == (0, "")
    assert f"wrote {tmp_path / 'june.html'}" in said.err
    page = (tmp_path / "june.html").read_text(encoding="utf-8")
    for part in ("<h1>Run june</h1>", "part-2.parquet: cut &lt;off&gt;", "Compared with june.new", "Only june: the"):
        assert part in page


def test_a_run_goes_with_all_that_it_wrote(own: Path) -> None:
    live = tsad(own, "alerts", "--json").json

    def folders(run: str) -> list[str]:
        """Where it has files: those of the history, and snapshots."""
        return sorted(path.parent.name for path in own.rglob(folder_of(run)))

    assert folders("june") == folders("june.new") == ["snapshots", "tsad-history"]
    gone = tsad(own, "runs", "delete", "june", "--yes", "--json")
    assert (gone.code, gone.json["backfill_units"], gone.json["backfills"]) == (0, 2, 1)
    assert (folders("june"), folders("june.new")) == ([], ["snapshots", "tsad-history"])
    assert [row["run"] for row in tsad(own, "runs", "list", "--json").json] == ["june.new"]
    assert tsad(own, "alerts", "--json").json == live
    assert tsad(own, "alerts", "--run", "june", "--json").json == []
    act = tsad(own, "audit", "list", "--json").json[0]
    assert (act["action"], act["target"]) == ("delete run", "run:june")


def test_nothing_is_deleted_without_a_yes(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unasked = tsad(own, "runs", "delete", "june")
    assert unasked.code == 1
    assert unasked.error.startswith("Delete the run 'june' with ")
    assert unasked.error.endswith("Say --yes to do so")

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    for answer, code, left in (("n\n", 1, True), ("y\n", 0, False)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        assert tsad(own, "runs", "delete", "june").code == code
        assert ("june" in [row["run"] for row in tsad(own, "runs", "list", "--json").json]) is left
