"""Log lines of blocks that are allocated, received, served and deleted, as HDFS writes them, with a few broken ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storage.read import AlertFilter
from storage.types import Alert
from tests.tsad.streams import STREAM, configuration, line, list_app
from tsad.app import App

KEY = r"(blk_-?\d+)"
SESSIONS = f"{STREAM}.sessions"
LIVE_SLOT = 60
BROKEN = ("blk_-900001", "blk_-900002", "blk_-900003")
"""Never served, written again and again, failed with a line that nobody knows."""
Said = tuple[int, str]
"""Seconds since the stream began, and the message."""


def block(name: str, second: int, rng: np.random.Generator) -> list[Said]:
    """A block that is as it should be: 7 to 10 lines in some 50 seconds."""
    node = f"10.250.{rng.integers(0, 20)}.{rng.integers(1, 250)}"
    lines = [f"BLOCK* NameSystem.allocateBlock: /user/root/rand/part-{rng.integers(0, 2000)}. {name}"]
    lines += [f"Receiving block {name} src: /{node}:{rng.integers(1024, 65536)} dest: /{node}:50010"] * 2
    lines += [f"PacketResponder {rng.integers(0, 3)} for block {name} terminating"] * 2
    lines += [f"{node}:50010 Served block {name} to /{node}"] * int(rng.integers(1, 4))
    lines += [f"Verification succeeded for {name}"] * int(rng.integers(1, 3))
    return [(second + 6 * place, text) for place, text in enumerate(lines)]


def broken(second: int, rng: np.random.Generator) -> list[Said]:
    """The three of `BROKEN`, one after the other."""
    unserved, again, failed = BROKEN
    part = block(unserved, second, rng)[:4]
    rewritten = block(again, second + 60, rng)
    part += rewritten + [(second + 66 + place, rewritten[1][1]) for place in range(12)]
    part += block(failed, second + 120, rng)[:5]
    part += [(second + 145, f"writeBlock {failed} received exception java.io.IOException: disk of /mnt/hadoop is gone")]
    return part


def said(blocks: int, seed: int, every: int = 5, faults: Sequence[int] = ()) -> list[Said]:
    """A block each `every` seconds, in order of time; `faults`: seconds at which the broken ones begin."""
    rng = np.random.default_rng(seed)
    lines = [one for number in range(blocks) for one in block(f"blk_{seed}{number:06d}", every * number, rng)]
    for second in faults:
        lines += broken(second, rng)
    return sorted(lines, key=lambda one: one[0])


def payloads(lines: Sequence[Said], first_slot: int = 0) -> list[bytes]:
    """As JSON records of one host."""
    return [line("hdfs", first_slot, text, second) for second, text in lines]


STREAM_SECTION: dict[str, Any] = {"telemetry": False, "late_horizon": 2, "lateness": "10s", "fit_after": 100}


def grouped(**sessions: Any) -> dict[str, Any]:
    """The keys of a stream of blocks."""
    return STREAM_SECTION | {"sessions": {"key": KEY, "gap": "40s"} | sessions}


def configured(folder: Path, **sessions: Any) -> Any:
    return configuration(folder, f"sqlite:///{folder}/tsad.db", logs={}, **grouped(**sessions))


def fitted_on_blocks(folder: Path) -> tuple[Path, Any]:
    """A version fitted on blocks that are as they should be: the folder of models, and the row."""
    app = list_app(configured(folder), {"logs": payloads(said(600, seed=1))})
    row = app.fit(STREAM, app.collect(STREAM, {}))
    app.close()
    return folder / "models", row


def all_alerts(app: App) -> list[Alert]:
    """Those of sessions."""
    return app.reader.alerts(AlertFilter(stream=SESSIONS, limit=None))


def session_alerts(app: App) -> dict[str, Alert]:
    """By the session's key, which has one."""
    found = all_alerts(app)
    assert len({alert.entity for alert in found}) == len(found)
    return {alert.entity: alert for alert in found}
