"""Five kills and one of each other disturbance at seeded moments; the comparison finds a sabotaged worker out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.deadletters import REASONS
from tests.tsad.chaos import ELSEWHERE, WANTED, Ground, Round, kills, play, scale, zombie
from tests.tsad.crew import STREAM
from tests.tsad.outages import group_deleted
from tests.tsad.traffic import TINY
from tsad.grouping import of_sessions

SESSIONS = of_sessions(STREAM)


@pytest.fixture(scope="module")
def played(kafka_server: str, postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    """A traffic, and what an undisturbed worker made of it."""
    folder: Path = tmp_path_factory.mktemp("chaos")
    yield Round.begin(Ground(kafka_server, postgresql_server, folder), TINY, 3)


def test_everything_happens_in_the_undisturbed_run(played: Round) -> None:
    """Enough of it is there in the rounds of `make chaos`, which say so."""
    found, reasons = played.found(), {row["reason"] for row in played.expected["dead_letters"]}
    assert found["promotions"] == 1
    assert all(found.values()), found
    assert played.lacks()[0] == f"{found['alerts']} of {WANTED['alerts']} alerts"
    assert {"too_late", "future", "broken_json", "wrong_partition"} <= reasons == set(REASONS) - ELSEWHERE
    assert {row["partition"] for row in played.expected["alerts"]} == {0, 1, 2}
    assert "no dead letter too_late" in played.without("dead_letters").lacks()


def test_sessions_are_among_what_is_compared(played: Round) -> None:
    """With alerts by both versions, and keys that came on a partition where they do not belong."""
    mine = {name: [row for row in rows if row.get("stream") == SESSIONS] for name, rows in played.expected.items()}
    assert {name for name, rows in mine.items() if rows} == {"alerts", "scores", "audit", "homes"}
    explained = {row["alert_id"] for row in played.expected["explanations"]}
    assert explained >= {row["id"] for row in mine["alerts"]}
    assert {row["model_version"] for row in mine["alerts"]} == {model.version for model in played.models}
    assert {row["partition"] for row in mine["alerts"]} == {0, 1, 2}
    assert {row["stray"] for row in mine["homes"]} == {True, False}
    lost = [row["detail"] for row in played.expected["dead_letters"] if row["detail"].startswith("session ")]
    assert all("belongs to partition" in detail for detail in lost) and lost


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
