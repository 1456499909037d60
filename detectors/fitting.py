"""How an ensemble is fitted: cut, scale, fit, score the validation windows as the stream would, calibrate."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import THRESHOLD_QUANTILE, Tail, alpha_for, mean_cluster, own_windows
from detectors.channels import few
from detectors.cutting import SHORTEST_BLOCK, by_slot, cut_rows, cut_windows, fit_places
from detectors.ensemble import (
    Ensemble,
    EnsembleSettings,
    EntityRows,
    Load,
    Progress,
    build,
    evidence_only,
    look_aheads,
    newest_only,
    newest_slots,
    numbers,
    unseen_threshold,
)
from detectors.fusion import grouped_quantile, ratios, settled_mean
from detectors.movement import FLOOR, REACH, movements
from detectors.pieces import Piece, Spread, pieces_of, put_together
from detectors.scaling import NO_HOUR, Ranges, Scaling
from detectors.scope import Scoped, resolve_scope
from detectors.seasons import HOUR, Doubles, Seasons, learn
from detectors.types import Detector, OnlineDetector, PartlyOnline, Rows, Scope
from detectors.views import Views, covered, in_views, surprise
from streaming.logfeatures import unit_of
from streaming.types import Codes, Floats, Ints, State, Windows

_CHUNK = 4096
"""Windows that are cut and scored at a time."""
_FLEET_WINDOWS = 1000
"""What the fleet's quantile is worth beside an entity's own validation windows: with fewer, a thousand entities of 36
windows each are judged by tails of numbers that were divided by themselves, and open twice the budget (measured)."""
_FLEET_MOVES = 100
"""What the fleet's usual movement of a channel is worth beside an entity's own: it takes blame, it decides nothing."""
_UNSEEN_QUANTILE, _UNSEEN_WINDOWS = 0.5, 5
"""Without validation windows a detector's quantile would be half a training range; that is worth 5 windows."""
_SMALLEST_QUANTILE = 1e-3
"""A thousandth of a training range: rounding noise of constant channels is no yardstick."""
_BACKGROUND = 256
_USUAL = 0.99


