"""The API at its edges: what rows may hold, on either database; bodies that lie; bursts; faults of our own."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.engine import Database
from storage.leases import Leases
from storage.store import Store
from storage.types import Alert, DeadLetter, EntityRow, StreamRow
from tests.storage.stored_samples import Clock, alert, bundle, empty, explanation
from tests.tsad.asking import Asking
from tsad.api.access import Buckets
from tsad.api.application import PREFIX, specification
from tsad.api.limits import Hardened
from tsad.api.problems import answered

DOCS = Path(__file__).resolve().parents[2] / "docs" / "api.md"
HOSTILE = "<script>alert(1)</script>\u202e'; DROP TABLE alerts; --"
EVENT = {"id": "e", "kind": "deploy", "title": "shop 9", "time": "2026-03-01T00:05:00+00:00", "why": "rule"}
EVIDENCE: dict[str, Any] = {
    "slot": 13, "features": ["cpu", "memory"], "observed": [[1.0, None, 3.5], [0.0, 0.0, 9.0]], "lower": [0.5, None],
    "upper": [1.5, 1.0], "texts": {}, "said": {"log.new": [HOSTILE]},
    "lines": [{"feature": "log.new", "line": HOSTILE}], "contributions": [["cpu", 0.8]],
}  # fmt: skip


@pytest.fixture
def store(database: Database) -> Store:
    Leases(database, Clock()).acquire("fleet", [0], "host-a")
    made = Store(database, Clock())
    made.put_stream(StreamRow("live", "fleet", 60 * 10**9, {}))
    return made


@pytest.fixture
def asking(database: Database) -> Iterator[Asking]:
    found = Asking(database)
    with found.client:
        yield found


def kept(store: Store, *alerts: Alert) -> None:
    """With a part of the explanation each."""
    store.save([empty(alerts=list(alerts), explanations=[explanation(one) for one in alerts])])


def test_what_came_from_outside_goes_out_as_text(store: Store, asking: Asking) -> None:
    """Names and lines are JSON's strings, told of as JSON; none of them reaches SQL as such."""
    kept(store, alert(HOSTILE, evidence=EVIDENCE, sentence=HOSTILE), alert("other"))
    page = asking.get("/alerts", entity=HOSTILE)
    assert page.headers["content-type"] == "application/json"
    (row,) = page.json()["items"]
    assert (row["entity"], row["sentence"]) == (HOSTILE, HOSTILE)
    told = asking.found(f"/alerts/{row['id']}")
    assert told["lines"] == [{"feature": "log.new", "line": HOSTILE}]
    assert told["said"] == {"log.new": [HOSTILE]}
    assert len(asking.found("/alerts")["items"]) == 2, "the table is still there"
    refused = asking.get("/alerts", sort=HOSTILE)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-content-type-options"] == "nosniff"


def test_a_number_that_is_not_known_is_null(store: Store, asking: Asking) -> None:
    one = alert(evidence=EVIDENCE, attribution={"cpu": 0.75, "memory": 0.25})
    kept(store, one)
    told = asking.found(f"/alerts/{one.id}/series")
    assert told["channels"] == [
        {"feature": "cpu", "observed": [1.0, None, 3.5], "lower": 0.5, "upper": 1.5},
        {"feature": "memory", "observed": [0.0, 0.0, 9.0], "lower": None, "upper": 1.0},
    ]
    assert told["end_time"] == "1970-01-01T00:13:00Z"
    assert asking.found(f"/alerts/{one.id}")["votes"]["vote"] == {"p": None, "voted": False}


def test_what_explains_an_alert_away_is_told(store: Store, asking: Asking) -> None:
    explained = alert("a", explained_by_event=EVENT, severity="info")
    merged = alert("b", state="retracted", merged_into=explained.id, reason="merged")
    kept(store, explained, merged, alert("c", 12))
    rows = {row["entity"]: row for row in asking.found("/alerts")["items"]}
    assert rows["a"]["explained_by_event"] == EVENT
    assert rows["a"]["sentence"].startswith("cpu rose ")
    assert "shop 9" in rows["a"]["sentence"]
    assert (rows["b"]["merged_into"], rows["b"]["explained_by_event"]) == (explained.id, None)
    assert [row["entity"] for row in asking.found("/alerts", severity="info")["items"]] == ["a"]


def test_ids_may_be_cut_short_as_long_as_one_begins_so(store: Store, asking: Asking) -> None:
    alerts = [alert(f"web-{number}") for number in range(300)]
    kept(store, *alerts)
    assert asking.found(f"/alerts/{alerts[0].id[:8]}")["id"] == alerts[0].id
    answer = asking.get("/alerts/ffffff")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no alert 'ffffff', or more than one begins so"


def test_runs_are_kept_apart(store: Store, asking: Asking, database: Database) -> None:
    Leases(database, Clock()).acquire("fleet", [0], "host-a", run="past")
    store.put_stream(StreamRow("past", "fleet", 60 * 10**9, {"sessions_of": "web"}))
    kept(store, alert("a"))
    past = replace(bundle(), run="past", alerts=[replace(alert("b"), run="past")], explanations=[], announcements=[])
    store.save([replace(past, forwards=[])])
    assert [row["entity"] for row in asking.found("/alerts")["items"]] == ["a"]
    assert [row["entity"] for row in asking.found("/alerts", run="past")["items"]] == ["b"]
    (listed,) = asking.found("/streams", run="past")
    assert (listed["run"], listed["sessions_of"], listed["model_version"]) == ("past", "web", None)
    assert asking.get("/streams/fleet", run="never").status_code == 404


