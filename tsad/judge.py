"""From readings to episodes with an identity: what opens, goes on, ends, and what late data moved or merged."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from streaming.types import Codes, Floats, Ints, State
from tsad.episodes import Episode, Reading, Rule, advance, calm, fold
from tsad.readings import Readings, meta_rows

EXTENDED = "extended"
"""A change that is one more slot and nothing else."""


@dataclass(slots=True)
class Track:
    """An episode and its identity: the slot that first opened it.

    `merged_into` is the identity of an older track that swallowed it.
    """

    identity: int
    episode: Episode
    merged_into: int | None = None

    def meets(self, episode: Episode) -> bool:
        """Whether `episode` shares a slot with this track."""
        return self.episode.first <= episode.last and episode.first <= self.episode.last

    def becomes(self, episode: Episode) -> bool:
        """Whether this track may go on as `episode`: they share a slot, or it opens at the track's identity.

        Not where the episode ended before that slot: a flag there opens another one, whose identity that slot is.
        """
        reaches = episode.ended is None or self.identity <= episode.ended
        return reaches and (self.meets(episode) or self.identity == episode.first)

    def after(self, slot: int) -> bool:
        """Whether it runs still, or ended behind `slot`."""
        return self.episode.ended is None or self.episode.ended > slot


@dataclass(frozen=True, slots=True)
class Change:
    """One track of `row` that changed, and why: opened, extended, confirmed, retracted, resolved, amended, merged.

    `episode`: as it was right then; the track goes on.
    """

    row: int
    track: Track
    reason: str
    episode: Episode = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "episode", self.track.episode)


@dataclass(slots=True)
class Entity:
    """One entity's episodes: `tail` is the state H slots ago, `head` the running one, `recent` ended within H slots."""

    tail: Episode | None = None
    head: Track | None = None
    recent: list[Track] = field(default_factory=list)

    @property
    def tracks(self) -> list[Track]:
        """Every track that may still change."""
        return [*self.recent, *([self.head] if self.head else [])]

    @property
    def idle(self) -> bool:
        """Whether nothing is left that may change."""
        return self.tail is None and self.head is None and not self.recent


