"""A topic that falls silent on a real broker: the other one's slots go on closing, and a replay knows since when."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import time
from typing import Any

import pytest

from storage.types import Order
from streaming.settings import SECOND
from tests.tsad.kafka_streams import KafkaStream, died, read_out, rows_read, step_until
from tests.tsad.streams import (
    FIT_SLOTS,
    NOW,
    SLOTS,
    START,
    STREAM,
    cells_with_anomalies,
    differences,
    final_rows,
    line,
    payloads,
)
from tsad.runner import Limits
from tsad.worker import Worker

LIVE = payloads(cells_with_anomalies(), FIT_SLOTS)
PER_SLOT = len(LIVE) // (SLOTS - FIT_SLOTS)
SILENT, BACK = 330, 400
"""Logs fall silent in this slot, while telemetry goes on to the other."""
EARLY = LIVE[: (BACK - FIT_SLOTS) * PER_SLOT]
BEFORE = [line("a", slot, "request served") for slot in range(FIT_SLOTS, SILENT)]
LATE = [line("a", slot, "request served") for slot in (BACK - 4, BACK - 30, BACK)]
AFTER = [line("a", slot, "request served") for slot in range(BACK + 1, SLOTS)]
PUBLISHED = int(time() * 1000)


def as_it_came(payload: bytes | None) -> int:
    """Produced in the pace of event time, today: what a broker holds for more than a week may go at any moment."""
    assert payload is not None
    return PUBLISHED - (START + 60 * SLOTS - json.loads(payload)["time"]) * 1000


@pytest.fixture
def stream(kafka_server: str, tmp_path: Path, fitted: Any) -> Iterator[KafkaStream]:
    made = KafkaStream(kafka_server, tmp_path / "kafka", fitted, stamp=as_it_came)
    yield made
    made.close()


def member(app: Any, tick: int = 10, **limits: int) -> Worker:
    """A worker whose clock moves on by `tick` seconds whenever it is looked at."""
    seconds = count(0, tick)
    app.clock = lambda: NOW + next(seconds) * SECOND
    return app.worker(STREAM, limits=Limits(**({"poll": 40, "snapshot_every": 10_000} | limits)))


def closed(worker: Worker) -> int:
    """The last closed slot, counted from the start of the data."""
    slots = [runner.partition.windower.closed_through for runner in worker.runners.values()]
    return -1 if slots in ([], [None]) else slots[0] - START // 60


def orders(app: Any) -> list[Order]:
    return [order for order in app.store.restore("live", STREAM, 0).orders if order.kind != "model"]


def taken(app: Any) -> int:
    """Messages up to which its topics are read and saved."""
    checkpoint = app.store.restore("live", STREAM, 0).checkpoint
    places = [] if checkpoint is None else checkpoint.positions.values()
    return sum(place["row"] for place in places if isinstance(place, dict))


STAGES = (
    ({"telemetry": EARLY, "logs": BEFORE}, BACK - 2),
    ({"logs": LATE}, BACK - 2),
    ({"telemetry": LIVE[len(EARLY) :], "logs": AFTER}, SLOTS - 2),
)
"""What comes, and the last slot that closes by it."""


def standing(app: Any) -> tuple[int, int]:
    """Messages up to which its topics are read, and the last closed slot: what is saved."""
    checkpoint = app.store.restore("live", STREAM, 0).checkpoint
    slot = None if checkpoint is None else checkpoint.next_slot
    return taken(app), -1 if slot is None else slot - START // 60


def come_to(app: Any, stage: tuple[int, int], **limits: int) -> None:
    """Let a worker go on until everything of a stage is saved."""
    worker = member(app, **limits)
    step_until([worker], lambda: standing(app) == stage)
    worker.close()


def come_to_in_lives(app: Any, stage: tuple[int, int], steps: int) -> None:
    """Likewise, but with a death after every few steps, and no snapshot at all. The group deals in its own time: a life
    begins when it has."""
    while standing(app) != stage:
        dying, turns = member(app, poll=17), count()
        step_until([dying], lambda dying=dying: bool(dying.runners))
        step_until([dying], lambda turns=turns: next(turns) == steps or standing(app) == stage)
        died(dying)


def in_stages(stream: KafkaStream, steps: int) -> tuple[Any, Any]:
    """Two applications on the same topics through all stages: one undisturbed, and one that is killed all the time."""
    calm = hasty = None
    for lists, last in STAGES:
        stream.fill(lists)
        calm, hasty = calm or stream.app(**TWO), hasty or stream.app(**TWO)
        stage = taken(calm) + sum(map(len, lists.values())), last
        come_to(calm, stage)
        come_to_in_lives(hasty, stage, steps)
    return calm, hasty


TWO: dict[str, Any] = {"idle_after": "5m", "on_silence": "ignore"}


@pytest.mark.parametrize("steps", [7, 23])
def test_slots_go_on_closing_and_a_replay_makes_the_same_of_it(stream: KafkaStream, steps: int) -> None:
    calm, hasty = in_stages(stream, steps)
    for app in (calm, hasty):
        idle, resumed = orders(app)
        assert (idle.kind, idle.version) == ("idle", f"logs@{len(BEFORE)}")
        assert SILENT - 2 < idle.first_slot - START // 60 < BACK
        assert (resumed.kind, resumed.version) == ("resumed", idle.version)
        assert (resumed.first_slot, resumed.detail) == (START // 60 + BACK - 1, {"position": len(BEFORE)})
        assert app.store.restore("live", STREAM, 0).checkpoint.counts["late"] == 1
        read_out(app)
    rows = final_rows(calm)
    assert differences(final_rows(hasty), rows) == []
    assert len(rows["alerts"]) > 3
    (dead,) = rows["dead_letters"]
    assert (dead["topic"], dead["reason"], dead["position"]) == ("logs", "too_late", len(BEFORE) + 1)


def test_a_topic_in_which_nothing_ever_was_is_idle_too(stream: KafkaStream) -> None:
    stream.fill({"telemetry": LIVE, "logs": []})
    app = stream.app(**TWO)
    worker = member(app)
    step_until([worker], lambda: closed(worker) == SLOTS - 2)
    died(worker)
    (idle,) = orders(app)
    assert (idle.version, idle.first_slot) == ("logs@0", START // 60 + FIT_SLOTS)
    again = member(app)
    step_until([again], lambda: closed(again) == SLOTS - 2)
    again.close()


def test_a_topic_is_waited_for_until_the_other_one_is_far_enough(stream: KafkaStream) -> None:
    stream.fill({"telemetry": EARLY, "logs": BEFORE})
    app = stream.app(**(TWO | {"idle_after": f"{60 * (BACK - SILENT + 1)}s"}))
    worker = member(app, tick=1000)
    step_until([worker], lambda: closed(worker) == SILENT - 2)
    for _ in range(10):  # each long enough for another look
        worker.step()
    assert closed(worker) == SILENT - 2
    assert orders(app) == []
    worker.close()


def test_to_the_end_means_the_end_of_each_topic(stream: KafkaStream) -> None:
    """Logs that end long before telemetry do hold it back, but not beyond what there is to read."""
    stream.fill({"telemetry": LIVE, "logs": BEFORE})
    app = stream.app(**(TWO | {"idle_after": "100d"}))
    worker = read_out(app)
    assert closed(worker) == SLOTS - 1
    assert rows_read([worker]) == len(LIVE) + len(BEFORE)
