"""One poll that spans more slots than the ring holds is many small polls: the same rows, in a bounded ring."""

from typing import Any

import pytest

from tests.tsad.streams import (
    FEATURES,
    FIT_SLOTS,
    SLOTS,
    START,
    STREAM,
    ListApp,
    cells_with_anomalies,
    differences,
    final_rows,
    line,
    payloads,
    record,
    run_through,
)
from tsad.runner import Limits

WHOLE = Limits(poll=100_000)
ON_TIME = payloads(cells_with_anomalies(), FIT_SLOTS)
FAR = 200_000
"""Slots without a record of anybody, half a year."""


def delayed() -> list[bytes]:
    """Every 11th record comes up to 7 slots later, and one far too late."""
    keyed = [(3 * (place // 3) + (place % 22 if place % 11 == 0 else 0), text) for place, text in enumerate(ON_TIME)]
    keyed[30] = (200, ON_TIME[30])
    return [text for _, text in sorted(keyed, key=lambda one: one[0])]


def with_gaps() -> list[bytes]:
    """Longer than the ring, longer than entities are remembered, and much longer; at last one comes back alone."""
    silent = [*range(320, 345), *range(360, 400)]
    cells = {key: values for key, values in cells_with_anomalies().items() if key[1] not in silent}
    far = [record("b", slot, dict.fromkeys(FEATURES, 0.25)) for slot in range(FAR, FAR + 20)]
    return payloads(cells, FIT_SLOTS) + far


def in_turns() -> list[bytes]:
    """Of each three, one is silent at a time."""
    cells = {key: v for key, v in cells_with_anomalies().items() if (key[1] // 15) % 3 != "abc".index(key[0])}
    return payloads(cells, FIT_SLOTS)


STREAMS: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "on time": (ON_TIME, {}),
    "late": (delayed(), {}),
    "held open": (delayed(), {"lateness": "240s"}),
    "gaps": (with_gaps(), {}),
    "gaps, silence ignored": (with_gaps(), {"on_silence": "ignore"}),
    "evictions": (in_turns(), {"max_entities": 2}),
}


def small_polls(make_app: Any, name: str) -> Any:
    lines, stream = STREAMS[name]
    app = make_app({"telemetry": lines}, **stream)
    run_through(app, Limits(poll=9))
    return final_rows(app)


def happened(name: str, counts: dict[str, int]) -> None:
    """What the stream was made for has happened."""
    assert (counts["late"] > 15) == (name == "late")
    assert counts.get("dead:too_late", 0) == (name in {"late", "held open"})
    assert (counts["evicted"] >= 4) == (name == "evictions")


@pytest.mark.parametrize(("name", "max_lead"), [("on time", 1), *((name, 5) for name in STREAMS if name != "on time")])
def test_one_poll_of_everything_is_many_small_ones(make_app: Any, once: Any, name: str, max_lead: int) -> None:
    lines, stream = STREAMS[name]
    app = make_app({"telemetry": lines}, max_lead=max_lead, **stream)
    runner = app.runner(STREAM, {}, limits=WHOLE)
    held = runner.partition.windower.ring.size
    assert held < SLOTS - FIT_SLOTS
    assert runner.step()
    assert runner.progress.rows == len(lines)
    assert runner.progress.slot - START // 60 - FIT_SLOTS > held
    assert runner.partition.windower.ring.size == held
    runner.run()
    happened(name, app.reader.health(STREAM)["partitions"][0]["counts"])
    expected = once(("long polls", name), lambda: small_polls(make_app, name))
    assert expected["alerts"]
    assert differences(final_rows(app), expected) == []


@pytest.mark.parametrize("name", ["late", "evictions"])
def test_killed_before_the_long_poll_was_saved_it_is_made_again(make_app: Any, once: Any, name: str) -> None:
    lines, stream = STREAMS[name]
    app = make_app({"telemetry": lines}, {"save": {len(lines)}}, **stream)
    assert run_through(app, WHOLE) == 1
    expected = once(("long polls", name), lambda: small_polls(make_app, name))
    assert differences(final_rows(app), expected) == []


def test_a_replay_may_take_small_polls_in_one(make_app: Any, once: Any) -> None:
    """Snapshot at the first poll, checkpoint 200 rows behind: the replay reads them at once, in a ring of 25 slots."""
    lines, _ = STREAMS["late"]
    app = make_app({"telemetry": lines}, max_lead=1)
    first = app.runner(STREAM, {}, limits=Limits(poll=20, snapshot_every=10_000))
    for _ in range(11):
        assert first.step()
    second = app.runner(STREAM, {}, limits=WHOLE)
    assert second.partition.windower.closed_through == first.partition.windower.closed_through
    second.run()
    expected = once(("long polls", "late"), lambda: small_polls(make_app, "late"))
    assert differences(final_rows(app), expected) == []


def with_lines(make_app: Any, **stream: Any) -> ListApp:
    lines = [
        line(entity, slot, f"{level} request {slot} of {entity} took {slot % 7} ms", 5)
        for slot in range(FIT_SLOTS, SLOTS)
        for entity in "ab"
        for level in (("INFO", "ERROR") if slot in range(350, 354) else ("INFO",))
    ]
    app: ListApp = make_app({"telemetry": ON_TIME, "logs": lines}, cold=True, logs={}, **stream)
    return app


@pytest.mark.parametrize(("telemetry", "logs"), [(100_000, 100_000), (100_000, 3), (4, 100_000)])
def test_two_topics_of_which_one_or_both_come_in_one_poll(make_app: Any, once: Any, telemetry: int, logs: int) -> None:
    def small() -> Any:
        app = with_lines(make_app)
        run_through(app, Limits(poll=6))
        return final_rows(app)

    app = with_lines(make_app, max_lead=2)
    app.sizes = {"telemetry": lambda: telemetry, "logs": lambda: logs}
    run_through(app, WHOLE)
    assert differences(final_rows(app), once("long polls of two", small)) == []