class Judge:
    """Folds `advance` over what closes; folds again from H slots ago where late data changed readings."""

    def __init__(self, rule: Rule, readings: Readings) -> None:
        self.rule = rule
        self.readings = readings
        self.entities: dict[int, Entity] = {}
        self.closed: int | None = None

    def close(self, slot: int, rows: Codes, score: Floats, p: Any, settled: Floats) -> list[Change]:
        """The readings of one closed slot (`rows` have a window there): what changed."""
        ends = np.full(len(rows), slot, np.int64)
        return [
            change
            for _, changes in self.close_all(range(slot, slot + 1), rows, ends, score, p, settled)
            for change in changes
        ]

    def close_all(
        self, slots: range, rows: Codes, ends: Ints, score: Floats, p: Any, settled: Floats
    ) -> list[tuple[int, list[Change]]]:
        """The readings (N, by slot) of closed slots in a row, as many as `readings` leads by: what changed in each in
        which anything did."""
        self.readings.write(rows, ends, score, p, settled)
        flagged: dict[int, list[int]] = {}
        hit = np.flatnonzero(score > 1)
        for slot, row in zip(ends[hit].tolist(), rows[hit].tolist(), strict=True):
            flagged.setdefault(slot, []).append(row)
        changed = []
        for slot in slots:
            here = flagged.get(slot, ())
            if self.entities or here or self.readings.flags(slot - self.readings.horizon):
                self._leave(slot - self.readings.horizon)
                if (changes := self._enter(slot, here)) is not None:
                    changed.append((slot, changes))
        self.closed = slots[-1]
        return changed

    def empty_slots(self, until: int) -> range:
        """Slots behind the last closed one up to `until`, as far as anything is left that they can change."""
        if self.closed is None:
            return range(0)
        first = self.closed + 1
        return range(first, min(until, first + self.readings.horizon + self.rule.quiet) + 1)

    def amend(self, rows: Codes, slots: Ints, score: Floats, p: Any, settled: Floats, closed: int) -> list[Change]:
        """New readings of slots already closed (the last is `closed`): what that changed."""
        self.readings.write(rows, slots, score, p, settled)
        return [change for row in sorted(set(rows.tolist())) for change in self._again(row, closed)]

    def evict(self, rows: Codes) -> list[Change]:
        """`rows` leave the partition: their running episodes end."""
        changes = []
        for row in sorted(rows.tolist()):
            entity = self.entities.pop(row, None)
            if entity is not None and entity.head is not None:
                entity.head.episode = replace(entity.head.episode, state="resolved", ended=self.closed)
                changes.append(Change(row, entity.head, "evicted"))
        self.readings.forget(rows)
        return changes

    def running(self) -> Iterator[tuple[int, Track]]:
        """The rows with a running episode."""
        return ((row, entity.head) for row, entity in self.entities.items() if entity.head is not None)

    def _enter(self, slot: int, flagged: Iterable[int]) -> list[Change] | None:
        """What `slot` changed, in which `flagged` are; None where nothing is left that might change."""
        if not flagged and not self.entities:
            return None
        heads = ((row, entity.head) for row, entity in self.entities.items() if entity.head)
        moved = (row for row, head in heads if not calm(head.episode, slot, self.rule))
        changes: list[Change] = []
        for row in sorted({*flagged, *moved}):
            changes += self._step(row, self.readings.reading(row, slot))
        return changes

    def _step(self, row: int, reading: Reading) -> list[Change]:
        entity = self.entities.setdefault(row, Entity())
        before = entity.head.episode if entity.head else None
        episode, ended = advance(before, reading, self.rule)
        changes = []
        if ended is not None and entity.head is not None:
            entity.head.episode = ended
            entity.recent.append(entity.head)
            changes.append(Change(row, entity.head, ended.state))
            entity.head, before = None, None
        if episode is not None and episode != before:
            changes.append(self._put(row, entity, episode, before))
        return changes

    def _put(self, row: int, entity: Entity, episode: Episode, before: Episode | None) -> Change:
        if entity.head is None:
            entity.head = Track(episode.first, episode)
            return Change(row, entity.head, "opened")
        confirmed = before is not None and episode.confirmed and not before.confirmed
        entity.head.episode = episode
        return Change(row, entity.head, "confirmed" if confirmed else EXTENDED)

    def _leave(self, slot: int) -> None:
        """`slot` can no longer change: move the tails over it."""
        left = self.readings.flagged(slot)
        if not self.entities and not len(left):
            return
        tails = ((row, entity.tail) for row, entity in self.entities.items() if entity.tail)
        moved = [row for row, tail in tails if not calm(tail, slot, self.rule)]
        for row in {*moved, *left.tolist()}:
            entity = self.entities.setdefault(row, Entity())
            entity.tail, _ = advance(entity.tail, self.readings.reading(row, slot), self.rule)
        for row, entity in list(self.entities.items()):
            if entity.recent:
                entity.recent = [track for track in entity.recent if track.after(slot)]
            if entity.idle:
                del self.entities[row]

    def _again(self, row: int, closed: int) -> list[Change]:
        """Fold the last H slots again and match what comes out to the tracks that are there."""
        entity = self.entities.setdefault(row, Entity())
        slots = range(closed - self.readings.horizon + 1, closed + 1)
        running, ended = fold(entity.tail, [self.readings.reading(row, slot) for slot in slots], self.rule)
        old = sorted(entity.tracks, key=lambda track: track.identity)
        before = {track.identity: (track.episode, track.merged_into) for track in old}
        tracks = _match([*ended, *([running] if running else [])], old, closed)
        entity.head = next((track for track in tracks if track.episode.running), None)
        entity.recent = [track for track in tracks if track is not entity.head]
        if entity.idle:
            del self.entities[row]
        return [
            Change(row, track, _reason(track, before.get(track.identity)))
            for track in tracks
            if before.get(track.identity) != (track.episode, track.merged_into)
        ]

    def state(self) -> State:
        """Tracks as JSON."""
        entities = {str(row): asdict(entity) for row, entity in self.entities.items()}
        return State(meta={"closed": self.closed, "entities": entities})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self.closed = state.meta["closed"]
        self.entities = {row: _entity(part) for row, part in meta_rows(state.meta["entities"]).items()}


def _match(episodes: list[Episode], old: Iterable[Track], closed: int) -> list[Track]:
    """Give each episode the oldest track that may become it.

    Tracks left over are retracted, naming what swallowed them.
    """
    left = list(old)
    tracks: list[Track] = []
    for episode in episodes:
        keeper = next((track for track in left if track.becomes(episode)), None)
        identity = keeper.identity if keeper else episode.first
        tracks.append(Track(identity, episode))
        if keeper:
            left.remove(keeper)
        for other in [track for track in left if track.meets(episode)]:
            # a track that may become another episode of the new folding stays free for it
            if not any(other.becomes(another) for another in episodes if another is not episode):
                left.remove(other)
                tracks.append(_retracted(other, identity, closed))
    return tracks + [_retracted(track, None, closed) for track in left]


def _retracted(track: Track, merged_into: int | None, closed: int) -> Track:
    gone = track.episode.state == "retracted"
    if gone and merged_into is None:
        return track
    ended = closed if track.episode.running else track.episode.ended
    return Track(track.identity, replace(track.episode, state="retracted", ended=ended), merged_into)


def _reason(track: Track, before: tuple[Episode, int | None] | None) -> str:
    if before is None:
        return "opened"
    if track.merged_into is not None:
        return "merged"
    if track.episode.state == "retracted" and before[0].state != "retracted":
        return "retracted"
    return "reopened" if before[0].state == "retracted" and track.episode.state != "retracted" else "amended"


def _entity(part: dict[str, Any]) -> Entity:
    tail = Episode(**part["tail"]) if part["tail"] else None
    return Entity(tail, _track(part["head"]) if part["head"] else None, [_track(track) for track in part["recent"]])


def _track(part: dict[str, Any]) -> Track:
    return Track(**(part | {"episode": Episode(**part["episode"])}))
