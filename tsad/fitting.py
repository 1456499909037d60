"""History in, a model version out: the same windower as on the stream collects the rows, then everything is fitted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.explain import Explainer
from detectors.fitting import training_windows
from detectors.linemodel import FittedLines
from detectors.pieces import Spread
from detectors.sessionmodel import FittedSessions
from detectors.types import Rows
from streaming.linetape import LineTape
from streaming.logfeatures import fold_templates
from streaming.logintake import LogIntake
from streaming.stretches import Amended, Stretch
from streaming.types import Batch, Floats, Lines, Source, Topic
from streaming.windower import Windower
from tsad.director import feature_order
from tsad.models import Model
from tsad.sessionfit import SessionTape

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


class Pollable(Protocol):
    """A finite source, as far as it is read here."""

    def poll(self, max_records: int = 5000) -> Batch | None:
        """The next records; None at the end."""
        ...


@dataclass(slots=True)
class Collected:
    """Closed slots, the texts of the log templates, the entities' labels, the place behind what was read, and the log
    lines and their `sessions` themselves, where they are at hand."""

    rows: Rows
    texts: dict[str, str]
    labels: dict[str, dict[str, str]]
    positions: dict[str, dict[str, Any]] = field(default_factory=dict)
    tape: LineTape | None = None
    sessions: SessionTape | None = None


@dataclass(slots=True)
class _Parts:
    names: dict[str, int] = field(default_factory=dict)
    codes: list[np.ndarray] = field(default_factory=list)
    slots: list[np.ndarray] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def add(self, windower: Windower, stretch: Stretch) -> None:
        if isinstance(stretch, Amended):
            self._put(windower, stretch.rows, stretch.slots, stretch.values)
            return
        for slot in stretch.slots:
            self._put(windower, slot.rows, np.full(len(slot.rows), slot.slot, np.int64), slot.values)

    def _put(self, windower: Windower, rows: np.ndarray, slots: np.ndarray, values: Floats) -> None:
        names = windower.roster.names
        code = self.names.setdefault
        self.codes.append(np.array([code(names[row] or "", len(self.names)) for row in rows.tolist()], np.int32))
        self.slots.append(slots)
        self.values.append(values)

    def rows(self, features: Sequence[str]) -> Rows:
        """Ordered by (entity, slot); of a cell read twice the later reading counts."""
        width = len(features)
        if not self.codes:
            empty = np.zeros((0, width), np.float32)
            return Rows([], np.zeros(0, np.int32), np.zeros(0, np.int64), empty, list(features))
        codes, slots = np.concatenate(self.codes), np.concatenate(self.slots)
        values, start = np.full((len(codes), width), np.nan, np.float32), 0
        for part in self.values:  # features come one by one: early rows are narrower
            values[start : start + len(part), : part.shape[1]] = part
            start += len(part)
        order = np.lexsort((np.arange(len(codes)), slots, codes))
        codes, slots = codes[order], slots[order]
        last = np.r_[(codes[1:] != codes[:-1]) | (slots[1:] != slots[:-1]), True]
        return Rows(list(self.names), codes[last], slots[last], values[order[last]], list(features))


def collect(
    windower: Windower,
    sources: Mapping[Topic, Source],
    intake: LogIntake | None,
    until: int | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Collected:
    """Read `sources` to their end (or the first `until` records) and keep what closes."""
    parts = _Parts()
    positions: dict[str, dict[str, Any]] = {}

    def note(topic: Topic, batch: Batch, read: int) -> None:
        tell(read)
        positions[topic] = sources[topic].position(batch.next_position)

    grouped = intake.sessions if intake is not None else None
    kept = None if grouped is None or intake is None else SessionTape(intake.miner.texts)
    for stretch in closing(windower, sources, intake, until, note):
        parts.add(windower, stretch)
        if kept is not None and grouped is not None:
            kept.add(grouped.shown())
    if kept is not None and grouped is not None:
        kept.end(grouped)
    texts = intake.features.texts() if intake is not None else {}
    tape = intake.tape if intake is not None else None
    return Collected(parts.rows(windower.features), texts, dict(windower.roster.labels), positions, tape, kept)


def closing(
    windower: Windower,
    sources: Mapping[Topic, Pollable],
    intake: LogIntake | None,
    until: int | None = None,
    note: Callable[[Topic, Batch, int], None] = lambda *_: None,
) -> Iterator[Stretch]:
    """What closes as `sources` are read to their end (or the first `until` records), by turns; `note` is told of each
    batch, and how many records were read by then."""
    going, read = list(sources), 0
    while going:
        topic = next((name for name in going if not windower.paused(name)), going[0])
        wanted = 5000 if until is None else min(5000, until - read)
        batch = sources[topic].poll(wanted) if wanted > 0 else None
        if batch is None:
            going.remove(topic)
            yield from windower.end(topic)
            continue
        read += len(batch.codes) + sum(batch.dead_counts.values())
        note(topic, batch, read)
        going.append(going.pop(going.index(topic)))
        taken = intake.take(batch) if isinstance(batch, Lines) and intake else batch
        yield from windower.process(topic, taken)  # type: ignore[arg-type]  # lines never come without an intake


def worth_fitting(rows: Rows, texts: Mapping[str, str], templates: int) -> Rows:
    """`rows` with the features that a model gets: those with a value, the most frequent templates apart. ValueError
    where there are none."""
    values, features = fold_templates(rows.values, rows.features, texts, templates)
    wanted = [name for name in feature_order(features) if not np.isnan(values[:, features.index(name)]).all()]
    values = np.ascontiguousarray(values[:, [features.index(name) for name in wanted]])
    if not len(rows.codes) or not wanted:
        raise ValueError("there is nothing to fit on: no entity has a value in any closed slot")
    return Rows(rows.names, rows.codes, rows.slots, values, wanted)


def fit_model(
    rows: Rows,
    settings: EnsembleSettings,
    texts: Mapping[str, str],
    templates: int,
    progress: Progress | None = None,
    lines: FittedLines | None = None,
    sessions: FittedSessions | None = None,
    spread: Spread | None = None,
) -> Model:
    """Fit a version on closed slots; `spread` fits its detectors elsewhere. ValueError where there is nothing to fit
    on."""
    rows = worth_fitting(rows, texts, templates)
    ensemble = Ensemble.fit(rows, settings, progress=progress, spread=spread)
    if progress:
        progress("fit explanations", len(settings.detectors), len(settings.detectors) + 1)
    windows = training_windows(ensemble, rows)
    explainer = Explainer.fit(windows, ensemble.background, lambda w: ensemble.fused(w).astype(np.float64))
    figures = {
        "rows": len(rows.codes), "entities": len(rows.names), "features": len(rows.features), "alpha": ensemble.alpha,
        "windows": len(windows), "scope": ensemble.scope,
    }  # fmt: skip
    if explainer.surrogate is not None:
        figures |= {"surrogate_r2": explainer.surrogate.r2, "surrogate_rank": explainer.surrogate.rank}
    known = {name: texts[name] for name in rows.features if name in texts}
    return Model(ensemble, explainer, known, figures, lines, sessions)
