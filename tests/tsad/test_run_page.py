"""The page of a run: one file that needs nothing else, of bounded length, in which no name acts as HTML."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from storage.backfills import Backfills, UnitRow
from storage.engine import Database, open_database
from storage.leases import Leases
from storage.store import Store
from storage.types import Alert, NotThereError, Rollup, StreamRow
from tests.storage.stored_samples import START, Clock, alert, empty, explanation
from tsad.runs.charts import COLUMNS, WIDTHS, bar, columns, width_for
from tsad.runs.page import write_report

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&amp;\"'"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """As a browser takes it: tags that are closed in their order, attributes, words, tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.open, self.tables, self.words = text, [], [], [], ""  # type: ignore[var-annotated]
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.words += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, *heads: str) -> list[list[str]]:
        """The rows of the table with these first headings."""
        found = [rows[1:] for rows in self.tables if rows[0][: len(heads)] == list(heads)]
        assert len(found) == 1, [rows[0] for rows in self.tables]
        return found[0]


@pytest.fixture
def sqlite(sqlite_url: str) -> Any:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


def save(database: Database, run: str, alerts: list[Alert], failed: int = 0, name: str = "fleet", **more: Any) -> None:
    clock = Clock(START + timedelta(days=400))
    backfills = Backfills(database, clock)
    units = [UnitRow(run, 0, {}, 2, 5000, "finished", 1, 2, 3.0)]
    units += [UnitRow(run, 1 + n, {}, 0, 0, "failed", 3, reason=f"part-{n}: {HOSTILE}") for n in range(failed)]
    backfills.add(run, name, "v1", {"input": ["a.parquet", HOSTILE], "since": None}, units)
    store = Store(database, clock)
    store.put_stream(StreamRow(run, name, 60 * 10**9))
    epoch = Leases(database, clock).acquire(name, [0], "host", run)[0]
    store.save([empty(epoch=epoch, run=run, stream=name, alerts=alerts, **more)])
    backfills.end(run, backfills.drive(run), "finished")


def some(run: str, count: int, entities: int = 3, apart: int = 20) -> list[Alert]:
    return [
        alert(
            f"host-{n % entities}", apart * n, run=run, score=2.0 + n % 7, state="resolved", sentence=f"cpu rose, {n}"
        )
        for n in range(count)
    ]


def page(database: Database, folder: Path, run: str = "june", other: str | None = None) -> Page:
    write_report(database, run, folder / "new" / "page.html", other)
    return Page((folder / "new" / "page.html").read_text(encoding="utf-8"))


def test_it_needs_nothing_else(sqlite: Database, tmp_path: Path) -> None:
    save(sqlite, "june", some("june", 5), failed=1)
    found = page(sqlite, tmp_path)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert not re.search(r"(src|href|url\()\s*[=\"']", found.text)
    assert found.text.startswith("<!doctype html>")


def test_it_says_what_the_run_found(sqlite: Database, tmp_path: Path) -> None:
    back = alert("host-9", 7, run="june", score=99.0, state="retracted")
    hours = [Rollup("host-0", START, 0.1, 0.1, 60), Rollup("host-0", START + timedelta(hours=1), 3.5, 0.1, 60)]
    alerts = [*some("june", 10), alert("host-0", 900, run="june", severity="critical", score=40.0), back]
    parts = [explanation(one, "disk") for one in alerts[:3]]
    save(sqlite, "june", alerts, rollups=hours, explanations=parts)
    found = page(sqlite, tmp_path)
    for said in ("Run june", "stream fleet", "model v1", "11alerts", "1critical", "10warning", "3entities with alerts"):
        assert said in found.words
    assert "1 alert that were taken back" not in found.words
    assert "1 alert was taken back" in found.words
    assert [row[:3] for row in found.table("entity")] == [
        ["host-0", "5", "40.00"], ["host-2", "3", "7.00"], ["host-1", "3", "6.00"],
    ]  # fmt: skip
    assert [row[:2] for row in found.table("channel")] == [["cpu", "8"], ["disk", "3"]]
    strongest = found.table("began (UTC)", "entity", "severity")
    assert len(strongest) == 11
    assert strongest[0][1:5] == ["host-0", "critical", "40.00", "cpu rose"]
    histograms = [rows[1:] for rows in found.tables if rows[0][0] == "score"]
    assert [[row[0] for row in rows] for rows in histograms] == [
        ["below 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1", "1 to 1.5", "1.5 to 2", "2 to 3", "3 to 5"],
        ["2 to 3", "3 to 5", "5 to 10", "10 to 20", "20 to 50"],
    ]
    assert "Units that failed" not in found.words


