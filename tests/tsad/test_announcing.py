"""What is said of an alert: the documented form, at every change, and once."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from storage.documents import dump_json
from storage.types import Alert, DeadLetter, NoData
from streaming.deadletters import PAYLOAD_BYTES
from tests.tsad.streams import FIT_SLOTS, cells_with_anomalies, payloads
from tsad.announcing import STEADY, VERSION, Announcer, alert_body
from tsad.runner import Limits

SCHEMA = json.loads((files("tsad") / "schemas" / f"alert.v{VERSION}.json").read_text())
NO_DATA = json.loads((files("tsad") / "schemas" / f"no-data.v{VERSION}.json").read_text())
DOCUMENT, MISSING = (
    (Path(__file__).resolve().parents[2] / "docs" / "alert-message.md").read_text().split("## Missing data")
)
LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
START = datetime(2026, 1, 5, tzinfo=UTC)
ANNOUNCER = Announcer("tsad.alerts", "tsad.dead", {"telemetry": ("metrics", 4), "logs": ("lines", 4)})


def checked(message: dict[str, Any]) -> dict[str, Any]:
    """`message`, valid by the shipped schema, and with no member that the schema does not know."""
    Draft202012Validator(SCHEMA).validate(message)
    assert set(message) <= set(SCHEMA["properties"])
    return message


def example(**changes: Any) -> Alert:
    made = Alert(
        run="live", stream="s", partition=3, entity="web-1", opened_slot=10, first_slot=10, last_slot=12, peak_slot=11,
        first_time=START, last_time=START + timedelta(minutes=2), peak_time=START + timedelta(minutes=1), state="open",
        severity="warning", score=1.7, p=3e-6, confidence=0.9, model_version="m1", detected_at=START,
        votes={"forecast": {"p": 1e-5, "voted": True}, "vote": {"p": None, "voted": False}},
        attribution={"cpu": 0.75}, reason="opened",
        evidence={"slot": 11, "observed": [[1.0]], "contributions": [["cpu", 0.8]], "said": {"log.new": ["x"]}},
    )  # fmt: skip
    return replace(made, **changes)


def content(alert: Alert, changes: int | None = 1) -> str:
    (said,) = ANNOUNCER.announce(alert, changes)
    return said.content


@pytest.mark.parametrize(("schema", "document"), [(SCHEMA, DOCUMENT), (NO_DATA, MISSING)])
def test_the_schema_is_a_schema_and_the_document_tells_of_each_member(schema: dict[str, Any], document: str) -> None:
    Draft202012Validator.check_schema(schema)
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", document, re.MULTILINE))
    assert rows == {name: part["description"] for name, part in schema["properties"].items()}
    assert set(schema["required"]) == set(schema["properties"])


@pytest.mark.parametrize(("resolved", "state", "revision"), [(None, "open", 1), (START, "resolved", 2)])
def test_missing_data_follows_its_own_schema(resolved: datetime | None, state: str, revision: int) -> None:
    row = NoData("ab" * 16, "logs", START, START, resolved)
    (notice,) = ANNOUNCER.notice("s", 3, [row])
    message = json.loads(dump_json(notice.body))
    Draft202012Validator(NO_DATA).validate(message)
    assert (message["state"], message["revision"], message["topic"]) == (state, revision, "lines")
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(message)
    assert Announcer(None, "dead", {}).notice("s", 3, [row]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"state": "retracted", "merged_into": "f" * 32, "reason": "merged"}, {"confidence": float("nan")},
        {"explanation": "done", "explained_by": "surrogate", "sentence": "cpu rose"}, {"evidence": {}},
        {"amended_at": START, "ingested_at": START},
    ],
)  # fmt: skip
def test_messages_follow_the_schema(changes: dict[str, Any]) -> None:
    (said,) = ANNOUNCER.announce(example(**changes), 1)
    message = checked(json.loads(dump_json(said.body | {"revision": 1})))
    assert (message["id"], message["first_time"]) == (example().id, "2026-01-05T00:00:00Z")
    assert "observed" not in message["evidence"]


@pytest.mark.parametrize(
    "wrong", [{"version": 2}, {"state": "closed"}, {"revision": 0}, {"first_time": "yesterday"}, {"id": "x"}]
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    message = json.loads(dump_json(alert_body(example()) | {"revision": 1}))
    with pytest.raises(ValidationError):
        checked(message | wrong)


def test_one_more_slot_is_not_worth_a_message() -> None:
    longer = example(
        last_slot=15, last_time=START + timedelta(minutes=5), score=1.9, p=1e-7, peak_slot=14,
        attribution={"cpu": 0.5, "memory": 0.5}, confidence=0.8, detected_at=START + timedelta(days=1),
    )  # fmt: skip
    assert content(longer) == content(example())


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "confirmed"}, {"severity": "critical"}, {"first_slot": 9}, {"reason": "amended"},
        {"explanation": "done"}, {"sentence": "cpu rose"}, {"merged_into": "f" * 32}, {"evidence": {"slot": 12}},
    ],
)  # fmt: skip
def test_any_other_change_is(changes: dict[str, Any]) -> None:
    assert content(example(**changes)) != content(example())


def test_two_changes_of_one_kind_are_two() -> None:
    assert content(example(), 2) != content(example(), 1)


def test_of_an_alert_that_is_over_every_number_counts_but_the_clocks() -> None:
    over = example(state="resolved")
    assert content(replace(over, score=1.8)) != content(over)
    assert content(replace(over, last_slot=13)) != content(over)
    assert content(replace(over, detected_at=START + timedelta(days=1), amended_at=START)) == content(over)


def test_names_that_no_text_can_hold_are_replaced() -> None:
    (said,) = ANNOUNCER.announce(example(entity="a\0b\ud800"), 1)
    assert checked(json.loads(dump_json(said.body | {"revision": 1})))["entity"] == "a\u2400b?"


@pytest.mark.parametrize(
    ("payload", "extent"), [(b"{", "whole"), (None, "none"), (bytes(PAYLOAD_BYTES), "cut"), (b"", "whole")]
)
def test_a_dead_letter_says_where_it_came_from(payload: bytes | None, extent: str) -> None:
    letter = DeadLetter("logs", 17, "broken_json", "odd \ud800", payload)
    (forward,) = ANNOUNCER.forward("s", [letter])
    assert (forward.topic, forward.key, forward.letter) == ("tsad.dead", "lines:4:17", letter)
    assert forward.headers == {
        "tsad.stream": "s", "tsad.reason": "broken_json", "tsad.detail": "odd ?", "tsad.topic": "lines",
        "tsad.partition": "4", "tsad.offset": "17", "tsad.payload": extent,
    }  # fmt: skip


def test_what_has_no_topic_is_not_said() -> None:
    silent = Announcer(None, None, {})
    assert silent.announce(example(), 1) == []
    assert silent.forward("s", [DeadLetter("logs", 1, "r", "d", None)]) == []


@pytest.fixture(scope="module")
def told(make_shared: Callable[..., Any]) -> dict[str, list[dict[str, Any]]]:
    """What a run says, in polls of few records, by alert; read from the outbox."""
    app = make_shared({"telemetry": LIVE})
    return messages_of(app, Limits(poll=5, explain_per_poll=1))


def messages_of(app: Any, limits: Limits) -> dict[str, list[dict[str, Any]]]:
    from storage.outbox import Outbox

    runner = app.runner("s", {}, limits=limits)
    runner.announcer = ANNOUNCER
    runner.run()
    found: dict[str, list[dict[str, Any]]] = {}
    for message in Outbox(app.database).take("s", {0: runner.epoch}, 10_000):
        found.setdefault(message.key, []).append(json.loads(message.payload))
    return found


def test_a_run_tells_every_alert_from_its_opening_to_its_end(told: dict[str, list[dict[str, Any]]]) -> None:
    assert len(told) > 3
    for messages in told.values():
        assert [checked(message)["revision"] for message in messages] == list(range(1, len(messages) + 1))
        assert messages[0]["state"] == "open" and messages[0]["reason"] == "opened"
        assert messages[-1]["explanation"] == "done"
        assert not any(message["state"] in ("resolved", "retracted") for message in messages[:-2])
    states = {tuple(dict.fromkeys(message["state"] for message in messages)) for messages in told.values()}
    assert ("open", "confirmed", "resolved") in states
    assert any(message["explanation"] == "pending" for messages in told.values() for message in messages)


def test_the_last_message_is_the_alert_as_stored(
    told: dict[str, list[dict[str, Any]]], make_app: Callable[..., Any]
) -> None:
    app = make_app({"telemetry": LIVE})
    last = {key: messages[-1] for key, messages in messages_of(app, Limits()).items()}
    for key, messages in told.items():
        stored = json.loads(dump_json(alert_body(app.reader.alert(key)[0])))
        # one that goes on has grown since
        names = stored if stored["state"] in ("resolved", "retracted") else STEADY
        assert {name: last[key][name] for name in names} == {name: stored[name] for name in names}
        assert {name: messages[-1][name] for name in names} == {name: stored[name] for name in names}
    assert last.keys() == told.keys(), "whatever the size of the polls"


def test_late_records_amend_and_say_so(make_app: Callable[..., Any]) -> None:
    """The first value of an anomalous slot comes when its window was judged without it."""
    cells = cells_with_anomalies()
    late = {("a", slot): cells.pop(("a", slot)) for slot in (331, 332)}
    before = payloads({key: values for key, values in cells.items() if key[1] <= 335}, FIT_SLOTS)
    after = payloads({key: values for key, values in cells.items() if key[1] > 335})
    told = messages_of(make_app({"telemetry": [*before, *payloads(late), *after]}), Limits(poll=1))
    reasons = [message["reason"] for messages in told.values() for message in messages]
    assert "amended" in reasons or "reopened" in reasons
    assert all(checked(message) for messages in told.values() for message in messages)
