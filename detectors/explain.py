"""Why: SHAP values of alerts' windows, with the evidence that a person checks them against."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.background import Background
from detectors.permutation import players, shapley
from detectors.sentence import sentence
from detectors.surrogate import Scoring, Surrogate
from detectors.trees import tree_explainer
from streaming.types import Floats, State, Windows

ForecastInputs = Callable[[Windows, int], tuple[Any, Floats, Sequence[str]]]
"""What the forecast of one channel looked at: a one-output booster, its inputs (B x K), their names."""
_TREES_KEPT = 64


@dataclass(frozen=True, slots=True)
class ExplainSettings:
    """When the surrogate may speak, and how the ensemble itself is asked otherwise.

    The surrogate needs held-out `least_r2` and `least_rank`, and on the window itself |residual| of at most
    `tolerance` x (score - base) and the same first channel as the detectors' own shares. `strongest` channels play
    alone in permutation SHAP, over `pairs` orders and their reverses. `budget` windows fit the surrogate.
    """

    tolerance: float = 0.2
    least_r2: float = 0.5
    least_rank: float = 0.5
    strongest: int = 12
    pairs: int = 8
    budget: int = 8_000
    top_inputs: int = 5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Suspects:
    """B windows to explain. `windows` scaled; raw = `origin` + `width` x scaled (B x F each, NaN = unknown).

    `observed` B x T x F raw; `shares` B x F, the detectors' own; `votes` (B) name the detectors beyond their own
    threshold; `alerts` (B) identify: with the window's end slot they seed what is drawn. `said` (B, or none): for a
    feature, what the log lines behind it said in this window.
    """

    windows: Windows
    observed: Floats
    origin: Floats
    width: Floats
    shares: Floats
    votes: Sequence[Sequence[str]]
    alerts: Sequence[str]
    said: Sequence[Mapping[str, str]] = ()

    def __post_init__(self) -> None:
        shape = self.windows.values.shape
        if self.observed.shape != shape:
            raise ValueError(f"observed must be {shape[0]} x {shape[1]} x {shape[2]}, got {self.observed.shape}")
        for name in ("origin", "width", "shares"):
            if getattr(self, name).shape != (shape[0], shape[2]):
                raise ValueError(f"{name} must be {shape[0]} x {shape[2]}, got {getattr(self, name).shape}")


@dataclass(frozen=True, slots=True)
class ForecastInput:
    """One input of a forecast: its value (scaled) and its signed effect on the forecast (the channel's raw unit)."""

    name: str
    value: float
    effect: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """base + values.sum() + residual = score, within 1e-4. `values` (F) are signed, positive = towards anomalous.

    `fidelity`: the surrogate's held-out R2, or 1 for permutation SHAP, which asks the ensemble itself. `inputs` say
    what moved the forecast of `channel`, the strongest. `lower` and `upper` (F) are the usual range in raw units,
    `observed` (T x F) what was there.
    """

    score: float
    base: float
    residual: float
    values: NDArray[np.float64]
    explained_by: Literal["surrogate", "permutation"]
    fidelity: float
    channel: int
    inputs: tuple[ForecastInput, ...]
    shares: Floats
    lower: Floats
    upper: Floats
    observed: Floats
    sentence: str


@dataclass
class _Attribution:
    """SHAP values of B windows as they are found: base and score (B), values B x F, who found them."""

    score: NDArray[np.float64]
    base: NDArray[np.float64]
    values: NDArray[np.float64]
    trusted: NDArray[np.bool_]

    @property
    def residual(self) -> NDArray[np.float64]:
        residual: NDArray[np.float64] = self.score - self.base - self.values.sum(axis=1)
        return residual


@dataclass
class Explainer:
    """Explains windows of one model version. `background` are its normal windows; without a surrogate (too few windows
    to fit one, or a cold start) the ensemble itself is asked every time."""

    background: Windows
    surrogate: Surrogate | None = None
    settings: ExplainSettings = field(default_factory=ExplainSettings)
    _background: Background = field(init=False, repr=False)
    _trees: OrderedDict[int, tuple[Any, Any]] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        self._background = Background(self.background)

    @classmethod
    def fit(
        cls, windows: Windows, background: Windows, score: Scoring, settings: ExplainSettings | None = None
    ) -> "Explainer":
        """Fit the surrogate on training windows (scaled, any order); fewer than 50 are too few for one."""
        chosen = settings or ExplainSettings()
        if len(windows) < 50 or not len(background):
            return cls(background, None, chosen)
        return cls(background, Surrogate.fit(windows, background, score, chosen.seed, chosen.budget), chosen)

    def explain(
        self,
        suspects: Suspects,
        score: Scoring,
        forecast: ForecastInputs | None = None,
        texts: Mapping[str, str] | None = None,
        span: int | None = None,
    ) -> list[Explanation]:
        """One explanation for each window, the same alone as in any batch.

        `score` is the version's fused score; `forecast` the forecaster's `explain_inputs`, where one is loaded;
        `texts` what to call features in the sentence (log templates); `span` how many of the newest slots `score` reads
        (None = all).
        """
        windows = suspects.windows
        if not len(windows):
            return []
        found = self._attribute(suspects, score, span)
        lower, upper = (suspects.origin + suspects.width * edge for edge in self._background.bands(windows))
        strongest = found.values.argmax(axis=1)
        inputs = self._forecasts(suspects, strongest, forecast) if forecast else [()] * len(windows)
        residual = found.residual
        return [
            Explanation(
                score=float(found.score[b]),
                base=float(found.base[b]),
                residual=float(residual[b]),
                values=found.values[b],
                explained_by="surrogate" if found.trusted[b] else "permutation",
                fidelity=self.surrogate.r2 if self.surrogate and found.trusted[b] else 1.0,
                channel=int(strongest[b]),
                inputs=inputs[b],
                shares=suspects.shares[b],
                lower=lower[b],
                upper=upper[b],
                observed=suspects.observed[b],
                sentence=sentence(
                    windows.features, found.values[b], observed=suspects.observed[b], lower=lower[b], upper=upper[b],
                    votes=suspects.votes[b], texts={**(texts or {}), **(suspects.said[b] if suspects.said else {})},
                ),
            )
            for b in range(len(windows))
        ]  # fmt: skip

    def state(self) -> State:
        """The surrogate; `background` belongs to the ensemble."""
        state = State(meta={"fitted": self.surrogate is not None})
        if self.surrogate is not None:
            state.put("surrogate", self.surrogate.state())
        return state

    @classmethod
    def restore(cls, state: State, background: Windows, settings: ExplainSettings | None = None) -> "Explainer":
        """The explainer that gave `state`."""
        surrogate = Surrogate.restore(state.part("surrogate")) if state.meta["fitted"] else None
        return cls(background, surrogate, settings or ExplainSettings())

    def _attribute(self, suspects: Suspects, score: Scoring, span: int | None) -> _Attribution:
        windows, shape = suspects.windows, suspects.shares.shape
        actual = np.nan_to_num(score(windows).astype(np.float64))
        found = _Attribution(actual, np.zeros(shape[0]), np.zeros(shape), np.zeros(shape[0], np.bool_))
        if self.surrogate is not None:
            found.values, base = self.surrogate.explain(windows)
            found.base = np.full(shape[0], base)
            found.trusted = self._trusted(found, suspects.shares, self.surrogate)
        doubted = np.flatnonzero(~found.trusted)
        if len(doubted):
            found.values[doubted], found.base[doubted] = self._ask(suspects, doubted, score, span)
        return found

    def _trusted(self, found: _Attribution, shares: Floats, surrogate: Surrogate) -> NDArray[np.bool_]:
        """Where the surrogate may speak: it is faithful in general, on this window, and about the first channel."""
        if surrogate.r2 < self.settings.least_r2 or surrogate.rank < self.settings.least_rank:
            return np.zeros(len(shares), np.bool_)
        close = np.abs(found.residual) <= self.settings.tolerance * (found.score - found.base)
        trusted: NDArray[np.bool_] = close & (found.values.argmax(axis=1) == shares.argmax(axis=1))
        return trusted

    def _ask(
        self, suspects: Suspects, at: NDArray[np.int64], score: Scoring, span: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Permutation SHAP of the windows at `at`: values (n x F) and bases (n)."""
        windows, shares = suspects.windows.take(at), suspects.shares[at]
        player = players(shares, self.settings.strongest)
        seeds = [seed_of(suspects.alerts[b], int(suspects.windows.ends[b])) for b in at]
        reference, first = self._background.references(windows), -(span or windows.values.shape[1])
        read = replace(windows, values=windows.values[:, first:])
        won, base = shapley(read, reference[:, first:], player, score, seeds=seeds, pairs=self.settings.pairs)
        return np.take_along_axis(won, player, axis=1) * _within(player, shares), base

    def _forecasts(
        self, suspects: Suspects, channels: NDArray[np.int64], forecast: ForecastInputs
    ) -> list[tuple[ForecastInput, ...]]:
        """What moved the forecast of each window's channel: one call for each (entity, channel)."""
        found: list[tuple[ForecastInput, ...]] = [()] * len(channels)
        pairs, of = np.unique(np.stack([suspects.windows.entities, channels]), axis=1, return_inverse=True)
        for number, (_, channel) in enumerate(pairs.T):
            at = np.flatnonzero(np.ravel(of) == number)
            booster, inputs, names = forecast(suspects.windows.take(at), int(channel))
            effects = np.asarray(self._tree(booster).shap_values(inputs), np.float64)
            effects *= np.nan_to_num(suspects.width[at, channel], nan=1.0)[:, None]
            for row, b in enumerate(at):
                top = np.argsort(-np.abs(effects[row]), kind="stable")[: self.settings.top_inputs]
                found[b] = tuple(ForecastInput(names[k], float(inputs[row, k]), float(effects[row, k])) for k in top)
        return found

    def _tree(self, booster: Any) -> Any:
        """Its explainer, kept by the booster's identity: to compare trees costs as much as to ask. The booster is kept
        beside it, so that no other can take its identity."""
        if id(booster) not in self._trees:
            self._trees[id(booster)] = booster, tree_explainer(booster)
            if len(self._trees) > _TREES_KEPT:
                self._trees.popitem(last=False)
        self._trees.move_to_end(id(booster))
        return self._trees[id(booster)][1]


def seed_of(alert: str, slot: int) -> int:
    """The seed of what is drawn for (alert, slot): the same whenever and wherever it is explained."""
    return int.from_bytes(blake2b(f"{alert}/{slot}".encode(), digest_size=8).digest(), "big")


def _within(player: NDArray[np.int64], shares: Floats) -> NDArray[np.float64]:
    """The part (B x F) of its player's value that each channel gets: by share, evenly where no share is known."""
    same = player[:, :, None] == player[:, None, :]
    held = np.where(same, shares[:, None, :], 0).sum(axis=2, dtype=np.float64)
    part: NDArray[np.float64] = np.where(held > 0, shares / np.where(held > 0, held, 1), 1 / same.sum(axis=2))
    return part
