"""Slow clients on real sockets against the real server: whoever sends or reads too slowly is sent away, nobody else."""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from storage.engine import Database, open_database
from tests.tsad.asking import Asking
from tsad.api.dashboard import site
from tsad.api.patience import Patience
from tsad.api.serving import listening, server_of

SHORT = Patience(head=1.0, body=1.5, unread=1.0)
PACE = 0.02
"""Seconds between two bytes of who is slow."""


class Place:
    """A server, and how many connections it has."""

    def __init__(self, database: Database, patience: Patience = SHORT) -> None:
        self.asking = Asking(database, requests_per_second=10_000, max_body=2000)
        self.server = server_of(self.asking.made, patience)
        self._heard = listening("127.0.0.1", 0)
        self.port = self._heard.getsockname()[1]
        self._thread = threading.Thread(target=self.server.run, args=([self._heard],))
        self._thread.start()

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join()
        self._heard.close()

    def line(self, room: int | None = None) -> socket.socket:
        """A connection; `room`: bytes that its system takes before anybody reads."""
        made = socket.socket()
        if room is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        made.settimeout(60)
        made.connect(("127.0.0.1", self.port))
        return made

    def head(self, method: str, path: str, *more: str, role: str | None = None) -> bytes:
        """Of a request."""
        known = [f"Authorization: {self.asking.bearer(role)['Authorization']}"] if role else []  # type: ignore[arg-type]
        return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *known, *more, "", ""]).encode()

    def alone(self) -> bool:
        """Whether every connection has gone, at once or after a while."""
        for _ in range(3000):
            if not self.server.server_state.connections:
                return True
            threading.Event().wait(PACE)
        return False


@pytest.fixture(scope="module")
def place(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    path = tmp_path_factory.mktemp("slow") / "tsad.db"
    path.write_bytes(sqlite_template.read_bytes())
    with closing(open_database(f"sqlite:///{path}")) as database, closing(Place(database)) as made:
        yield made


def rest(line: socket.socket) -> bytes:
    """What comes until the other side has closed."""
    found = b""
    try:
        while part := line.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


def dribble(line: socket.socket, byte: bytes = b"x") -> bytes:
    """Send a byte now and then until the other side has closed; what it said."""
    line.settimeout(PACE)
    found = b""
    for _ in range(5000):
        try:
            part = line.recv(65_536)
            if not part:
                return found
            found += part
        except TimeoutError:
            pass
        except OSError:
            return found
        try:
            line.sendall(byte)
        except OSError:
            return found
    raise AssertionError("it is never sent away")


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1])


def lives(line: socket.socket) -> bytes:
    """The answer of /health/live."""
    found = b""
    while not found.endswith(b'{"live":true}') and (part := line.recv(65_536)):
        found += part
    return found


def problem(said: bytes) -> str:
    head, body = said.split(b"\r\n\r\n", 1)
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    return str(json.loads(body)["detail"])


def test_who_says_nothing_is_sent_away_without_a_word(place: Place) -> None:
    with place.line() as line:
        assert rest(line) == b""
    assert place.alone()


def test_a_head_that_does_not_end_is_not_waited_for(place: Place) -> None:
    parts = [b"G", b"GET /health/live HT", b"GET /health/live HTTP/1.1\r\nX-Slow: "]
    lines = [place.line() for _ in parts]
    for line, part in zip(lines, parts, strict=True):
        line.sendall(part)
    said = [dribble(lines.pop()), *(rest(line) for line in lines)]
    for line in lines:
        line.close()
    assert {status(one) for one in said} == {408}
    assert {problem(one) for one in said} == {"the head of a request has to come in 1 s"}
    assert place.alone()


