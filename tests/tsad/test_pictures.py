from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streaming.settings import SECOND
from tests.tsad.test_report import ALERT
from tsad.pictures import draw, strongest

EVIDENCE: dict[str, Any] = {
    "slot": 104,
    "features": ["cpu", "memory"],
    "observed": [[0.1 * step for step in range(16)], [1.0] * 15 + [None]],
    "lower": [0.0, None],
    "upper": [1.0, None],
    "contributions": [["cpu", 1.5], ["memory", -0.2]],
    "texts": {},
}


@pytest.mark.parametrize(("first", "last"), [(100, 110), (104, 104), (50, 60), (100, 104), (104, 200), (300, 310)])
def test_an_alert_is_drawn_wherever_its_slots_lie_about_the_window(tmp_path: Path, first: int, last: int) -> None:
    alert = replace(ALERT, first_slot=first, last_slot=last, evidence=EVIDENCE)
    assert draw(alert, 60 * SECOND, tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_an_alert_that_is_not_explained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"alert {ALERT.id[:12]} is not explained yet"):
        draw(ALERT, 60 * SECOND, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_the_strongest_are_those_that_stand_and_can_be_drawn() -> None:
    def alert(slot: int, score: float, **changes: Any) -> Any:
        return replace(ALERT, opened_slot=slot, score=score, **({"evidence": EVIDENCE} | changes))

    weak, strong, gone, dark = (
        alert(1, 1.2), alert(2, 3.0), alert(3, 9.0, state="retracted"), alert(4, 8.0, evidence={})
    )  # fmt: skip
    assert strongest([weak, gone, strong, dark], 3) == [strong, weak]
    assert strongest([weak, gone, strong, dark], 1) == [strong]
    assert strongest([], 3) == []
