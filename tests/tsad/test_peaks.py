"""Peaks of episodes that had ended and go on: what is explained of them does not follow from where polls end."""

from typing import Any

import pytest

from storage.read import AlertFilter
from tests.tsad.streams import FEATURES, FIT_SLOTS, START, STREAM, differences, final_rows, normal, record, run_through
from tsad.runner import Limits

PEAK, AGAIN, NOW, END = 331, 343, 347, 365
"""When `a` is strangest, when it is strange once more, when records that tell of this come, and the last slot."""
LATE = ((329, 0.0), (AGAIN, 4.0))
"""Of `a`, with how much is added: one before the peak, whose window is judged again, and one with which the episode
goes on that had ended. Then comes a greater peak."""
CAME = START // 60 + NOW - 1
"""The slot that was closed then."""


def lines() -> list[bytes]:
    cells = normal(END, "abc", 1)
    cells["a", PEAK - 1] += 3
    cells["a", PEAK] += 9
    cells["a", NOW + 1] += 16
    late = dict(LATE)
    for slot, more in LATE:
        cells["a", slot][:2] += more
    said, held = list[bytes](), list[bytes]()
    for (entity, slot), values in sorted(cells.items(), key=lambda item: (item[0][1], item[0][0])):
        one = record(entity, slot, dict(zip(FEATURES, map(float, values), strict=True)))
        if slot < FIT_SLOTS:
            continue
        (held if entity == "a" and slot in late else said).append(one)
        if (entity, slot) == ("c", NOW):
            said += held
    return said


@pytest.mark.parametrize("poll", [1, 7, 121])
def test_polls_do_not_decide_which_peaks_are_explained(make_app: Any, poll: int) -> None:
    timing: dict[str, Any] = {"late_horizon": 20, "quiet": 5}
    whole, parts = (make_app({"telemetry": lines()}, **timing) for _ in range(2))
    run_through(whole, Limits(poll=10_000))
    run_through(parts, Limits(poll=poll, snapshot_every=3))
    told = [row["detail"] for row in whole.reader.audit(STREAM, limit=1000) if row["slot"] in (START // 60 + 345, CAME)]
    assert {(one["reason"], one["late"]) for one in told} == {("resolved", 0), ("amended", 1)}
    assert any(alert.peak_slot == START // 60 + NOW + 1 for alert in whole.reader.alerts(AlertFilter(entity="a")))
    assert differences(final_rows(parts), final_rows(whole)) == []