def test_names_do_not_act_as_html(sqlite: Database, tmp_path: Path) -> None:
    named = {"entity": HOSTILE, "stream": HOSTILE, "sentence": HOSTILE, "model_version": HOSTILE}
    save(sqlite, "june", [alert(slot=10, run="june", attribution={HOSTILE: 1.0}, **named)], failed=1, name=HOSTILE)
    save(sqlite, "july", [], name=HOSTILE)
    found = page(sqlite, tmp_path, other="july")
    assert "script" not in {tag for tag, _ in found.tags}
    assert not {"\x1b", "\u202e"} & set(found.text)
    assert found.table("entity")[0][0].startswith("<script>alert(1)</script>")
    assert found.table("channel")[0][0].startswith("<script>")
    assert found.table("unit")[0][2].startswith("part-0: <script>")


def test_a_run_without_alerts_has_a_page(sqlite: Database, tmp_path: Path) -> None:
    save(sqlite, "june", [])
    found = page(sqlite, tmp_path)
    assert "No alerts." in found.words
    assert found.tables == []


def test_failures_are_named_as_far_as_there_is_room(sqlite: Database, tmp_path: Path) -> None:
    save(sqlite, "june", [], failed=30)
    found = page(sqlite, tmp_path)
    assert [row[0] for row in found.table("unit")] == [str(n) for n in range(1, 21)]
    assert "The first 20 of 30." in found.words


def test_its_length_does_not_grow_with_the_run(sqlite: Database, tmp_path: Path) -> None:
    """All that is listed is at its bound in the first already."""
    save(sqlite, "small", some("small", 300, 40, 100))
    save(sqlite, "large", some("large", 1500, 300))
    sizes = [len(page(sqlite, tmp_path, run).text) for run in ("small", "large")]
    assert sizes[1] < 1.1 * sizes[0]
    assert len(page(sqlite, tmp_path, "large").table("entity")) == 20


def test_another_run_is_laid_beside_it(sqlite: Database, tmp_path: Path) -> None:
    save(sqlite, "june", [*some("june", 4), alert("gone", 3, run="june", severity="critical")])
    save(sqlite, "new", [*some("new", 3), alert("host-0", 61, run="new", severity="info", attribution={"disk": 1.0})])
    found = page(sqlite, tmp_path, other="new")
    counts = {row[0]: row[1:] for row in found.table("", "alerts")}
    assert counts == {
        "Only new": ["0", "0", "0", "0"], "Only june": ["1", "1", "0", "0"],
        "Both, but otherwise": ["1", "0", "1", "0"], "Both": ["3", "0", "3", "0"],
    }  # fmt: skip
    tables = [rows for rows in found.tables if rows[0][2:] == ["june", "new"]]
    assert [[row[1:] for row in rows[1:]] for rows in tables] == [
        [["gone", "critical, score 1.70, cpu", "–"]],
        [["host-0", "warning, score 5.00, cpu", "info, score 1.70, disk"]],
    ]
    assert "Changed: severity 1, score 1, leading channel 1" in found.words


def test_a_run_must_be_there(sqlite: Database, tmp_path: Path) -> None:
    save(sqlite, "june", [])
    for names in (("july", None), ("june", "july"), ("live", None)):
        with pytest.raises(NotThereError):
            write_report(sqlite, names[0], tmp_path / "page.html", names[1])
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("seconds", [0, 59, 4000, 86_400 * 30, 86_400 * 400, 10 * 31_536_000, 10_000 * 31_536_000])
def test_columns_are_as_wide_as_a_page_has_room_for(seconds: int) -> None:
    first = datetime(1, 1, 1, tzinfo=UTC) if seconds > 10**11 else START
    last = first + timedelta(seconds=min(seconds, 300_000_000_000))
    width = width_for(first, last)
    assert last.timestamp() // width - first.timestamp() // width + 1 <= COLUMNS
    assert width in WIDTHS or seconds > 31_536_000 * COLUMNS


def test_columns_are_drawn_in_proportion() -> None:
    rows = [
        {"bucket": 10, "severity": "critical", "count": 1}, {"bucket": 10, "severity": "info", "count": 3},
        {"bucket": 13, "severity": "warning", "count": 2},
    ]  # fmt: skip
    drawn = Page(columns(rows, 3600))
    assert [attrs["style"] for tag, attrs in drawn.tags if tag == "i"] == [
        "height:25.00%", "height:75.00%", "height:50.00%",
    ]  # fmt: skip
    titles = [attrs["title"] for _, attrs in drawn.tags if "title" in attrs]
    assert titles == ["1970-01-01 10:00: 1 critical, 3 info", "1970-01-01 13:00: 2 warning"]
    assert "at most 4 in an hour" in drawn.words
    assert len([1 for tag, attrs in drawn.tags if tag == "div" and "class" not in attrs]) == 4
    assert columns([], 3600) == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(60, "a minute"), (300, "5 minutes"), (10800, "3 hours"), (86400, "a day"), (86401, "1,440 m")],
)
def test_the_width_of_a_column_is_told(seconds: int, said: str) -> None:
    assert f"at most 1 in {said}" in columns([{"bucket": 1, "severity": "info", "count": 1}], seconds)


def test_a_bar_leaves_out_what_is_nought() -> None:
    assert bar([("info", 1.0), ("warning", 0.0)], 4.0) == (
        '<div class="bar"><i class="info" style="width:25.00%"></i></div>'
    )
