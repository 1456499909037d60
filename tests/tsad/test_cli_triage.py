"""Marks, feedback, rules, calendars and the chain of acts at the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from triaged import STEP, episode

from storage.engine import Database, open_database
from storage.leases import Leases
from storage.store import Store
from storage.types import LIVE, Changes, StreamRow
from tests.tsad.command_line import Said, tsad
from tsad.triage.standing import Standings

FIRST, SECOND = episode(slot=100), episode(slot=300, entity="web-2")
OTHER = episode(slot=400, moved={"disk": [10.0] * 12 + [2.0] * 4})


@pytest.fixture
def folder(tmp_path: Path, sqlite_url: str) -> Path:
    """Where a configuration names a database with three alerts."""
    (tmp_path / "tsad.toml").write_text(f'database = "{sqlite_url}"\n')
    with_database(tmp_path, fill)
    return tmp_path


def with_database(folder: Path, work: Any) -> Any:
    url = json.loads("{" + (folder / "tsad.toml").read_text().replace("database =", '"u":').strip() + "}")["u"]
    opened = open_database(url)
    try:
        return work(opened)
    finally:
        opened.close()


def fill(database: Database) -> None:
    store = Store(database)
    store.put_stream(StreamRow(LIVE, "fleet", STEP, {}))
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    store.save([Changes(LIVE, "fleet", 0, epoch, alerts=[FIRST, SECOND, OTHER])])
    Standings.of(database).again()


def standing(folder: Path) -> list[str]:
    def work(database: Database) -> list[str]:
        found = Standings.of(database).rulings.decisions([FIRST.id, SECOND.id, OTHER.id])
        return [found[one.id].reason for one in (FIRST, SECOND, OTHER)]

    found: list[str] = with_database(folder, work)
    return found


def done(said: Said) -> Said:
    assert said.code == 0, said.err
    return said


def test_an_answer_acts_at_once_and_is_taken_back(folder: Path) -> None:
    assert standing(folder) == ["confirmed"] * 3
    mark = done(tsad(folder, "feedback", "give", FIRST.id[:8], "false", "--note", "backup", "--json")).json
    assert standing(folder) == ["answered", "alike", "confirmed"]
    [row] = done(tsad(folder, "feedback", "list", "--json")).json
    assert (row["id"], row["target"], row["note"]) == (mark["id"], FIRST.id, "backup")
    assert row["by"].endswith("at the command line")
    assert "backup" in done(tsad(folder, "feedback", "list")).out
    assert "taken back" in done(tsad(folder, "mark", mark["id"], "undo")).err
    assert standing(folder) == ["confirmed"] * 3
    assert tsad(folder, "mark", mark["id"], "undo").error == f"there is no mark '{mark['id']}' that stands"


def test_marks(folder: Path) -> None:
    done(tsad(folder, "mark", FIRST.id, "acknowledge"))
    done(tsad(folder, "mark", SECOND.id, "snooze", "--for", "2h"))
    done(tsad(folder, "mark", OTHER.id, "close", "--note", "gone"))
    assert standing(folder) == ["acknowledged", "snoozed", "closed"]
    done(tsad(folder, "mark", OTHER.id, "reopen"))
    assert standing(folder)[2] == "confirmed"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (("mark", "FIRST", "like"), "'like' is nothing to say of an alert; allowed: acknowledge, snooze, close"),
        (("mark", "FIRST", "feedback"), "'feedback' is nothing to say of an alert"),
        (("mark", "FIRST", "snooze"), "a snooze needs --for DURATION"),
        (("mark", "FIRST", "close", "--for", "1h"), "a snooze needs --for DURATION"),
        (("mark", "FIRST", "snooze", "--for", "soon"), "a duration such as"),
        (("mark", "nothing", "close"), "'nothing' is no alert's id"),
        (("feedback", "give", "FIRST", "maybe"), "'maybe' is no answer; allowed: true, false, expected"),
        (("feedback", "replay"), "either --rules FILE or --proposal NAME is needed"),
        (("feedback", "replay", "--proposal", "x"), "there is no proposal 'x'; there is: none"),
        (("rules", "apply", "absent.toml"), "absent.toml cannot be read: No such file"),
        (("rules", "apply", "broken.toml"), "broken.toml is neither TOML nor, called .json, JSON"),
        (
            ("rules", "apply", "wrong.toml"),
            "wrong.toml: rules.0.direction = 'sideways': Input should be 'any'",
        ),
        (("rules", "undo", "3"), "version 3 of the rules is not the newest, which is none"),
        (("calendars", "put", "x", "--start", "2026-03-01"), "calendar 'x': a stretch needs start and end"),
        (("calendars", "put", "x", "--start", "soon", "--end", "2026-03-01"), "calendar 'x': start = 'soon'"),
        (("calendars", "drop", "x"), "there is no calendar 'x'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(folder: Path, said: tuple[str, ...], error: str) -> None:
    (folder / "broken.toml").write_text("[[rules]\n")
    (folder / "wrong.toml").write_text('[[rules]]\nname = "a"\ndirection = "sideways"\n')
    found = tsad(folder, *(FIRST.id if part == "FIRST" else part for part in said))
    assert found.code in (1, 2)
    assert error in found.error
    assert standing(folder) == ["confirmed"] * 3


def test_rules_are_replayed_applied_and_undone(folder: Path) -> None:
    (folder / "rules.toml").write_text('[[rules]]\nname = "up"\ndirection = "up"\nmin_duration = "2m"\n')
    seen = done(tsad(folder, "feedback", "replay", "--rules", "rules.toml", "--json"))
    assert [(row["change"], row["alert"], row["reason"]) for row in seen.json] == [
        ("vanishes", OTHER.id[:12], "direction")
    ]
    assert "3 alerts looked at: 1 would vanish, 0 appear" in seen.err
    assert standing(folder)[2] == "confirmed"
    assert "version 1" in done(tsad(folder, "rules", "apply", "rules.toml", "--cause", "test")).err
    assert standing(folder)[2] == "direction"
    shown = done(tsad(folder, "rules", "show")).json
    assert shown == {"rules": [{"name": "up", "direction": "up", "min_duration": "120s"}]}
    (folder / "shown.json").write_text(json.dumps(shown))
    assert done(tsad(folder, "feedback", "replay", "--rules", "shown.json", "--json")).json == []
    done(tsad(folder, "rules", "undo", "1"))
    assert standing(folder)[2] == "confirmed"
    assert [(row["version"], row["count"]) for row in done(tsad(folder, "rules", "history", "--json")).json] == [
        (2, 0),
        (1, 1),
    ]
    assert "up" not in done(tsad(folder, "rules", "history")).err


def test_a_proposal_is_replayed_by_its_name(folder: Path) -> None:
    done(tsad(folder, "feedback", "give", OTHER.id, "expected"))
    [one] = done(tsad(folder, "feedback", "propose", "--json")).json
    assert (one["name"], one["vanish"], one["lost"]) == (f"like {OTHER.id[:12]}", 0, 0)
    seen = done(tsad(folder, "feedback", "replay", "--proposal", one["name"]))
    assert "0 would vanish, 0 appear" in seen.err
    assert OTHER.id[:12] in done(tsad(folder, "feedback", "propose")).out


def test_calendars(folder: Path) -> None:
    night = ("--start", "2026-03-01T06:00", "--rrule", "FREQ=DAILY", "--duration", "1h", "--entity", "web-*")
    done(tsad(folder, "calendars", "put", "night", *night))
    assert standing(folder) == ["confirmed", "confirmed", "confirmed"]  # those of long ago stay as they were
    [row] = done(tsad(folder, "calendars", "list", "--json")).json
    assert (row["name"], row["rrule"], row["duration"]) == ("night", "FREQ=DAILY", "3600s")
    assert "maintenance" in done(tsad(folder, "calendars", "list")).out
    done(tsad(folder, "calendars", "drop", "night"))
    assert "There are no calendars" in done(tsad(folder, "calendars", "list")).out


@pytest.mark.parametrize("command", ["queue", "propose", "replay"])
def test_so_many_days_that_no_calendar_has_them_are_refused(folder: Path, command: str) -> None:
    more = ("--proposal", "x") if command == "replay" else ()
    for days in ("1e9", "800000", "nan"):
        said = tsad(folder, "feedback", command, "--days", days, *more)
        assert said.code == 2
        assert "--days" in said.error
        assert "3660" in said.error


def test_a_note_has_words(folder: Path) -> None:
    assert "a note needs words" in tsad(folder, "mark", FIRST.id, "note").error


def test_the_chain_is_verified(folder: Path) -> None:
    done(tsad(folder, "mark", FIRST.id, "close"))
    done(tsad(folder, "tokens", "add", "anna"))
    rows = done(tsad(folder, "audit", "list", "--json")).json
    assert [row["action"] for row in rows] == ["add token", "mark close"]
    assert "mark close" in done(tsad(folder, "audit", "list")).out
    said = done(tsad(folder, "audit", "verify")).err
    head = said.split()[-1]
    assert "2 rows fit" in said
    done(tsad(folder, "mark", FIRST.id, "reopen"))
    done(tsad(folder, "audit", "verify", "--head", head))
    assert "no row has the hash abc" in tsad(folder, "audit", "verify", "--head", "abc").error

    def harm(database: Database) -> None:
        database.write(lambda connection: connection.execute(sa.text("DELETE FROM acts WHERE sequence = 2")))

    with_database(folder, harm)
    found = tsad(folder, "audit", "verify")
    assert (found.code, found.error) == (1, "row 2 is missing")