class Fitting:
    """One fit. The steps run in the order of `ensemble`; each leaves what the next needs."""

    def __init__(
        self, rows: Rows, settings: EnsembleSettings, progress: Progress, load: Load, spread: Spread | None = None
    ) -> None:
        if not len(rows.codes):
            raise ValueError("an ensemble needs at least one row to fit on")
        self._progress, self._load, self._entities = progress, load, len(rows.names)
        self._spread = spread
        self._cut = cut_rows(rows, settings.window, settings.max_windows, max(SHORTEST_BLOCK, 3 * settings.settle))
        self._settings = self._chosen(rows, settings)
        self._ranges, self._seasons = self._scales(rows)
        self._rows = replace(rows, values=_scaled(self._ranges, self._seasons, rows, settings))
        self._warm: dict[str, EntityRows] = {}
        self._held: tuple[Ints, Windows] | None = None

    def ensemble(self) -> Ensemble:
        """The fitted model."""
        detectors, scope = self._fit_detectors()
        scores = self._scores(detectors)
        quantiles = self._quantiles(scores)
        validated = self._cut.validation
        own = ratios(scores, quantiles[self._rows.codes[validated]].T)
        if self._cut.in_sample:
            # Windows that were fitted on look more usual than new ones will: they calibrate nothing.
            own[:] = np.nan
        tails = tuple(Tail.fit(row) for row in own)
        views = Views.told(self._settings.detectors, list(detectors), evidence_only(detectors))
        (immediate, seen), (settled, seen_settled) = (
            self._decided(part, tails, views, detectors) for part in (own, self._settled(own, detectors))
        )
        first, second = self._tail(immediate, views.several), self._tail(settled, views.several)
        codes, entities, settings = self._rows.codes[validated], self._entities, self._settings
        present = settings.expected_entities or len(np.unique(self._rows.codes))
        return Ensemble(
            settings=settings,
            features=tuple(self._rows.features),
            names=tuple(self._rows.names),
            ranges=self._ranges,
            seasons=self._seasons,
            detectors=self._refitted(detectors, scope),
            scope=scope,
            quantiles=quantiles,
            tails=tails,
            immediate=first,
            settled=second,
            own={
                "immediate": own_windows(codes, immediate, entities),
                "settled": own_windows(codes, settled, entities),
            },
            online=self._warm,
            alpha=alpha_for(settings.alert_budget, settings.step_ns, present, first.cluster),
            medians=self._medians(),
            moves=self._moves(),
            background=self._background(),
            load=self._load,
            seen=(seen, seen_settled),
        )

    def _decided(
        self, own: Floats, tails: tuple[Tail, ...], views: Views, detectors: dict[str, Detector]
    ) -> tuple[Floats, tuple[Tail, ...]]:
        """What is decided by (n), of D x n ratios, and each view's tail where there are several."""
        how = self._settings.fusion
        each = [then for _, then in numbers(how, own, tails, views, newest_only(detectors, how))]
        seen = tuple(self._tail(number) for number in each) if views.several else ()
        return surprise(each, seen), seen

    def _chosen(self, rows: Rows, settings: EnsembleSettings) -> EnsembleSettings:
        """The settings with the detectors for as many channels as there are."""
        if settings.few_channels is not None and few(rows.values[self._cut.fitted]):
            settings = replace(settings, detectors=settings.few_channels)
        detectors = settings.detectors
        if settings.fusion == "power" and covered(rows.codes, rows.values, rows.features):
            detectors = in_views(detectors, rows.features, self._load)
        return replace(settings, few_channels=None, detectors=detectors)

    def _scales(self, rows: Rows) -> tuple[Ranges, Seasons]:
        """Seasons, and the ranges of what they leave."""
        fitted, units = self._cut.fitted, [unit_of(name) for name in rows.features]
        seasons = _seasons(rows, fitted, self._settings)
        left = rows.values
        if seasons.any:
            left = left - seasons.at(rows.codes, _hours(rows, self._settings))
        ranges = Ranges.fit(rows.codes[fitted], left[fitted], self._entities, units)
        return ranges, seasons.in_widths(_bound(Scaling(ranges), self._entities).inverse(_everyone(self._entities))[1])

    def _fit_detectors(self) -> tuple[dict[str, Detector], Scope]:
        settings = self._settings
        scope: Scope = "stream" if settings.scope == "auto" else settings.scope
        detectors = {name: build(name, settings, scope, self._load) for name in settings.detectors}
        fit, whole = self._places(reads(detectors.values(), settings.window))
        self._cut = replace(self._cut, fit=fit, whole=whole)
        self._fit(detectors, scope)
        if settings.scope != "auto" or self._entities == 1:
            return detectors, scope
        models = {name: each for name, each in detectors.items() if isinstance(each, Scoped | PartlyOnline)}
        size = sum(each.bytes() for each in models.values())
        scope = resolve_scope("auto", size, self._entities, settings.model_memory)
        if scope == "stream":
            return detectors, scope
        again = {name: build(name, settings, scope, self._load) for name in models}
        self._fit(again, scope, beside=detectors)
        return detectors | again, scope

    def _fit(
        self,
        detectors: Mapping[str, Detector],
        scope: Scope,
        whole: bool = False,
        beside: Mapping[str, Detector] | None = None,
    ) -> None:
        """Fit `detectors` of `scope`, on the `whole` of training; the stream's models are there where others of the
        same name, `beside`, have them."""
        if self._spread is not None:
            self._fit_in_pieces(self._spread, detectors, scope, whole, beside or {})
            return
        more = " for each entity" if beside else " on all of training" if whole else ""
        for done, (name, detector) in enumerate(detectors.items()):
            self._progress(f"fit {name}{more}", done, len(detectors))
            windows, other = self._windows(detector, whole), (beside or {}).get(name)
            if isinstance(detector, Scoped) and isinstance(other, Scoped):
                detector.adopt(other)
                detector.fit_own(windows, detector.owners(windows.entities, windows.names))
            else:
                detector.fit(windows)

    def _fit_in_pieces(
        self,
        spread: Spread,
        detectors: Mapping[str, Detector],
        scope: Scope,
        whole: bool,
        beside: Mapping[str, Detector],
    ) -> None:
        places = {name: self._at(detector, whole) for name, detector in detectors.items()}
        kept = {name: other for name in detectors if isinstance(other := beside.get(name), Scoped)}
        anew = {name: detector for name, detector in detectors.items() if name not in kept}
        known = {name: detector for name, detector in detectors.items() if name in kept}
        pieces = [
            *pieces_of(anew, scope, places, self._rows), *pieces_of(known, scope, places, self._rows, wholes=False)
        ]  # fmt: skip
        self._progress("fit in pieces", 0, len(pieces))
        done: list[tuple[Piece, list[State]]] = []
        for number, states in spread(self._rows, self._settings, pieces):
            done.append((pieces[number], states))
            self._progress("fit in pieces", len(done), len(pieces))
        put_together(detectors, done)
        for name, other in kept.items():
            detector = detectors[name]
            if isinstance(detector, Scoped):
                detector.adopt(other)

    def _places(self, slots: int) -> tuple[Ints, Ints]:
        return fit_places(self._rows, self._settings.window, self._settings.max_windows, slots)

    def _at(self, detector: Detector, whole: bool) -> Ints:
        """The rows at which windows end that a detector is fitted on; of the `whole` of training."""
        if detector.memory == "window":
            return self._places(newest_slots([detector], self._settings.window))[whole]
        return (self._cut.fit, self._cut.whole)[whole]

    def _windows(self, detector: Detector, whole: bool = False) -> Windows:
        """What a detector is fitted on. The last answer is held: most want the same."""
        at = self._at(detector, whole)
        if self._held is None or not np.array_equal(self._held[0], at):
            self._held = at, cut_windows(self._rows, at, self._settings.window)
        return self._held[1]

    def _scores(self, detectors: dict[str, Detector]) -> Floats:
        """D x V scores of the validation windows, in their order by (entity, slot)."""
        validated, window = self._cut.validation, newest_slots(detectors.values(), self._settings.window)
        scores = np.full((len(detectors), len(validated)), np.nan, np.float32)
        for start in range(0, len(validated), _CHUNK):
            part = slice(start, start + _CHUNK)
            windows = cut_windows(self._rows, validated[part], window)
            for row, (name, detector) in zip(scores, detectors.items(), strict=True):
                if not isinstance(detector, OnlineDetector):
                    self._progress(f"validate {name}", start, len(validated))
                    row[part] = detector.score(windows).values
        for row, (name, detector) in zip(scores, detectors.items(), strict=True):
            if isinstance(detector, OnlineDetector):
                row[:] = self._streamed(name, detector, window)
        return scores

    def _streamed(self, name: str, detector: OnlineDetector, window: int) -> Floats:
        """What an online detector says of the validation windows, having lived through those before them."""
        at, everyone = by_slot(self._rows, self._cut.streamed), _everyone(self._entities)
        scores = np.full(len(self._rows.codes), np.nan, np.float32)
        for start in range(0, len(at), _CHUNK):
            self._progress(f"validate {name}", start, len(at))
            part = at[start : start + _CHUNK]
            scores[part] = detector.score(cut_windows(self._rows, part, window)).values
        self._warm[name] = detector.rows(everyone)
        detector.forget(everyone)
        return scores[self._cut.validation]

    def _quantiles(self, scores: Floats) -> Floats:
        """(K + 1) x D: each entity's own quantile, drawn to the fleet's by its number of windows; last the fleet's."""
        codes = self._rows.codes[self._cut.validation]
        table = np.ones((self._entities + 1, len(scores)), np.float32)
        for place, row in enumerate(scores):
            some = row[~np.isnan(row)]
            seen = len(some) * np.quantile(some, THRESHOLD_QUANTILE) if len(some) else 0.0
            fleet = (seen + _UNSEEN_WINDOWS * _UNSEEN_QUANTILE) / (len(some) + _UNSEEN_WINDOWS)
            known, own, counts = grouped_quantile(row, codes, THRESHOLD_QUANTILE)
            table[:, place] = fleet
            table[known, place] = (counts * own + _FLEET_WINDOWS * fleet) / (counts + _FLEET_WINDOWS)
        return np.maximum(table, np.float32(_SMALLEST_QUANTILE))

    def _settled(self, own: Floats, detectors: dict[str, Detector]) -> Floats:
        """D x n: the mean of the ratios of each slot and those after it, as `Scorer` tells it later; at the end of an
        entity's validation, as at the end of a stream, over what is left."""
        codes, slots = self._rows.codes[self._cut.validation], self._rows.slots[self._cut.validation]
        settle = self._settings.settle
        keys = codes * np.int64(np.ptp(slots) + settle + 1) + slots
        stretch = np.full((settle, *own.shape), np.nan, np.float32)
        for ahead, target in enumerate(stretch):
            at = np.minimum(keys.searchsorted(keys + ahead), len(keys) - 1)
            found = keys[at] == keys + ahead
            target[:, found] = own[:, at[found]]
        return settled_mean(stretch, look_aheads(detectors, settle))

    def _refitted(self, detectors: dict[str, Detector], scope: Scope) -> dict[str, Detector]:
        """The detectors as the model keeps them: those that want all of training are fitted once more."""
        wanting = [name for name, detector in detectors.items() if getattr(detector, "whole", False)]
        if not wanting:
            return detectors
        again = {name: build(name, self._settings, scope, self._load) for name in wanting}
        self._fit(again, scope, whole=True)
        return detectors | again

    def _tail(self, fused: Floats, several: bool = False) -> Tail:
        codes, slots = self._rows.codes[self._cut.validation], self._rows.slots[self._cut.validation]
        cluster = mean_cluster(fused, codes, slots, self._settings.quiet)
        tail = Tail.fit(fused, unseen_threshold(self._settings.fusion, several), cluster)
        # surprises are exponential by what they are: how far each view's numbers reach is in that view's tail
        return replace(tail, scale=1 / tail.threshold, shape=1.0) if several else tail

    def _medians(self) -> Floats:
        medians = np.full((self._entities + 1, len(self._rows.features)), np.nan, np.float32)
        sample = np.union1d(self._cut.fit, self._cut.validation)
        codes, values = self._rows.codes[sample], self._rows.values[sample]
        for channel, column in enumerate(values.T):
            present: NDArray[np.float32] = column[~np.isnan(column)]
            medians[:, channel] = np.median(present) if len(present) else np.nan
            known, own, _ = grouped_quantile(column, codes, 0.5)
            medians[known, channel] = own
        return medians

    def _moves(self) -> Floats:
        """2 x (K + 1) x F: 99% quantiles of movements, each entity's drawn to the fleet's; NaN = never seen."""
        at, window = self._cut.validation, min(REACH + 1, self._settings.window)
        parts = [at[start : start + _CHUNK] for start in range(0, len(at), _CHUNK)] or [at]
        moved = np.concatenate([movements(cut_windows(self._rows, part, window).values) for part in parts], axis=1)
        usual = np.full((2, self._entities + 1, moved.shape[2]), np.nan, np.float32)
        for kind, channel in np.ndindex(2, moved.shape[2]):
            column = moved[kind, :, channel]
            if np.isnan(column).all():
                continue
            fleet = np.nanquantile(column, _USUAL)
            known, own, counts = grouped_quantile(column, self._rows.codes[at], _USUAL)
            usual[kind, :, channel] = fleet
            usual[kind, known, channel] = (counts * own + _FLEET_MOVES * fleet) / (counts + _FLEET_MOVES)
        return usual + FLOOR

    def _background(self) -> Windows:
        chosen = np.random.default_rng(self._settings.seed).permutation(len(self._cut.fit))[:_BACKGROUND]
        part = cut_windows(self._rows, self._cut.fit[np.sort(chosen)], self._settings.window)
        known, entities = np.unique(part.entities, return_inverse=True)
        names = [self._rows.names[code] for code in known]
        return Windows(entities.astype(np.int32), part.ends, part.values, list(part.features), names)


