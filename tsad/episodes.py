"""Episodes of one entity as a pure fold over its slots: open, extend, confirm, retract, resolve (DESIGN §3).

`advance` is the only rule; the judge folds it once for what closes and again, from an older state, for what late data
changed. An `Episode` is a value: advancing makes a new one.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

State = Literal["open", "confirmed", "retracted", "resolved"]


class Reading(NamedTuple):
    """What the scorer said of one closed slot; NaN where it said nothing.

    `score` and `settled` are normalised (log p / log alpha): above 1 is a flag, whatever the model version. `settled`
    speaks of the slot `settle - 1` before.
    """

    slot: int
    score: float
    p: float
    settled: float

    @property
    def flagged(self) -> bool:
        """Whether the slot's own tail probability is beyond the threshold."""
        return self.score > 1


@dataclass(frozen=True, slots=True)
class Episode:
    """A run of flags with fewer than `quiet` slots without one between them; `score` and `p` are those of its peak.

    `ended` is the slot in which it was resolved or retracted, None while it runs.
    """

    first: int
    last: int
    peak: int
    score: float
    p: float
    flags: int = 1
    confirmed: bool = False
    state: State = "open"
    ended: int | None = None

    @property
    def running(self) -> bool:
        """Whether flags may still join it."""
        return self.state in ("open", "confirmed")


@dataclass(frozen=True, slots=True)
class Rule:
    """How long a slot settles, and how much quiet ends an episode (slots; quiet >= settle)."""

    settle: int
    quiet: int


def advance(episode: Episode | None, reading: Reading, rule: Rule) -> tuple[Episode | None, Episode | None]:
    """One slot: the episode that runs on behind it (or None), and one that ended in it (or None).

    The decision of an episode falls when its first slot has settled: beyond the threshold it is confirmed, else
    retracted, and a later flag opens a new one. An unknown settled score (NaN) decides nothing.
    """
    if episode is None:
        return (_open(reading) if reading.flagged else None), None
    if reading.slot - episode.last - reading.flagged >= rule.quiet:
        ended = replace(episode, state="resolved", ended=reading.slot)
        return (_open(reading) if reading.flagged else None), ended
    if reading.flagged:
        episode = _extend(episode, reading)
    return _decide(episode, reading, rule)


def calm(episode: Episode, slot: int, rule: Rule) -> bool:
    """Whether `slot`, where it is not flagged, leaves the episode as it is, whatever else was said of it."""
    return slot - episode.last < rule.quiet and not _due(episode, slot, rule)


def _due(episode: Episode, slot: int, rule: Rule) -> bool:
    """Whether the decision of an episode falls in `slot`."""
    return episode.state == "open" and slot == episode.first + rule.settle - 1


def _open(reading: Reading) -> Episode:
    return Episode(reading.slot, reading.slot, reading.slot, reading.score, reading.p)


def _extend(episode: Episode, reading: Reading) -> Episode:
    longer = replace(episode, last=reading.slot, flags=episode.flags + 1)
    if reading.score <= episode.score:
        return longer
    return replace(longer, peak=reading.slot, score=reading.score, p=reading.p)


def _decide(episode: Episode, reading: Reading, rule: Rule) -> tuple[Episode | None, Episode | None]:
    if not _due(episode, reading.slot, rule) or reading.settled != reading.settled:
        return episode, None
    if reading.settled > 1:
        return replace(episode, confirmed=True, state="confirmed"), None
    return None, replace(episode, state="retracted", ended=reading.slot)


def fold(episode: Episode | None, readings: list[Reading], rule: Rule) -> tuple[Episode | None, list[Episode]]:
    """`advance` over several slots: the episode that runs on, and those that ended, in order."""
    ended = []
    for reading in readings:
        episode, done = advance(episode, reading, rule)
        if done is not None:
            ended.append(done)
    return episode, ended


def severity(score: float, channels: int, features: int, duration: int) -> Literal["info", "warning", "critical"]:
    """How bad: a point each for a far tail (score ≥ 2), many channels (≥ a quarter, at least 2), 10 or more slots."""
    points = (score >= 2) + (channels >= max(2, features / 4)) + (duration >= 10)
    return ("info", "warning", "critical", "critical")[points]
