"""A running stream that is fitted again: candidate, shadow, promotion; whatever goes wrong costs an attempt only."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from storage.read import AlertFilter
from storage.refits import Refits
from streaming.settings import SECOND
from tests.tsad.streams import ENTITIES, FIT_SLOTS, NOW, START, STREAM, ListApp, normal, payloads
from tsad.background import answer, archive_of
from tsad.retraining import training
from tsad.runner import Limits, Runner

FIRST = START // 60
DAY = 86_400 * SECOND
FIT_AT, JUDGED_AT, SLOTS = 660, 860, 1000
"""Slots that were read when the fit and when the shadow is due, and in all."""
INCIDENT = range(420, 440)
SETTINGS = {"refit": "7d", "shadow": "2h", "fit_after": 150, "scope": "stream"}


def cells(jumps: dict[int, str] | None = None) -> dict[tuple[str, int], np.ndarray]:
    """A calm stream with an incident of `a` before the fit, and jumps of an entity at some slots."""
    found = normal(SLOTS, ENTITIES, 1)
    for slot in INCIDENT:
        found["a", slot][0] += 5
    for slot, entity in (jumps or {}).items():
        for behind in range(6):
            found[entity, slot + behind][:2] += 7
    return found


class Watched:
    """A running stream and its clock, which goes when it is told to."""

    def __init__(self, app: ListApp) -> None:
        self.app, self.now = app, NOW
        app.clock = lambda: self.now
        self.runner: Runner = app.runner(STREAM, {}, limits=Limits(poll=30))

    def read_until(self, slot: int) -> None:
        while (self.runner.positions.get("telemetry") or {"row": 0})["row"] < 3 * (slot - FIT_SLOTS):
            assert self.runner.step()

    def tend(self, passed: int = 0) -> None:
        """Time passes, and the runner looks what is due or has ended."""
        self.now += passed
        self.runner.follow(self.runner)

    def work(self, passed: int) -> None:
        """What is due after that time, done by its process to the end."""
        self.tend(passed)
        child = self.app.refits.of(STREAM).child
        assert child is not None
        child.wait()
        self.tend()
        assert self.app.refits.of(STREAM).child is None

    def states(self) -> dict[str, str]:
        return {row.version: row.state for row in self.app.models.listing(STREAM)}

    def audit(self, kind: str) -> list[dict[str, Any]]:
        rows = self.app.reader.audit(STREAM, limit=10_000)
        return [row["detail"] for row in rows if row["kind"] == kind]


@pytest.fixture
def watch(make_app: Any) -> Callable[..., Watched]:
    """Makes running streams whose first model is active."""

    def make(jumps: dict[int, str] | None = None, url: str | None = None, **stream: Any) -> Watched:
        return Watched(make_app({"telemetry": payloads(cells(jumps), FIT_SLOTS)}, url=url, **SETTINGS | stream))

    return make


def candidate(watched: Watched) -> str:
    """Read on to the fit, do it, and read on until the shadow is over."""
    watched.read_until(FIT_AT)
    watched.work(7 * DAY)
    (version,) = [version for version, state in watched.states().items() if state == "candidate"]
    watched.read_until(JUDGED_AT)
    return version


def test_a_candidate_that_keeps_the_budget_judges_from_its_slot_on_without_a_restart(watch: Any) -> None:
    watched = watch()
    (first,) = watched.states()
    version = candidate(watched)
    assert watched.states() == {first: "active", version: "candidate"}
    watched.tend(DAY // 12 - SECOND)
    assert watched.app.refits.of(STREAM).child is None
    watched.work(SECOND)
    assert watched.states() == {first: "retired", version: "active"}
    watched.tend()
    runner = watched.runner
    while runner.step():
        pass
    runner.finish()
    orders = [(order.version, order.first_slot) for order in watched.app.store.restore("live", STREAM, 0).orders]
    assert orders == [(first, 0), (version, FIRST + JUDGED_AT)]
    eras = {era.version: era.first_slot for era in runner.partition.eras}
    assert eras[version] == FIRST + JUDGED_AT
    assert runner.partition.era.version == version
    (said,) = watched.audit("shadow")
    assert (said["decision"], said["version"], said["wanted"]) == ("promoted", version, 120)
    assert said["slots"] >= 100
    assert said["episodes"] <= said["allowed"]
    assert said["expected"] == pytest.approx(3.0 * said["slots"] / 1440, abs=0.001)
    (meta,) = [row.meta for row in watched.app.models.listing(STREAM) if row.version == version]
    assert meta["shadow"]["decision"] == "promoted"
    assert meta["refit"]["left_out"] >= len(INCIDENT)
    stored = watched.app.reader.scores(STREAM, "a", limit=10_000)
    assert all((row["model_version"] == version) == (row["slot"] >= FIRST + JUDGED_AT) for row in stored)


def request(watched: Watched, step: str, through: int = 0) -> dict[str, Any]:
    """What a process is asked; the active version stands for a candidate that was fitted up to slot `through`."""
    active = watched.app.models.active(STREAM)
    assert active is not None
    place = {name: getattr(active, name) for name in ("version", "file", "checksum")}
    config = json.loads(watched.app.config.model_dump_json(exclude={"kafka"}))
    detail = {"model": place, "columns": {}, "through": FIRST + through}
    return {"config": config, "stream": STREAM, "now": NOW, "step": step, "detail": detail}


def test_a_candidate_that_alarms_too_often_is_refused(watch: Any) -> None:
    watched = watch({slot: "abc"[slot // 20 % 3] for slot in range(670, 800, 20)})
    watched.read_until(JUDGED_AT)
    told = answer(request(watched, "shadow", FIT_AT - 20))
    figures = told["figures"]
    assert figures["episodes"] > figures["allowed"] >= 1
    assert told["refused"].startswith(f"it would have opened {figures['episodes']} episodes; the budget grants 0.2")
    assert figures["active"] == figures["episodes"], "the same model judged the same slots, as they came"
    assert figures["windows"] == 3 * figures["slots"] == 3 * 120


def test_too_little_to_judge_by_is_no_promotion(watch: Any) -> None:
    watched = watch()
    watched.read_until(FIT_AT)
    told = answer(request(watched, "shadow", FIT_AT))
    assert (told["figures"]["slots"], told["refused"]) == (0, "only 0 of 120 slots came to judge it by")


def test_training_never_sees_a_confirmed_incident(watch: Any) -> None:
    watched = watch()
    watched.read_until(FIT_AT)
    app = watched.app
    alerts = [one for one in app.reader.alerts(AlertFilter(stream=STREAM, entity="a")) if one.state != "retracted"]
    (alert,) = [
        one for one in alerts if one.first_slot <= FIRST + INCIDENT[-1] and one.last_slot >= FIRST + INCIDENT[0]
    ]
    assert alert.state == "resolved"
    with archive_of(app, STREAM) as (archive, _):
        found = training(archive, lambda first, last: app.reader.stretches(STREAM, first, last), 100)
    rows = found.rows
    of_a = rows.slots[rows.codes == rows.names.index("a")]
    assert set(of_a.tolist()).isdisjoint(range(alert.first_slot, alert.last_slot + 1))
    assert set(of_a.tolist()) >= set(range(FIRST + 310, alert.first_slot))
    assert set(rows.slots[rows.codes == rows.names.index("b")].tolist()) >= set(
        range(alert.first_slot, alert.last_slot)
    )
    level = rows.values[rows.codes == rows.names.index("a"), rows.features.index("cpu")]
    assert level.max() < 2.5, "the incident lifted it by 5"
    assert found.left_out >= len(INCIDENT)
    watched.work(7 * DAY)
    (said,) = watched.audit("refit")
    assert (said["outcome"], said["left_out"], said["rows"]) == ("candidate", found.left_out, len(rows.slots))


def test_not_enough_history(watch: Any) -> None:
    watched = watch(fit_after=500)
    nothing = "there is no history yet, and nothing to judge a candidate by"
    assert answer(request(watched, "fit")) == {"failed": nothing, "wanting": 500}
    watched.read_until(FIT_AT)
    told = answer(request(watched, "fit"))
    said, held = told["failed"], 500 - told["wanting"]
    assert 250 < held < FIT_AT - FIT_SLOTS
    assert said == f"the history holds {held} slots without incidents, and 500 (fit_after) are needed"
    watched.work(7 * DAY)
    row = Refits(watched.app.database).row(STREAM)
    assert row is not None
    assert (row.step, row.next_at) == ("fit", watched.app.now() + timedelta(minutes=500 - held)), "when they have come"


def test_a_fit_that_is_killed_costs_an_attempt(watch: Any) -> None:
    watched = watch()
    watched.read_until(FIT_AT)
    watched.tend(7 * DAY)
    child = watched.app.refits.of(STREAM).child
    assert child is not None
    os.kill(child.process, signal.SIGKILL)
    child.wait()
    watched.read_until(FIT_AT + 40)
    (said,) = watched.audit("refit")
    assert said["reason"].startswith("its process was killed by signal 9")
    assert list(watched.states().values()) == ["active"]
    watched.tend()
    assert watched.app.refits.of(STREAM).child is None
    watched.work(7 * DAY)
    assert list(watched.states().values()) == ["active", "candidate"]


def test_a_shadow_that_is_killed_retires_the_candidate(watch: Any) -> None:
    watched = watch()
    version = candidate(watched)
    watched.tend(DAY // 12)
    child = watched.app.refits.of(STREAM).child
    assert child is not None
    os.kill(child.process, signal.SIGKILL)
    child.wait()
    watched.tend()
    assert watched.states()[version] == "retired"
    (said,) = watched.audit("shadow")
    assert said["reason"].startswith("it could not be judged: its process was killed by signal 9")


def test_a_stream_that_stops_breaks_off_and_the_next_one_begins_again(watch: Any) -> None:
    watched = watch()
    watched.read_until(FIT_AT)
    watched.tend(7 * DAY)
    child = watched.app.refits.of(STREAM).child
    assert child is not None
    watched.app.refits.of(STREAM).close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.process, 0)
    assert watched.audit("refit") == []
    watched.work(0)
    assert list(watched.states().values()) == ["active", "candidate"]


def test_only_one_of_several_workers_fits(watch: Any, postgresql_url: str) -> None:
    watched = watch(url=postgresql_url)
    watched.read_until(FIT_AT)
    other = ListApp.open(watched.app.config, clock=lambda: watched.now)
    active = watched.app.models.active(STREAM)
    assert active is not None
    watched.tend(7 * DAY)
    other.refits.of(STREAM).tend(active.version)
    assert other.refits.of(STREAM).child is None
    child = watched.app.refits.of(STREAM).child
    assert child is not None
    child.wait()
    watched.tend()
    assert len(watched.audit("refit")) == 1
    other.close()


def test_a_stream_without_refits_has_none(make_app: Any) -> None:
    app = make_app({"telemetry": payloads(cells(), FIT_SLOTS)[:300]})
    app.runner(STREAM, {}, limits=Limits(poll=30)).run()
    assert Refits(app.database).row(STREAM) is None


def test_a_named_history_is_read_in_place_of_the_closed_slots(watch: Any, tmp_path: Any) -> None:
    old = tmp_path / "old.jsonl"
    lines = payloads({key: value for key, value in cells().items() if key[1] < FIT_SLOTS})
    old.write_bytes(b"".join(line + b"\n" for line in lines))
    watched = watch(telemetry={"history": str(old)})
    watched.read_until(FIT_AT)
    told = answer(request(watched, "fit"))
    assert told["figures"] == {"rows": 3 * FIT_SLOTS, "left_out": 0, "first": FIRST, "last": FIRST + FIT_SLOTS - 1}
    assert FIRST + FIT_AT - 100 < told["through"] < FIRST + FIT_AT, "its shadow is of the stream's own slots"


def test_the_process_ends_with_its_parent(watch: Any) -> None:
    """Whatever becomes of the parent, its end of the pipe is closed."""
    watched = watch()
    watched.read_until(FIT_AT)
    said = json.dumps(request(watched, "fit")).encode() + b"\n"
    command = [sys.executable, "-P", "-m", "tsad.background"]
    orphan = subprocess.run(command, input=said, capture_output=True, check=False)
    assert (orphan.returncode, orphan.stdout) == (1, b"")
