"""`tsad serve`: the API and the dashboard on a port."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from storage.engine import Database, open_database
from tsad import logs
from tsad.api.application import PREFIX, api
from tsad.api.desk import Beside
from tsad.api.patience import Patience, patient
from tsad.api.processes import Others
from tsad.config import Config
from tsad.delivery.messages import telling
from tsad.progress import frozen_heap
from tsad.pushing import Pushes

CONNECTIONS, THREADS = 1000, 4
"""At most at a time: more connections are told to come again, more requests wait their turn. Threads that compute take
turns at the interpreter anyhow: forty of them answered a fifth fewer requests a second."""
KEPT_ALIVE, CLOSING = 15, 10
"""Seconds that a silent connection is kept, and that answers in the making get at the end."""


def answer(database: Database, configured: Config, bind: str, note: Callable[[str], None], beside: Beside) -> None:
    """Answer at `bind` ("host:port"), in as many processes as are configured, until a signal ends it. OSError, naming
    the address, where it cannot be had."""
    host, _, port = bind.rpartition(":")
    with ExitStack() as held:
        heard, *more = map(held.enter_context, several(host.strip("[]"), int(port), configured.api.processes))
        address = f"http://{host}:{heard.getsockname()[1]}"
        note(f"answering on {address}{PREFIX}; the dashboard is {address}/")
        others = held.enter_context(_others(beside.pushes, configured, more)) if more else None
        server_of(api(database, configured.api, beside=beside), others=others).run([heard])


@contextmanager
def _others(pushes: Pushes, configured: Config, heard: Sequence[socket.socket]) -> Iterator[Others]:
    with pushes.receiver() as receiver, Others(partial(answer_too, configured, receiver.address), heard) as others:
        yield others


def answer_too(configured: Config, journals: str, heard: socket.socket) -> None:
    """Answer in a process beside one that does `answer`, which alone makes incidents, delivers, and writes journals: it
    takes over at the address `journals`."""
    logs.configure(configured.log.format, configured.log.level)
    opened = open_database(configured.database)
    beside = Beside(Path(configured.history), Pushes.at(journals, configured), telling(configured.delivery))
    with closing(opened), frozen_heap():
        server_of(api(opened, configured.api, beside=beside)).run([heard])


def server_of(
    made: FastAPI, patience: Patience | None = None, kept_alive: int = KEPT_ALIVE, others: Others | None = None
) -> uvicorn.Server:
    """The server of an application; `patience` with those who send or read slowly, `kept_alive` (s) with the silent.
    With it end `others`."""
    server = _Server(uvicorn.Config(
        made, http=patient(patience or Patience()), access_log=False, log_config=None, server_header=False,
        lifespan="off", limit_concurrency=CONNECTIONS, timeout_keep_alive=kept_alive,
        timeout_graceful_shutdown=CLOSING,
    ), others)  # fmt: skip
    made.state.feed.ending = lambda: server.should_exit
    return server


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, others: Others | None) -> None:
        super().__init__(config)
        self._others = others

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As it is, with so many threads."""
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As it is, and of the others: who answers here may be ended by the signal right behind it."""
        if self._others is not None:
            await to_thread.run_sync(self._others.end)
        await super().shutdown(sockets)
        if self._others is not None:
            await to_thread.run_sync(self._others.wait)


def several(host: str, port: int, number: int) -> list[socket.socket]:
    """So many sockets that listen on one port, connections shared out among them. OSError as of `listening`."""
    if number == 1:
        return [listening(host, port)]
    with listening(host, port) as alone:  # else a second server would share the port with this one
        port = alone.getsockname()[1]
    return [listening(host, port, shared=True) for _ in range(number)]


def listening(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens, perhaps on a port `shared` with others that say so. OSError, naming the address, where it
    cannot be had."""
    try:
        heard = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024, reuse_port=shared
        )
    except OSError as error:
        raise OSError(f"api.bind = {host}:{port}: {error.strerror or error}") from None
    # an answer's head and body are two writes: the second would wait 40 ms for the client to acknowledge the first
    heard.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return heard
