"""The fitted model of a stream's version: ranges, detectors, quantiles, tails and one threshold."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from detectors import registry
from detectors.calibration import Learning, Mode, Tail, alpha_for
from detectors.fusion import Fusion, decided, majority, power_mean, ratios
from detectors.movement import REACH
from detectors.scaling import Ranges
from detectors.scope import LOOK_AHEAD, Scoped
from detectors.seasons import Doubles, LocalClock, Seasons
from detectors.types import Detector, Fitted, OnlineDetector, PartlyOnline, Rows, Scope
from detectors.views import VIEW, Viewed, Views, surprise
from streaming.logfeatures import unit_of
from streaming.types import Floats, Ints, State, Windows

if TYPE_CHECKING:
    from detectors.pieces import Spread

Load = Callable[[str], type[Detector]]
Progress = Callable[[str, int, int], None]
EntityRows = dict[str, NDArray[Any]]
ForecastInputs = Callable[[Windows, int], tuple[Any, Floats, Sequence[str]]]
"""What the forecast of one channel looked at: a one-output booster, its inputs (B x K), their names."""


NEWEST = 12
"""Slots up to which a window is short: what it says is of now."""


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """What the model of a stream is told. `detectors`: parameters by registered name, in the order of the verdicts.

    `few_channels`: those in their place where the data have few continuous channels (`detectors.channels`).
    `alert_budget`: false episodes a day for the whole stream; `expected_entities` replaces the number at the fit.
    `settle`: slots after which a score is settled, the longest look-ahead; `quiet`: slots without a flag that end an
    episode. `groups`: label by entity. `timezone`: whose hours seasons go by; without `seasons` none are learnt.
    """

    step_ns: int
    window: int = 64
    detectors: dict[str, dict[str, Any]] = field(default_factory=lambda: registry.profile("default"))
    few_channels: dict[str, dict[str, Any]] | None = None
    fusion: Fusion = "power"
    scope: Literal["auto"] | Scope = "auto"
    groups: dict[str, str] = field(default_factory=dict)
    model_memory: int = 1 << 30
    alert_budget: float = 1.0
    expected_entities: int | None = None
    settle: int = 20
    quiet: int = 10
    calibration: Mode = "online"
    seed: int = 0
    max_windows: int = 30_000
    timezone: str = "UTC"
    seasons: bool = True
    accept: int = 3_000

    def hours(self, times: Ints) -> Doubles:
        """Local hours of the middle of the slots that begin at `times` (ns)."""
        return LocalClock(self.timezone).hours(times + self.step_ns // 2)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Immutable once fitted. K entities in `names` were seen in training; the last row of K + 1 is the fleet's.

    `quantiles` (K + 1) x D are the validation quantiles that scores are divided by; `tails` (D) the detectors' own
    tails over the fleet, `immediate` and `settled` those of the fused numbers, and `own` the K entities' windows for
    each of the two calibrators. `online` are the rows (K) that online detectors had learnt by the end of training.
    `moves` 2 x (K + 1) x F are the usual movements of channels (`detectors.movement`), 2 x 0 x F before the first fit.
    `medians` (K + 1) x F and `background` (at most 256 windows) are scaled. `alpha` is the threshold. `seen`: where
    metrics and lines are looked at apart (`detectors.views`), the tails of each view's immediate and settled numbers.
    """

    settings: EnsembleSettings
    features: tuple[str, ...]
    names: tuple[str, ...]
    ranges: Ranges
    seasons: Seasons
    detectors: dict[str, Detector]
    scope: Scope
    quantiles: Floats
    tails: tuple[Tail, ...]
    immediate: Tail
    settled: Tail
    own: dict[str, EntityRows]
    online: dict[str, EntityRows]
    alpha: float
    medians: Floats
    moves: Floats
    background: Windows
    load: Load = registry.load
    seen: tuple[tuple[Tail, ...], tuple[Tail, ...]] = ((), ())
    _index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {name: index for index, name in enumerate(self.names)})

    @classmethod
    def fit(
        cls,
        rows: Rows,
        settings: EnsembleSettings,
        *,
        progress: Progress | None = None,
        load: Load = registry.load,
        spread: "Spread | None" = None,
    ) -> "Ensemble":
        """Fit on the first 70% of each entity's rows, calibrate on the last 30%; `spread` fits the detectors elsewhere,
        with the same bits. ValueError where there is no row."""
        from detectors.fitting import Fitting  # which builds an Ensemble

        return Fitting(rows, settings, progress or _silent, load, spread).ensemble()

    @classmethod
    def cold(cls, settings: EnsembleSettings, features: Sequence[str], *, load: Load = registry.load) -> "Ensemble":
        """No fit: `vote` alone, its score as it is, and a fixed tail that each entity's own windows replace slowly."""
        name = "vote"
        detector = build(name, settings, "stream", load)
        tail = Tail.fixed(unseen_threshold(settings.fusion))
        width = len(features)
        none = np.full((1, width), np.nan, np.float32)
        empty = np.zeros((0, settings.window, width), np.float32)
        return cls(
            settings=settings,
            features=tuple(features),
            names=(),
            ranges=Ranges.none(width, [unit_of(name) for name in features]),
            seasons=Seasons.none(0, width),
            detectors={name: detector},
            scope="stream",
            quantiles=np.ones((1, 1), np.float32),
            tails=(Tail.fixed(),),
            immediate=tail,
            settled=tail,
            own={},
            online={},
            alpha=alpha_for(settings.alert_budget, settings.step_ns, settings.expected_entities or 1, 1.0),
            medians=none,
            moves=np.zeros((2, 0, width), np.float32),
            background=Windows(np.zeros(0, np.int32), np.zeros(0, np.int64), empty, features, ()),
            load=load,
        )

    def trained(self, names: Sequence[str]) -> Ints:
        """Places of `names` among the trained entities; -1 = unknown, which in a (K + 1)-array is the fleet's row."""
        return np.fromiter((self._index.get(name, -1) for name in names), np.int64, len(names))

    @property
    def views(self) -> Views:
        """What each detector sees."""
        return Views.told(self.settings.detectors, list(self.detectors), evidence_only(self.detectors))

    @property
    def look_ahead(self) -> Ints:
        """Slots over which each detector's settled ratio is a mean (D)."""
        return look_aheads(self.detectors, self.settings.settle)

    @property
    def span(self) -> int:
        """Newest slots of a window that scoring needs: the most that a detector, or the blame, reads."""
        return max(newest_slots(self.detectors.values(), self.settings.window), min(REACH + 1, self.settings.window))

    def median(self, name: str) -> Floats:
        """Median row (F, scaled) of entity `name`; the fleet's where it was not in training."""
        median: Floats = self.medians[self._index.get(name, -1)]
        return median

    @property
    def memoryless(self) -> bool:
        """Whether nothing is learnt on the stream but the ranges of entities that are not `frozen`."""
        kinds = {detector.memory for detector in self.detectors.values()}
        return self.settings.calibration == "frozen" and kinds <= {"window"}

    def frozen(self, name: str) -> bool:
        """Whether the range of entity `name` is known from training."""
        return name in self._index and self.ranges.frozen(self._index[name])

    def learning(self) -> Learning:
        """How the calibrators of this version learn."""
        settings = self.settings
        return Learning(settings.calibration, alpha=self.alpha, gap=settings.quiet, accept=settings.accept)

    def fresh_online(self) -> dict[str, OnlineDetector]:
        """New instances of the online detectors, fitted, without any entity's rows."""
        fresh: dict[str, OnlineDetector] = {}
        for name, fitted in self.detectors.items():
            if isinstance(fitted, OnlineDetector):
                fresh[name] = cast(OnlineDetector, build(name, self.settings, self.scope, self.load))
                fresh[name].restore(fitted.state())
        return fresh

    def fused(self, windows: Windows) -> Floats:
        """The fused number (B) of what the model alone says, for explanations: a pure function of the windows.

        `windows.names` say which entities' quantiles apply. NaN where no such detector has an opinion.
        """
        known = self.trained(windows.names)[windows.entities]
        pure = {place: said for place, each in enumerate(self.detectors.values()) if (said := by_model_alone(each))}
        if not pure:
            return np.full(len(windows), np.nan, np.float32)
        scored, several = list(pure), self.views.several
        quiet, own = evidence_only(self.detectors)[scored], np.full((len(scored), len(windows)), np.nan, np.float32)
        for row in np.argsort(quiet, kind="stable").tolist():
            if quiet[row] and not several and self.settings.fusion == "power" and not np.isnan(own).all(axis=0).any():
                break  # others decide, whatever it says
            place = scored[row]
            own[row] = ratios(pure[place](windows).values, self.quantiles[known, place])
        if several:
            views = Views(tuple(self.views.of[place] for place in scored), quiet)
            return surprise(views.numbers(lambda some: power_mean(own[some], quiet[some])), self.seen[0])
        return fuse(self.settings.fusion, own, [self.tails[place] for place in scored], quiet)

    def forecast_inputs(self) -> ForecastInputs | None:
        """What explains a forecast, of the first detector that forecasts and can say so; None where none does.

        Called with windows of one entity and a channel.
        """
        for detector in self.detectors.values():
            if isinstance(detector, Scoped) and hasattr(detector.model_of(""), "explain_inputs"):
                return lambda windows, channel, of=detector: of.model_of(  # type: ignore[misc]
                    windows.names[windows.entities[0]]
                ).explain_inputs(windows, channel)
        return None

    def state(self) -> State:
        """Everything, as plain arrays, JSON and opaque bytes."""
        state = State({"quantiles": self.quantiles, "medians": self.medians, "moves": self.moves})
        state.meta["ensemble"] = {
            "settings": asdict(self.settings),
            "features": list(self.features),
            "names": list(self.names),
            "scope": self.scope,
            "alpha": self.alpha,
            "background_names": list(self.background.names),
            "detectors": list(self.detectors),
            "own": list(self.own),
            "online": list(self.online),
            "views": len(self.seen[0]),
        }
        background = self.background
        arrays: EntityRows = {"entities": background.entities, "ends": background.ends, "values": background.values}
        state.put("background", State(arrays))
        state.put("ranges", self.ranges.state())
        state.put("seasons", self.seasons.state())
        for place, tail in enumerate((self.immediate, self.settled, *self.tails, *self.seen[0], *self.seen[1])):
            state.put(f"tail{place}", tail.state())
        for kind, rows in (*self.own.items(), *self.online.items()):
            state.put(f"rows-{kind}", State(dict(rows)))
        for name, detector in self.detectors.items():
            state.put(f"detector-{name}", detector.state())
        return state

    @classmethod
    def restore(cls, state: State, *, load: Load = registry.load) -> "Ensemble":
        """The inverse of `state`, bit for bit; KeyError where a detector is not registered."""
        meta = state.meta["ensemble"]
        settings = EnsembleSettings(**meta["settings"])
        names = meta["detectors"]  # whose order is that of quantiles and tails; a file's keys may come in another
        detectors = {name: build(name, settings, meta["scope"], load) for name in names}
        for name, detector in detectors.items():
            detector.restore(state.part(f"detector-{name}"))
        views, many = meta.get("views", 0), len(names)
        places = range(many + 2 + 2 * views)
        immediate, settled, *tails = (Tail.restore(state.part(f"tail{place}")) for place in places)
        background = state.part("background").arrays
        return cls(
            settings=settings,
            features=tuple(meta["features"]),
            names=tuple(meta["names"]),
            ranges=Ranges.restore(state.part("ranges")),
            seasons=Seasons.restore(state.part("seasons")),
            detectors=detectors,
            scope=meta["scope"],
            quantiles=state.arrays["quantiles"],
            tails=tuple(tails[:many]),
            immediate=immediate,
            settled=settled,
            own={kind: state.part(f"rows-{kind}").arrays for kind in meta["own"]},
            online={kind: state.part(f"rows-{kind}").arrays for kind in meta["online"]},
            alpha=meta["alpha"],
            medians=state.arrays["medians"],
            moves=state.arrays["moves"],
            background=Windows(**background, features=meta["features"], names=meta["background_names"]),
            load=load,
            seen=(tuple(tails[many : many + views]), tuple(tails[many + views :])),
        )


