"""The context events that a partition knows, what it has learnt of them, and which alerts they explain away.

Everything here follows from the partition's records and orders. Each change of an alert is looked at in the order of
its slots, however many slots a poll closes.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from glob import escape
from itertools import chain
from typing import Any

from storage.events import LOGS, ContextEvent
from streaming.logfeatures import TEMPLATE_PREFIX
from streaming.onsets import Onset
from streaming.signs import Sighting
from streaming.types import State
from tsad.cases import Account, Case, Evidence, Judged
from tsad.complaints import KEPT, TEMPLATES, Complaints
from tsad.context import (
    LOOK_BACK,
    OFTEN,
    Allowance,
    Bounds,
    Growth,
    Happening,
    Precedent,
    Precedents,
    Shares,
    Size,
    by_rule,
    coverage,
    excess,
    outgrown,
    unprecedented,
)
from tsad.findings import Event
from tsad.judge import Change
from tsad.rows import utc
from tsad.signature import Signature, more_than_usual
from tsad.wording import utc_text

CANDIDATES, ONSETS = 8, 16
"""Events that one alert is held against, and log templates that had set in; the newest."""
A_TEMPLATE = 16
"""Precedents that are kept of a template; of onsets as many as of `Complaints`."""
FOLLOWED = 0.5
"""Part of a template's onsets that an alert must follow, or it tells of none."""
SETTING_IN = 3
"""Slots before its first flag in which an alert is looked at."""
BY_ENTITY, MEMORIES = ("seen", "begun"), ("precedents", "templates")
LEARNT = Bounds(None, None, None, "learnt")
"""What was learnt has its bounds in the precedents."""
Measure = Callable[[int, int, int], Signature]
"""The signature of a row's slots, from the first to the last."""
CONTEXT = "context"
"""What the audit calls that an event explains an alert, or explains it no longer."""


