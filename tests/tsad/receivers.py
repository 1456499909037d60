"""Receivers of messages: a web server and a mail server that keep what they are sent."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What came, and what is answered to the next ones (else `status`)."""

    port: int = 0
    status: int = 200
    answers: list[int] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.requests]


@contextmanager
def web() -> Iterator[Receiver]:
    """A web server on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.answers.pop(0) if receiver.answers else receiver.status
            self.send_response(status)
            if status in (301, 307):
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"said")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@contextmanager
def mail(refuse: str = "") -> Iterator[tuple[int, list[str]]]:
    """A mail server on a free port, and the messages that it took; it refuses recipients named `refuse`."""
    messages: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 ready")
            while line := self.rfile.readline().decode().strip():
                command = line.upper()
                if command.startswith("DATA"):
                    self.say("354 go on")
                    lines = []
                    while (said := self.rfile.readline().decode()) != ".\r\n":
                        lines.append(said)
                    messages.append("".join(lines))
                refused = bool(refuse) and command.startswith("RCPT") and refuse in line
                self.say("550 nobody" if refused else "221 bye" if command.startswith("QUIT") else "250 ok")
                if command.startswith("QUIT"):
                    return

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], messages
        server.shutdown()
        thread.join()