def build(name: str, settings: EnsembleSettings, scope: Scope, load: Load) -> Detector:
    """An unfitted detector; what has window memory is fitted per `scope`."""
    kind = load(name)
    parameters = ({"seed": settings.seed} if getattr(kind, "seeded", False) else {}) | settings.detectors.get(name, {})
    view = parameters.pop(VIEW, None)
    if kind.memory == "window":
        return Scoped(lambda: Viewed(kind(**parameters), view) if view else kind(**parameters), scope, settings.groups)
    detector = kind(**parameters)
    if isinstance(detector, PartlyOnline):
        detector.within(lambda make: Scoped(make, scope, settings.groups))
    return detector


def by_model_alone(detector: Detector) -> Fitted | None:
    """How `detector` scores by its model alone; None where all of it is learnt online."""
    if detector.memory == "window":
        return detector.score
    return detector.fitted if isinstance(detector, PartlyOnline) else None


def evidence_only(detectors: Mapping[str, Detector]) -> NDArray[np.bool_]:
    """Which detectors (D) decide only where no other has an opinion."""
    return np.array([getattr(detector, "evidence", False) for detector in detectors.values()], np.bool_)


def newest_only(detectors: Mapping[str, Detector], fusion: Fusion) -> NDArray[np.bool_]:
    """Which of the detectors (D) that decide look at no more than the `NEWEST` slots; none where a majority decides."""
    spans = [getattr(detector, "span", None) for detector in detectors.values()]
    short = np.array([span is not None and span <= NEWEST for span in spans], np.bool_)
    return short & ~evidence_only(detectors) & (fusion == "power")


