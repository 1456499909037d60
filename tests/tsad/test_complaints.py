"""Which warnings and errors are symptoms: those that do not come without alerts as well."""

import pytest

from streaming.onsets import Symptom
from tsad.complaints import KEPT, TEMPLATES, Complaints


def heard(*symptoms: tuple[int, int], template: int = 7) -> Complaints:
    around = Complaints()
    for first, again in symptoms:
        around.add(Symptom("a", first, again, template))
    return around


@pytest.mark.parametrize(
    ("first", "last", "suffers"), [(10, 13, True), (0, 99, True), (11, 13, False), (10, 12, False), (14, 20, False)]
)
def test_a_symptom_sets_in_and_comes_again_within(first: int, last: int, suffers: bool) -> None:
    around = heard((10, 13))
    around.come_to(99)
    assert around.suffers("a", first, last) is suffers
    assert not around.suffers("b", first, last)


@pytest.mark.parametrize(
    ("alone", "met", "symptom"),
    [(0, 1, True), (1, 0, True), (1, 1, True), (2, 0, False), (2, 1, False), (2, 2, True), (9, 8, False)],
)
def test_what_comes_more_often_without_an_alert_is_none(alone: int, met: int, symptom: bool) -> None:
    slots = [(100 * place, 100 * place + 4) for place in range(alone + met)]
    around = heard(*slots)
    around.come_to(10_000)
    for _, again in slots[alone:]:
        for last in (again, again + 1):  # an alert is looked at more than once
            around.meet("a", again - 3, last)
    around.meet("b", 0, 10_000)
    assert around.tally == {7: [alone + met, met]}
    assert around.suffers("a", *slots[-1]) is symptom
    around.add(Symptom("a", 20_000, 20_004, 8))
    assert around.suffers("a", 20_000, 20_004), "of another template nothing is known"


def test_what_is_not_judged_yet_is_not_counted() -> None:
    far, near = heard((10, 13), (50, 53), (90, 93)), heard((10, 13))
    for around in (far, near):
        around.come_to(60)
    assert (far.tally, near.tally) == ({7: [2, 0]}, {7: [1, 0]})
    near.add(Symptom("a", 50, 53, 7))
    near.add(Symptom("a", 90, 93, 7))
    for around in (far, near):
        around.come_to(70)
        assert around.ahead == [(93, 7)]
    assert far == near


def test_they_are_bounded_forgotten_and_come_back_from_a_snapshot() -> None:
    around = heard(*((slot, slot + 1) for slot in range(0, 4 * KEPT, 2)))
    assert len(around.held["a"]) == KEPT
    around.come_to(2 * KEPT)
    around.meet("a", 4 * KEPT - 4, 4 * KEPT)
    assert Complaints.of(around.state()) == around
    around.forget(4 * KEPT - 3)
    assert around.held == {"a": [[4 * KEPT - 4, 4 * KEPT - 3, 7, 1], [4 * KEPT - 2, 4 * KEPT - 1, 7, 1]]}
    around.forget(9 * KEPT)
    assert around.held == {}
    for template in range(TEMPLATES + 5):
        around.add(Symptom("a", 1, 2, template))
    around.come_to(9 * KEPT)
    assert len(around.tally) == TEMPLATES
    assert 4 not in around.tally


def test_a_snapshot_that_kept_the_slots_alone_is_read() -> None:
    around = Complaints.of({"symptoms": {"a": [[10, 13]]}})
    assert around.suffers("a", 10, 13)
    around.meet("a", 10, 13)
    assert around.tally == {}
    assert Complaints.of({}) == Complaints()
