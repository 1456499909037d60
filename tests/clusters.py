"""A Ray cluster of one node on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from servers import NoServerError, free_port

ROOT = Path(__file__).resolve().parent.parent
RAY = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
"""What a process that uses Ray is told: Ray reads it when it is imported, once."""


@contextmanager
def ray_cluster(folder: Path) -> Iterator[str]:
    """The address of a head node of two CPUs and, as it says, a GPU; ended by its own process."""
    if find_spec("ray") is None:
        raise NoServerError("the extra `ray` is not installed")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--head", "--block",
         f"--port={port}", "--include-dashboard=false", "--num-cpus=2",
         "--num-gpus=1", "--object-store-memory=80000000", "--disable-usage-stats", f"--temp-dir={folder}",
         "--min-worker-port=0", "--max-worker-port=0"],
        env=os.environ | RAY | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said: list[bytes] = []
        while not said or b"Ray runtime started" not in said[-1]:
            said.append(process.stdout.readline())
            assert said[-1], b"".join(said).decode()
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()