def newest_slots(detectors: Iterable[Detector], window: int) -> int:
    """Newest slots of a window (of so many) that some of `detectors` reads; one that does not say reads all."""
    spans = [getattr(detector, "span", None) for detector in detectors]
    return max((window if span is None else min(span, window) for span in spans), default=window)


def look_aheads(detectors: Mapping[str, Detector], settle: int) -> Ints:
    """Slots over which each detector's settled ratio is a mean (D), at most `settle`."""
    asked = [getattr(detector, "look_ahead", LOOK_AHEAD) for detector in detectors.values()]
    return np.minimum(asked, settle)


def fuse(how: Fusion, ratios: Floats, tails: Sequence[Tail], quiet: NDArray[np.bool_]) -> Floats:
    """B float32, larger is stranger, from D x B ratios; `quiet` (D): see `evidence_only`.

    A majority is one of surprises, -log tail probability, and every detector has a vote.
    """
    if how == "power":
        return power_mean(ratios, quiet)
    each = [-np.log(tail.probability(row)) for tail, row in zip(tails, ratios, strict=True)]
    return majority(np.stack(each).astype(np.float32))


def numbers(
    how: Fusion, ratios: Floats, tails: Sequence[Tail], views: Views, newest: NDArray[np.bool_]
) -> list[tuple[Floats, Floats]]:
    """Of each view, from D x B ratios: the fused number (B), and the one that is decided by."""
    found = []
    for some in views.members:
        own = ratios[some]
        whole = fuse(how, own, [tail for tail, yes in zip(tails, some, strict=True) if yes], views.evidence[some])
        found.append((whole, decided(whole, own, newest[some])))
    return found


def unseen_threshold(fusion: Fusion, several: bool = False) -> float:
    """Where 2% of normal windows are expected without having seen any: ratio 1, or a surprise of -log 2% (that of
    `several` views is one)."""
    return 1.0 if fusion == "power" and not several else 3.9


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