def test_a_head_that_does_not_end_is_not_waited_for_behind_a_request_either(place: Place) -> None:
    with place.line() as line:
        line.sendall(place.head("GET", "/health/live"))
        assert status(lives(line)) == 200
        line.sendall(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
        assert b" 408 " in dribble(line)
    assert place.alone()


def test_headers_have_a_bound(place: Place) -> None:
    with place.line() as line:
        line.sendall(b"GET /health/live HTTP/1.1\r\nX: " + b"x" * 200_000)
        assert status(rest(line)) == 400


@pytest.mark.parametrize("how", [rest, dribble])
def test_a_body_that_does_not_come_is_not_waited_for(place: Place, how: Callable[[socket.socket], bytes]) -> None:
    with capture_logs() as logs, place.line() as line:
        head = ("Content-Type: application/json", "Content-Length: 1900")
        line.sendall(place.head("PUT", "/api/v1/rules", *head, role="admin") + b"{")
        said = how(line)
        assert place.alone()
    assert (status(said), problem(said)) == (408, "the body of a request has to come in 1.5 s")
    assert not [one for one in logs if one["log_level"] == "error"], "that is no fault of ours"
    assert place.asking.found("/rules")["version"] == 0


@pytest.mark.parametrize("role", [None, "viewer"])
def test_a_body_that_nobody_waits_for_holds_no_connection(place: Place, role: str | None) -> None:
    """It is refused at once, and what comes behind that would be read and thrown away for ever."""
    with place.line() as line:
        kind = ("Content-Type: application/x-protobuf", "Content-Length: 1900000")
        line.sendall(place.head("POST", "/v1/metrics", *kind, role=role))
        said = dribble(line)
    assert status(said) == (403 if role else 401)
    assert b" 408 " not in said, "one answer a request"
    assert place.alone()


def test_a_body_without_end_is_refused(place: Place) -> None:
    with place.line() as line:
        kind = ("Content-Type: application/json", "Transfer-Encoding: chunked")
        line.sendall(place.head("PUT", "/api/v1/rules", *kind, role="admin"))
        assert status(dribble(line, b"400\r\n" + b"x" * 1024 + b"\r\n")) == 413
    assert place.alone()


@pytest.mark.parametrize("way", ["", "Connection: close"])
def test_who_does_not_read_is_sent_away(place: Place, way: str) -> None:
    """The largest of the dashboard's files, which anybody may ask for, and no room for it at the client."""
    asset, file = max(site().files.items(), key=lambda pair: len(pair[1].content))
    assert (wanted := len(file.content)) > 1_000_000
    with place.line(room=4096) as line:
        for _ in range(200 if not way else 1):
            try:
                line.sendall(place.head("GET", f"/assets/{asset}", *([way] if way else [])))
            except OSError:
                break
        assert place.alone()
        assert len(rest(line)) < wanted * 200


def test_the_quick_are_answered_and_listeners_stay_while_the_slow_are_sent_away(place: Place) -> None:
    with place.line() as listener:
        listener.sendall(place.head("GET", "/api/v1/events", role="viewer"))
        assert status(listener.recv(65_536)) == 200
        slow = [place.line() for _ in range(60)]
        for line in slow:
            line.sendall(place.head("POST", "/v1/logs", "Content-Length: 9", role="ingest")[:-2])
        with place.line() as quick:
            quick.sendall(place.head("GET", "/health/live") * 20)
            assert status(lives(quick)) == 200
        assert {rest(line)[:12] for line in slow} == {b"HTTP/1.1 408"}
        for line in slow:
            line.close()
        listener.settimeout(PACE)
        with pytest.raises(TimeoutError):
            while listener.recv(65_536):  # until there is nothing to read; the end would be b""
                pass
    assert place.alone()


@pytest.fixture
def calm(sqlite_template: Path, tmp_path: Path) -> Iterator[Place]:
    """A server with the patience that it has."""
    (tmp_path / "tsad.db").write_bytes(sqlite_template.read_bytes())
    with (
        closing(open_database(f"sqlite:///{tmp_path}/tsad.db")) as database,
        closing(Place(database, Patience())) as made,
    ):
        yield made


def test_what_comes_at_once_is_answered_in_order(calm: Place) -> None:
    """Pipelined: the second head is there before the first request was answered."""
    with calm.line() as line:
        both = calm.head("GET", "/health/live") + calm.head("GET", "/api/v1/me", "Connection: close", role="viewer")
        line.sendall(both)
        said = rest(line)
    assert said.count(b"HTTP/1.1 200") == 2
    assert said.index(b'{"live":true}') < said.index(b'"a viewer"')


def test_what_comes_in_parts_and_in_time_is_taken(calm: Place) -> None:
    with calm.line() as line:
        whole = calm.head("GET", "/api/v1/me", "Connection: close", role="viewer")
        for start in range(0, len(whole), 40):
            line.sendall(whole[start : start + 40])
        assert status(rest(line)) == 200


def test_the_log_says_nothing_of_tokens_of_who_is_refused_or_slow(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """In the address, in headers that are broken, in bodies that do not come: whatever the server's own log says."""
    token = dict(place.asking.bearer("admin"))["Authorization"].split()[1]
    close = "Connection: close"
    requests = [
        place.head("GET", f"/api/v1/alerts?token={token}", close), place.head("GET", f"/{token}", close),
        place.head("GET", "/api/v1/alerts", f"Authorization: Basic {token}", close),
        place.head("GET", "/api/v1/alerts", f"Cookie: tsad={token}; tsad_session={token}", close),
        place.head("GET", "/api/v1/alerts", f"Upgrade: {token}", "Connection: upgrade, close"),
        f"GET /{token} HTTP/9.9\r\n{close}\r\n\r\n".encode(), f"{token}\r\n\r\n".encode(),
        f"GET / HTTP/1.1\r\nAuthorization {token}\r\n\r\n".encode(), f"GET / HTTP/1.1\r\nX: {token}".encode(),
        place.head("POST", "/session", "Content-Length: 900") + f'{{"token": "{token}'.encode(),
    ]  # fmt: skip
    answers = []
    with caplog.at_level(logging.DEBUG), capture_logs() as logs:
        for request in requests:
            with place.line() as line:
                line.sendall(request)
                answers.append(rest(line))
        assert place.alone()
    assert {status(said) for said in answers} >= {400, 401, 404, 408}
    assert caplog.records, "the server logs what it refuses"
    for said in (caplog.text, repr(logs), *map(repr, answers[:3])):
        assert token not in said
    assert token.encode() not in b"".join(answers)
