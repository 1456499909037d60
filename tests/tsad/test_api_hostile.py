"""What people who mean harm send to the API, and what hostile data makes of its answers: text, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from triaged import STEP, at, episode

from storage.context import ContextEvents
from storage.engine import Database, open_database
from storage.events import ContextEvent
from storage.leases import Leases
from storage.store import Store
from storage.types import LIVE, Alert, Changes, DeadLetter, EntityRow, ScoreRow, StreamRow
from tests.storage.stored_samples import Clock, explanation, stored
from tests.tsad.asking import Asking
from tsad.api.application import PREFIX, specification
from tsad.triage.following import triage_of
from tsad.triage.settings import TriageConfig

HTML = "<img src=x onerror=alert(1)></script><script>alert(1)</script>"
SQL = (
    "' OR '1'='1", "'; DROP TABLE alerts; --", '") UNION SELECT hash FROM tokens --', "fleet' AND SLEEP(9) --",
    "%", "_", "\\", "%' ESCAPE '", "1); DELETE FROM marks; --", "${jndi:ldap://x}", "{{7*7}}", "../../etc/passwd",
)  # fmt: skip
TELLS = ("sqlite", "psycopg", "sqlalchemy", "syntax error", "traceback", "select ", "/tests/", ".py")
"""What an answer that leaks how it was found would hold."""
TEXTS = {
    "lines": [{"feature": "cpu", "line": HTML}], "said": {"cpu": [HTML]}, "texts": {"cpu": HTML},
}  # fmt: skip


def hostile(entity: str, slot: int) -> Alert:
    """An alert with HTML wherever text of outside goes."""
    made = episode(slot=slot, entity=entity, sentence=HTML)
    return episode(slot=slot, entity=entity, sentence=HTML, evidence=made.evidence | TEXTS, reason=HTML)


BAD, GOOD = hostile(HTML, 100), episode(slot=300, entity="web-2")


@pytest.fixture(scope="module")
def database(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Rows of every kind that hold HTML, and some that hold none."""
    path = tmp_path_factory.mktemp("hostile") / "tsad.db"
    path.write_bytes(sqlite_template.read_bytes())
    opened = open_database(f"sqlite:///{path}")
    store = Store(opened, Clock())
    epoch = Leases(opened, Clock()).acquire("fleet", [0], "host")[0]
    for stream in ("fleet", HTML):
        store.put_stream(StreamRow(LIVE, stream, STEP, {}))
    store.save([Changes(
        LIVE, "fleet", 0, epoch, alerts=[BAD, GOOD], entities=[EntityRow(HTML, {"zone": HTML}, 90, 110)],
        explanations=[explanation(BAD, HTML)], scores=[ScoreRow(HTML, 100, at(100), 1.5, 1e-4, {}, "m1")],
        dead_letters=[DeadLetter("logs", 1, HTML, HTML, HTML.encode())],
    )])  # fmt: skip
    triage_of(opened, TriageConfig(), Clock(at(1000))).all()
    ContextEvents(opened, Clock()).add("fleet", [ContextEvent(HTML, at(90), HTML, at(95), HTML, source=HTML)])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def asking(database: Database) -> Asking:
    found = Asking(database, Clock(at(1000)), requests_per_second=100_000)
    for role in ("viewer", "responder", "admin", "ingest"):
        found.bearer(role)  # type: ignore[arg-type]
    said = {"kind": "note", "note": HTML}
    for place in (f"/alerts/{BAD.id}", "/incidents/INC-1"):
        assert send(found, "POST", f"{place}/marks", said).status_code == 201
    night = {"name": HTML, "note": HTML, "start": "2020-01-01T00:00:00", "end": "2020-01-02T00:00:00", "entity": HTML}
    rules = {"rulebook": {"rules": [{"name": HTML, "note": HTML, "entity": "nobody"}]}, "cause": HTML}
    assert send(found, "PUT", "/rules", rules).status_code == 200
    assert send(found, "POST", "/tokens", {"name": HTML}).status_code == 201
    assert send(found, "PUT", f"/calendars/{quoted(HTML)}", night).status_code == 200
    return found


