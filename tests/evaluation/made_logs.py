"""Small labelled logs of known content, in the forms that are read."""

import gzip
import io
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

BEGUN = datetime(2026, 1, 5, tzinfo=UTC)
EVERY = 60
"""Seconds between two sessions."""


def blocks(folder: Path, many: int = 200, odd: tuple[int, ...] = (40, 150, 160), lose: int = 0) -> Path:
    """HDFS-like lines: a block is opened, written three times and closed. Those in `odd` fail, and are labelled so.

    Of the last `lose` blocks no line is there; the file has lines of blocks that nobody labelled too.
    """
    draw, lines = np.random.default_rng(3), []
    for number in range(many - lose):
        start = BEGUN + timedelta(seconds=EVERY * number)
        said = ["INFO a.Node: Opening block blk_{n}", *["INFO a.Node: Wrote 64 bytes of blk_{n}"] * 3]
        said += ["WARN a.Node: Cannot close blk_{n}: disk error"] if number in odd else []
        said += ["INFO a.Node: Closed blk_{n} and blk_777"] if number not in odd else []
        for place, text in enumerate(said):
            moment = start + timedelta(seconds=place + int(draw.integers(3)) * 0)
            lines.append(f"{moment:%y%m%d %H%M%S} {draw.integers(1000)} {text.format(n=number - 100)}")
    lines += ["    at a.Node.run(Node.java:1)", lines[-1].replace("blk_", "blk_9999")]
    labels = [f"blk_{number - 100},{int(number in odd)},x" for number in range(many)]
    return put(folder, "made", lines, "block_id,label,extra", labels)


def put(folder: Path, name: str, lines: list[str], header: str, labels: list[str]) -> Path:
    """Write both files; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.log.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (folder / f"{name}.labels.csv").write_text("\n".join([header, *labels]) + "\n")
    return folder


def alerts(folder: Path, many: int = 300) -> Path:
    """BGL-like lines, each judged by itself: line 250 and those about it are fatal."""
    lines, labels = [], []
    for number in range(many):
        fatal = number in (250, 260, 270)
        what = "FATAL kernel panic of core 7" if fatal else f"INFO cache {number} was corrected"
        node = f"R{number % 4}"
        lines.append(f"- {1_117_838_570 + 60 * number} 2005.06.03 {node} x {node} RAS KERNEL {what}")
        labels.append(f"{number + 1},{int(fatal)}")
    return put(folder, "lines", lines, "LineId,label", labels)


def archive(folder: Path, many: int = 30) -> Path:
    """Hadoop-like: two files for each application; application 25 has one that loses its machine."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "apps.tar.gz", "w:gz") as file:
        for number in range(many):
            for part in range(2):
                start = BEGUN + timedelta(seconds=EVERY * number)
                said = ["INFO [main] Started", "INFO [main] Done"]
                said += ["WARN [ipc] Retrying connect to server"] * 9 if number == 25 and part else []
                text = "\n".join(f"{start:%Y-%m-%d %H:%M:%S},123 {one}" for one in said)
                entry = tarfile.TarInfo(f"app_{number}/part_{part}.log")
                entry.size = len(text)
                file.addfile(entry, io.BytesIO(text.encode()))
    rows = [f"app_{number},{int(number == 25)}" for number in range(many)]
    (folder / "apps.labels.csv").write_text("\n".join(["application,label", *rows]))
    return folder
