"""The vocabulary of strangeness: what a detector is, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streaming.linescores import MinedLines
from streaming.related import Related
from streaming.sessions import Sessions
from streaming.types import Codes, Floats, Ints, State, Windows

Memory = Literal["window", "online"]
Scope = Literal["entity", "group", "stream"]


Some = Ints | NDArray[np.bool_] | slice
"""Which of B windows."""
Shares = Callable[[Some], Floats]
"""The shares of some of the windows."""


class Scores:
    """One number a window (B, float32; higher is stranger, NaN = no opinion) and a share a feature.

    `shares` B x F float32 are not negative and add up to 1 in each row with an opinion (0 where there is none). They
    may be given as a function that answers for some of the windows: few are strange enough to be asked.
    """

    __slots__ = ("_shares", "values")

    def __init__(self, values: Floats, shares: Floats | Shares) -> None:
        self.values = values
        self._shares = shares

    @property
    def shares(self) -> Floats:
        """Of all windows."""
        return self.shares_at(slice(None))

    def shares_at(self, windows: Some) -> Floats:
        """Of some of them."""
        return self._shares(windows) if callable(self._shares) else self._shares[windows]


@runtime_checkable
class Detector(Protocol):
    """`fit` learns, `score` answers; the constructor takes parameters only (all keyword, all with defaults).

    One with anything random says `seeded = True` and takes `seed`. One may also say: `span`, how many of a window's
    newest slots its score reads, and is then given no more; `look_ahead`, over how many slots its settled score is a
    mean (10); `evidence = True`, that it decides only where no other detector has an opinion; `whole = True`, that it
    is fitted once more, on all training windows, when it has been validated.

    `memory == "window"`: the score is a pure function of the fitted detector and the window. `"online"`: see
    `OnlineDetector`. A window's score never depends on the other windows of its batch, on their order, or on how many
    there are, bit for bit.
    """

    name: ClassVar[str]
    memory: ClassVar[Memory]

    def fit(self, windows: Windows) -> None: ...

    def score(self, windows: Windows) -> Scores: ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


@runtime_checkable
class OnlineDetector(Detector, Protocol):
    """A detector that also holds arrays with one row per entity (`Windows.entities` index them).

    `score` sees windows ordered by (end slot, entity), each (entity, slot) once, and learns from them slot by slot
    unless `learn` is False (then nothing changes: a re-reading). An entity's row depends on its own windows only.
    `state`/`restore` cover the fitted part; the per-entity arrays travel by `rows`/`put_rows` (first axis = entity),
    `forget` empties rows. The arrays grow by themselves.
    """

    def score(self, windows: Windows, learn: bool = True) -> Scores: ...

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]: ...

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None: ...

    def forget(self, entities: Codes) -> None: ...


@runtime_checkable
class LineScorer(Protocol):
    """Scores log lines by their templates; its feature, `log.` and its name, is the sum over the lines of a slot.

    `fit` learns from N lines of `templates` templates (codes 1 to `templates`, 0 is any other), and gives their scores,
    where `rest` (N) holds as judged by the other lines alone; None where they are too few to say anything. `score`
    gives N int32, in 1/64, 0 = nothing strange: a pure function of each line. The constructor takes parameters only,
    all with defaults.

    `asks` about a line "which" template it has, "how" a line of a usual template came, or about something "else": what
    is strange by the first is not counted by the second again.
    """

    name: ClassVar[str]
    asks: ClassVar[Literal["which", "how", "else"]]

    def fit(self, lines: MinedLines, templates: int, rest: NDArray[np.bool_]) -> Codes | None: ...

    def score(self, lines: MinedLines) -> Codes: ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


@runtime_checkable
class SessionScorer(Protocol):
    """Scores closed sessions by the templates of their lines (codes 1 to `templates`, 0 is any other).

    `fit` learns from sessions by start, some of which may be anomalies. `score` gives a number a session (S; NaN of a
    session without lines) and its shares by template (S x `templates` + 1). It is a pure function of the fitted scorer
    and the session, bit for bit: never of the other sessions, their order or their number. The constructor takes
    parameters only, all with defaults.
    """

    name: ClassVar[str]

    def fit(self, sessions: Sessions, templates: int) -> None: ...

    def score(self, sessions: Sessions) -> Scores: ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


@runtime_checkable
class ReasoningScorer(LineScorer, Protocol):
    """One that says why lines (by their places, rising) have the score that they have, where their text does not."""

    def reasons(self, lines: MinedLines, places: Ints) -> list[str]: ...


@runtime_checkable
class LearningScorer(LineScorer, Protocol):
    """One that a stream goes on teaching: `own` is a copy for a partition, which changes by `learn` alone, from named
    values of lines in position order; its `state` is part of the partition's."""

    def own(self) -> Self: ...

    def learn(self, related: Related) -> None: ...


