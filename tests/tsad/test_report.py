"""Tables at 80 columns and piped, and rows as JSON."""

import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from storage.types import Alert, Explanation, Vote
from tsad.report import (
    alert_row,
    alert_table,
    as_json,
    check_table,
    dead_letter_table,
    detector_table,
    letter_line,
    model_table,
)
from tsad.wording import one_line, signed, utc_text

AT = datetime(2020, 1, 5, 14, 3, tzinfo=UTC)

ALERT = Alert(
    run="live", stream="payments", partition=0, entity="ts-order-service", opened_slot=100, first_slot=100,
    last_slot=110, peak_slot=104, first_time=AT, last_time=AT + timedelta(minutes=10),
    peak_time=AT + timedelta(minutes=4), state="confirmed", severity="critical", score=2.314, p=1e-7, confidence=0.94,
    model_version="v1", detected_at=AT,
    votes={"forecast": Vote(p=1e-5, voted=True), "vote": Vote(p=None, voted=False), "subspace": Vote(p=0, voted=True)},
    explained_by="surrogate", sentence="cpu rose.",
)  # fmt: skip


def part(feature: str, value: float, slot: int = 104, target: str = "decision") -> Explanation:
    return Explanation(ALERT.id, slot, feature, value, 0.1, 0.0, 2.3, 0.0, 0.9, "surrogate", target)


PARTS = [
    part("log.template.3", 0.31),
    part("cpu", 0.92),
    part("memory", -0.4),
    part("disk", 0.002),
    part("log.template.7", -0.05),
    part("log.template.8", 0.01),
    part("cpu", 7.0, slot=100),
    part("lag 3 of cpu", 9.0, target="forecast"),
]
TEXTS = {
    "log.template.3": ["pool exhausted after <*> ms"], "log.template.7": ["started"],
    "log.template.8": ["retry <*>", "pool exhausted after <*> ms"],
}  # fmt: skip
ROW = alert_row(ALERT, PARTS, TEXTS)


def printed(table: Table, width: int = 80, terminal: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None).print(
        table
    )
    return stream.getvalue()


def tables(row: dict[str, Any] = ROW, name: str = "x") -> list[Table]:
    return [
        alert_table([row | {"entity": name, "features": [{"feature": name, "value": 1.0}], "templates": [name]}]),
        detector_table([{"name": name, "memory": "online", "summary": name, "target": name}]),
        model_table([{"stream": name, "version": name, "state": "active", "created_at": AT, "activated_at": None}]),
        dead_letter_table(
            [
                {
                    "topic": "logs",
                    "partition": 0,
                    "position": 7,
                    "reason": "wrong_type",
                    "detail": name,
                    "payload": name.encode(),
                }
            ]
        ),
        check_table([{"check": "source", "ok": False, "detail": name}]),
    ]


# --- the row of an alert


def test_a_row_tells_the_three_largest_values_of_the_peaks_decision() -> None:
    assert ROW["features"] == [
        {"feature": "cpu", "value": 0.92},
        {"feature": "memory", "value": -0.4},
        {"feature": "log.template.3", "value": 0.31},
    ]


def test_templates_that_stand_out_are_those_that_push_towards_anomalous() -> None:
    assert ROW["templates"] == ["pool exhausted after <*> ms", "retry <*>"]


def test_votes_are_plain_truth_values() -> None:
    assert ROW["votes"] == {"forecast": True, "vote": False, "subspace": True}


def test_before_the_peak_is_explained_the_latest_slot_counts() -> None:
    row = alert_row(replace(ALERT, peak_slot=109), [part("old", 1.0, slot=100), part("new", 1.0, slot=102)])
    assert [entry["feature"] for entry in row["features"]] == ["new"]


def test_an_alert_that_is_not_explained_has_no_features() -> None:
    row = alert_row(ALERT)
    assert (row["features"], row["templates"]) == ([], [])
    assert "not explained yet" in printed(alert_table([row]))


def test_equal_values_come_in_the_order_of_their_names() -> None:
    parts = [part("b", 0.5), part("a", -0.5), part("c", 0.5)]
    assert alert_row(ALERT, parts)["features"] == alert_row(ALERT, parts[::-1])["features"]


