"""Session scorers say what plain loops say, and the tail of a history is one."""

from collections import Counter
from math import cbrt, exp, hypot, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.countsurprise import CountSurprise
from detectors.sessionmodel import EDGE, session_tail
from detectors.sessionneighbours import SessionNeighbours
from detectors.sessionorder import SessionOrder
from detectors.sessionspace import SessionSpace
from streaming.sessions import Sessions
from tests.detectors.planted_sessions import FAILED, TEMPLATES, sessions_of

LINES = st.lists(st.lists(st.integers(0, TEMPLATES), min_size=1, max_size=9), min_size=2, max_size=12)
MOST, WIDTH, PRIOR, LOUD = 5, 0.5, 0.5, 2.0


class CountLoop:
    """Count surprise by dictionaries."""

    def __init__(self, taught: list[list[int]]) -> None:
        self.sessions = [Counter(one) for one in taught]
        self.seen = {code for one in taught for code in one}

    def presence(self, code: int, there: bool) -> float:
        has = sum(one[code] > 0 for one in self.sessions)
        share = (has + PRIOR) / (len(self.sessions) + 2 * PRIOR)
        return log(max(share, 1 - share) / (share if there else 1 - share))

    def times(self, code: int, times: int) -> float:
        if code not in self.seen:
            return 0.0
        densities = [self.density(code, other) for other in range(1, MOST + 1)]
        return log(max(densities) / densities[min(times, MOST) - 1])

    def density(self, code: int, times: int) -> float:
        came = [min(one[code], MOST) for one in self.sessions if one[code]]
        spread = sum(self.kernel(other, times) for other in range(1, MOST + 1)) / MOST
        return sum(self.kernel(other, times) for other in came) + PRIOR * spread

    @staticmethod
    def kernel(near: int, far: int) -> float:
        whole = sum(exp(-abs(log(near) - log(other)) / WIDTH) for other in range(1, MOST + 1))
        return exp(-abs(log(near) - log(far)) / WIDTH) / whole

    def score(self, asked: list[int]) -> float:
        known = Counter(code if code in self.seen else 0 for code in asked)
        total = 0.0
        for code in range(TEMPLATES + 1):
            # of what was never seen all is one: the template that is none
            if code and code not in self.seen:
                total += self.presence(code, False) ** 3
                continue
            loud = LOUD if FAILED in asked and known[code] and code == (FAILED if FAILED in self.seen else 0) else 1.0
            total += (self.presence(code, known[code] > 0) * loud) ** 3
            total += self.times(code, known[code]) ** 3 if known[code] else 0.0
        return cbrt(total)


@settings(max_examples=60, deadline=None)
@given(taught=LINES, asked=LINES)
def test_count_surprise_is_that_of_a_plain_loop(taught: list[list[int]], asked: list[list[int]]) -> None:
    scorer, loop = CountSurprise(most=MOST), CountLoop(taught)
    scorer.fit(sessions_of(taught), TEMPLATES)
    expected = [loop.score(one) for one in asked]
    np.testing.assert_allclose(scorer.score(sessions_of(asked)).values, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(taught=LINES, asked=LINES, share=st.sampled_from([0.0, 0.2, 0.6]))
def test_the_nearest_place_is_that_of_a_plain_loop(
    taught: list[list[int]], asked: list[list[int]], share: float
) -> None:
    scorer = SessionNeighbours(share=share)
    scorer.fit(sessions_of(taught), TEMPLATES)
    found = scorer.score(sessions_of(asked)).values.tolist()
    for one, distance in zip(asked, found, strict=True):
        distances = sorted(_distance(one, other) for other in taught)
        needed = max(int(np.ceil(share * len(taught) - 1e-9)), 1)
        assert distance == pytest.approx(distances[needed - 1], abs=1e-5)


def _distance(one: list[int], other: list[int]) -> float:
    a, b = Counter(one), Counter(other)
    return sqrt(sum((log(1 + a[code]) - log(1 + b[code])) ** 2 for code in range(TEMPLATES + 1)))


@settings(max_examples=30, deadline=None)
@given(taught=LINES, asked=LINES)
def test_the_order_of_other_sessions_is_not_this_ones(taught: list[list[int]], asked: list[list[int]]) -> None:
    """The first line of a session follows its beginning, not the last line of the session before."""
    scorer = SessionOrder()
    scorer.fit(sessions_of([[1, 2], *taught]), TEMPLATES)
    together = scorer.score(sessions_of(asked)).values
    for place, one in enumerate(asked):
        assert scorer.score(sessions_of([one])).values[0] == together[place]
    longer = scorer.score(sessions_of([[*one, 1] for one in asked])).values
    assert (longer >= together - 1e-6).all()  # a line more is never less of a surprise


def test_components_leave_out_the_worst_and_measure_from_the_rest() -> None:
    usual = [[1] * (1 + number % 5) + [2] * (1 + number % 5) for number in range(190)]
    scorer = SessionSpace(variance=0.9, rank=1)
    scorer.fit(sessions_of([*usual, *[[3] * 30] * 8]), TEMPLATES)
    values = scorer.score(sessions_of([[1, 1, 2, 2], [1, 1, 1, 1, 1, 1, 2], [3] * 30])).values.tolist()
    assert values[0] < 0.05
    assert values[1] == pytest.approx(hypot(log(7 / 2) / 2, log(7 / 2) / 2), rel=0.05)
    assert values[2] > 3


@settings(max_examples=80, deadline=None)
@given(
    sample=st.lists(st.floats(0, 50, width=32), min_size=1, max_size=300),
    nat=st.floats(0.05, 1.0),
)
def test_the_tail_falls_and_anomalies_of_the_history_do_not_move_it(sample: list[float], nat: float) -> None:
    fused = np.array(sample, np.float32)
    tail = session_tail(fused, nat)
    places = np.linspace(0, 100, 400)
    p = tail.probability(places)
    assert (p > 0).all() and (p <= 1).all()
    assert (np.diff(p) <= 1e-12).all()
    edge = float(np.quantile(fused, EDGE))
    beyond = fused > edge
    again = session_tail(np.where(beyond, fused * np.float32(1000) + 1, fused), nat)
    if edge in fused:  # else the quantile lies between two numbers, one of which has moved
        np.testing.assert_allclose(again.probability(places), p, rtol=1e-6)


def test_sessions_without_lines_teach_nothing() -> None:
    lines = [[1, 2, 5]] * 30
    bare, padded = CountSurprise(), CountSurprise()
    bare.fit(sessions_of(lines), TEMPLATES)
    whole: Sessions = sessions_of([one for line in lines for one in (line, [])])
    padded.fit(whole.take(whole.lengths > 0), TEMPLATES)
    for name, values in bare.state().arrays.items():
        np.testing.assert_array_equal(values, padded.state().arrays[name])
