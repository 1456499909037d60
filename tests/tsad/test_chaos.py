"""Five kills and one of each other disturbance at seeded moments; the comparison finds a sabotaged worker out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.deadletters import REASONS
from tests.tsad.chaos import ELSEWHERE, Ground, Round, kills, play, scale, zombie
from tests.tsad.outages import group_deleted
from tests.tsad.traffic import SMALL


@pytest.fixture(scope="module")
def played(kafka_server: str, postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    """A traffic, and what an undisturbed worker made of it."""
    folder: Path = tmp_path_factory.mktemp("chaos")
    yield Round.begin(Ground(kafka_server, postgresql_server, folder), SMALL, 3)


def test_everything_happens_in_the_undisturbed_run(played: Round) -> None:
    assert played.lacks() == []
    reasons = {row["reason"] for row in played.expected["dead_letters"]}
    assert {"too_late", "future", "broken_json", "wrong_partition"} <= reasons == set(REASONS) - ELSEWHERE
    assert {row["partition"] for row in played.expected["alerts"]} == {0, 1, 2}


def test_a_run_in_which_little_happens_is_told(played: Round) -> None:
    poor = played.without("alerts", "dead_letters")
    assert [said for said in poor.lacks() if said.startswith("0 of")] == ["0 of 300 alerts", "0 of 20 retracted"]
    assert "no dead letter wrong_partition" in poor.lacks()
    assert "no dead letter broken_row" not in poor.lacks(), "a topic of JSON has none"


def test_five_kills_leave_no_trace(played: Round) -> None:
    different, crew = play(played, kills(5), seed=1)
    assert different == []
    assert crew.kills == 5


def test_workers_that_come_and_go_leave_no_trace(played: Round) -> None:
    different, crew = play(played, scale, seed=2)
    assert different == []
    assert crew.kills == 2


def test_a_deleted_group_leaves_no_trace(played: Round) -> None:
    different, _ = play(played, group_deleted, seed=4)
    assert different == []


@pytest.mark.parametrize(("where", "late"), [("before", False), ("within", True)])
def test_a_zombie_leaves_no_trace(played: Round, where: str, late: bool) -> None:
    """It stands still in a save, and wakes before the rest is done, or after; that save must be refused."""
    different, _ = play(played, zombie(where, late), seed=3)
    assert different == []


def test_a_zombie_whose_lease_nobody_looks_at_is_found_out(played: Round) -> None:
    different, _ = play(played, zombie("before", late=False), seed=4, sabotage="epoch")
    assert any(said.startswith("alerts: ") for said in different)


def test_a_worker_that_replays_nothing_is_found_out(played: Round) -> None:
    different, _ = play(played, kills(2), seed=5, sabotage="replay")
    assert different != []