def reads(detectors: Iterable[Detector], window: int) -> int:
    """Newest slots of a window (of so many) that some of the `detectors` with window memory reads."""
    return newest_slots([each for each in detectors if each.memory == "window"], window)


def training_windows(ensemble: Ensemble, rows: Rows) -> Windows:
    """The scaled windows that an ensemble was fitted on, cut from its training rows again, in time order."""
    settings = ensemble.settings
    slots = reads(ensemble.detectors.values(), settings.window)
    fit, _ = fit_places(rows, settings.window, settings.max_windows, slots)
    scaled = replace(rows, values=_scaled(ensemble.ranges, ensemble.seasons, rows, settings))
    return cut_windows(scaled, fit, settings.window)


def _seasons(rows: Rows, fitted: Ints, settings: EnsembleSettings) -> Seasons:
    """In raw units."""
    if not settings.seasons:
        return Seasons.none(len(rows.names), len(rows.features))
    known = np.zeros(len(rows.codes), np.bool_)
    known[fitted] = True
    return learn(rows.codes, rows.values, _hours(rows, settings), known, settings.step_ns / HOUR, len(rows.names))


def _hours(rows: Rows, settings: EnsembleSettings) -> Doubles:
    return settings.hours(rows.slots * settings.step_ns if rows.times is None else rows.times)


def _scaled(ranges: Ranges, seasons: Seasons, rows: Rows, settings: EnsembleSettings) -> Floats:
    scaling = _bound(Scaling(ranges, seasons), len(rows.names))
    hours = _hours(rows, settings) if seasons.any else NO_HOUR
    return scaling.scale(rows.codes, rows.values, learn=False, hours=hours)


def _bound(scaling: Scaling, entities: int) -> Scaling:
    """Row codes are the trained entities."""
    scaling.bind(_everyone(entities), np.arange(entities))
    return scaling


def _everyone(entities: int) -> Codes:
    return np.arange(entities, dtype=np.int32)
