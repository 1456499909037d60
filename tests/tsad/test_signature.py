"""What an alert has done so far: channels outside of training, and complaints beside what is usual."""

from typing import Any

import numpy as np
import pytest

from tests.tsad.deploys import deployed
from tests.tsad.streams import FIT_SLOTS, START, line, payloads
from tsad.runner import Limits
from tsad.signature import more_than_usual, signature

FIRST, LAST = 600, 609
BASE = START // 60


@pytest.mark.parametrize(
    ("errors", "usual", "more"),
    [(0, 0, False), (2, 0, False), (3, 0, True), (5, 1, False), (7, 1, True), (40, 30, False), (49, 30, True)],
)
def test_few_complaints_are_chance(errors: float, usual: float, more: bool) -> None:
    assert more_than_usual(errors, usual) is more


@pytest.fixture
def partition(make_app: Any) -> Any:
    """`a` up to slot 609: cpu is 30 in slot 605, a warning and an error come in 606, one an hour before."""
    cells = {key: values for key, values in deployed(deploys=()).items() if key[0] == "a" and key[1] <= LAST}
    cells["a", 605][0] = 30
    said = [line("a", slot, f"served {slot} requests") for slot in range(FIT_SLOTS, LAST + 1)]
    said[606 - FIT_SLOTS : 606 - FIT_SLOTS] = [line("a", 606, "ERROR: disk"), line("a", 606, "WARNING: slow")]
    said.insert(595 - FIT_SLOTS, line("a", 595, "ERROR: disk"))
    app = make_app({"telemetry": payloads(cells, FIT_SLOTS), "logs": said}, logs={}, context={"after": "5m"})
    runner = app.runner("s", {}, limits=Limits(poll=200))
    runner.run()
    return runner.partition


def test_a_channel_outside_its_range_and_the_lines_that_complain(partition: Any) -> None:
    found = signature(partition.eras[-1], partition.windower, 0, BASE + FIRST, BASE + LAST)
    assert max(found.peaks, key=lambda name: found.peaks[name]) == "cpu"
    assert found.peaks["cpu"] > 2
    assert found.errors == 2
    assert found.rate == pytest.approx(1 / 16)  # the model knows no lines: by the window before
    assert np.isfinite(list(found.peaks.values())).all()
