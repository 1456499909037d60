"""Words, the figures of a run and of an alert's explanation, and outcomes against a plain loop."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, Group

from tests.tsad.test_outcomes import MINUTE, alert, event
from tests.tsad.test_report import AT, PARTS, ROW
from tsad.outcomes import Outcomes, outcomes
from tsad.report import explanation_table, run_table
from tsad.wording import counted, one_line, signed, utc_text


def printed(what: Any, width: int = 80) -> str:
    console = Console(width=width, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(what)
    return console.export_text()


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 alerts"), (1, "1 alert"), (2, "2 alerts"), (-1, "-1 alerts"), (1001, "1,001 alerts")]
)
def test_a_count_and_its_noun(count: int, said: str) -> None:
    assert counted(count, "alert") == said


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_signed_number_has_its_sign_and_is_close(value: float) -> None:
    said = signed(value)
    assert said[0] in "+-"
    assert float(said) == pytest.approx(value, abs=0.00501 if abs(value) >= 0.01 else 0, rel=0.051)
    assert (float(said) == 0) == (value == 0)


@settings(deadline=None)
@given(st.text(max_size=40), st.integers(1, 30))
def test_one_line_is_idempotent_and_keeps_what_fits(text: str, limit: int) -> None:
    said = one_line(text, limit)
    assert len(said) <= limit
    assert one_line(said, limit) == said
    if text.isprintable() and text == " ".join(text.split()) and len(text) <= limit:
        assert said == text


@settings(deadline=None)
@given(st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_time_is_said_in_utc_wherever_it_is(time: datetime, minutes: int) -> None:
    here = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    said = datetime.fromisoformat(utc_text(here, fine=True)).replace(tzinfo=UTC)
    assert timedelta(0) <= here - said < timedelta(milliseconds=1)
    assert utc_text(here) == utc_text(here, fine=True)[:-4]


FIGURES = {
    "stream": "s", "rows": 1234567, "windows": 12, "alerts": 1, "dead_letters": 3, "slots_to_first_model": None,
    "unknown_features": {},
}  # fmt: skip


def test_what_a_run_did() -> None:
    text = printed(run_table(FIGURES))
    assert "Run of s" in text
    assert "1,234,567" in text
    assert "dead letters" in text
    assert "first model" not in text
    assert "unknown" not in text


def test_a_run_tells_of_the_missing_model_and_of_unknown_features_by_name() -> None:
    unknown = {"zeta": 7, "\x1b[2Jalpha": 12_000}
    text = printed(run_table(FIGURES | {"slots_to_first_model": 0, "unknown_features": unknown}))
    assert "slots to the first model" in text
    assert text.index("alpha") < text.index("zeta")
    assert "12,000" in text
    assert "\x1b[2J" not in text


def rows(explained: list[Any]) -> list[dict[str, Any]]:
    return [asdict(one) | {"time": AT + one.slot * MINUTE} for one in explained]


def test_an_explanation_shows_every_part_and_how_each_decision_adds_up() -> None:
    table = explanation_table(ROW, rows(PARTS))
    assert isinstance(table, Group)
    text = printed(table, 160)
    for part in PARTS:
        assert signed(part.value) in text
        assert part.feature in text
    assert text.count("score 2.300 = base 0.000 + values + residual 0.000, explained by surrogate") == 2
    assert "forecast at 2020-01-05 15:47:00" in text
    assert "cpu rose." in text


def test_shares_are_those_of_decisions_only() -> None:
    parts = [replace(PARTS[0], share=0.42), replace(PARTS[-1], share=0.77)]
    text = printed(explanation_table(ROW, rows(parts)), 160)
    assert "42%" in text
    assert "77%" not in text


def test_an_alert_that_waits_for_its_explanation_says_so() -> None:
    text = printed(explanation_table(ROW | {"sentence": None, "features": [], "templates": []}, []))
    assert text.count("not explained yet") == 2
    assert "Not explained yet." in text


SPANS = st.tuples(st.integers(0, 60), st.integers(0, 15))
ALERTS = st.lists(
    st.tuples(SPANS, st.sampled_from("xy"), st.sampled_from(["resolved", "open", "retracted"])), max_size=8
)
EVENTS = st.lists(st.tuples(SPANS, st.sampled_from(["x", "y", None])), max_size=6)


@settings(max_examples=150, deadline=None)
@given(ALERTS, EVENTS)
def test_outcomes_are_those_of_a_plain_loop_over_minutes(alerts: list[Any], events: list[Any]) -> None:
    found, useful, delays = 0, set(), []
    standing = [number for number, (_, _, state) in enumerate(alerts) if state != "retracted"]
    for (start, length), entity in events:
        minutes = set(range(start, start + 1 + length))
        met = []
        for number in standing:
            (first, lasting), of, _ = alerts[number]
            if minutes & set(range(first, first + lasting + 1)) and entity in (of, None):
                met.append(first)
                useful.add(number)
        if met:
            found += 1
            delays.append(60.0 * max(0, min(met) - start))
    outcome = outcomes(
        [alert(first, first + lasting, of, state) for (first, lasting), of, state in alerts],
        [event(start, start + 1 + length, entity) for (start, length), entity in events],
    )
    expected = Outcomes(
        len(events), found, len(standing), len(standing) - len(useful), len(alerts) - len(standing), delays
    )
    assert outcome == expected
    assert outcome.median_delay == (median(delays) if delays else None)
