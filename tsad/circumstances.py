"""The context events that a partition knows, what it has learnt of them, and which alerts they explain away.

Everything here follows from the partition's records and orders. Each change of an alert is looked at in the order of
its slots, however many slots a poll closes.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from glob import escape
from itertools import chain

from storage.events import LOGS, ContextEvent
from streaming.signs import Sighting
from streaming.types import State
from tsad.cases import Account, Case, Evidence, Judged
from tsad.context import (
    LOOK_BACK,
    NOTABLE,
    OFTEN,
    Allowance,
    Bounds,
    Happening,
    Precedent,
    Precedents,
    Shares,
    by_precedent,
    by_rule,
    coverage,
    excess,
    outgrown,
)
from tsad.findings import Event
from tsad.judge import Change
from tsad.rows import utc
from tsad.wording import utc_text

CANDIDATES = 8
"""Events that one alert is held against; the newest."""
CONTEXT = "context"
"""What the audit calls that an event explains an alert, or explains it no longer."""


@dataclass(slots=True)
class Circumstances:
    """What is known around a partition.

    `after`: slots behind an event in which an alert follows it; `reach`: slots for which an alert may still change
    after its last flag; `told`: events from outside, which orders name; `seen`: those that the partition's own lines
    tell of, by entity, `wide` being the keys that are patterns.
    """

    after: int
    reach: int
    rules: tuple[Allowance, ...] = ()
    learn: bool = True
    told: dict[str, Happening] = field(default_factory=dict)
    seen: dict[str, list[Happening]] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)
    precedents: Precedents = field(default_factory=Precedents)

    @property
    def span(self) -> int:
        """Slots behind which an event has no more alert that may change."""
        return self.after + 2 * self.reach

    def add(self, happenings: Iterable[Happening]) -> None:
        """Take in events that orders name."""
        self.told |= {one.id: one for one in happenings}

    def sight(self, one: Sighting, closed: int | None) -> ContextEvent | None:
        """Take in what a line tells of; `closed` is the last slot that has closed. Lines not further than `after` from
        an event of their kind belong to it; else it is a new one, which is returned."""
        given = one.sign.entity
        entity = escape(one.entity) if given is None else given
        if given is not None:
            self.wide.add(given)
        mine = self.seen.setdefault(entity, [])
        for place, other in enumerate(mine):
            if other.kind == one.sign.kind and other.first - self.after <= one.slot <= other.last + self.after:
                mine[place] = replace(other, first=min(other.first, one.slot), last=max(other.last, one.slot))
                return None
        detail = {"line": one.line} if one.line else {}
        event = ContextEvent(one.sign.kind, utc(one.time), entity, None, one.text, detail, LOGS)
        known = one.slot if closed is None else max(one.slot, closed + 1)
        said = f"{utc_text(event.start)} UTC"
        mine.append(Happening(event.id, event.kind, entity, one.slot, one.slot, event.title, said, known, one.line))
        return event

    def forget(self, closed: int) -> None:
        """Drop what tells nothing any more of an alert that may still change after the slot `closed`."""
        oldest = closed - self.reach - LOOK_BACK * (self.after + 1)
        kept = {entity: [one for one in mine if not self._past(one, oldest)] for entity, mine in self.seen.items()}
        self.seen = {entity: mine for entity, mine in kept.items() if mine}
        self.told = {key: one for key, one in self.told.items() if not self._past(one, oldest)}

    def _past(self, one: Happening, slot: int) -> bool:
        """Whether an alert with its last flag at `slot` is too far behind."""
        return one.last + self.after + self.reach < slot

    def look(self, case: Case, change: Change, judged: Judged | None) -> list[Event]:
        """What a change of an alert means for what explains it; what of that is worth an audit row."""
        episode = change.episode
        if case.account is None and not self.told and not self.seen:
            return []
        shares = _shares_at(judged, change.row, episode.last)
        account = self._account(case, change)
        if account is None:
            return []
        if shares is not None:
            account.features = sorted({*account.features, *(name for name, part in shares.items() if part >= NOTABLE)})
        events = self._judge(account, case, change, shares)
        self._learn(account, case, change)
        return events

    def _account(self, case: Case, change: Change) -> Account | None:
        """The alert's account, with the events that it follows, newest first."""
        episode, account = change.episode, case.account
        near = [
            one
            for one in self._known(case.entity)
            if one.known <= episode.last
            and not self._past(one, episode.last)
            and one.concerns(case.entity, episode.first, self.after)
        ]
        if not near:
            return account
        if account is None:
            account = case.account = Account(opening=_shares(case.opening))
        held = {one.id: one for one in [*account.events, *near]}
        account.events = sorted(held.values(), key=lambda one: (-one.first, one.kind, one.id))[:CANDIDATES]
        return account

    def _known(self, entity: str) -> Iterable[Happening]:
        """Every event that may be of an entity."""
        keys = {escape(entity), *self.wide}
        return chain(self.told.values(), *(self.seen.get(key, ()) for key in sorted(keys)))

    def _judge(self, account: Account, case: Case, change: Change, shares: Shares | None) -> list[Event]:
        """Let an event explain the alert, or take that back for good where the alert has outgrown it."""
        episode = change.episode
        length = episode.last - episode.first + 1
        if account.raised is not None:
            return []
        if account.by is None:
            for one in account.events:
                bounds = self._bounds(one, case.entity, account.opening, episode.score, episode.last)
                if bounds is not None and outgrown(bounds, episode.score, length, shares) is None:
                    account.by, account.bounds = one, bounds
                    return [_event("explained", case, change, one, bounds.why)]
            return []
        if account.bounds is None:
            raise ValueError(f"alert of {case.entity!r}: an event explains it without bounds")
        grown = outgrown(account.bounds, episode.score, length, shares)
        account.raised = "earlier" if episode.first < account.by.first else grown
        return [] if account.raised is None else [_event("raised", case, change, account.by, account.raised)]

    def _often(self, one: Happening, entity: str, slot: int) -> float:
        """In which part of the time up to `slot` an alert of `entity` would follow an event such as this one."""
        such = [
            other
            for other in self._known(entity)
            if other.kind == one.kind and other.known <= slot and other.concerns(entity, other.first, 0)
        ]
        return coverage(such, slot, self.after)

    def _bounds(self, one: Happening, entity: str, opening: Shares, score: float, slot: int) -> Bounds | None:
        bounds = by_rule(one, entity, opening, score, self.rules)
        if bounds is None and self.learn and self._often(one, entity, slot) <= OFTEN:
            bounds = by_precedent(one, opening, score, self.precedents.all(), self.after)
        return bounds

    def _learn(self, account: Account, case: Case, change: Change) -> None:
        """What is over, and was delivered, is a precedent. What an event explained is none: it would be its own."""
        episode, track = change.episode, change.track
        if episode.running or track.merged_into is not None or account.explains:
            self.precedents.remove(case.entity, track.identity)
            return
        began = {one.kind: one.first for one in reversed(account.events)}
        for kind, first in began.items():
            self.precedents.put(
                Precedent(
                    kind, case.entity, track.identity, first, episode.ended or episode.last, episode.score,
                    episode.last - episode.first + 1, dict(account.opening), tuple(account.features),
                )
            )  # fmt: skip

    def state(self) -> State:
        """What no order says."""
        seen = [asdict(one) for mine in self.seen.values() for one in mine]
        precedents = [asdict(one) for one in self.precedents.all()]
        return State(meta={"precedents": precedents, "seen": seen, "wide": sorted(self.wide)})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self.precedents, self.seen, self.wide = Precedents(), {}, set(state.meta["wide"])
        for part in state.meta["seen"]:
            self.seen.setdefault(part["entity"], []).append(Happening(**part))
        for part in state.meta["precedents"]:
            self.precedents.put(Precedent(**(part | {"features": tuple(part["features"])})))


def _event(reason: str, case: Case, change: Change, one: Happening, why: str) -> Event:
    detail: dict[str, str | int] = {"reason": reason, "event": one.id, "kind": one.kind, "why": why}
    return Event(CONTEXT, case.entity, change.episode.last, change.track.identity, detail)


def _shares_at(judged: Judged | None, row: int, slot: int) -> dict[str, float] | None:
    """The shares of the window of `row` that ends with `slot`, where it was judged now."""
    index = None if judged is None else judged.find(row, slot)
    if judged is None or index is None:
        return None
    return excess(dict(zip(judged.features, judged.verdicts.shares[index].tolist(), strict=True)))


def _shares(evidence: Evidence) -> dict[str, float]:
    """The shares of an opening that are not negligible."""
    whole = excess(dict(zip(evidence.features, evidence.shares.tolist(), strict=True)))
    return {name: share for name, share in whole.items() if share > 0.001}
