"""Which alerts to ask people about first: those whose answers would teach most.

After Astronomaly (Lochner and Bassett, "Astronomaly: personalised active anomaly detection in astronomical data",
Astronomy and Computing 36, 2021): a regressor on people's labels predicts how interesting each object is (U, 0 to 1),
and its score S becomes S tanh(delta - 1 + arctanh U), where delta = exp(d / d0) grows with the distance d to the
nearest label. Beside labels U counts, far from them S does.

There, interesting is what looks like what people liked. Here it is what an answer would decide: U is how much the
answers around disagree, 0 where they all say the same, 1 where half of them do. The regressor is a kernel over
distances, not a random forest; d0 is fixed, not the mean of d, so that an alert's place does not depend on others that
are far away; S is the score brought below 1; and an alert stands for those that are alike: the strongest of them comes
first and weighs more the more they are, the others come behind the first ones of all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from storage.marks import Mark
from storage.read import AlertFilter, Reader
from storage.types import Alert
from tsad.triage.facts import Facts
from tsad.triage.likeness import SAME_FEATURES, Likeness, likeness
from tsad.triage.standing import Standings

Floats = NDArray[np.float64]
Signature = Mapping[tuple[str, str], float]
Reason = Literal["new", "disagree", "agree"]
REASONS: dict[Reason, str] = {
    "new": "like nothing answered yet",
    "disagree": "between answers that disagree",
    "agree": "answers on such ones agree",
}
ALIKE = 1 - SAME_FEATURES
"""Signatures (unit vectors) are alike up to this distance, 1 - their cosine."""
REACH = 2 * ALIKE
"""How far answers bear: the width of the kernel, and d0."""
DISPUTED = 0.5
"""From this U on, answers disagree."""
NO_OPINION = 1e-6
"""Weighs as much as answers that say nothing either way: what no answer is near is open."""
LOOKED_AT = 2000
"""Alerts among which is chosen, the newest."""


@dataclass(frozen=True, slots=True)
class Place:
    """An unanswered alert (its `row`): what an answer would teach, how many unanswered ones are alike, itself included,
    and where it stands to the answers."""

    row: int
    interest: float
    alike: int
    reason: Reason

    @property
    def why(self) -> str:
        """In words."""
        said = REASONS[self.reason]
        return said if self.alike == 1 else f"one of {self.alike} alike, {said}"


@dataclass(frozen=True, slots=True)
class Asked:
    """An alert to ask about, and why."""

    alert: Alert
    place: Place


def ordered(signatures: Floats, scores: Floats, ids: Sequence[str], answered: Floats, truths: Floats) -> list[Place]:
    """Unanswered alerts, the one whose answer would teach most first. `signatures` (N, K) are unit vectors or 0, with
    `scores` (N) and `ids`; `answered` (M, K) likewise, each with how true it is (M; 0 to 1). The order of rows does not
    matter."""
    raw = 1 - 1 / (1 + np.nan_to_num(np.maximum(scores, 0), posinf=1e300))
    strongest = sorted(range(len(ids)), key=lambda row: (-raw[row], ids[row]))
    mine, theirs = signatures[strongest], np.lexsort((truths, *answered.T))
    groups, ranks = _groups(mine)
    nearest, open_ = _answers(mine, answered[theirs], truths[theirs])
    sizes = np.bincount(groups, minlength=1)[groups] if len(groups) else groups
    with np.errstate(over="ignore", divide="ignore"):
        weight = np.tanh(np.exp(nearest / REACH) - 1 + np.arctanh(open_))
    interest = raw[strongest] * weight * np.log2(1 + sizes)
    disputed, new = (open_ >= DISPUTED) & (nearest <= REACH), nearest > ALIKE
    reasons: list[Reason] = ["disagree" if d else "new" if n else "agree" for d, n in zip(disputed, new, strict=True)]
    found = [
        (rank, Place(row, round(float(value), 9), int(size), reason))
        for rank, row, value, size, reason in zip(ranks, strongest, interest, sizes, reasons, strict=True)
    ]
    found.sort(key=lambda pair: (pair[0], -pair[1].interest, ids[pair[1].row]))
    return [place for _, place in found]


def _groups(signatures: Floats) -> tuple[NDArray[np.int64], list[int]]:
    """Of signatures, the strongest first: each one's group, and which of that it is. A group is what is alike to its
    first one and to none before."""
    groups, ranks = np.full(len(signatures), -1), [0] * len(signatures)
    for row in range(len(signatures)):
        if groups[row] < 0:
            members = np.flatnonzero((groups < 0) & (1 - signatures @ signatures[row] <= ALIKE))
            groups[members] = groups[row] = row
            for rank, member in enumerate(members):
                ranks[member] = rank
    return groups, ranks


def _answers(signatures: Floats, answered: Floats, truths: Floats) -> tuple[Floats, Floats]:
    """The distance (N) to the nearest answer, 1 where there is none, and how much those around disagree (N)."""
    if not len(answered):
        return np.ones(len(signatures)), np.ones(len(signatures))
    apart = np.clip(1 - signatures @ answered.T, 0, 1)
    weights = np.exp(-((apart / REACH) ** 2))
    truth = (weights @ truths + NO_OPINION / 2) / (weights.sum(axis=1) + NO_OPINION)
    return apart.min(axis=1), 1 - np.abs(2 * truth - 1)


def recent(reader: Reader, stream: str | None, days: float) -> AlertFilter:
    """The newest alerts of the run `live` that stand, of the last days before the newest of them."""
    which = AlertFilter(stream=stream, states=("open", "confirmed", "resolved"), limit=LOOKED_AT)
    newest = reader.alerts(replace(which, limit=1))
    return replace(which, since=newest[0].last_time - timedelta(days=days)) if newest else which


def review(standings: Standings, which: AlertFilter, limit: int) -> list[Asked]:
    """Which of the alerts that `which` lets through to ask people about, at most `limit`: the one first that would
    teach most. What a context event explains away is no question."""
    said = {mark.target: mark for mark in standings.marks.answers()}
    alerts = standings.reader.alerts(which)
    open_ = [one for one in alerts if one.id not in said and not one.explained_by_event]
    mine = [_signature(likeness(Facts.of(one))) for one in open_]
    known = _known(said, {one.id: one for one in alerts})
    names = sorted({name for one in mine for name in one})
    truths = np.array([said[identity].answer == "true" for identity in known], np.float64)
    places = ordered(
        _matrix(mine, names), np.array([one.score for one in open_]), [one.id for one in open_],
        _matrix(list(known.values()), names), truths,
    )  # fmt: skip
    return [Asked(open_[place.row], place) for place in places[:limit]]


def _known(said: Mapping[str, Mark], alerts: Mapping[str, Alert]) -> dict[str, Signature]:
    """The signatures of answered alerts: as they are now (one may have been explained since), else as they were."""
    found = {
        identity: likeness(Facts.of(alerts[identity])) if identity in alerts else _then(mark)
        for identity, mark in said.items()
    }
    return {identity: _signature(one) for identity, one in found.items() if one is not None}


def _then(mark: Mark) -> Likeness | None:
    return Likeness.model_validate(mark.detail["likeness"]) if "likeness" in mark.detail else None


def _signature(one: Likeness) -> Signature:
    """Shares by stream, feature and direction, of length 1."""
    size = float(np.linalg.norm(list(one.features.values()))) if one.features else 0.0
    return {(one.stream, name): share / size for name, share in one.features.items()} if size else {}


def _matrix(signatures: Collection[Signature], names: Sequence[tuple[str, str]]) -> Floats:
    place = {name: column for column, name in enumerate(names)}
    found = np.zeros((len(signatures), len(names)))
    for row, signature in enumerate(signatures):
        for name, share in signature.items():
            if name in place:
                found[row, place[name]] = share
    return found
