"""Grouping, types and ranking against the same written plainly: every alert held against every other one."""

from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from storage.incidents import TypeRow
from tests.storage.stored_samples import at
from tests.tsad.related_alerts import BONDS, MINUTE, moved
from tsad.triage.describing import described
from tsad.triage.digests import Member, incident_of, level_of_episode, member_of
from tsad.triage.kinds import Kinds
from tsad.triage.placing import LAGS, Placing, likeness

TEXTS = ["disk full", "refused", "gone"]
RACKS = ["r1", "r2", None]


def alerts(seed: int, count: int) -> list[Member]:
    """Some that are related in several ways, in order."""
    draw, found = Random(seed), dict[str, Member]()
    for _ in range(count):
        slot, entity = draw.randrange(150), draw.choice("abcdef")
        channels = {name: slot - draw.randrange(3) for name in draw.sample("xyz", draw.randint(1, 3))}
        said = [draw.choice(TEXTS)] if draw.random() < 0.3 else None
        made = moved(entity, slot, channels, slot + draw.randrange(12), said, draw.random() < 0.5)
        rack = draw.choice(RACKS)
        member = member_of(made, MINUTE, {} if rack is None else {"rack": rack}, ["rack"])
        found[member.alert_id] = member
    return sorted(found.values(), key=lambda one: one.place)


def bond(one: Member, other: Member) -> int | None:
    """How closely two alerts are related; the least is the closest."""
    mine, theirs = one.digest, other.digest
    if mine.entity == theirs.entity:
        return 1
    if set(mine.templates) & set(theirs.templates):
        return 2
    if set(mine.labels) & set(theirs.labels):
        return 3
    times = [
        abs(a.onset - b.onset) <= LAGS * 60
        for a in mine.channels if a.feature in mine.curves
        for b in theirs.channels if b.feature in theirs.curves
    ]  # fmt: skip
    curves = [likeness(a, b) for a in mine.curves.values() for b in theirs.curves.values()]
    return 4 if any(times) and max(curves, default=0) >= BONDS.correlation else None


def plainly(members: list[Member]) -> dict[str, str]:
    """The incident of each alert, by looking at all before it."""
    placed: dict[str, tuple[str, Any]] = {}
    for place, member in enumerate(members):
        homes = []
        for other in members[:place]:
            incident, started = placed[other.alert_id]
            met = member.first <= other.end + BONDS.gap and member.first <= started + BONDS.span
            if met and (how := bond(member, other)) is not None:
                homes.append((how, started, incident))
        if homes:
            _, started, incident = min(homes)
            placed[member.alert_id] = incident, started
        else:
            placed[member.alert_id] = incident_of(member.alert_id), member.first
    return {name: incident for name, (incident, _) in placed.items()}


@pytest.mark.parametrize("seed", range(12))
def test_placing_is_what_looking_at_all_pairs_gives(seed: int) -> None:
    members = alerts(seed, 60)
    placing = Placing(BONDS)
    found = {one.alert_id: str(placing.place(one).incident) for one in members}
    assert found == plainly(members)
    assert 1 < len(set(found.values())) < len(members)


@pytest.mark.parametrize("seed", range(4))
def test_placing_goes_on_from_those_that_may_still_be_joined(seed: int) -> None:
    """At any moment the rest may be forgotten."""
    members = alerts(seed, 60)
    whole = Placing(BONDS)
    wanted = [whole.place(one) for one in members]
    for cut in (10, 30, 50):
        begun = Placing(BONDS)
        for one in wanted[:cut]:
            begun.put(one)
        left = begun.alive(members[cut].first)
        assert len(left) < cut
        assert all(one.end + BONDS.gap >= members[cut].first for one in left)
        again = Placing(BONDS)
        for one in reversed(left):
            again.put(one)
        assert [again.place(one) for one in members[cut:]] == wanted[cut:]


