"""From what a partition found to the rows that are kept."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.documents import dump_json
from storage.noted import NotedScores
from storage.scoretable import ScoreTable
from storage.types import ScoreRow
from tsad.cases import Case, Evidence
from tsad.episodes import Episode
from tsad.judge import Track
from tsad.rows import RowWriter, attribution, utc, votes_of

SECOND = 1_000_000_000
TIME = RowWriter("live", "pods", 0, 60 * SECOND).time
tails = st.one_of(st.floats(0, 1), st.just(float("nan")), st.just(1e-300))
named = st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True)


@given(names=named, rows=st.lists(st.tuples(st.lists(tails, min_size=4), st.lists(st.booleans(), min_size=4))))
def test_the_votes_of_many_windows_have_the_text_that_each_alone_has(
    names: list[str], rows: list[tuple[list[float], list[bool]]]
) -> None:
    width, count = len(names), len(rows)
    p = np.array([row[:width] for row, _ in rows], float).reshape(-1, width)
    votes = np.array([row[:width] for _, row in rows], bool).reshape(-1, width)
    expected = [dump_json(votes_of(names, *each)) for each in zip(p.tolist(), votes.tolist(), strict=True)]
    noted = NotedScores(["a"] * count, list(range(count)), [1.0] * count, [0.5] * count, p, votes, tuple(names), "m1")
    assert [dump_json(row.votes) for row in ScoreTable([noted], TIME)] == expected


def test_a_score_row_for_each_window_with_the_time_of_its_slot() -> None:
    def noted(score: float) -> NotedScores:
        p, votes = np.array([[0.25, np.nan], [0.5, 1e-9]]), np.array([[True, False], [False, True]])
        return NotedScores(["a", "b"], [60, 61], [score, 0.75], [0.01, 0.02], p, votes, ("vote", "linear"), "m1")

    rows = ScoreTable([noted(0.9), noted(1.5)], TIME)
    assert len(rows) == 4
    assert [(row.entity, row.slot, row.score) for row in rows] == [
        ("a", 60, 0.9),
        ("b", 61, 0.75),
        ("a", 60, 1.5),
        ("b", 61, 0.75),
    ]
    text = '{"linear":{"p":null,"voted":false},"vote":{"p":0.25,"voted":true}}'
    assert dump_json(rows[0].votes) == text
    assert rows[0] == ScoreRow("a", 60, utc(3600 * SECOND), 0.9, 0.01, rows[0].votes, "m1")
    assert [row.time for row in rows[1:3]] == [utc(3660 * SECOND), utc(3600 * SECOND)]
    assert list(ScoreTable([], TIME)) == []


def evidence(slot: int, shares: list[float], tail: float) -> Evidence:
    """Of one window of three channels, judged by one detector."""
    count = np.zeros(3, np.float32)
    window = np.zeros((4, 3), np.float32)
    return Evidence(
        slot, "m1", ("a", "b", "c"), ("vote",), 1.5, 1e-6, 0.5, window, window, count, count,
        np.array(shares, np.float32), np.array([tail]), np.array([tail < 1e-3]),
    )  # fmt: skip


def test_a_row_shows_the_evidence_that_is_the_strongest_by_then() -> None:
    writer = RowWriter("live", "pods", 0, 60 * SECOND)
    opening, peak, again = evidence(10, [1, 0, 0], 0.5), evidence(12, [0, 0.5, 0.5], 1e-6), evidence(12, [0, 1, 0], 0.1)
    case = Case(0, "web-1", Track(10, Episode(10, 10, 10, 1.5, 1e-6)), opening)
    for strongest, severity in ((opening, "info"), (opening, "info"), (peak, "warning"), (again, "info")):
        case.peak = None if strongest is opening else strongest
        alert = writer.alert(case)
        assert alert.votes == votes_of(("vote",), strongest.tails.tolist(), strongest.votes.tolist())
        assert alert.attribution == attribution(strongest)
        assert alert.severity == severity
    case.track.episode = Episode(10, 40, 12, 2.5, 1e-9)
    assert writer.alert(case).severity == "critical"
