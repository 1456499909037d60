"""Gradient-boosted forecasts of each channel from lags and rolling statistics (Euclid's first model)."""

from typing import ClassVar

import numpy as np
import xgboost
from numpy.typing import NDArray

from detectors import robust
from detectors.compiled import compiled
from detectors.options import count, positive
from detectors.peers import correlations, strongest
from detectors.residuals import ResidualScale, held_out, mean_over_channels, usual_errors
from detectors.types import Memory, Scores
from streaming.types import Floats, Ints, State, Windows

_LAGS = (1, 2, 3, 5, 10)
_SHORT, _LONG = 5, 15
_KINDS = (*(f"lag {lag}" for lag in _LAGS), f"mean {_SHORT}", f"mean {_LONG}", f"sd {_LONG}")
_MEAN = _KINDS.index(f"mean {_LONG}")
_PEERS = 3
_CHUNK = 1024
"""Rows of one call of the booster: a call costs 100 µs beside its rows."""
_WORK = 2_000 * 38
"""Training rows x channels: what keeps a fit of any width under about 2 s on one core."""
_COLUMNS = 38
"""Columns that a tree of the multi-output booster may choose from: 76, from half as many rows more, cost twice as much
and told no more (mean VUS-PR .534 on four shared series, .545 so)."""