def quoted(text: str) -> str:
    """As one part of a path."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def send(asking: Asking, method: str, path: str, body: Any = None, role: Any = "admin", **query: Any) -> Any:
    return asking.client.request(method, f"{PREFIX}{path}", json=body, params=query, headers=asking.bearer(role))


def operations(asking: Asking, *methods: str) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Method, path below the prefix, and parameters."""
    found = [
        (method, path.removeprefix(PREFIX), told.get("parameters", []))
        for path, ways in specification(asking.made)["paths"].items()
        for method, told in ways.items()
        if method in methods and path.startswith(PREFIX)
    ]
    assert found
    return found


KNOWN = {"alert": BAD.id, "stream": "fleet", "incident": "INC-1", "mark": "0" * 16, "name": "night", "entity": HTML}


def filled(path: str, **other: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda part: (KNOWN | other)[part[1]], path)


def needed(parameters: list[dict[str, Any]]) -> dict[str, str]:
    return {one["name"]: KNOWN[one["name"]] for one in parameters if one["in"] == "query" and one.get("required")}


def texts(told: Any) -> set[str]:
    """Every string of a document."""
    if isinstance(told, dict):
        return {one for part in told.items() for one in texts(list(part))}
    if isinstance(told, list):
        return {one for part in told for one in texts(part)}
    return {told} if isinstance(told, str) else set()


def test_whatever_the_rows_hold_every_answer_is_json(asking: Asking) -> None:
    """Stored HTML is in many of them, and in none of them is it a page."""
    held = set()
    for _, path, parameters in operations(asking, "get"):
        answer = asking.get(filled(path), "admin", **needed(parameters))
        assert answer.headers["content-type"] in ("application/json", "application/problem+json"), path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        if HTML in texts(answer.json()):
            held.add(path)
    assert {
        "/alerts", "/alerts/{alert}", "/alerts/{alert}/marks", "/calendars", "/rules", "/acts", "/context-events",
        "/incidents/{incident}/marks",
        "/dead-letters", "/entities", "/incidents", "/incidents/{incident}", "/streams", "/tokens",
    } <= held  # fmt: skip


@pytest.mark.parametrize("told", [f"/alerts/{quoted(HTML)}", f"/streams/{quoted(HTML)}x", f"/{quoted(HTML)}"])
def test_what_is_asked_for_comes_back_as_text_too(asking: Asking, told: str) -> None:
    answer = asking.get(told)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_sql_in_any_parameter_finds_nothing_and_changes_nothing(asking: Asking, database: Database) -> None:
    before, asked = stored(database), 0
    for _, path, parameters in operations(asking, "get"):
        for one in parameters:
            for text in SQL[:6]:
                place = filled(path, **{one["name"]: quoted(text)}) if one["in"] == "path" else filled(path)
                query = needed(parameters) | ({one["name"]: text} if one["in"] == "query" else {})
                answer = asking.get(place, "admin", **query)
                asked += 1
                assert answer.status_code in (200, 404, 409, 422), (path, one["name"], text, answer.text)
                if answer.status_code != 200:
                    said = answer.text.replace(json.dumps(text)[1:-1], "").lower()
                    assert not [tell for tell in TELLS if tell in said], (path, one["name"], said)
                elif one["name"] in ("entity", "stream", "run", "reason", "type"):
                    assert GOOD.id not in answer.text, (path, one["name"], text)
    assert asked > 300
    assert stored(database) == before


