"""A stream whose deploys look like faults, and faults that look like deploys."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.tsad.command_line import CONFIGURATION
from tests.tsad.streams import ENTITIES, FIT_SLOTS, START, normal, payloads

LAST = 700
DEPLOYS = (330, 400, 470, 540, 610)
"""Slots in which `a` is deployed; its cpu is high in the six slots from the next one on."""
Fault = Callable[[Mapping[tuple[str, int], np.ndarray]], None]


def spike(cells: Mapping[tuple[str, int], np.ndarray], first: int, height: float = 4, slots: int = 6) -> None:
    """What a deploy does to `a`."""
    for slot in range(first, first + slots):
        cells["a", slot][0] += height


def deployed(*faults: Fault, deploys: tuple[int, ...] = DEPLOYS) -> dict[tuple[str, int], np.ndarray]:
    """Cells by (entity, slot), with a spike behind each deploy, and with `faults`."""
    cells = normal(LAST, ENTITIES, 1)
    for slot in deploys:
        spike(cells, slot + 1)
    for fault in faults:
        fault(cells)
    return cells


def event(slot: int, kind: str = "deploy", **more: object) -> str:
    """A line of the file of events."""
    return json.dumps({"time": START + 60 * slot, "kind": kind, **more}) + "\n"


def home_of(folder: Path, cells: Mapping[tuple[str, int], np.ndarray], events: str, context: str = "") -> Path:
    """A folder with configuration, history, live records and events."""
    folder.mkdir(parents=True, exist_ok=True)
    table = f'[stream.s.context]\nsource = "events.jsonl"\nafter = "5m"\n{context}'
    (folder / "tsad.toml").write_text(CONFIGURATION + table)
    history = payloads({key: values for key, values in cells.items() if key[1] < FIT_SLOTS})
    (folder / "history.jsonl").write_bytes(b"".join(line + b"\n" for line in history))
    (folder / "live.jsonl").write_bytes(b"".join(line + b"\n" for line in payloads(dict(cells), FIT_SLOTS)))
    (folder / "events.jsonl").write_text(events)
    return folder
