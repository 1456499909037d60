"""The commands as a user types them: in this process, which spares the imports, or in one of their own."""

import io
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.forks import Process, fork
from tests.tsad.streams import FIT_SLOTS, cells_with_anomalies, payloads
from tsad.cli import main

CONFIGURATION = """
[stream.s]
detectors = ["subspace", "vote"]
window = 16
settle = 5
quiet = 8
late_horizon = 8
alert_budget = 3.0
max_windows = 1000
"""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of an error, with nothing on standard output."""
        lines = [line for line in self.err.splitlines() if line.startswith("tsad: ")]
        assert len(lines) == 1, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        return lines[0].removeprefix("tsad: ")


def tsad(folder: Path, *arguments: str) -> Said:
    """Type `tsad ARGUMENTS` in `folder`."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with chdir(folder), patch.object(sys, "argv", ["tsad", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return Said(code, out.getvalue(), err.getvalue())


def started(folder: Path, *arguments: str, **options: Any) -> Process:
    """`tsad ARGUMENTS` in a process of its own."""
    return fork("tsad", arguments, folder, **options)


def running_until(process: Any, reached: Callable[[], bool]) -> None:
    """Wait until `reached`; the process must not end before. The time between two looks is the process's."""
    while not reached():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            raise AssertionError(f"it has ended: {finished(process).err}")


def finished(process: Any, given: bytes = b"") -> Said:
    """How it ended, having read `given` from standard input."""
    out, err = process.communicate(given, timeout=60)
    return Said(process.returncode, out.decode(), err.decode())


def lines_before_and_after() -> tuple[bytes, bytes]:
    """The history and the rest of the stream with anomalies, JSON Lines."""
    cells = cells_with_anomalies()
    history = payloads({key: values for key, values in cells.items() if key[1] < FIT_SLOTS})
    return tuple(b"".join(line + b"\n" for line in part) for part in (history, payloads(cells, FIT_SLOTS)))  # type: ignore[return-value]


def fresh_home(folder: Path, configuration: str = CONFIGURATION) -> Path:
    """A folder with a configuration, `history.jsonl` and `live.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tsad.toml").write_text(configuration)
    history, live = lines_before_and_after()
    (folder / "history.jsonl").write_bytes(history)
    (folder / "live.jsonl").write_bytes(live)
    return folder


def serving(home: Path) -> tuple[Process, int]:
    """A server of its own process, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = started(home, "serve", "--bind", f"127.0.0.1:{port}")

    def listens() -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    running_until(process, listens)
    return process, port