def test_sql_in_what_is_written_is_kept_as_it_was_said(asking: Asking, database: Database) -> None:
    for text in SQL:
        said = {"kind": "note", "note": text}
        assert send(asking, "POST", f"/alerts/{GOOD.id}/marks", said).json()["note"] == text
        assert send(asking, "DELETE", f"/calendars/{quoted(text)}").status_code == 404
        assert send(asking, "DELETE", f"/marks/{quoted(text)}").status_code in (404, 405, 422)
        assert send(asking, "POST", f"/alerts/{quoted(text)}/marks", said).status_code in (404, 405, 422)
        event = {"kind": text, "start": "2026-03-01T09:00:00Z", "title": text, "entity": text}
        assert send(asking, "POST", "/context-events", event, stream="fleet").json()["title"] == text
        assert send(asking, "POST", "/context-events", event, stream=text).status_code == 404
    assert {row["note"] for row in asking.found(f"/alerts/{GOOD.id}/marks")} >= set(SQL)
    assert len(stored(database)["alerts"]) == 2
    assert asking.get("/acts/verification", "admin").json()["fault"] is None


@pytest.mark.parametrize("like", ["%", "_", "w_b-2", "web%", "[w]eb", "*", "we?-2"])
def test_what_a_text_may_contain_is_no_pattern(asking: Asking, like: str) -> None:
    assert asking.found("/entities", stream="fleet", contains=like)["items"] == []


WRITES = [
    ("post", f"/alerts/{GOOD.id}/marks", {"kind": "acknowledge"}, "responder"),
    ("post", "/incidents/INC-1/marks", {"kind": "acknowledge"}, "responder"),
    ("delete", "/marks/0123456789abcdef", None, "responder"),
    ("post", "/context-events?stream=fleet", {"kind": "deploy", "start": "2026-03-01T01:39:00Z"}, "responder"),
    ("put", "/calendars/n", {"name": "n", "start": "2026-01-01T00:00", "end": "2026-01-02T00:00"}, "responder"),
    ("delete", "/calendars/n", None, "responder"),
    ("put", "/rules", {"rulebook": {}}, "admin"),
    ("post", "/rules/undo", {"version": 1}, "admin"),
    ("post", "/tokens", {"name": "n"}, "admin"),
    ("delete", "/tokens/n", None, "admin"),
]  # fmt: skip


def test_every_write_of_the_specification_is_in_the_matrix(asking: Asking) -> None:
    told = {(method, filled(path)) for method, path, _ in operations(asking, "post", "put", "delete", "patch")}
    here = {(method, path.split("?")[0]) for method, path, _, _ in WRITES}
    swapped = {(method, path.replace(BAD.id, GOOD.id).replace("0" * 16, "0123456789abcdef")) for method, path in told}
    swapped = {(method, path.replace("/night", "/n")) for method, path in swapped}
    others = {
        ("post", "/detect"),
        ("post", "/write"),
        ("post", "/session"),
        ("delete", "/session"),
        ("post", "/rules/preview"),
    }
    assert swapped - others == here


@pytest.mark.parametrize(("method", "path", "body", "least"), WRITES)
def test_who_may_not_write_changes_nothing_and_is_not_told_what_there_is(
    asking: Asking, database: Database, method: str, path: str, body: Any, least: str
) -> None:
    allowed = {"responder": {"responder", "admin"}, "admin": {"admin"}}[least]
    before = stored(database)
    for role in {"viewer", "responder", "admin", "ingest"} - allowed:
        for place in (path, path.replace(GOOD.id, "ffffff")):
            answer = send(asking, method, place, body, role)
            assert answer.status_code == 403, (role, answer.text)
            assert answer.json()["detail"] == f"this needs the role {least}; the token 'a {role}' is {role}"
        # not even what is wrong with the body
        assert send(asking, method, path, {"wrong": 1}, role).status_code in (403, 422)
    assert asking.client.request(method, f"{PREFIX}{path}", json=body).status_code == 401
    assert stored(database) == before


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize(("method", "path", "body", "least"), [one for one in WRITES if one[2] is not None])
def test_a_body_may_have_a_mebibyte(
    asking: Asking, method: str, path: str, body: Any, least: Any, size: int
) -> None:  # fmt: skip
    wrong = json.dumps(body | {"padding": ""})
    content = wrong[:-2] + "x" * (size - len(wrong)) + wrong[-2:]
    headers = {**asking.bearer(least), "Content-Type": "application/json"}
    answer = asking.client.request(method, f"{PREFIX}{path}", content=content.encode(), headers=headers)
    assert answer.status_code == (422 if size == 1 << 20 else 413), answer.text[:300]
    assert len(answer.content) < 5000, "what was sent is not sent back"