@pytest.mark.parametrize("seed", range(6))
def test_an_incident_begins_with_its_first_alert_and_spans_no_more_than_it_may(seed: int) -> None:
    placing = Placing(BONDS)
    groups: dict[str, list[Member]] = {}
    for one in alerts(seed, 80):
        placed = placing.place(one)
        groups.setdefault(str(placed.incident), []).append(placed)
    for incident, members in groups.items():
        assert incident == incident_of(members[0].alert_id)
        assert {one.started for one in members} == {members[0].first}
        assert members[-1].first - members[0].first <= BONDS.span
        latest = members[0].end
        for before, after in pairwise(members):
            latest = max(latest, before.end)
            assert after.first <= latest + BONDS.gap


@pytest.mark.parametrize("seed", range(6))
def test_what_is_said_does_not_depend_on_the_order_of_alerts(seed: int) -> None:
    members = alerts(seed, 12)
    shuffled = Random(seed).sample(members, len(members))
    assert described("i", "live", members) == described("i", "live", shuffled)


@pytest.mark.parametrize("seed", range(6))
def test_suspects_are_ranked_by_blame_which_adds_up(seed: int) -> None:
    row = described("i", "live", alerts(seed, 8))
    blames = [one["blame"] for one in row.suspects]
    assert blames == sorted(blames, reverse=True)
    assert 0 < sum(blames) <= 1.001
    assert all(0 <= one["share"] <= 1 and one["lag"] >= 0 for one in row.suspects)
    assert sum(row.signature.values()) == pytest.approx(1, abs=0.02)


def plain_kinds(signatures: list[dict[str, float]], alike: float) -> list[int]:
    """The first of the type of each, by looking at all of them."""

    def cosine(one: dict[str, float], other: dict[str, float]) -> float:
        product = sum(part * other.get(key, 0) for key, part in one.items())
        sizes = [sum(part**2 for part in each.values()) ** 0.5 for each in (one, other)]
        return product / (sizes[0] * sizes[1])

    firsts, found = list[int](), list[int]()
    for place, signature in enumerate(signatures):
        near = [(round(cosine(signature, signatures[first]), 9), -first) for first in firsts]
        best = max(near, default=(0.0, 0))
        if best[0] >= alike:
            found.append(-best[1])
        else:
            firsts.append(place)
            found.append(place)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_types_are_what_comparing_with_all_firsts_gives(seed: int) -> None:
    draw = Random(seed)
    signatures = [
        {name: draw.choice([0.2, 0.5, 0.9]) for name in draw.sample("pqrst", draw.randint(1, 4))} for _ in range(40)
    ]
    kinds, found = Kinds(0.8), list[int]()
    for place, signature in enumerate(signatures):
        known = kinds.of(signature)
        if known is None:
            kinds.add(str(place), signature)
        found.append(place if known is None else int(known[0]))
    assert found == plain_kinds(signatures, 0.8)
    begun = Kinds(0.8, [
        TypeRow(str(n), "live", n, at(n), "", signatures[n]) for n in sorted(set(found)) if n < 20
    ])  # fmt: skip
    assert begun.of(signatures[19]) is not None, "the types before it are known again"


@pytest.mark.parametrize(
    ("score", "slots", "level"), [(2.0, 1, 2.0), (2.0, 2, 2.1), (2.0, 16, 2.4), (-1.0, 1, 0.0), (3.0, 0, 3.0)]
)
def test_longer_is_a_little_worse_and_stronger_is_worse(score: float, slots: int, level: float) -> None:
    assert level_of_episode(score, slots) == pytest.approx(level)


@pytest.mark.parametrize("gap", [0, 5, 60])
def test_the_gap_is_counted_from_the_end_of_the_last_slot(gap: int) -> None:
    bonds = BONDS.__class__(timedelta(minutes=gap), timedelta(hours=10))
    first = member_of(moved("a", 10, {"x": 10}, 12), MINUTE)
    for later, together in ((13 + gap, True), (14 + gap, False)):
        placing = Placing(bonds)
        home = placing.place(first).incident
        other = placing.place(member_of(moved("a", later, {"x": later}), MINUTE))
        assert (other.incident == home) is together