@runtime_checkable
class ReadingScorer(LineScorer, Protocol):
    """One that judges what stands at the varying places of lines: `fields` are those that it knows."""

    @property
    def fields(self) -> Ints: ...


@runtime_checkable
class BoundedSessionScorer(SessionScorer, Protocol):
    """One that says of S open sessions what their scores (S) will be at least, whatever lines still come, and how often
    each template commonly comes (`templates` + 1)."""

    def least(self, sessions: Sessions) -> Floats: ...

    @property
    def usual(self) -> Codes: ...


Fitted = Callable[[Windows], Scores]
"""What a detector says by what was fitted alone: a pure function of the window."""
Within = Callable[[Callable[[], Detector]], Detector]
"""Makes a detector whose models are fitted per scope, from what makes one of them."""


@runtime_checkable
class PartlyOnline(OnlineDetector, Protocol):
    """An online detector with a part that is fitted per scope, and scores alone: `fitted` does, for explanations.

    `within` is called before `fit` or `restore`; `bytes` is the size of one fitted model.
    """

    @property
    def fitted(self) -> Fitted: ...

    def within(self, scoped: Within) -> None: ...

    def bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Closed slots for fitting: N rows ordered by (entity, slot), values N x F float32 (derived, not scaled).

    `codes` (N) index `names`; a slot that is absent for an entity is missing. `times`: event times of the rows in ns,
    where they are not slot x step.
    """

    names: list[str]
    codes: Codes
    slots: Ints
    values: Floats
    features: list[str]
    times: Ints | None = None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the ensemble says of B windows. D detectors in the order of `detectors`.

    `ratios` D x B: each score over its validation quantile (NaN = no opinion); `tails` D x B: each detector's own tail
    probability; `fused` (B): power mean of the ratios; `p` (B): calibrated tail probability of what is decided by
    (`fusion.decided`); `score` (B) = log p / log alpha, so > 1 means anomalous; `votes` D x B: beyond its own
    threshold; `shares` B x F. `settled` (B) and `settled_p` (B) speak of the slot `settle - 1` before each window's end
    (NaN while there is none). `confidence` (B): 0..1, how much of the calibration is the entity's own.
    """

    detectors: tuple[str, ...]
    ratios: Floats
    tails: NDArray[np.float64]
    fused: Floats
    p: NDArray[np.float64]
    score: Floats
    votes: NDArray[np.bool_]
    shares: Floats
    settled: Floats
    settled_p: NDArray[np.float64]
    confidence: Floats


def joined(parts: Sequence[Verdicts]) -> Verdicts:
    """Verdicts one after another, of the same detectors; at least one part."""
    if len(parts) == 1:
        return parts[0]
    by_window = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=axis) for name, axis in _AXES.items()
    }
    return Verdicts(parts[0].detectors, **by_window)


_AXES = dict.fromkeys(("ratios", "tails", "votes"), 1) | dict.fromkeys(
    ("fused", "p", "score", "shares", "settled", "settled_p", "confidence"), 0
)
"""The windows' axis in each array of `Verdicts`."""