class Forecast:
    """XGBoost forecast of each channel's newest value; the robustly scaled residual is the score.

    Inputs are each channel's lags 1, 2, 3, 5, 10, its means over 5 and 15 slots and its standard deviation over 15
    (Euclid's design, arXiv 2411.05596). One booster with vector leaves (`multi_output_tree`, 1 µs a row) forecasts all
    channels from all inputs and scores. A residual is scaled by its median and absolute deviation on held-out rows, an
    entity's own where it has enough, capped at `cap`; the score is the mean over channels, in which many small
    deviations weigh as much as one large one.

    TreeExplainer refuses vector leaves, so each channel also has a small booster of its own, from its own inputs and
    lag 1 of its three most correlated channels: `explain_inputs`.
    """

    name: ClassVar[str] = "forecast"
    memory: ClassVar[Memory] = "window"
    seeded: ClassVar[bool] = True
    evidence: ClassVar[bool] = True

    def __init__(
        self,
        *,
        rounds: int = 25,
        depth: int = 4,
        rate: float = 0.15,
        floor: float = 0.1,
        cap: float = 20.0,
        seed: int = 0,
    ) -> None:
        count(1, rounds=rounds, depth=depth)
        count(0, seed=seed)
        positive(rate=rate, floor=floor, cap=cap)
        self.rounds, self.depth, self.rate, self.floor, self.cap, self.seed = rounds, depth, rate, floor, cap, seed
        self._all: xgboost.Booster | None = None
        self._each: list[xgboost.Booster] = []
        self._peers: NDArray[np.int16] = np.zeros((_PEERS, 0), dtype=np.int16)
        self._seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._usual: Floats = np.zeros(0, dtype=np.float32)
        self._scale: ResidualScale | None = None

    @property
    def span(self) -> int:
        """How many of a window's newest slots a score reads."""
        return _LONG + 1

    def fit(self, windows: Windows) -> None:
        """Learn from B >= 1 windows of T >= 2 slots; rows beyond a bound on the work are left out, evenly."""
        newest = windows.values[:, -1]
        middle = robust.median(newest, axis=0)
        self._seen = ~np.isnan(middle)
        targets = np.where(np.isnan(newest), np.nan_to_num(middle), newest)
        self._peers = strongest(correlations((newest - np.nan_to_num(middle))[None]), _PEERS, 0.1)[0]
        training, validation = held_out(len(windows))
        training = _spread(training, max(min(20_000, _WORK // newest.shape[1]), 500))
        inputs = _inputs(windows.values[training])
        self._all = self._boosted(inputs, targets[training], self.rounds, self.depth)
        few = _spread(np.arange(len(training)), 5_000)
        self._each = [
            self._boosted(inputs[few][:, self._columns(channel)], targets[training[few], channel], 30, 4)
            for channel in range(newest.shape[1])
        ]
        held = windows.take(_spread(validation, 20_000))
        residuals = self._residuals(self._all, held)
        self._scale = ResidualScale.fit(residuals, held.entities, held.names, floor=self.floor)
        self._usual = usual_errors(self._scale.scaled(residuals, held.entities, held.names, self.cap))

    def score(self, windows: Windows) -> Scores:
        """Mean over channels of the scaled residual; NaN where no known channel has a newest value and a past."""
        scale, booster = self._fitted()
        errors = scale.scaled(self._residuals(booster, windows), windows.entities, windows.names, self.cap)
        return mean_over_channels(errors, self._usual)

    def explain_inputs(self, windows: Windows, channel: int) -> tuple[xgboost.Booster, Floats, list[str]]:
        """The booster that forecasts `channel` alone, its inputs B x K for `windows`, and their K names."""
        columns = self._columns(channel)
        names = [
            f"{windows.features[column % len(windows.features)]} {_KINDS[column // len(windows.features)]}"
            for column in columns.tolist()
        ]
        return self._each[channel], _inputs(windows.values)[:, columns], names

    def state(self) -> State:
        """Boosters as UBJ, scales, peers."""
        scale, booster = self._fitted()
        state = State({"peers": self._peers, "seen": self._seen, "usual": self._usual}, {"cap": self.cap})
        state.blobs = {"all": bytes(booster.save_raw("ubj"))}
        state.blobs |= {f"channel{index}": bytes(each.save_raw("ubj")) for index, each in enumerate(self._each)}
        state.put("scale", scale.state())
        return state

    def restore(self, state: State) -> None:
        """Become the detector that gave `state`."""
        self._peers, self._seen, self._usual = (state.arrays[key] for key in ("peers", "seen", "usual"))
        self.cap = state.meta["cap"]
        self._all = _loaded(state.blobs["all"])
        self._each = [_loaded(state.blobs[f"channel{index}"]) for index in range(len(self._seen))]
        self._scale = ResidualScale.restore(state.part("scale"))

    def _fitted(self) -> tuple[ResidualScale, xgboost.Booster]:
        if self._scale is None or self._all is None:
            raise RuntimeError("forecast is not fitted")
        return self._scale, self._all

    def _columns(self, channel: int) -> Ints:
        """Places of `channel`'s inputs among all: its own, then lag 1 of its peers."""
        own = np.arange(len(_KINDS)) * self._peers.shape[1] + channel
        peers = self._peers[:, channel]
        return np.concatenate([own, peers[peers >= 0]])

    def _boosted(self, inputs: Floats, targets: Floats, rounds: int, depth: int) -> xgboost.Booster:
        """One thread: histogram sums depend on their number, and idle threads of a busy machine spin."""
        parameters = {
            "tree_method": "hist",
            "multi_strategy": "multi_output_tree",
            "max_depth": depth,
            "eta": self.rate,
            "min_child_weight": min(10, max(len(inputs) // 10, 1)),
            "colsample_bytree": min(1.0, _COLUMNS / inputs.shape[1]),
            "max_bin": 32,
            "seed": self.seed,
            "nthread": 1,
        }
        if targets.ndim == 1 or targets.shape[1] == 1:
            del parameters["multi_strategy"]
        data = xgboost.QuantileDMatrix(inputs, targets, max_bin=32, nthread=1)
        return xgboost.train(parameters, data, rounds)

    def _residuals(self, booster: xgboost.Booster, windows: Windows) -> Floats:
        """B x F newest value less its forecast; NaN where absent, without a past, or never seen in training."""
        residuals = windows.values[:, -1].copy()
        channels = residuals.shape[1]
        for start in range(0, len(windows), _CHUNK):
            inputs = _inputs(windows.values[start : start + _CHUNK])
            part = residuals[start : start + _CHUNK]
            part -= booster.inplace_predict(inputs).reshape(part.shape)
            past = inputs[:, _MEAN * channels : (_MEAN + 1) * channels]
            part[np.isnan(past) | ~self._seen] = np.nan
        return residuals


def _inputs(values: Floats) -> Floats:
    """B x (K F) inputs from B x T x F windows, the newest slot left out; by kind, then channel (NaN = unknown)."""
    past = np.require(values[:, -_LONG - 1 : -1], np.float32, ["C", "W"])
    out = np.full((len(past), len(_KINDS), past.shape[2]), np.nan, np.float32)
    _fill_inputs(past, np.array([lag for lag in _LAGS if lag <= past.shape[1]]), out)
    return out.reshape(len(past), -1)


@compiled("void(f4[:, ::1], f4[::1], f4[::1])")
def _mean(rows: Floats, mean: Floats, count: Floats) -> None:
    """The mean of what is there of each column of S x F `rows` (NaN = nothing), and how much that is."""
    mean[:], count[:] = 0, 0
    for slot in range(len(rows)):
        row = rows[slot]
        for channel in range(len(row)):
            there = not np.isnan(row[channel])
            mean[channel] += row[channel] if there else np.float32(0)
            count[channel] += np.float32(1) if there else np.float32(0)
    for channel in range(len(mean)):
        mean[channel] /= count[channel]


@compiled("void(f4[:, ::1], f4[::1], f4[::1], f4[::1])")
def _deviation(rows: Floats, mean: Floats, count: Floats, out: Floats) -> None:
    """The standard deviation around `mean`."""
    out[:] = 0
    for slot in range(len(rows)):
        row = rows[slot]
        for channel in range(len(row)):
            away = row[channel] - mean[channel]
            out[channel] += np.float32(0) if np.isnan(away) else away * away
    for channel in range(len(out)):
        out[channel] = np.sqrt(out[channel] / count[channel])


@compiled("void(f4[:, :, ::1], i8[::1], f4[:, :, ::1])")
def _fill_inputs(past: Floats, lags: Ints, out: Floats) -> None:
    """Inputs (`out`, B x K x F) from the slots before (B x S x F)."""
    count = np.empty(past.shape[2], np.float32)
    for place in range(len(past)):
        rows, inputs = past[place], out[place]
        for kind in range(len(lags)):
            inputs[kind] = rows[len(rows) - lags[kind]]
        _mean(rows[max(len(rows) - _SHORT, 0) :], inputs[_MEAN - 1], count)
        _mean(rows, inputs[_MEAN], count)
        _deviation(rows, inputs[_MEAN], count, inputs[_MEAN + 1])


def _loaded(raw: bytes) -> xgboost.Booster:
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(raw))
    return booster


def _spread(items: Ints, most: int) -> Ints:
    """At most `most` of `items`, evenly spread."""
    return items[np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(np.int64))]
