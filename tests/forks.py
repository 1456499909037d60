"""Processes of their own that need not import what they run: forked by a server that has imported it.

A start of `tsad` costs a second of imports, and the first explanation three more; a suite that starts hundreds of
processes waits for little else. What is forked here runs, is signalled and dies as any process does.
"""

import atexit
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
PRELOAD = ("tsad.cli", "tsad.app", "tsad.endpoint", "confluent_kafka", "shap", "xgboost")
LARGEST = 1 << 20
"""Bytes of a request."""
ANSWER = 16
"""Bytes of each answer: the process's number, then its exit code."""


class Process:
    """What `subprocess.Popen` is, of a process that a server forked: its parent is the server, which tells its end."""

    def __init__(self, line: socket.socket, pipes: Iterable[IO[bytes] | None]) -> None:
        self._line = line
        self.stdin, self.stdout, self.stderr = pipes
        self.pid = int(line.recv(ANSWER, socket.MSG_WAITALL))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code (minus the signal that killed it), or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = int(self._line.recv(ANSWER) or -signal.SIGKILL)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """A signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, given: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Give `given` to its standard input and close that; all that it writes until it ends."""
        said: dict[str, bytes] = {"out": b"", "err": b""}

        def read(name: str, pipe: IO[bytes] | None) -> None:
            if pipe is not None:
                with pipe:
                    said[name] = pipe.read()

        both = (("out", self.stdout), ("err", self.stderr))
        jobs = [threading.Thread(target=read, args=one) for one in both]
        for job in jobs:
            job.start()
        if self.stdin is not None and not self.stdin.closed:
            with suppress(BrokenPipeError):
                self.stdin.write(given or b"")
                self.stdin.close()
        self.wait(timeout)
        for job in jobs:
            job.join()
        return said["out"], said["err"]


def fork(
    module: str, arguments: Iterable[str], cwd: Path, *, output: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None, bufsize: int = -1,
) -> Process:  # fmt: skip
    """`python -m MODULE ARGUMENTS` in folder `cwd`: both outputs to `output`, or all three streams to pipes."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.connect(_server())
    request = {"module": module, "arguments": list(arguments), "cwd": str(cwd), "env": dict(env or os.environ)}
    if output is not None:
        given = os.open(os.devnull, os.O_RDONLY)
        theirs, pipes = [given, output.fileno(), output.fileno()], [None, None, None]
        ours = [given]
    else:
        (stdin, feed), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
        theirs = ours = [stdin, stdout, stderr]
        pipes = [os.fdopen(feed, "wb", bufsize), os.fdopen(out, "rb", bufsize), os.fdopen(err, "rb", bufsize)]
    socket.send_fds(line, [json.dumps(request).encode() + b"\n"], theirs)
    for number in ours:
        os.close(number)
    return Process(line, pipes)


@cache
def _server() -> str:
    """The address of this process's server, which ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="forks")
    address = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forks", address], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None

    def end() -> None:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)
        folder.cleanup()

    atexit.register(end)
    assert process.stdout.readline() == b"ready\n"
    return address


class Server:
    """Forks for each connection, and tells it the process's number, then its exit code."""

    def __init__(self, address: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(address)
        self.listener.listen(64)
        self.lines: dict[int, socket.socket] = {}

    def run(self) -> None:
        """Until standard input ends; then everything that still runs is killed."""
        ended, wakes = socket.socketpair()
        wakes.setblocking(False)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(wakes.fileno())
        with selectors.DefaultSelector() as ready:
            for source in (self.listener, ended, sys.stdin):
                ready.register(source, selectors.EVENT_READ)
            while True:
                found = [key.fileobj for key, _ in ready.select()]
                if ended in found:
                    ended.recv(64)
                    self._reap()
                if self.listener in found:
                    self._fork()
                if sys.stdin in found:
                    break
        for number in self.lines:
            os.kill(number, signal.SIGKILL)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                line = self.lines.pop(found[0])
                with suppress(OSError):
                    line.send(_answer(os.waitstatus_to_exitcode(found[1])))
                line.close()

    def _fork(self) -> None:
        line, _ = self.listener.accept()
        text, streams, _, _ = socket.recv_fds(line, LARGEST, 3)
        while not text.endswith(b"\n"):
            text += line.recv(LARGEST)
        if (number := os.fork()) == 0:
            for other in (*self.lines.values(), self.listener, line):
                other.close()
            _become(json.loads(text), streams)
        for stream in streams:
            os.close(stream)
        self.lines[number] = line
        line.send(_answer(number))


def _answer(number: int) -> bytes:
    return str(number).rjust(ANSWER).encode()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The wake-up tells; a handler must be there for it."""


def _become(request: Any, streams: list[int]) -> None:
    """Be the process that was asked for, to its end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream, place in zip(streams, (0, 1, 2), strict=True):
        os.dup2(stream, place)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [request["module"], *request["arguments"]]
    code: Any = 1
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    except Exception:  # noqa: BLE001 - whatever it is, it is said as the interpreter says it
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with suppress(OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    import gc
    import importlib

    for name in PRELOAD:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    told = Server(sys.argv[1])
    print("ready", flush=True)
    told.run()
