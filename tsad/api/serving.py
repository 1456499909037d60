"""`tsad serve`: the API and the dashboard on a port."""

import socket
from collections.abc import Callable

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from storage.engine import Database
from tsad.api.application import PREFIX, api
from tsad.api.desk import Beside
from tsad.api.patience import Patience, patient
from tsad.operating import ApiConfig

CONNECTIONS, THREADS = 1000, 4
"""At most at a time: more connections are told to come again, more requests wait their turn. Threads that compute take
turns at the interpreter anyhow: forty of them answered a fifth fewer requests a second."""
KEPT_ALIVE, CLOSING = 15, 10
"""Seconds that a silent connection is kept, and that answers in the making get at the end."""


def answer(
    database: Database, config: ApiConfig, bind: str, note: Callable[[str], None], beside: Beside | None = None
) -> None:
    """Answer at `bind` ("host:port") until a signal ends it. OSError, naming the address, where it cannot be had."""
    host, _, port = bind.rpartition(":")
    with listening(host.strip("[]"), int(port)) as heard:
        address = f"http://{host}:{heard.getsockname()[1]}"
        note(f"answering on {address}{PREFIX}; the dashboard is {address}/")
        made = api(database, config, beside=beside)
        server_of(made).run([heard])


def server_of(made: FastAPI, patience: Patience | None = None, kept_alive: int = KEPT_ALIVE) -> uvicorn.Server:
    """The server of an application; `patience` with those who send or read slowly, `kept_alive` (s) with the silent."""
    server = _Server(uvicorn.Config(
        made, http=patient(patience or Patience()), access_log=False, log_config=None, server_header=False,
        lifespan="off", limit_concurrency=CONNECTIONS, timeout_keep_alive=kept_alive,
        timeout_graceful_shutdown=CLOSING,
    ))  # fmt: skip
    made.state.feed.ending = lambda: server.should_exit
    return server


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As it is, with so many threads."""
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        await super().startup(sockets)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. OSError, naming the address, where it cannot be had."""
    try:
        heard = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        raise OSError(f"api.bind = {host}:{port}: {error.strerror or error}") from None
    # an answer's head and body are two writes: the second would wait 40 ms for the client to acknowledge the first
    heard.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return heard
