"""What is known of each alert while it can still change: its track, and the evidence of its opening and its peak."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.types import Verdicts
from storage.documents import Document
from streaming.types import Codes, Floats, Ints, State
from tsad.context import Bounds, Growth, Happening
from tsad.judge import Track

NUMBERS = ("score", "p", "confidence")
"""NaN (JSON's null) in evidence that nobody has an opinion of: late data may move an opening or a peak there."""
ARRAYS = ("window", "observed", "origin", "width", "shares", "tails", "votes")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One judged window as it was at its moment.

    `window` T x F scaled, `observed` T x F in raw units (NaN = missing), raw = `origin` + `width` x scaled (F each),
    `shares` (F), `tails` and `votes` (D). `said`: what the rare log lines behind a feature said,
    masked; `quoted`: some of the lines behind a feature as they came, but for secrets.
    """

    slot: int
    version: str
    features: tuple[str, ...]
    detectors: tuple[str, ...]
    score: float
    p: float
    confidence: float
    window: Floats
    observed: Floats
    origin: Floats
    width: Floats
    shares: Floats
    tails: NDArray[np.float64]
    votes: NDArray[np.bool_]
    said: dict[str, list[str]] = field(default_factory=dict)
    quoted: dict[str, list[str]] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels whose share exceeds the least one by at least half of what the strongest's does."""
        excess = self.shares - self.shares.min(initial=1)
        return int((excess >= 0.5 * excess.max(initial=0)).sum()) if self.shares.any() else 0

    def state(self) -> State:
        """Arrays, and the rest as JSON."""
        rest = {name: getattr(self, name) for name in self.__slots__ if name not in ARRAYS}
        return State({name: getattr(self, name) for name in ARRAYS}, rest)

    @classmethod
    def restored(cls, state: State) -> "Evidence":
        """What `state` gave."""
        names = {name: tuple(state.meta[name]) for name in ("features", "detectors")}
        numbers = {name: float("nan") for name in NUMBERS if state.meta[name] is None}
        values: dict[str, Any] = {**state.meta, **names, **numbers, **state.arrays}
        return cls(**values)


@dataclass(slots=True)
class Told:
    """What was said of an alert: who explained it, in words, and the evidence shown.

    `window`: packed evidence that still waits to be explained.
    """

    explained_by: str | None = None
    sentence: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    window: bytes | None = None

    @property
    def slot(self) -> int | None:
        """The slot whose explanation is shown; None before there is one."""
        return self.evidence.get("slot")

    @property
    def pending(self) -> bool:
        """Whether the explanation is still to be made."""
        return self.window is not None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a row shows of the evidence `of`; it is asked for with each slot that an alert lasts."""

    of: Evidence
    votes: Document
    attribution: Document
    channels: int


@dataclass(slots=True)
class Account:
    """How context events bear on an alert. `events`: those that it follows, newest first; `by`: the one that explains
    it, within `bounds`; `raised`: how the alert outgrew that. `opening`: shares of its opening. `peaks`, `errors` and
    `rate`: its signature so far (`tsad.signature`), up to the slot `seen`."""

    events: list[Happening] = field(default_factory=list)
    by: Happening | None = None
    bounds: Bounds | None = None
    raised: Growth | None = None
    opening: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    errors: float = 0.0
    rate: float = 0.0
    seen: int | None = None

    @property
    def explains(self) -> bool:
        """Whether the alert is explained away."""
        return self.by is not None and self.raised is None

    @property
    def told(self) -> dict[str, Any]:
        """The event that explains the alert, for people and programs; empty where none does."""
        if self.by is None or self.bounds is None or not self.explains:
            return {}
        one = self.by
        said = {"line": one.line} if one.line else {}
        return {"id": one.id, "kind": one.kind, "title": one.title, "time": one.time, "why": self.bounds.why} | said

    @classmethod
    def restored(cls, meta: dict[str, Any]) -> "Account":
        """What `asdict` gave, by way of JSON."""
        bounds, by = meta["bounds"], meta["by"]
        if bounds is not None and bounds["features"] is not None:
            bounds = bounds | {"features": tuple(bounds["features"])}
        held = {
            "events": [Happening(**one) for one in meta["events"]],
            "by": None if by is None else Happening(**by),
            "bounds": None if bounds is None else Bounds(**bounds),
        }
        known = {name: value for name, value in meta.items() if name in cls.__slots__}
        return cls(**(known | held))


@dataclass(slots=True)
class Case:
    """An alert in the making. `peak` is kept only where it is not the opening; `detected_ns` is the wall clock's.

    `reason` is its last change that was more than one slot more, `changes` how many of those there were. `asked` is the
    slot of the last peak that was to be explained, since its episode had ended. `shown` is kept of the last row alone.
    """

    row: int
    entity: str
    track: Track
    opening: Evidence
    peak: Evidence | None = None
    detected_ns: int = 0
    ingested_ns: int = 0
    amended_ns: int | None = None
    reason: str = "opened"
    told: Told = field(default_factory=Told)
    changes: int = 0
    account: Account | None = None
    asked: int | None = None
    shown: Shown | None = None

    @property
    def strongest(self) -> Evidence:
        """The evidence of the peak, or of the opening where that is the peak."""
        return self.peak or self.opening


class CaseBook:
    """The cases whose tracks may still change, by (row, identity)."""

    def __init__(self) -> None:
        self.cases: dict[tuple[int, int], Case] = {}

    def of_row(self, row: int) -> list[Case]:
        """The cases of one entity."""
        return [case for (number, _), case in self.cases.items() if number == row]

    def drop(self, keys: Sequence[tuple[int, int]]) -> None:
        """Forget cases that can no longer change."""
        for key in keys:
            self.cases.pop(key, None)

    def state(self) -> State:
        """Every case, arrays apart from JSON."""
        whole = State(meta={"cases": []})
        for number, case in enumerate(self.cases.values()):
            whole.meta["cases"].append(_case_meta(case))
            whole.put(f"opening{number}", case.opening.state())
            if case.peak is not None:
                whole.put(f"peak{number}", case.peak.state())
            if case.told.window is not None:
                whole.arrays[f"told{number}"] = np.frombuffer(case.told.window, np.uint8)
        return whole

    def restore(self, state: State, tracks: dict[tuple[int, int], Track]) -> None:
        """What `state` gave; `tracks` are the judge's, which the cases share."""
        parts = state.parts()
        for number, meta in enumerate(state.meta["cases"]):
            key = (meta["row"], meta.pop("identity"))
            peak = Evidence.restored(parts[f"peak{number}"]) if meta.pop("has_peak") else None
            opening = Evidence.restored(parts[f"opening{number}"])
            told = Told(**meta.pop("told"))
            account = meta.pop("account", None)
            if f"told{number}" in state.arrays:
                told.window = state.arrays[f"told{number}"].tobytes()
            self.cases[key] = Case(track=tracks[key], opening=opening, peak=peak, told=told, **meta)
            self.cases[key].account = None if account is None else Account.restored(account)


def _case_meta(case: Case) -> dict[str, Any]:
    return {
        "row": case.row,
        "entity": case.entity,
        "identity": case.track.identity,
        "has_peak": case.peak is not None,
        "detected_ns": case.detected_ns,
        "ingested_ns": case.ingested_ns,
        "amended_ns": case.amended_ns,
        "reason": case.reason,
        "changes": case.changes,
        "asked": case.asked,
        "account": None if case.account is None else asdict(case.account),
        "told": {name: getattr(case.told, name) for name in ("explained_by", "sentence", "evidence")},
    }


@dataclass(slots=True)
class Judged:
    """Verdicts of the windows of `rows` that end with `ends`, ordered by (end, row) and searchable by it."""

    rows: Codes
    ends: Ints
    features: tuple[str, ...]
    verdicts: Verdicts
    version: str
    alpha: float
    keys: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.keys = _key(self.ends, self.rows)

    @property
    def settled(self) -> Floats:
        """The settled scores (B), normalised as the immediate ones are: above 1 is a flag."""
        normalised: Floats = (np.log(self.verdicts.settled_p) / np.log(self.alpha)).astype(np.float32)
        return normalised

    def find(self, row: int, slot: int) -> int | None:
        """The index of the window of `row` that ends with `slot`."""
        key = _key(np.int64(slot), np.int32(row))
        index = int(np.searchsorted(self.keys, key))
        return index if index < len(self.keys) and self.keys[index] == key else None

    def evidence(
        self,
        index: int,
        window: Floats,
        observed: Floats,
        origin: Floats,
        width: Floats,
        said: dict[str, list[str]],
        quoted: dict[str, list[str]],
    ) -> Evidence:
        """The evidence of window `index`: the window itself, what was observed and said, and how that was scaled."""
        verdicts = self.verdicts
        return Evidence(
            int(self.ends[index]),
            self.version,
            self.features,
            verdicts.detectors,
            float(verdicts.score[index]),
            float(verdicts.p[index]),
            float(verdicts.confidence[index]),
            window,
            observed,
            origin,
            width,
            verdicts.shares[index].copy(),
            verdicts.tails[:, index].copy(),
            verdicts.votes[:, index].copy(),
            said,
            quoted,
        )


def _key(slots: Any, rows: Any) -> Any:
    """(slot, row) as one sortable number: rows stay below 2^20, slots of a millisecond below 2^43 until 2248."""
    return slots * (1 << 20) + rows


def stretches_of(judged: Judged, most: int) -> Iterator[tuple[range, slice]]:
    """The end slots in order, in stretches of at most `most` without one missing, each with its part of the arrays."""
    ends = judged.ends
    breaks = np.flatnonzero(np.diff(ends) > 1) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(ends)]):
        for first in range(int(ends[start]), int(ends[stop - 1]) + 1, most) if stop > start else ():
            slots = range(first, min(first + most, int(ends[stop - 1]) + 1))
            yield slots, slice(*np.searchsorted(ends, [slots.start, slots.stop]).tolist())