BODIES = ["", "{", "null", "[]", "[" * 20_000, '{"a":' * 5000, '"text"', "1e999", "NaN", '{"kind":"note"}x', "\ufeff{}"]


@pytest.mark.parametrize("content", BODIES, ids=lambda text: text[:6] or "empty")
def test_what_is_no_body_is_a_problem(asking: Asking, database: Database, content: str) -> None:
    before = stored(database)
    for method, path, body, least in WRITES:
        if body is not None:
            headers = {**asking.bearer(least), "Content-Type": "application/json"}  # type: ignore[arg-type]
            answer = asking.client.request(method, f"{PREFIX}{path}", content=content.encode(), headers=headers)
            assert answer.status_code in (400, 422), (path, content[:20], answer.text[:200])
            assert answer.headers["content-type"] == "application/problem+json"
    assert stored(database) == before


NUMBERS = ["-1", "0", "9" * 19, "9" * 40, "9" * 5000, "-" + "9" * 40, "1e400", "nan", "inf", "0x10", "1_0", "١", " 1"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:8])
def test_numbers_of_any_size(asking: Asking, number: str) -> None:
    for method, path, parameters in operations(asking, "get"):
        for one in parameters:
            if one["schema"].get("type") in ("integer", "number"):
                query = needed(parameters) | {one["name"]: number}
                answer = asking.get(filled(path), "admin", **query)
                assert answer.status_code in (200, 404, 422), (method, path, number, answer.text[:300])
    for path in (f"/incidents/INC-{number}", f"/incidents/{number}"):
        assert asking.get(path.replace(" ", "%20")).status_code in (404, 422), path


MOMENTS = [
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-01", "2026-03-01T00:00:00", "1e18", "-1e18",
    "2026-02-30T00:00:00Z", "2026-03-01T00:00:00.123456789Z", "now", "",
]  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
def test_moments_of_any_time(asking: Asking, moment: str) -> None:
    for _, path, parameters in operations(asking, "get"):
        for one in parameters:
            if one["name"] in ("since", "until"):
                answer = asking.get(filled(path), "admin", **needed(parameters) | {one["name"]: moment})
                assert answer.status_code in (200, 404, 422), (path, one["name"], answer.text[:300])
    events = {"kind": "deploy", "start": moment}
    assert send(asking, "POST", "/context-events", events, stream="fleet").status_code in (201, 422)


def test_a_cursor_is_of_one_list_in_one_order(asking: Asking) -> None:
    """That of another is no key of this one."""
    lists = {"/alerts": {}, "/incidents": {}, "/entities": {"stream": "fleet"}, "/dead-letters": {"stream": "fleet"}}
    found = {path: asking.get(path, "admin", limit=1, **query).json()["next_cursor"] for path, query in lists.items()}
    for path, cursor in found.items():
        assert cursor is None or asking.get(path, "admin", cursor=cursor, **lists[path]).status_code == 200
    mine = found["/alerts"]
    assert mine is not None
    for sort in ("first_time", "score", "-score"):
        assert asking.get("/alerts", cursor=mine, sort=sort).status_code == 404
    for path in ("/entities", "/dead-letters"):
        assert asking.get(path, "admin", cursor=mine, **lists[path]).status_code == 404


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))), st.data())
def test_no_cursor_breaks_a_list(asking: Asking, text: str, data: st.DataObject) -> None:
    import base64

    order = data.draw(st.sampled_from(["-first_time", "score", "name", ""]))
    rest = data.draw(
        st.lists(st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.just([])), max_size=3)
    )
    key = json.dumps([order, *rest])
    made = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    for cursor in (text, made):
        for path in ("/alerts", "/incidents"):
            assert asking.get(path, cursor=cursor).status_code in (200, 404, 422)


