import json
from pathlib import Path

import pytest

from streaming.templates import template_id
from tests.tsad.command_line import tsad
from tsad.templates import matching, template_rows, the_one

LISTED = [
    {"partition": 0, "template_id": 1, "text": "login of <*> done", "count": 40},
    {"partition": 1, "template_id": 1, "text": "login of eve done", "count": 2},
    {"partition": 1, "template_id": 2, "text": "disk full", "count": 5},
]
FORMER = [{"partition": 0, "template_id": 1, "alias": template_id("login of alice done")}]
CONFIGURATION = """
[stream.s]
telemetry = false
fit_after = 100000
[stream.s.logs]
source = "lines.jsonl"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A stream that has read its lines."""
    (tmp_path / "tsad.toml").write_text(CONFIGURATION)
    texts = ["login of alice done", "login of bob done", "disk 7 full", *["login of carol done"] * 3] * 20
    lines = [{"entity": "web", "time": 1_700_000_000 + 60 * place, "message": text} for place, text in enumerate(texts)]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert tsad(tmp_path, "run", "s").code == 0
    return tmp_path


def test_templates_of_several_partitions_are_put_together_with_all_their_ids() -> None:
    rows = template_rows(LISTED, FORMER, {})
    assert [(row["text"], row["lines"], row["partitions"]) for row in rows] == [
        ("login of <*> done", 42, [0, 1]),
        ("disk full", 5, [1]),
    ]
    assert rows[0]["id"] == template_id("login of <*> done")
    assert rows[0]["aliases"] == sorted([template_id("login of alice done"), template_id("login of eve done")])


@pytest.mark.parametrize("known", ["login of <*> done", "login of eve done", "login of alice done"])
def test_a_name_stays_whatever_the_text_was_when_it_was_given(known: str) -> None:
    assert template_rows(LISTED, FORMER, {template_id(known): "logins"})[0]["name"] == "logins"


def test_they_are_found_by_text_name_and_any_id() -> None:
    rows = template_rows(LISTED, FORMER, {template_id("disk full"): "Disk trouble"})
    assert [row["text"] for row in matching(rows, "LOGIN")] == ["login of <*> done"]
    assert [row["text"] for row in matching(rows, "trouble")] == ["disk full"]
    assert matching(rows, template_id("login of alice done")[:6]) == rows[:1]
    assert matching(rows, "") == rows
    assert the_one(rows, template_id("disk full")[:8]) == rows[1]


@pytest.mark.parametrize("wanted", ["zzz", ""])
def test_an_id_that_names_none_or_several_is_refused_with_those_there_are(wanted: str) -> None:
    with pytest.raises(ValueError, match=f"template '{wanted}'.*{template_id('disk full')}"):
        the_one(template_rows(LISTED, FORMER, {}), wanted)


def test_the_command_lists_names_and_finds_them(home: Path) -> None:
    rows = tsad(home, "templates", "s", "--json").json
    assert [(row["text"], row["lines"]) for row in rows] == [("login of <*> done", 100), ("disk <NUM> full", 20)]
    assert tsad(home, "templates", "s", "--rename", rows[1]["id"][:6], "disk trouble").code == 0
    found = tsad(home, "templates", "s", "--search", "trouble", "--json").json
    assert [row["name"] for row in found] == ["disk trouble"]
    assert "disk trouble" in tsad(home, "templates", "s").out
    # by an id that its text had when it was new
    alice = template_id("login of alice done")
    assert alice in rows[0]["aliases"]
    tsad(home, "templates", "s", "--rename", alice, "logins")
    assert tsad(home, "templates", "s", "--limit", "1", "--json").json[0]["name"] == "logins"
    tsad(home, "templates", "s", "--rename", alice, "")
    assert tsad(home, "templates", "s", "--limit", "1", "--json").json[0]["name"] == ""


def test_the_command_exports_all_that_is_found(home: Path) -> None:
    said = tsad(home, "templates", "s", "--search", "login", "--export", "found.jsonl")
    assert "wrote 1 template to found.jsonl" in said.err
    rows = [json.loads(line) for line in (home / "found.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == ["login of <*> done"]


def test_an_unknown_stream_and_an_unknown_id_are_named(home: Path) -> None:
    assert "no stream 'x'" in tsad(home, "templates", "x").error
    assert "template 'nothing'" in tsad(home, "templates", "s", "--rename", "nothing", "a").error


def test_names_outlive_a_second_run(home: Path) -> None:
    before = tsad(home, "templates", "s", "--json").json
    tsad(home, "templates", "s", "--rename", before[0]["id"], "logins")
    assert tsad(home, "run", "s").code == 0
    after = tsad(home, "templates", "s", "--json").json
    assert after[0] == before[0] | {"name": "logins"}
    assert after[1:] == before[1:]