def test_names_may_hold_anything_that_a_name_may(store: Store, asking: Asking) -> None:
    names = ["a/b", "ä ö", "100%", "x?y=1&z", "plain"]
    store.save([empty(entities=[EntityRow(name, {}, 10, 12) for name in names])])
    store.put_stream(StreamRow("live", "shop/eu?", 60 * 10**9, {}))
    found = asking.found("/entities", stream="fleet", limit=500)["items"]
    assert {row["entity"] for row in found} == set(names)
    assert {row["first_time"] for row in found} == {"1970-01-01T00:10:00Z"}
    for name in names:
        assert [row["entity"] for row in asking.found("/entities", stream="fleet", contains=name)["items"]] == [name]
    assert asking.found("/streams/shop%2Feu%3F")["stream"] == "shop/eu?"


def test_dead_letters_are_shown_as_text_and_by_reason(store: Store, asking: Asking) -> None:
    letters = [
        DeadLetter("logs", 1, "too_late", "old", None),
        DeadLetter("logs", 2, "no_json", "\\x00", b"\xff\x00<b>"),
    ]
    store.save([empty(dead_letters=letters)])
    rows = asking.get("/dead-letters", "responder", stream="fleet").json()["items"]
    assert [(row["reason"], row["payload"]) for row in rows] == [("too_late", None), ("no_json", "\\xff\x00<b>")]
    only = asking.get("/dead-letters", "responder", stream="fleet", reason="no_json").json()["items"]
    assert [row["position"] for row in only] == [2]


def receiving(most: int) -> TestClient:
    """An application that reads bodies, hardened as ours is."""
    made = FastAPI()
    answered(made)

    @made.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    made.add_middleware(Hardened, most=most)

    @made.get("/broken")
    def broken() -> None:
        raise RuntimeError("a secret of ours")

    return TestClient(made, raise_server_exceptions=False)


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1000, 200), (1001, 413), (90_000, 413)])
@pytest.mark.parametrize("told", [True, False])
def test_a_body_may_be_so_large_whether_or_not_it_says_its_length(size: int, status: int, told: bool) -> None:
    body = b"x" * size
    parts = (body[start : start + 100] for start in range(0, size, 100))
    answer = receiving(1000).post("/size", content=body if told else parts)
    assert answer.status_code == status
    if status == 413:
        assert answer.json()["detail"] == "a request may have 1000 bytes"
        assert answer.headers["cache-control"] == "no-store"
    else:
        assert answer.json() == size


def test_a_fault_of_our_own_tells_nothing() -> None:
    answer = receiving(1000).get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


@settings(max_examples=60, deadline=None)
@given(
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    rate=st.floats(0.5, 20),
    burst=st.floats(0.5, 4),
)
def test_in_no_span_are_more_let_through_than_its_length_allows(pauses: list[float], rate: float, burst: float) -> None:
    now = [0.0]
    buckets = Buckets(rate, lambda: now[0], burst)
    through = list[float]()
    for pause in pauses:
        now[0] += pause
        wait = buckets.take("me")
        assert wait >= 0
        if not wait:
            through.append(now[0])
    most = max(rate * burst, 1)
    for first, begin in enumerate(through):
        for last, end in enumerate(through[first:], first):
            assert last - first + 1 <= most + (end - begin) * rate + 1e-6


def test_who_waits_as_long_as_told_goes_through() -> None:
    now = [0.0]
    buckets = Buckets(3, lambda: now[0], 1)
    assert [buckets.take("me") for _ in range(3)] == [0, 0, 0]
    wait = buckets.take("me")
    assert wait == pytest.approx(1 / 3)
    now[0] += wait + 1e-9
    assert buckets.take("me") == 0


def test_the_page_names_every_route_and_no_other(asking: Asking) -> None:
    text = DOCS.read_text()
    told = {path.split("?")[0] for path in re.findall(r"^\| `(/[^`]*)` \|", text, re.MULTILINE)}
    described = {path.removeprefix(PREFIX) for path in specification(asking.made)["paths"] if path.startswith(PREFIX)}
    named = {
        re.sub(r"\{\w+\}", lambda part: {"{stream}": "NAME", "{alert}": "ID", "{incident}": "ID"}[part[0]], path)
        for path in described
    }
    assert told == named
    for parameter in specification(asking.made)["paths"][f"{PREFIX}/alerts"]["get"]["parameters"]:
        assert f"`{parameter['name']}" in text, parameter["name"]


def test_a_list_goes_on_where_it_was_whoever_writes_meanwhile(store: Store, asking: Asking) -> None:
    kept(store, *(alert(f"web-{number}", 10 + number) for number in range(6)))
    first = asking.found("/alerts", limit=3)
    newer = [alert(f"new-{number}", 100 + number) for number in range(3)]
    kept(store, *(replace(one, first_time=one.first_time + timedelta(hours=1)) for one in newer))
    rest = asking.found("/alerts", limit=500, cursor=first["next_cursor"])
    assert [row["entity"] for row in [*first["items"], *rest["items"]]] == [f"web-{n}" for n in (5, 4, 3, 2, 1, 0)]
