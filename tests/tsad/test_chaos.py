"""Five kills and one of each other disturbance at seeded moments; the comparison finds a sabotaged worker out."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.deadletters import REASONS
from tests.tsad.chaos import Ground, Round, kills, play, scale, zombie
from tests.tsad.outages import group_deleted
from tests.tsad.traffic import Traffic


@pytest.fixture(scope="module")
def played(kafka_server: str, postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    """A traffic, and what an undisturbed worker made of it."""
    folder: Path = tmp_path_factory.mktemp("chaos")
    yield Round.begin(Ground(kafka_server, postgresql_server, folder), Traffic(entities=12, slots=120), 3)


def test_everything_happens_in_the_undisturbed_run(played: Round) -> None:
    alerts = Counter(row["state"] for row in played.expected["alerts"])
    changes = Counter((row["detail"].get("reason"), row["detail"].get("late")) for row in played.expected["audit"])
    assert alerts["resolved"] > 20
    assert alerts["retracted"] > 3
    assert changes["amended", 1] > 3
    assert changes["opened", 1] > 3
    reasons = {row["reason"] for row in played.expected["dead_letters"]}
    assert {"too_late", "future", "broken_json", "wrong_partition"} <= reasons <= set(REASONS)
    assert len({row["model_version"] for row in played.expected["scores"]}) == 2
    assert {row["partition"] for row in played.expected["alerts"]} == {0, 1, 2}


def test_five_kills_leave_no_trace(played: Round) -> None:
    different, crew = play(played, kills(5), seed=1)
    assert different == []
    assert crew.kills == 5


def test_workers_that_come_and_go_leave_no_trace(played: Round) -> None:
    different, crew = play(played, scale, seed=2)
    assert different == []
    assert crew.kills == 2


def test_a_zombie_leaves_no_trace(played: Round) -> None:
    different, _ = play(played, zombie, seed=3)
    assert different == []


def test_a_deleted_group_leaves_no_trace(played: Round) -> None:
    different, _ = play(played, group_deleted, seed=4)
    assert different == []


def test_a_worker_that_replays_nothing_is_found_out(played: Round) -> None:
    different, _ = play(played, kills(2), seed=5, sabotage="replay")
    assert different != []
