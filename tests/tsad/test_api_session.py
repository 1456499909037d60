"""A browser's session: a cookie that says the token, and what may be done with it."""

from collections.abc import Iterator

import pytest
from fastapi import Depends
from fastapi.testclient import TestClient

from storage.engine import Database, open_database
from storage.tokens import Token
from tests.tsad.asking import Asking
from tsad.api.access import COOKIE, needs

PAGE = {"X-Tsad-Page": "1"}


@pytest.fixture
def asking(sqlite_url: str) -> Iterator[Asking]:
    database: Database = open_database(sqlite_url)
    found = Asking(database)

    @found.made.post("/change")
    def change(token: Token = Depends(needs("responder"))) -> str:  # noqa: B008
        return token.name

    with found.client:
        yield found
    database.close()


def begun(asking: Asking, role: str = "viewer") -> TestClient:
    """A browser that has signed in."""
    asking.bearer(role)  # type: ignore[arg-type]
    answer = asking.client.post("/api/v1/session", json={"token": asking.said[role]}, headers=PAGE)  # type: ignore[index]
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"name": f"a {role}", "role": role, "expires_at": None}
    return asking.client


def test_the_cookie_is_of_this_site_alone_and_no_script_reads_it(asking: Asking) -> None:
    asking.bearer("viewer")
    answer = asking.client.post("/api/v1/session", json={"token": asking.said["viewer"]}, headers=PAGE)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}={asking.said['viewer']};")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie, "plain HTTP, as on this machine"
    assert "Max-Age" not in cookie, "it ends with the browser"
    safe = TestClient(asking.made, base_url="https://tsad.example")
    assert "Secure" in safe.post("/api/v1/session", json={"token": asking.said["viewer"]}).headers["set-cookie"]


def test_with_the_cookie_one_may_ask_what_the_token_may(asking: Asking) -> None:
    assert asking.client.get("/api/v1/me").status_code == 401
    client = begun(asking)
    assert client.get("/api/v1/me").json()["name"] == "a viewer"
    assert client.get("/api/v1/dead-letters", params={"stream": "s"}).status_code == 403
    asking.tokens.revoke("a viewer")  # by another process
    asking.seconds += 1
    assert client.get("/api/v1/me").status_code == 401


def test_a_header_goes_before_the_cookie(asking: Asking) -> None:
    client = begun(asking)
    assert client.get("/api/v1/me", headers=asking.bearer("admin")).json()["name"] == "a admin"
    assert client.get("/api/v1/me", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_no_other_page_changes_anything_by_the_cookie(asking: Asking) -> None:
    client = begun(asking, "responder")
    refused = client.post("/change", headers={"Origin": "https://elsewhere.example"})
    assert refused.status_code == 403
    assert "X-Tsad-Page" in refused.json()["detail"]
    assert client.post("/change", headers=PAGE).json() == "a responder"
    client.cookies.clear()
    assert client.post("/change", headers=asking.bearer("responder")).json() == "a responder", "a header is no cookie"
    assert client.post("/change", headers=PAGE).status_code == 401


def test_a_token_that_does_not_hold_begins_nothing(asking: Asking) -> None:
    for said, status in (({"token": "tsad_wrong"}, 401), ({"token": ""}, 401), ({}, 422), ({"token": "x" * 201}, 422)):
        answer = asking.client.post("/api/v1/session", json=said)
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers
    asking.bearer("ingest")
    answer = asking.client.post("/api/v1/session", json={"token": asking.said["ingest"]})
    assert answer.status_code == 403, "who only sends data has nothing to look at"


def test_tokens_cannot_be_tried_out_at_will(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    asking = Asking(database, requests_per_second=2)
    tries = [asking.client.post("/api/v1/session", json={"token": f"x{n}"}).status_code for n in range(6)]
    assert tries == [401] * 4 + [429] * 2
    database.close()


def test_a_session_ends(asking: Asking) -> None:
    client = begun(asking)
    answer = client.delete("/api/v1/session")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get("/api/v1/me").status_code == 401
    assert asking.get("/me").status_code == 200, "the token holds on"
