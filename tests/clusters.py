"""A Ray cluster of one node on this machine, and a second node that can be lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from servers import NoServerError, free_port

ROOT = Path(__file__).resolve().parent.parent
RAY = {
    "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "300",
}  # fmt: skip
"""What a process that uses Ray is told: Ray reads it when it is imported, once. It may have to wait for the machine."""
START = (
    sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block",
    "--object-store-memory=80000000", "--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0",
)  # fmt: skip


class Head(NamedTuple):
    """Where a cluster is reached: from one of its nodes, and from outside."""

    address: str
    outside: str


class Node:
    """A running node; `environment` is that of its workers, too."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*START, *arguments], env=os.environ | RAY | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        said: list[bytes] = []
        while not said or b"Ray runtime started" not in said[-1]:
            said.append(self.process.stdout.readline())
            assert said[-1], b"".join(said).decode()

    def lose(self) -> None:
        """As a machine whose power goes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def ray_cluster() -> Iterator[Head]:
    """A head node of two CPUs and, as it says, a GPU; ended by its own process."""
    if find_spec("ray") is None:
        raise NoServerError("the extra `ray` is not installed")
    port, outside = free_port(), free_port()
    # Ray's sockets lie below it, and the path of a socket is short
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        node = Node(
            "--head", f"--port={port}", f"--ray-client-server-port={outside}", "--include-dashboard=false",
            "--num-cpus=2", "--num-gpus=1", f"--temp-dir={folder}",
        )  # fmt: skip
        try:
            yield Head(f"127.0.0.1:{port}", f"ray://127.0.0.1:{outside}")
        finally:
            node.process.terminate()
            node.process.communicate()
