"""Tokens over the API: an admin makes, lists and revokes them; what their bearers say is told once."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from storage.engine import Database, open_database
from tests.storage.stored_samples import Clock, stored
from tests.tsad.asking import Asking
from tsad.api.application import PREFIX


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asking(database: Database, clock: Clock) -> Asking:
    return Asking(database, clock)


def ask(asking: Asking, method: str, path: str = "/tokens", body: Any = None) -> Any:
    return asking.client.request(method, f"{PREFIX}{path}", json=body, headers=asking.bearer("admin"))


def me(asking: Asking, said: str) -> int:
    return asking.client.get(f"{PREFIX}/me", headers={"Authorization": f"Bearer {said}"}).status_code


def test_what_a_bearer_says_is_told_once(asking: Asking, database: Database) -> None:
    answer = ask(asking, "POST", body={"name": "anna", "role": "responder"})
    assert answer.status_code == 201
    made = answer.json()
    said = made.pop("token")
    assert made == {"name": "anna", "role": "responder", "expires_at": None}
    assert me(asking, said) == 200
    assert answer.headers["cache-control"] == "no-store"
    listed = ask(asking, "GET")
    assert [(row["name"], row["role"], row["holds"]) for row in listed.json()] == [
        ("a admin", "admin", True), ("anna", "responder", True),
    ]  # fmt: skip
    assert set(listed.json()[1]) == {"name", "role", "holds", "created_at", "expires_at", "revoked_at"}
    acts = asking.get("/acts", "admin")
    for text in (listed.text, acts.text, str(stored(database))):
        assert said not in text
    assert "digest" not in listed.text
    newest = acts.json()[0]
    assert (newest["by"], newest["action"], newest["target"]) == ("a admin", "add token", "token:anna")
    assert newest["detail"]["role"] == "responder"


def test_a_token_holds_until_it_expires_or_is_revoked(asking: Asking, clock: Clock) -> None:
    until = clock.now + timedelta(hours=1)
    short = ask(asking, "POST", body={"name": "short", "expires_at": until.isoformat()}).json()
    long = ask(asking, "POST", body={"name": "a/b c"}).json()
    assert (short["role"], long["role"]) == ("viewer", "viewer")
    clock.now = until
    assert ask(asking, "DELETE", "/tokens/a%2Fb%20c").status_code == 204
    assert [me(asking, one["token"]) for one in (short, long)] == [401, 401]
    rows = {row["name"]: row for row in ask(asking, "GET").json()}
    assert [rows[name]["holds"] for name in ("a admin", "a/b c", "short")] == [True, False, False]
    assert rows["short"]["revoked_at"] is None
    assert rows["a/b c"]["revoked_at"] is not None
    assert asking.get("/acts", "admin").json()[0]["action"] == "revoke token"
    assert asking.get("/acts/verification", "admin").json()["fault"] is None


def test_a_name_is_never_used_again_and_nobody_is_revoked_twice(asking: Asking) -> None:
    assert ask(asking, "POST", body={"name": "anna"}).status_code == 201
    assert ask(asking, "DELETE", "/tokens/anna").status_code == 204
    again = ask(asking, "POST", body={"name": "anna", "role": "admin"})
    assert (again.status_code, again.json()["detail"]) == (
        409, "there is, or was, a token 'anna'; take another name",
    )  # fmt: skip
    gone = ask(asking, "DELETE", "/tokens/anna")
    assert (gone.status_code, gone.json()["detail"]) == (404, "there is no token 'anna' in force")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "  "}, "body.name"),
        ({"name": "x" * 201}, "body.name"),
        ({"name": "x", "role": "owner"}, "body.role"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "body.expires_at: 2020-01-01T00:00:00+00:00 is over"),
        ({"name": "x", "expires_at": "90d"}, "body.expires_at"),
        ({"name": "x", "token": "tsad_mine"}, "body.token: Extra inputs are not permitted; there are: name, role, exp"),
        ({"name": "a\nb"}, "body.name: a name of 1 to 200 characters is needed, none that does not show"),
        ({"name": "\x1b[31mred"}, "got '\\x1b[31mred'"),
        ({"name": "\u202egnp"}, "got '\\u202egnp'"),
        ({"name": " x"}, "no space at its ends"),
        ({"name": ".."}, "not . or ..; got '..'"),
    ],
)
def test_what_is_no_token_is_refused(asking: Asking, body: dict[str, Any], said: str) -> None:
    answer = ask(asking, "POST", body=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert [row["name"] for row in ask(asking, "GET").json()] == ["a admin"]


@pytest.mark.parametrize(
    "name", ["a/b", "...", "a b", "\u00fcn\u00ef-\u65e5\u672c", "<b>x</b>", "'; DROP TABLE tokens; --"]
)
def test_whoever_may_be_called_so_can_be_revoked(asking: Asking, name: str) -> None:
    assert ask(asking, "POST", body={"name": name}).json()["name"] == name
    assert ask(asking, "DELETE", f"/tokens/{quote(name, safe='')}").status_code == 204


def test_an_admin_may_revoke_its_own_token(asking: Asking) -> None:
    assert ask(asking, "DELETE", "/tokens/a%20admin").status_code == 204
    assert ask(asking, "GET").status_code == 401


def test_a_database_that_is_broken_is_no_missing_token(asking: Asking, database: Database) -> None:
    """The token that asks is still read; nothing can be written."""
    asking.bearer("admin")
    database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE acts RENAME TO gone"))
    assert ask(asking, "DELETE", "/tokens/nobody").status_code == 404
    assert ask(asking, "DELETE", "/tokens/a%20admin").status_code == 503
    assert ask(asking, "POST", body={"name": "anna"}).status_code == 503