@dataclass(slots=True)
class Circumstances:
    """What is known around a partition.

    `after`: slots behind an event in which an alert follows it; `reach`: slots for which an alert may still change
    after its last flag; `told`: events from outside, which orders name; `seen`: those that the partition's own lines
    tell of, by entity, `wide` being the keys that are patterns; `begun`: onsets of templates by entity, and `tally` by
    kind, how many there were and how many of them (`followed`) an alert followed, `ahead` being those (slot, kind) that
    no judgement has come to yet. `named` are those that have explained one since the last save.
    """

    after: int
    reach: int
    rules: tuple[Allowance, ...] = ()
    learn: bool = True
    told: dict[str, Happening] = field(default_factory=dict)
    seen: dict[str, list[Happening]] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)
    precedents: Precedents = field(default_factory=Precedents)
    begun: dict[str, list[Happening]] = field(default_factory=dict)
    tally: dict[str, list[int]] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)
    ahead: list[tuple[int, str]] = field(default_factory=list)
    templates: Precedents = field(default_factory=lambda: Precedents(A_TEMPLATE, TEMPLATES))
    named: list[ContextEvent] = field(default_factory=list)
    complaints: Complaints = field(default_factory=Complaints)

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

    def onset(self, one: Onset, closed: int | None) -> None:
        """Take in a template that has set in; `closed` is the last slot that has closed."""
        kind, entity = f"{TEMPLATE_PREFIX}{one.template}", escape(one.entity)
        event = ContextEvent(kind, utc(one.time), entity, None, one.text, source=LOGS)
        known = one.slot if closed is None else max(one.slot, closed + 1)
        said = f"{utc_text(event.start)} UTC"
        mine = self.begun.setdefault(entity, [])
        mine.append(
            Happening(
                event.id, kind, entity, one.slot, one.slot, one.text, said, known, template=one.template, at=one.time
            )
        )
        del mine[:-KEPT]
        self.ahead.append((one.slot, kind))

    def _come_to(self, slot: int) -> None:
        """Count the onsets up to `slot`: how far lines have come beyond it depends on how they are read."""
        self.complaints.come_to(slot)
        due = sorted((one for one in self.ahead if one[0] <= slot), key=lambda one: one[0])
        if not due:
            return
        self.ahead = [one for one in self.ahead if one[0] > slot]
        for _, kind in due:
            begun, followed = self.tally.pop(kind, (0, 0))
            self.tally[kind] = [begun + 1, followed]
            if len(self.tally) > TEMPLATES:
                del self.tally[next(iter(self.tally))]

    def forget(self, closed: int) -> None:
        """Drop what tells nothing any more of an alert that may still change after the slot `closed`."""
        oldest = closed - self.reach - LOOK_BACK * (self.after + 1)
        self._come_to(oldest)
        kept = {entity: [one for one in mine if not self._past(one, oldest)] for entity, mine in self.seen.items()}
        self.seen = {entity: mine for entity, mine in kept.items() if mine}
        self.told = {key: one for key, one in self.told.items() if not self._past(one, oldest)}
        begun = {entity: [one for one in mine if not self._past(one, oldest)] for entity, mine in self.begun.items()}
        self.begun = {entity: mine for entity, mine in begun.items() if mine}
        self.complaints.forget(oldest - self.after - self.reach)
        self.followed &= {one.id for mine in self.begun.values() for one in mine}

    def _past(self, one: Happening, slot: int) -> bool:
        """Whether an alert with its last flag at `slot` is too far behind."""
        return one.last + self.after + self.reach < slot

    def look(self, case: Case, change: Change, judged: Judged | None, measure: Measure) -> list[Event]:
        """What a change of an alert means for what explains it; what of that is worth an audit row."""
        episode = change.episode
        self._come_to(episode.last)
        self.complaints.meet(case.entity, episode.first - SETTING_IN, episode.last)
        if case.account is None and not self.told and not self.seen and not self.begun:
            return []
        shares = _shares_at(judged, change.row, episode.last)
        account = self._account(case, change)
        if account is None:
            return []
        self._measure(account, change, measure)
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
        newest = sorted(held.values(), key=lambda one: (-one.first, one.kind, one.id))
        onsets = [one for one in newest if one.template >= 0][:ONSETS]
        account.events = [*[one for one in newest if one.template < 0][:CANDIDATES], *onsets]
        for one in near:
            if one in onsets and one.id not in self.followed:
                self.followed.add(one.id)
                self.tally.setdefault(one.kind, [1, 0])[1] += 1
        return account

    def _measure(self, account: Account, change: Change, measure: Measure) -> None:
        """Add what the alert has done since it was last looked at; its errors may have begun a little before it."""
        last = change.episode.last
        first = change.episode.first - SETTING_IN if account.seen is None else account.seen + 1
        if last < first:
            return
        found = measure(change.row, first, last)
        if account.seen is None:  # what is usual now is said by what was before
            account.rate = found.rate
        account.seen = last
        account.errors += found.errors
        for name, peak in found.peaks.items():
            account.peaks[name] = max(peak, account.peaks.get(name, 0.0))

    def _known(self, entity: str) -> Iterable[Happening]:
        """Every event that may be of an entity."""
        mine = escape(entity)
        keys = {mine, *self.wide}
        lines = (self.seen.get(key, ()) for key in sorted(keys))
        return chain(self.told.values(), *lines, self.begun.get(mine, ()))

    def _judge(self, account: Account, case: Case, change: Change, shares: Shares | None) -> list[Event]:
        """Let an event explain the alert, or take that back for good where the alert has outgrown all of them."""
        if account.raised is not None:
            return []
        before, grown = account.by, None
        if before is not None:
            grown = self._grown(before, account, case, change, shares)
            if grown is None:
                return []
        for one in account.events:
            bounds = self._bounds(one, account, case, change, shares) if one != before else None
            if bounds is not None:
                account.by, account.bounds = one, bounds
                self._name(one)
                return [_event("explained", case, change, one, bounds.why)]
        if before is None or grown is None:
            return []
        account.raised = grown
        return [_event("raised", case, change, before, grown)]

    def _grown(
        self, one: Happening, account: Account, case: Case, change: Change, shares: Shares | None
    ) -> Growth | None:
        """In what an alert has outgrown the event that explains it, if in anything."""
        episode = change.episode
        if account.bounds is None:
            raise ValueError(f"event {one.id} explains an alert without bounds")
        if episode.first < one.first:
            return "earlier"
        if account.bounds.why == "rule":
            return outgrown(account.bounds, episode.score, episode.last - episode.first + 1, shares)
        found = unprecedented(one, self._size(account, case, change, one), self._precedents(one), self.after)
        return "stronger" if found == "nothing" else found

    def _size(self, account: Account, case: Case, change: Change, one: Happening) -> Size:
        """How far an alert has gone behind an event."""
        episode = change.episode
        length, delay = episode.last - episode.first + 1, max(episode.first - one.first, 0)
        errors = more_than_usual(account.errors, account.rate * (length + SETTING_IN))
        if one.template >= 0:
            errors = errors or self.complaints.suffers(case.entity, one.first - SETTING_IN, episode.last)
        return Size(episode.score, length, delay, account.peaks, errors)

    def _often(self, one: Happening, entity: str, slot: int) -> float:
        """In which part of the time up to `slot` an alert of `entity` would follow an event such as this one."""
        such = [
            other
            for other in self._known(entity)
            if other.kind == one.kind and other.known <= slot and other.concerns(entity, other.first, 0)
        ]
        return coverage(such, slot, self.after)

    def _bounds(
        self, one: Happening, account: Account, case: Case, change: Change, shares: Shares | None
    ) -> Bounds | None:
        """Those within which an event explains an alert, if it does."""
        episode = change.episode
        if episode.first < one.first:
            return None
        bounds = by_rule(one, case.entity, account.opening, episode.score, self.rules)
        if bounds is not None:
            length = episode.last - episode.first + 1
            return bounds if outgrown(bounds, episode.score, length, shares) is None else None
        if not self.learn or not self._tells(one) or self._often(one, case.entity, episode.last) > OFTEN:
            return None
        size = self._size(account, case, change, one)
        return LEARNT if unprecedented(one, size, self._precedents(one), self.after) is None else None

    def _tells(self, one: Happening) -> bool:
        """Whether alerts follow events of this kind often enough: anything may have come before one by chance."""
        if one.template < 0:
            return True
        begun, followed = self.tally.get(one.kind, (1, 0))
        return followed >= FOLLOWED * begun

    def _precedents(self, one: Happening) -> list[Precedent]:
        return (self.precedents if one.template < 0 else self.templates).of(one.kind)

    def _name(self, one: Happening) -> None:
        """An onset is an event for others once it explains something."""
        if one.template >= 0:
            event = ContextEvent(one.kind, utc(one.at), one.entity, None, one.title, source=LOGS)
            self.named.append(event)

    def _learn(self, account: Account, case: Case, change: Change) -> None:
        """What is over, and was delivered, is a precedent. What an event explained is none: it would be its own. Nor is
        an alert with errors one for a log line: a fault has symptoms before it has errors."""
        episode, track = change.episode, change.track
        if episode.running or track.merged_into is not None or account.explains:
            self.precedents.remove(case.entity, track.identity)
            self.templates.remove(case.entity, track.identity)
            return
        first: dict[str, Happening] = {one.kind: one for one in reversed(account.events)}
        for kind, one in first.items():
            size = self._size(account, case, change, one)
            if one.template >= 0 and size.errors:
                continue
            (self.precedents if one.template < 0 else self.templates).put(
                Precedent(
                    kind, case.entity, track.identity, one.first, episode.ended or episode.last, size.score, size.slots,
                    size.delay, dict(size.peaks), size.errors,
                )
            )  # fmt: skip

    def state(self) -> State:
        """What no order says."""
        meta: dict[str, Any] = {"wide": sorted(self.wide), "tally": self.tally, "followed": sorted(self.followed)}
        meta |= {"ahead": self.ahead} | self.complaints.state()
        meta |= {name: [asdict(one) for mine in getattr(self, name).values() for one in mine] for name in BY_ENTITY}
        meta |= {name: [asdict(one) for one in getattr(self, name).all()] for name in MEMORIES}
        return State(meta=meta)

    def restore(self, state: State) -> None:
        """What `state` gave."""
        meta = state.meta
        self.wide, self.tally, self.followed = set(meta["wide"]), meta.get("tally", {}), set(meta.get("followed", ()))
        self.ahead = [(slot, kind) for slot, kind in meta.get("ahead", ())]
        self.complaints = Complaints.of(meta)
        for name in BY_ENTITY:
            held: dict[str, list[Happening]] = {}
            for part in meta.get(name, ()):
                held.setdefault(part["entity"], []).append(Happening(**part))
            setattr(self, name, held)
        self.precedents, self.templates = Precedents(), Precedents(A_TEMPLATE, TEMPLATES)
        for name in MEMORIES:
            for part in meta.get(name, ()):
                if "peaks" in part:  # older versions kept less of a precedent
                    getattr(self, name).put(Precedent(**part))


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
