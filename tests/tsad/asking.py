"""An API on a test's database, and somebody who asks it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.tokens import Role, Tokens
from tsad.api.application import PREFIX, api
from tsad.api.desk import Beside
from tsad.operating import ApiConfig
from tsad.pushing import Pushes


class Asking:
    """`get` with a token of each role in turn; `seconds` is the API's monotonic clock."""

    def __init__(
        self, database: Database, clock: Clock = utc_now, pushes: Pushes | None = None,
        history: Path = Path("nowhere"), **config: Any,
    ) -> None:  # fmt: skip
        self.seconds = 0.0
        beside = Beside(history, pushes or Pushes())
        self.made = api(database, ApiConfig(**config), clock, lambda: self.seconds, beside)
        self.client = TestClient(self.made, raise_server_exceptions=False)
        self.tokens = Tokens(database, clock)
        self.said: dict[Role, str] = {}

    def bearer(self, role: Role) -> Mapping[str, str]:
        """The header of a token of `role`."""
        if role not in self.said:
            self.said[role] = self.tokens.add(f"a {role}", role)
        return {"Authorization": f"Bearer {self.said[role]}"}

    def get(self, path: str, role: Role = "viewer", **query: Any) -> Response:
        """A GET below the API's prefix."""
        return self.client.get(f"{PREFIX}{path}", params=query, headers=self.bearer(role))

    def found(self, path: str, **query: Any) -> Any:
        """What a GET answers."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, content: bytes, kind: str, role: Role = "ingest", **headers: str) -> Response:
        """A POST of bytes of a media type, to a whole path."""
        told = {**self.bearer(role), "Content-Type": kind} | {name.replace("_", "-"): v for name, v in headers.items()}
        return self.client.post(path, content=content, headers=told)
