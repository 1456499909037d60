"""RoLA: one light online detector for each variable, and a majority of related variables decides.

Lee and Lin, "RoLA: a real-time online lightweight anomaly detection system for multivariate time series" (ICSOFT 2023,
arXiv 2305.16509) over RePAD2 (IoTBDS 2023, arXiv 2303.00409). Kept: one detector a variable, the threshold "mean + 3
standard deviations of the running error", and the rule that the flagged related variables must outnumber the quiet
ones. Changed: an exponentially weighted level forecasts instead of an LSTM; errors are judged on the scale of the
variable instead of relative to max(|v|, 1); correlations run along instead of being recomputed over 2,880 points; and
a variable without related peers, which in RoLA can never alert, is heard against a stricter threshold.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors import robust
from detectors.ballots import PEERS, VARIABLES, cast
from detectors.entity_arrays import EntityArrays, Field
from detectors.options import count, positive, share
from detectors.peers import correlations, strongest
from detectors.types import Memory, Scores
from streaming.types import Codes, Floats, Ints, State, Windows

_HISTORY = 8
"""Slots whose mean stands for the level where peers are chosen."""
_LEAST = 0.5
"""A channel less correlated than this is not followed as a peer."""
_CHUNK = 256
"""Entities that choose their peers together: what they have in common is as large as their windows, squared."""
Peers = NDArray[np.int16]


class Vote:
    """Online majority vote (RoLA): one light detector for each variable; related variables must agree.

    Surprise of a variable = |value - level| / (mean + 3 sd of its running error + floor); beyond 1 it is flagged. Its
    related peers are the (at most two) variables whose errors run with its own, |r| >= `related`. It is heard in full
    when the flagged among itself and its related peers outnumber the quiet ones, damped when outvoted; without a
    related peer it must be twice as far out (6 sd) two slots running, or four times at once. The score is the strongest
    voice; from 1 (anomaly) on, what exceeds 1 is added up over the voices.

    Works without `fit`, which only finds the peers beforehand; else they are chosen from an entity's window at its
    `choose_at`-th slot. A variable votes after `warmup` values. Rates are per slot (an error is remembered for about
    1 / `error_rate` slots), `floor` is in training ranges, `deviations` is the 3 above. What is missing neither votes
    nor teaches. State: 32 bytes a variable and entity.
    """

    name: ClassVar[str] = "vote"
    memory: ClassVar[Memory] = "online"
    evidence: ClassVar[bool] = True

    def __init__(
        self,
        *,
        level_rate: float = 0.02,
        error_rate: float = 1 / 4096,
        deviations: float = 3.0,
        related: float = 0.8,
        warmup: int = 8,
        floor: float = 0.02,
        choose_at: int = 48,
        cap: float = 16.0,
    ) -> None:
        count(1, warmup=warmup, choose_at=choose_at)
        share(level_rate=level_rate, error_rate=error_rate, related=related)
        positive(deviations=deviations, floor=floor, cap=cap)
        self.choose_at = choose_at
        rules = (level_rate, error_rate, deviations, floor, cap, related, warmup)
        self._rules = tuple(np.float32(rule) for rule in rules)
        self._fitted: Peers | None = None
        self._reset(0)

    @property
    def span(self) -> int | None:
        """How many of a window's newest slots a score reads. None: all (peers are still to be chosen)."""
        return None if self._fitted is None else 1

    def fit(self, windows: Windows) -> None:
        """Find each variable's peers from B windows; what was learnt of entities is emptied."""
        before = robust.mean(windows.values[:, -_HISTORY - 1 : -1], axis=1)
        self._fitted = strongest(correlations((windows.values[:, -1] - before)[None]), PEERS, _LEAST)[0]
        self._reset(len(windows.features))

    def score(self, windows: Windows, learn: bool = True) -> Scores:
        """Judge the newest slot of each window with the state of the slot before, and learn it."""
        self._reach(windows)
        values = np.empty(len(windows), np.float32)
        shares = np.empty((len(windows), len(windows.features)), np.float32)
        entities, newest = np.array(windows.entities), np.array(windows.values[:, -1], order="C")
        learnt = self._learnt
        known = tuple(learnt[name] for name in VARIABLES), learnt["relation"], learnt["peers"], learnt["slots"]
        chosen = self._chosen(windows, self._due(windows.entities) if learn else np.zeros(0, np.int64))
        first = np.zeros((0, PEERS, self._width), np.int16) if self._fitted is None else self._fitted[None].copy()
        cast(entities, newest, known, self._rules, (first, *chosen, self.choose_at), learn, values, shares)
        return Scores(values, shares)

    def state(self) -> State:
        """The fitted peers."""
        return State({} if self._fitted is None else {"peers": self._fitted})

    def restore(self, state: State) -> None:
        """Take the peers of `state`; what was learnt of entities is emptied."""
        self._fitted = state.arrays.get("peers")
        self._reset(0 if self._fitted is None else self._fitted.shape[1])

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]:
        """Copies of what was learnt of `entities`."""
        return self._learnt.rows(entities)

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None:
        """Set what `rows` gave. ValueError where its shape is not ours."""
        if not self._width:
            self._reset(arrays["level"].shape[-1])
        self._learnt.put_rows(entities, arrays)

    def forget(self, entities: Codes) -> None:
        """Empty the rows of `entities`."""
        self._learnt.forget(entities)

    def _reset(self, width: int) -> None:
        self._width = width
        self._learnt = EntityArrays(
            {
                "level": Field((width,), np.float32),
                "error": Field((width,), np.float32),  # mean of the clipped error
                "square": Field((width,), np.float32),  # and its mean square
                "last": Field((width,), np.float32),  # strict surprise of the slot before
                "count": Field((width,), np.float32),  # values seen, up to the memory
                "relation": Field((PEERS, width), np.float32),  # running correlation with each peer
                "peers": Field((PEERS, width), np.int16, -1),
                "slots": Field((), np.int32),
            }
        )

    def _reach(self, windows: Windows) -> None:
        if not self._width:
            self._reset(len(windows.features))
        if self._width != len(windows.features):
            raise ValueError(f"vote knows {self._width} features, the windows have {len(windows.features)}")
        self._learnt.reach(windows.entities)

    def _due(self, entities: Codes) -> Ints:
        """Where nothing was fitted: the windows (of B, of `entities`) at which one has just lived `choose_at` slots."""
        before = self._learnt["slots"][entities]
        if self._fitted is not None or (before >= self.choose_at).all():
            return np.zeros(0, np.int64)
        order = np.argsort(entities, kind="stable")
        ordered = entities[order]
        lived = np.empty(len(order), np.int64)
        lived[order] = np.arange(1, len(order) + 1) - ordered.searchsorted(ordered)
        return np.flatnonzero(before + lived == self.choose_at)

    def _chosen(self, windows: Windows, due: Ints) -> tuple[Peers, Floats]:
        """The peers (N x 2 x F) that the entities of the windows `due` (N) choose, and the relations with them."""
        peers = np.empty((len(due), PEERS, self._width), np.int16)
        already = np.zeros(peers.shape, np.float32)
        for start in range(0, len(due), _CHUNK):
            part = slice(start, start + _CHUNK)
            relation = correlations(_innovations(windows.values[due[part]]))
            peers[part] = found = strongest(relation, PEERS, _LEAST)
            known = np.take_along_axis(relation, np.maximum(found, 0).astype(np.int64), axis=1)
            np.copyto(already[part], known, where=found >= 0)
        return peers, already


def _innovations(values: Floats) -> Floats:
    """B x (T - h) x F: each value less the mean of the h slots before it, h = 8 or half of a short window."""
    history = max(min(_HISTORY, values.shape[1] // 2), 1)
    present = ~np.isnan(values)
    filled = np.where(present, values, 0)
    total = np.cumsum(filled, axis=1, dtype=np.float64)
    count = np.cumsum(present, axis=1, dtype=np.float64)
    before = np.pad(total, ((0, 0), (1, 0), (0, 0)))
    seen = np.pad(count, ((0, 0), (1, 0), (0, 0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (before[:, history:-1] - before[:, : -history - 1]) / (seen[:, history:-1] - seen[:, : -history - 1])
    return (values[:, history:] - mean).astype(np.float32)
