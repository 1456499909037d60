"""Workers of a round, in processes of their own: started, killed, stopped, and watched by what they have saved."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.forks import Process, fork

STREAM = "chaos"
PATIENCE = 120
"""Seconds without any progress after which a round has failed."""
SOON = 25
"""Likewise of sabotaged workers, of which little is expected."""


class NoProgressError(AssertionError):
    """A round does not come to its end."""


@dataclass
class Crew:
    """Workers in processes of their own; one that ends by itself is started again, as a supervisor does."""

    home: Path
    url: str
    sabotage: str | None = None
    poll: int = 5000
    running: dict[str, Process] = field(default_factory=dict)
    kills: int = 0
    restarts: int = 0
    looks: psycopg.Connection[Any] | None = None

    def up(self, name: str, stand: str = "") -> None:
        """Start worker `name`; `stand` says where it stops itself (`tests.tsad.launcher`)."""
        told = {
            "TSAD_INSTANCE": name,
            "TSAD_LOG_FORMAT": "json",
        }
        told |= {"TSAD_SABOTAGE": self.sabotage or "", "TSAD_STAND": stand, "TSAD_POLL": str(self.poll)}
        with (self.home / f"{name}.log").open("ab") as log:
            self.running[name] = fork(
                "tests.tsad.launcher", ["run", STREAM], self.home, output=log, env=os.environ | told
            )

    def kill(self, name: str) -> None:
        """SIGKILL, and start it again."""
        self.send(name, signal.SIGKILL)
        self.running[name].wait()
        self.kills += 1
        self.up(name)

    def send(self, name: str, number: int) -> None:
        """A signal."""
        self.running[name].send_signal(number)

    def down(self, name: str) -> int:
        """SIGTERM, and wait; its exit code."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def mend(self) -> None:
        """Start again what ended."""
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.restarts += 1
                self.up(name)

    def saved(self) -> int:
        """Rows read by all partitions of all topics, as far as they are saved."""
        try:
            if self.looks is None:
                self.looks = psycopg.connect(self.url, connect_timeout=2, autocommit=True)
            rows = self.looks.execute("SELECT positions FROM checkpoints").fetchall()
        except psycopg.OperationalError:  # the server is away, or has been since the last look
            self._look_no_more()
            return 0
        return sum(place["row"] for (positions,) in rows for place in positions.values() if isinstance(place, dict))

    def _look_no_more(self) -> None:
        if self.looks is not None:
            self.looks.close()
            self.looks = None

    def reach(self, rows: int) -> None:
        """Wait until so many rows are saved."""
        best, since = -1, time.monotonic()
        while (saved := self.saved()) < rows:
            if saved > best:
                best, since = saved, time.monotonic()
            if time.monotonic() - since > (SOON if self.sabotage else PATIENCE):
                raise NoProgressError(f"no progress at {saved} of {rows} rows: {self.logs()}")
            self.mend()
            time.sleep(0.02)

    def told(self, name: str, event: str) -> None:
        """Wait until worker `name` has logged `event`, or ended: until then it may not have done what was asked."""
        until = time.monotonic() + PATIENCE
        while event not in self.log(name) and self.running[name].poll() is None:
            assert time.monotonic() < until, f"{name} does not say {event!r}: {self.logs()}"
            time.sleep(0.02)

    def log(self, name: str) -> str:
        """All that worker `name` has said."""
        return (self.home / f"{name}.log").read_text()

    def logs(self) -> str:
        """The last words of each worker."""
        return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in sorted(self.home.glob("*.log")))

    def close(self) -> None:
        """End everybody."""
        self._look_no_more()
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.running.clear()

    def stands(self, name: str) -> None:
        """Wait until worker `name` has stopped itself."""
        until = time.monotonic() + PATIENCE
        state = Path(f"/proc/{self.running[name].pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "T":
            assert self.running[name].poll() is None, f"{name} has ended: {self.logs()}"
            assert time.monotonic() < until, f"{name} does not stop: {self.logs()}"
            time.sleep(0.02)
