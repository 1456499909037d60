"""A PostgreSQL of our own: from the binaries on the machine, on a free port, as an unprivileged user when root."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")


class NoServerError(Exception):
    """The server cannot be had on this machine; the text says why."""


def binaries() -> Path:
    """The folder with `initdb` and `postgres`: pg_config's, Debian's (newest first), or the PATH's."""
    places = sorted(DEBIAN.glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    if tool := shutil.which("pg_config"):
        told = subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        places.insert(0, Path(told))
    if found := shutil.which("initdb"):
        places.append(Path(found).parent)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise NoServerError("PostgreSQL is not installed: no initdb and postgres found")


def unprivileged() -> dict[str, int | list[int]]:
    """How to run a process as somebody else than root (PostgreSQL refuses root): arguments of Popen."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise NoServerError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def free_port() -> int:
    """A port on the loopback interface that nobody listens on, below those that systems give to clients: it stays free
    until the server binds it, and while one that was killed starts again. Ray takes some of those below 24,000."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(24_000, 32_000)))
            return int(probe.getsockname()[1])


@dataclass
class Server:
    """A PostgreSQL of our own: its files, address and process."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Of its database `postgres`."""
        return f"postgresql://tsad@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": 50,
        }
        arguments = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [binaries() / "postgres", "-D", self.folder / "data", *arguments], stdout=output, stderr=output,
                cwd=self.folder, **unprivileged(),
            )  # fmt: skip
        ready = [binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tsad", "-t", "1"]
        while subprocess.run(ready, check=False).returncode != 0:
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise NoServerError(f"postgres ended at once: {log.read_text()[-300:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: SIGTERM waits for its clients, SIGINT sends them away, SIGQUIT is as a crash."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@contextmanager
def database_server() -> Iterator[Server]:
    """A running server that can be stopped and started. NoServerError if it cannot be started."""
    place, owner = binaries(), unprivileged()
    # Not pytest's temporary folder: that one belongs to root alone.
    folder = Path(tempfile.mkdtemp(prefix="tsad-pg-"))
    try:
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        options = ["-A", "trust", "-U", "tsad", "-E", "UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(
            [place / "initdb", "-D", folder / "data", *options],
            capture_output=True, text=True, check=False, cwd=folder, **owner,
        )  # fmt: skip
        if made.returncode != 0:
            raise NoServerError(f"initdb failed: {made.stderr.strip()[-300:]}")
        server = Server(folder, free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # its files go with it: nothing has to be written
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql() -> Iterator[str]:
    """A running server: the URL of its `postgres` database. NoServerError if it cannot be started."""
    with database_server() as server:
        yield server.url
