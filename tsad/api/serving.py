"""`tsad serve`: the API and the dashboard on a port."""

import socket
from collections.abc import Callable

import uvicorn

from storage.engine import Database
from tsad.api.application import PREFIX, api
from tsad.api.desk import Beside
from tsad.operating import ApiConfig

CONNECTIONS = 1000
"""At most at a time; more are told to come again."""
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
        settings = uvicorn.Config(
            made, access_log=False, log_config=None, server_header=False, lifespan="off",
            limit_concurrency=CONNECTIONS, timeout_keep_alive=KEPT_ALIVE, timeout_graceful_shutdown=CLOSING,
        )  # fmt: skip
        server = uvicorn.Server(settings)
        made.state.feed.ending = lambda: server.should_exit
        server.run([heard])


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