# --- tables


def test_the_alert_table_shows_everything_at_80_columns() -> None:
    text = printed(alert_table([ROW]))
    for expected in (
        "2020-01-05 14:03:00", "ts-order-service", ALERT.id[:12], "critical", "confirmed", "2.31", "94%",
        "voted: forecast, subspace", "+0.92 cpu", "-0.40 memory", "+0.31 log.template.3", "“pool exhausted",
    ):  # fmt: skip
        assert expected in text
    assert "vote\n" not in text


def test_a_wide_terminal_shows_whole_templates() -> None:
    assert "“pool exhausted after <*> ms”" in printed(alert_table([ROW]), 140)


def test_where_there_is_no_room_a_name_loses_its_end_and_not_its_value() -> None:
    row = ROW | {"features": [{"feature": "very_" * 30 + "long", "value": -12.5}]}
    assert "-12.50 very_very" in printed(alert_table([row]))


def test_an_alert_without_votes_says_so() -> None:
    assert "voted: none" in printed(alert_table([ROW | {"votes": {"forecast": False}}]))


@pytest.mark.parametrize("name", ["x", "log.template " * 12, "a" * 300, "データ" * 40, "[red]x[/red]", "a\nb"])
def test_no_line_is_wider_than_80_columns(name: str) -> None:
    for table in tables(name=name):
        assert max(cell_len(line) for line in printed(table).splitlines()) <= 80


def test_nothing_but_text_when_piped() -> None:
    assert all("\x1b" not in printed(table) for table in tables())
    assert all("\x1b" in printed(table, terminal=True) for table in tables())


@pytest.mark.parametrize("name", ["\x1b[2J\x1b[31mgone", "a\rb", "x\x07y", "\u202egnirts", "a\u2028b"])
def test_control_sequences_in_names_do_not_reach_the_terminal(name: str) -> None:
    text = "".join(printed(table) for table in tables(name=name))
    assert not set(text) & {"\x1b", "\r", "\x07", "\u202e", "\u2028"}


def test_brackets_in_names_are_no_markup() -> None:
    assert all("[red]x[/red]" in printed(table, 140) for table in tables(name="[red]x[/red]"))


def test_details_are_folded_and_not_cut() -> None:
    words = [f"word{number}" for number in range(40)]
    text = printed(check_table([{"check": "source", "ok": True, "detail": " ".join(words)}]))
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (alert_table([]), "No alerts."),
        (model_table([]), "`tsad fit STREAM --from PATH`"),
        (dead_letter_table([]), "No dead letters."),
        (detector_table([]), "No detectors."),
        (check_table([]), "Nothing was checked."),
    ],
)
def test_an_empty_table_says_so(table: Table, said: str) -> None:
    assert said in " ".join(printed(table).split())


def test_checks_say_what_is_wrong() -> None:
    rows = [
        {"check": "database", "ok": True, "detail": "sqlite:///tsad.db"},
        {"check": "source", "ok": False, "detail": "12% of the rows would be late"},
    ]
    lines = printed(check_table(rows)).splitlines()
    assert any("ok" in line and "database" in line for line in lines)
    assert any("wrong" in line and "12% of the rows" in line for line in lines)


def test_a_dead_letter_shows_its_place_and_what_can_be_read_of_it() -> None:
    row = {
        "topic": "logs",
        "partition": 2,
        "position": 77,
        "reason": "bad_encoding",
        "detail": "byte 3",
        "payload": b"ab\xff",
    }
    text = printed(dead_letter_table([row, row | {"payload": None}]), 120)
    assert re.search(r"logs\s+│\s+2\s+│\s+77\s+│\s+bad_encoding", text)
    assert "ab\\xff" in text


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b'{"a":"\xc3\xbc\n"', {"payload": '{"a":"ü\n"'}), (b"ab\xff", {"payload_base64": "YWL/"}),
        (None, {"payload": None}), (b"", {"payload": ""}),
    ],
)  # fmt: skip
def test_an_exported_dead_letter_is_one_line_with_every_byte(payload: bytes | None, told: dict[str, Any]) -> None:
    row = {
        "run": "live", "stream": "s", "topic": "logs", "partition": 2, "position": 77, "reason": "bad_encoding",
        "detail": "byte 3", "saved_at": datetime(2026, 1, 5, tzinfo=UTC), "payload": payload,
    }  # fmt: skip
    line = letter_line(row, ("app-logs", row["partition"]))
    assert "\n" not in line
    assert json.loads(line) == told | {
        "stream": "s", "topic": "logs", "partition": 2, "offset": 77, "origin": "app-logs", "reason": "bad_encoding",
        "detail": "byte 3", "saved_at": "2026-01-05T00:00:00Z",
    }  # fmt: skip


