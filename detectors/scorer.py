"""The online side of one partition: windows in, verdicts out; what is learnt of each entity lies here, in arrays."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from detectors.calibration import Calibrator
from detectors.ensemble import Ensemble, evidence_only, newest_only, numbers
from detectors.entity_arrays import EntityArrays, Field
from detectors.fusion import blend_shares, decisive, ratios
from detectors.movement import REACH, blamed
from detectors.scaling import NO_HOUR, Scaling
from detectors.shortage import short_of_memory
from detectors.types import Scores, Verdicts
from detectors.views import surprise
from streaming.types import Codes, Floats, Ints, State, Windows

OnError = Callable[[str, Exception], None]
SlotTimes = Callable[[Ints], Ints]
"""Event times (ns) of slots, where they are not slot x step."""
_NEVER = float(-(1 << 62))
"""The slot of a ring place that nobody wrote."""


class EnsembleError(Exception):
    """No detector could judge a poll: nothing may be checkpointed past it."""


class Scorer:
    """Scores the windows of one partition with an ensemble.

    Entities are row codes of the partition; `bind` names them. Everything learnt has one row per entity: `rows`,
    `put_rows` and `forget` move it, `state` and `restore` hold all of it. `late_horizon`: how many slots back a window
    may be read again. `failures` counts by detector the polls it failed; `on_error` is told of each. `times` are those
    of the slots, which seasons go by.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        late_horizon: int = 16,
        on_error: OnError | None = None,
        times: SlotTimes | None = None,
    ) -> None:
        self.ensemble = ensemble
        self.late_horizon = late_horizon
        self.failures = dict.fromkeys(ensemble.detectors, 0)
        self._on_error = on_error or _log
        self._times = times
        self._names: dict[int, str] = {}
        self._scaling = Scaling(ensemble.ranges, ensemble.seasons)
        self._immediate = Calibrator(ensemble.immediate, ensemble.learning())
        self._settled = Calibrator(ensemble.settled, ensemble.learning())
        self._online = ensemble.fresh_online()
        self._quiet, self._look_ahead = evidence_only(ensemble.detectors), ensemble.look_ahead
        self._newest = newest_only(ensemble.detectors, ensemble.settings.fusion)
        self._views = ensemble.views
        places = late_horizon + ensemble.settings.settle
        self._ring = EntityArrays(
            {
                "ratios": Field((places, len(ensemble.detectors)), np.float32, np.nan),
                "slots": Field((places,), np.int64, _NEVER),
            }
        )
        self._tell_features()

    def bind(self, entities: Codes, names: Sequence[str]) -> None:
        """Rows `entities` now belong to `names` (one each): those in training start with what the model knows of
        them, the others with nothing."""
        self.forget(entities)
        self._names |= dict(zip(entities.tolist(), names, strict=True))
        trained = self.ensemble.trained(names)
        self._scaling.bind(entities, trained)
        known = trained >= 0
        rows, at = entities[known], trained[known]
        if not len(rows):
            return
        learnt = self.ensemble.own | self.ensemble.online
        for name, part in self._parts():
            if name in learnt:
                part.put_rows(rows, {key: values[at] for key, values in learnt[name].items()})

    def scale(self, entities: Codes, slots: Ints | int, values: Floats, learn: bool = True) -> Floats:
        """One slot's rows (B x F, each entity once) scaled to B x F float32; young entities' ranges learn from them.

        Without `learn` the rows may be of any slots (B)."""
        return self._scaling.scale(entities, values, learn, self._hours(slots))

    def scale_slots(self, entities: Codes, slots: Ints, values: Floats) -> Floats:
        """`scale` of the rows of several slots (B x F, by slot), which young entities' ranges learn from in turn."""
        if slots[0] != slots[-1] and not self._scaling.learns(entities):
            return self.scale(entities, slots, values, learn=False)
        parts = [self.scale(entities[part], int(slots[part.start]), values[part]) for part in _slots(slots)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def ranges(self, entities: Codes, slots: Ints | int) -> tuple[Floats, Floats]:
        """Origin and width (B x F each) of the scaling of `entities` at `slots`: raw = origin + width x scaled."""
        return self._scaling.inverse(entities, self._hours(slots))

    @property
    def seasonal(self) -> bool:
        """Whether ranges follow the hour."""
        return self._scaling.seasons is not None

    def young(self, entities: Codes) -> NDArray[np.bool_]:
        """Whose ranges still change with what they learn (B)."""
        return self._scaling.young(entities)

    def score(self, windows: Windows, learn: bool = True, near: float = -np.inf) -> Verdicts:
        """Judge B windows ordered by (end slot, entity), each once. `shares` are 0 where the score is not above `near`.

        Each slot is judged by what was learnt up to the slot before it, then learnt from. Without `learn` (windows
        that late data amended) nothing is learnt, and the ratios kept for settled scores are overwritten. ValueError
        where the windows are out of order; EnsembleError where every detector fails.
        """
        if (windows.ends[1:] < windows.ends[:-1]).any():
            raise ValueError("windows must be ordered by end slot")
        given = self._opinions(windows, learn)
        scores = np.full((len(given), len(windows)), np.nan, np.float32)
        for row, opinion in zip(scores, given, strict=True):
            if opinion is not None:
                row[:] = opinion.values
        self._ring.reach(windows.entities)
        known = self._scaling.trained(windows.entities)
        own = ratios(scores, self.ensemble.quantiles[known].T)
        each = self.ensemble.tails
        tails = np.array([tail.probability(row) for tail, row in zip(each, own, strict=True)])
        fused, now = self._fused(own, 0)
        settled, then = self._fused(self._settle(windows, own), 1)
        p, confidence = self._immediate.judge(windows.entities, now, learn)
        settled_p, _ = self._settled.judge(windows.entities, then, learn)
        alpha = self.ensemble.alpha
        score = (np.log(p) / np.log(alpha)).astype(np.float32)
        return Verdicts(
            detectors=tuple(self.ensemble.detectors),
            ratios=own,
            tails=tails,
            fused=fused,
            p=p,
            score=score,
            votes=tails < alpha,
            shares=self._shares(windows, known, own, given, np.flatnonzero(~(score <= near))),
            settled=settled,
            settled_p=settled_p,
            confidence=confidence,
        )

    def settle_rest(self, entities: Codes, end: int) -> tuple[Floats, NDArray[np.float64]]:
        """At the end of a stream, the settled fused numbers and their tail probabilities ((settle - 1) x B each) of the
        slots up to `end` whose look-ahead is not over: each over what is left of it. Nothing is learnt."""
        settings = self.ensemble.settings
        rest = np.empty((settings.settle - 1, len(entities)), np.float32)
        p = np.empty(rest.shape)
        for place in range(len(rest)):
            own = self._looked_ahead(entities, np.full(len(entities), end + place + 1))
            rest[place], then = self._fused(own, 1)
            p[place] = self._settled.probability(entities, then)
        return rest, p

    def _fused(self, own: Floats, which: int) -> tuple[Floats, Floats]:
        """The fused numbers (B) of D x B ratios, and those that are decided by; `which`: immediate 0, settled 1."""
        how, tails = self.ensemble.settings.fusion, self.ensemble.seen[which]
        whole, then = zip(*numbers(how, own, self.ensemble.tails, self._views, self._newest), strict=True)
        return surprise(whole, tails), surprise(then, tails)

    def promote(self, ensemble: Ensemble) -> "Scorer":
        """A scorer of another version for the same entities.

        Those the new model knows start with what it knows. The others keep their ranges, by feature name, and their
        rows of online detectors that are the same in both; calibrators start anew, since ratios have another unit.
        """
        new = Scorer(ensemble, late_horizon=self.late_horizon, on_error=self._on_error, times=self._times)
        entities = np.fromiter(self._names, np.int32, len(self._names))
        names = list(self._names.values())
        new.bind(entities, names)
        new._carry(self, entities[ensemble.trained(names) < 0])
        return new

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]:
        """What was learnt of `entities`: copies, the first axis is the entity."""
        return {f"{name}/{key}": v for name, part in self._parts() for key, v in part.rows(entities).items()}

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None:
        """Overwrite what was learnt of `entities` by what `rows` gave (their names stay as bound)."""
        for name, part in self._parts():
            start = f"{name}/"
            part.put_rows(entities, {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)})

    def forget(self, entities: Codes) -> None:
        """Empty what was learnt of `entities`; their rows belong to nobody."""
        for _, part in self._parts():
            part.forget(entities)
        for entity in entities.tolist():
            self._names.pop(entity, None)

    def state(self) -> State:
        """All that was learnt, of all bound entities."""
        entities = np.fromiter(self._names, np.int32, len(self._names))
        return State(self.rows(entities) | {"entities": entities}, {"names": list(self._names.values())})

    def restore(self, state: State) -> None:
        """The inverse of `state`; entities that are bound now and were not then are forgotten."""
        self.forget(np.fromiter(self._names, np.int32, len(self._names)))
        arrays = dict(state.arrays)
        entities = arrays.pop("entities")
        self._names = dict(zip(entities.tolist(), state.meta["names"], strict=True))
        self.put_rows(entities, arrays)

    def _parts(self) -> Iterator[tuple[str, Any]]:
        yield from (("scaling", self._scaling), ("immediate", self._immediate), ("settled", self._settled))
        yield "ring", self._ring
        yield from self._online.items()

    def _hours(self, slots: Ints | int) -> NDArray[np.float64]:
        """Local hours of slots, where they matter."""
        if self._scaling.seasons is None:
            return NO_HOUR
        each = np.asarray(slots, np.int64)
        times = each * self.ensemble.settings.step_ns if self._times is None else self._times(each)
        return self.ensemble.settings.hours(times)

    def _opinions(self, windows: Windows, learn: bool) -> list[Scores | None]:
        """Each detector's scores, in order; None for one that failed."""
        if not len(windows):
            return [Scores(np.empty(0, np.float32), windows.values[:, 0])] * len(self.ensemble.detectors)
        given: list[Scores | None] = []
        last: Exception | None = None
        for name, fitted in self.ensemble.detectors.items():
            online = self._online.get(name)
            try:
                given.append(online.score(windows, learn) if online else fitted.score(windows))
            except Exception as error:
                if short_of_memory(error):
                    raise  # judged with less memory, the same records would have other rows
                self.failures[name] += 1
                self._on_error(name, error)
                given.append(None)
                last = error
        if last is not None and all(opinion is None for opinion in given):
            raise EnsembleError("every detector failed") from last
        return given

    def _shares(self, windows: Windows, known: Ints, own: Floats, given: Sequence[Scores | None], at: Ints) -> Floats:
        """Shares of the windows `at` (the others' are 0) by what channels did themselves; the detectors' own before the
        first fit. `own` are ratios (D x B)."""
        shares = np.zeros((len(windows), len(windows.features)), np.float32)
        if not len(at):
            return shares
        detectors = [None if opinion is None else opinion.shares_at(at) for opinion in given]
        blend = blend_shares(decisive(own[:, at], self._quiet), detectors)
        moves = self.ensemble.moves
        shares[at] = blamed(windows.values[at, -REACH - 1 :], moves[:, known[at]], blend) if moves.shape[1] else blend
        return shares

    def _settle(self, windows: Windows, own: Floats) -> Floats:
        """Keep the ratios (D x B), and answer the settled ones of the slot `settle` - 1 before each window's end."""
        from detectors.fusing import settle  # compiled, which who judges nothing need not wait for

        settled = np.empty_like(own)
        at, ends = np.array(windows.entities), np.array(windows.ends)  # copies: a loop wants no read-only array
        settle(at, ends, own, self._look_ahead, self.ensemble.settings.settle, self._ratios, settled)
        return settled

    def _looked_ahead(self, entities: Codes, ends: Ints) -> Floats:
        """D x B: the mean ratios over the `settle` slots up to each of `ends` (B), of those that were judged."""
        from detectors.fusing import looked_ahead  # as above

        mean = np.empty((len(self._look_ahead), len(ends)), np.float32)
        looked_ahead(np.array(entities), ends, self._look_ahead, self.ensemble.settings.settle, self._ratios, mean)
        return mean

    @property
    def _ratios(self) -> tuple[Floats, Ints]:
        return self._ring["ratios"], self._ring["slots"]

    def _carry(self, old: "Scorer", entities: Codes) -> None:
        """Take over from `old` what stays meaningful of `entities`."""
        if not len(entities):
            return
        ours, theirs = self.ensemble.features, old.ensemble.features
        place = {name: index for index, name in enumerate(theirs)}
        common = [index for index, name in enumerate(ours) if name in place]
        source = [place[ours[index]] for index in common]
        mine = self._scaling.rows(entities)
        # a range is one of what its season leaves: it goes on where both versions take one off, or neither
        before = old.ensemble.seasons.length[old._scaling.trained(entities)][:, source] > 0
        alike = before == (self.ensemble.seasons.length[-1, common] > 0)
        for name, values in old._scaling.rows(entities).items():
            if values.ndim == 2:  # a channel each
                mine[name][:, common] = np.where(alike, values[:, source], mine[name][:, common])
        self._scaling.put_rows(entities, mine)
        for name, detector in self._online.items():
            same = old.ensemble.settings.detectors.get(name) == self.ensemble.settings.detectors.get(name)
            if name in old._online and same and ours == theirs:
                detector.put_rows(entities, old._online[name].rows(entities))

    def _tell_features(self) -> None:
        """Online detectors learn how many features there are from an empty window, before anybody asks for rows."""
        shape = (1, self.ensemble.settings.window, len(self.ensemble.features))
        nothing = np.full(shape, np.nan, np.float32)
        slot, entity = np.zeros(1, np.int64), np.zeros(1, np.int32)
        for detector in self._online.values():
            detector.score(Windows(entity, slot, nothing, self.ensemble.features, ["-"]), learn=False)


def _slots(ends: Ints) -> Iterator[slice]:
    """One slice for each distinct end slot, in order."""
    edges = np.flatnonzero(np.diff(ends)) + 1
    for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(ends)], strict=True):
        if stop > start:
            yield slice(start, stop)


def _log(detector: str, error: Exception) -> None:
    structlog.get_logger().warning("detector failed", detector=detector, error=repr(error))
