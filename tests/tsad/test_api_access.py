"""Who may ask what, how often and how much: tokens and roles, and `tsad serve` and `tsad tokens` as they are typed."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.engine import Database, open_database
from storage.tokens import Token, Tokens
from tests.storage.stored_samples import Clock
from tests.tsad.asking import Asking
from tests.tsad.command_line import finished, running_until, started, tsad
from tsad.api.access import INCLUDES, Buckets
from tsad.api.application import specification
from tsad.config import ConfigError, parse_config

OPEN = {"/health/live", "/health/ready"}
ENDLESS = ("get", "/api/v1/events")
SESSION = {("post", "/api/v1/session"), ("delete", "/api/v1/session")}
"""Asked without a token, by nature."""
FOR_RESPONDERS = {"/dead-letters"}
FOR_ADMINS = {
    ("put", "/rules"), ("post", "/rules/undo"), ("get", "/acts"), ("get", "/acts/verification"),
    ("get", "/tokens"), ("post", "/tokens"), ("delete", "/tokens/{name}"),
}  # fmt: skip
FOR_SENDERS = {"/v1/metrics", "/v1/logs", "/write"}
ASKED_BY_POST = {"/rules/preview", "/detect"}
"""They change nothing."""


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def asking(sqlite_database: Database) -> Iterator[Asking]:
    found = Asking(sqlite_database)
    with found.client:
        yield found


def routes(asking: Asking) -> list[tuple[str, str]]:
    """Method and path of all that is described, and the description."""
    described = specification(asking.made)["paths"]
    found = {(method, path) for path, operations in described.items() for method in operations}
    return sorted({*found, ("get", "/api/v1/openapi.json"), ENDLESS} - SESSION)


def filled(path: str) -> str:
    """A path with something in its places."""
    some = {"alert": "abcdef01", "stream": "web", "mark": "0" * 16, "name": "night", "incident": "INC-1"}
    return re.sub(r"\{(\w+)\}", lambda part: some[part[1]], path)


def needed(method: str, path: str) -> str:
    """The role that a route asks for."""
    told = path.removeprefix("/api/v1")
    if (method, told) in FOR_ADMINS:
        return "admin"
    if told in FOR_SENDERS:
        return "ingest"
    writes = method != "get" and told not in ASKED_BY_POST
    return "responder" if writes or told in FOR_RESPONDERS else "viewer"


def test_no_route_answers_without_a_token_but_health(asking: Asking) -> None:
    assert len(routes(asking)) > 20
    for method, path in routes(asking):
        answer = asking.client.request(method, filled(path))
        if path in OPEN:
            assert answer.status_code == 200
            continue
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert answer.json()["detail"] == "a bearer token is needed"


def test_roles_may_what_they_include_and_nothing_else(asking: Asking) -> None:
    for method, path in routes(asking):
        if path in OPEN or (method, path) == ENDLESS:
            continue
        for role, includes in INCLUDES.items():
            status = asking.client.request(method, filled(path), headers=asking.bearer(role)).status_code
            assert (status == 403) == (needed(method, path) not in includes), (method, path, role, status)
            assert status < 500
    said = asking.get("/alerts", "ingest").json()["detail"]
    assert said == "this needs the role viewer; the token 'a ingest' is ingest"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic YTpi", "bearer", "Bearer \xff", "Token x"])
def test_what_is_no_token_is_refused(asking: Asking, header: str) -> None:
    asking.bearer("viewer")
    answer = asking.client.get("/api/v1/alerts", headers={"Authorization": header.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert "wrong" not in answer.text


def test_a_token_that_was_revoked_or_has_expired_opens_nothing(sqlite_database: Database) -> None:
    clock = Clock()
    asking = Asking(sqlite_database, clock)
    said = asking.tokens.add("short", "viewer", clock.now + timedelta(hours=1))
    me = {"Authorization": f"Bearer {said}"}
    assert asking.client.get("/api/v1/me", headers=me).json()["name"] == "short"
    clock.now += timedelta(hours=1)
    assert asking.client.get("/api/v1/me", headers=me).status_code == 401
    assert asking.get("/me").status_code == 200
    asking.tokens.revoke("a viewer")  # by another process
    asking.seconds += 1
    assert asking.get("/me").status_code == 401


def test_who_asks_often_is_looked_up_once_a_second(sqlite_database: Database) -> None:
    asking = Asking(sqlite_database)
    looked, look = list[str](), Tokens.bearer
    asking.bearer("viewer")

    def counted(tokens: Tokens, said: str) -> Token | None:
        looked.append(said)
        return look(tokens, said)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokens, "bearer", counted)
        for asking.seconds in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0):
            assert asking.get("/me").status_code == 200
        for _ in range(3):
            assert asking.client.get("/api/v1/me", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert looked == [asking.said["viewer"]] * 3 + ["wrong"] * 3


def test_too_many_requests_wait(sqlite_database: Database) -> None:
    """By token; those without one by address, so that nobody tries tokens out at will."""
    asking = Asking(sqlite_database, requests_per_second=2)
    assert [asking.get("/me").status_code for _ in range(5)] == [200] * 4 + [429]
    refused = asking.get("/me")
    assert (refused.headers["retry-after"], refused.json()["detail"]) == ("1", "too many requests; the next one in 1 s")
    assert asking.get("/me", "admin").status_code == 200
    asking.seconds += 0.5
    assert [asking.get("/me").status_code for _ in range(2)] == [200, 429]
    tries = [asking.client.get("/api/v1/me", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(6)]
    assert tries == [401] * 4 + [429] * 2


def test_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsad.api.access.CLIENTS", 3)
    buckets = Buckets(1, lambda: 0.0, burst=1)
    assert [buckets.take(name) for name in "abcda"] == [0] * 5, "the first had to go"
    assert buckets.take("d") == 1


def test_large_bodies_are_refused_whatever_they_say(sqlite_database: Database) -> None:
    asking = Asking(sqlite_database, max_body=2000)

    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    for body in (b"x" * 3000, parts()):
        answer = asking.client.request("POST", "/api/v1/alerts", content=body, headers=asking.bearer("viewer"))
        assert answer.status_code in (405, 413)
    told = {**asking.bearer("viewer"), "Content-Length": "99999999999999999999"}
    answer = asking.client.request("GET", "/api/v1/alerts", headers=told)
    assert (answer.status_code, answer.json()["detail"]) == (413, "a request may have 2000 bytes")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_answer_is_hardened_and_no_other_page_may_ask(asking: Asking) -> None:
    for path in ("/api/v1/alerts", "/health/live", "/nothing"):
        answer = asking.client.get(path, headers={**asking.bearer("viewer"), "Origin": "https://elsewhere.example"})
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_database_that_is_gone_is_a_problem_without_its_address(sqlite_database: Database, tmp_path: Path) -> None:
    asking = Asking(sqlite_database)
    headers = asking.bearer("viewer")
    sqlite_database.write(lambda connection: connection.exec_driver_sql("DROP TABLE streams"))
    answer = asking.client.get("/api/v1/streams", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (503, "the database does not answer")
    assert "sqlite" not in answer.text
    assert asking.client.get("/health/ready").status_code == 503
    assert asking.client.get("/health/live").status_code == 200


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "tsad.toml").write_text('[api]\nbind = "127.0.0.1:0"\n')
    return tmp_path


def test_tokens_are_made_listed_and_revoked(home: Path) -> None:
    made = tsad(home, "tokens", "add", "anna", "--role", "responder", "--expires", "90d")
    assert re.fullmatch(r"tsad_[\w-]{43}\n", made.out)
    assert "token of anna, responder; it is not shown again" in made.err
    spoken = tsad(home, "tokens", "add", "ci", "--json").json
    assert (spoken["name"], spoken["role"], spoken["expires_at"]) == ("ci", "viewer", None)
    assert "there is, or was, a token 'ci'" in tsad(home, "tokens", "add", "ci").error
    tsad(home, "tokens", "revoke", "ci")
    rows = tsad(home, "tokens", "--json").json
    assert [(row["name"], row["role"], row["holds"]) for row in rows] == [
        ("anna", "responder", True), ("ci", "viewer", False),
    ]  # fmt: skip
    table = tsad(home, "tokens").out
    assert "anna" in table
    assert made.out.strip() not in table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "x", "--role", "owner"), "'owner' is not one of"),
        (("add", "x", "--expires", "soon"), "soon"),
        (("add", ""), "a name of 1 to 200 characters is needed"),
        (("add", "a\nb"), "none that does not show, no space at its ends, not . or ..; got 'a\\nb'"),
        (("revoke", "nobody"), "there is no token 'nobody' in force"),
    ],
)
def test_wrong_use_is_one_line(home: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in tsad(home, "tokens", *arguments).error


def asked(port: int, path: str, token: str | None) -> tuple[int, Any]:
    header = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=header)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_serve_answers_until_it_is_told_to_end(home: Path) -> None:
    token = tsad(home, "tokens", "add", "anna").out.strip()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert (
            f"api.bind = 127.0.0.1:{port}: Address already in use"
            in tsad(home, "serve", "--bind", f"127.0.0.1:{port}").error
        )
    process = started(home, "serve", "--bind", f"127.0.0.1:{port}")

    def listens() -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    running_until(process, listens)
    assert asked(port, "/api/v1/streams", token) == (200, [])
    assert asked(port, "/api/v1/streams", None)[0] == 401
    assert asked(port, "/health/ready", None) == (200, {"ready": True})
    listens_on = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/events", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(listens_on, timeout=30) as stream:
        assert stream.readline().startswith(b"retry: ")
        process.send_signal(signal.SIGTERM)
        said = finished(process)
    assert said.code in (0, -signal.SIGTERM)
    assert f"answering on http://127.0.0.1:{port}/api/v1; the dashboard is http://127.0.0.1:{port}/" in said.err
    assert token not in said.err
    with Tokens(open_database(f"sqlite:///{home}/tsad.db"))._database.claim():
        pass  # the port reads: a run may have the file meanwhile


def test_what_the_api_may_be_told() -> None:
    assert parse_config({"api": {"bind": "[::1]:80", "requests_per_second": 5}}).api.bind == "[::1]:80"
    for told, said in (
        ({"bind": "here"}, "an address such as"), ({"requests_per_second": 0}, "greater than 0"),
        ({"max_body": 10}, "greater than or equal to 1024"), ({"cors": "*"}, "api.cors is unknown; allowed here: bind"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            parse_config({"api": told})