def test_a_model_that_was_never_active_has_a_dash() -> None:
    assert "–" in printed(tables()[2])


REFIT = {"refit": {"rows": 5, "shadow_until": "2026-01-06T12:30:00+00:00"}}
FIGURES = {"decision": "retired", "reason": "too many", "episodes": 9, "allowed": 3, "slots": 1430, "wanted": 1440}


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (REFIT, "v: in the shadow until 2026-01-06 12:30"),
        (REFIT | {"shadow": FIGURES}, "retired: 9 episodes, at most 3; 1430 of 1440 slots"),
        (REFIT | {"shadow": {"decision": "retired", "reason": "[/Errno 28] full"}}, "v: retired: [/Errno 28] full"),
    ],
)
def test_a_candidate_shows_its_shadow(meta: dict[str, Any], said: str) -> None:
    row = {"stream": "s", "version": "v", "state": "candidate", "created_at": AT, "activated_at": None, "meta": meta}
    shown = " ".join(printed(model_table([row])).replace("│", " ").split())
    assert all(word in shown for word in said.split())


# --- JSON


def test_rows_as_json_come_back() -> None:
    back = json.loads(as_json([ROW]))
    assert back[0] | {"event_time": None, "last_time": None} == ROW | {"event_time": None, "last_time": None}
    assert back[0]["event_time"] == "2020-01-05T14:03:00Z"


def test_times_are_rfc_3339_with_their_zone() -> None:
    zone = timezone(timedelta(hours=2))
    assert json.loads(as_json({"at": AT.astimezone(zone)})) == {"at": "2020-01-05T16:03:00+02:00"}


def test_a_naive_time_is_refused_wherever_it_is() -> None:
    with pytest.raises(ValueError, match="zone"):
        as_json([{"deep": [{"at": AT.replace(tzinfo=None)}]}])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([[1.0, np.nan]], np.float32), [[1.0, None]]),
        (float("nan"), None),
        (float("-inf"), None),
        (b"a\xff", "a\\xff"),
        (Path("models") / "v1", "models/v1"),
        ((1, {2}), [1, [2]]),
        ({3: "x"}, {"3": "x"}),
        (None, None),
    ],
)
def test_values_of_the_inside_become_plain_json(value: object, expected: object) -> None:
    assert json.loads(as_json({"value": value})) == {"value": expected}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(JSON)
def test_plain_json_is_left_as_it_is(value: object) -> None:
    assert msgspec.json.decode(as_json(value)) == value


# --- words


@given(st.text(), st.integers(1, 40))
def test_one_line_is_one_line_of_that_length(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert one_line(line, limit) == line


def test_one_line_says_that_it_cut() -> None:
    assert one_line("Failed to acquire", 8) == "Failed…"
    assert one_line(" two\n words\t", 20) == "two words"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.314, "+0.31"), (-12.4, "-12.40"), (0.0023, "+0.0023"), (0.0, "+0.00"), (-0.004, "-0.004")],
)
def test_signed_values_never_look_like_nothing(value: float, expected: str) -> None:
    assert signed(value) == expected


def test_times_are_written_in_utc() -> None:
    local = datetime(2020, 1, 5, 1, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))
    assert utc_text(local) == "2020-01-04 23:00:00"
    assert utc_text(local, fine=True) == "2020-01-04 23:00:00.250"
    with pytest.raises(ValueError, match="zone"):
        utc_text(local.replace(tzinfo=None))