NAMES = ["Wartung am Fünften", "保守", "🛠", "a b", "a'b", 'a"b', "a/b", "a?b", "a#b", "é", "x" * 200, "..", "\u202eabc"]


@pytest.mark.parametrize("name", NAMES)
def test_a_calendar_may_be_called_anything(asking: Asking, name: str) -> None:
    body = {"name": name, "start": "2020-01-01T00:00:00", "end": "2020-01-02T00:00:00"}
    place = f"/calendars/{quoted(name)}"
    if name == "..":
        assert send(asking, "PUT", place, body).status_code in (200, 404, 405), "a part of a path to some"
        return
    assert send(asking, "PUT", place, body).json()["calendar"]["name"] == name
    assert name in [row["calendar"]["name"] for row in asking.found("/calendars")]
    assert send(asking, "DELETE", place).status_code == 204
    assert send(asking, "DELETE", place).status_code == 404


@pytest.mark.parametrize(
    ("note", "kept"),
    [("\x00", "\u2400"), ("a\x1b[31mb", "a\x1b[31mb"), ("\ud800", "?"), ("\r\nX: y", "\r\nX: y"), ("\u202e", "\u202e")],
)
def test_notes_may_hold_what_no_database_can(asking: Asking, note: str, kept: str) -> None:
    body = json.dumps({"kind": "note", "note": note}).encode()
    headers = {**asking.bearer("responder"), "Content-Type": "application/json"}
    answer = asking.client.post(f"{PREFIX}/alerts/{GOOD.id}/marks", content=body, headers=headers)
    assert answer.status_code in (201, 422), answer.text
    if answer.status_code == 201:
        assert kept in [row["note"] for row in asking.found(f"/alerts/{GOOD.id}/marks")]
    assert asking.get("/acts/verification", "admin").json()["fault"] is None


def test_a_token_is_told_neither_to_the_log_nor_in_a_problem(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    asking = Asking(database, Clock(at(1000)))
    token = dict(asking.bearer("admin"))["Authorization"].split()[1]
    page = {"X-Tsad-Page": "1"}
    with capture_logs() as logs:
        said = [
            asking.get("/alerts", "admin", limit="x"),
            asking.get("/nothing", "admin"),
            send(asking, "PUT", "/rules", {"rulebook": {"rules": [{}]}}),
            asking.client.get(f"{PREFIX}/alerts", headers={"Authorization": f"Bearer {token}x"}),
            asking.client.get(f"{PREFIX}/alerts", headers={"Authorization": f"Basic {token}"}),
            asking.client.get(f"{PREFIX}/alerts", headers=asking.bearer("admin"), params={"token": token}),
            asking.client.post(f"{PREFIX}/session", json={"token": token + "x"}, headers=page),
            asking.client.post(f"{PREFIX}/session", json={"token": [token]}, headers=page),
            asking.client.post(f"{PREFIX}/session", json={"token": token * 9}, headers=page),
            asking.client.post(f"{PREFIX}/session", json=[token], headers=page),
            asking.client.post(f"{PREFIX}/session", json={"tokens": token}, headers=page),
        ]
        database.write(lambda connection: connection.execute(sa.text("DROP TABLE alerts")))
        said.append(asking.get("/alerts", "admin"))
    database.close()
    assert said[-1].status_code == 503
    assert logs, "the fault of the database is in the log"
    for answer in said:
        assert answer.status_code >= 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert token not in answer.text, answer.request.url
    assert token not in repr(logs)
