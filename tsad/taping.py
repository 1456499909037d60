"""The log lines that a stream's topics still hold: what scores lines and judges sessions is fitted anew on them.

Each partition's lines below its saved position go through the log intake of the stream; the slots come from the
history, or from where topics were read again. No group is joined and nothing of the stream is changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.linemodel import FittedLines
from detectors.sessionmodel import FittedSessions
from detectors.types import Rows
from streaming.broker.kept import KeptSource
from streaming.cells import FRACTION, SCORE, SCORES
from streaming.linetape import JoinedTexts, LineTape
from streaming.logfeatures import LINES, SCORED_FEATURES
from streaming.logintake import LogIntake
from streaming.ring import ALWAYS
from streaming.stretches import LogCounts
from streaming.types import Floats, Ints, Lines
from tsad.app import App, sessions_of
from tsad.archive import Archive
from tsad.history import PREFIX
from tsad.linefit import scored_by, with_lines
from tsad.models import Model
from tsad.rereading import MOST, belonging_of, saved_places
from tsad.sessionfit import SessionTape


@dataclass(slots=True)
class Taped:
    """Lines and sessions of all partitions; `slots`: how many the longest of them spans; `bounded`: whether topics hold
    more than was read."""

    tape: LineTape
    sessions: SessionTape | None
    slots: int = 0
    bounded: bool = False


def learnt(
    app: App, stream: str, rows: Rows, active: Model | None, most: int = MOST
) -> tuple[Rows, FittedLines | None, FittedSessions | None]:
    """What scores lines and what judges sessions, fitted on those that the topics hold, and `rows` with its scores.

    Where they are fewer than a fit needs, or of less time than `fit_after` though they are all, what `active` has goes
    on."""
    config = app.config.of(stream)
    lines, sessions = (None, None) if active is None else (active.lines, active.sessions)
    if config.logs is not None and config.lines_at_hand:
        found = taped(app, stream, most)
        enough = found.bounded or found.slots >= config.fit_after
        if enough or sessions is None:
            sessions = sessions_of(config, found.sessions) or sessions
        if enough or lines is None:
            scored, model = with_lines(scored_by(rows, None), found.tape, config.logs.line_scorers)
            if model is not None:
                return scored, model, sessions
    return scored_by(rows, lines), lines, sessions


def taped(app: App, stream: str, most: int = MOST) -> Taped:
    """The lines of the topic, and their sessions: `most` messages at most, of each partition the newest."""
    config, texts, grouped = app.config.of(stream), JoinedTexts(), JoinedTexts()
    found = Taped(LineTape(texts), None if config.sessions is None else SessionTape(grouped))
    for part in _parts(app, stream, None, most):
        tape = part.intake.tape = LineTape(part.intake.miner.texts, part.most)
        own = SessionTape(part.intake.miner.texts, part.most)
        for _ in part.read():
            if part.intake.sessions is not None:
                own.add(part.intake.sessions.shown())
        if part.intake.sessions is not None:
            own.end(part.intake.sessions)
        tape.since = max(tape.since, part.since)
        found.tape.join(tape, texts)
        if found.sessions is not None and config.sessions is not None:
            cut = part.source.cut and part.first is not None
            found.sessions.join(own, grouped, (part.first or 0) + config.sessions.gap if cut else ALWAYS)
        found.slots = max(found.slots, part.slots)
        found.bounded |= part.source.bounded
    return found


@dataclass(slots=True)
class _Part:
    """What a partition's topic holds: `first` and `last` are event times (ns) of its lines, None before any came."""

    number: int
    intake: LogIntake
    source: KeptSource
    most: int
    step: int
    lateness: int
    first: int | None = None
    last: int = 0

    def read(self) -> Iterator[LogCounts]:
        """Every poll, as the intake took it."""
        try:
            while (batch := self.source.poll()) is not None:
                if not isinstance(batch, Lines):
                    raise TypeError(f"a topic of logs gave {type(batch).__name__}")
                if len(batch.times) and self.first is None:
                    self.first, self.last = (int(batch.times[0]),) * 2
                self.last = max(self.last, int(batch.times.max(initial=self.last)))
                yield self.intake.take(batch)
        finally:
            self.source.close()

    @property
    def since(self) -> int:
        """The slot from which on no line is missing."""
        if not self.source.cut:
            return ALWAYS
        return (self.last if self.first is None else self.first + self.lateness) // self.step + 1

    @property
    def slots(self) -> int:
        """How many lie between the first line and the last."""
        return 0 if self.first is None else self.last // self.step - self.first // self.step + 1


def _parts(app: App, stream: str, model: FittedLines | None, most: int) -> Iterator[_Part]:
    """Each partition of the topic of logs, whose lines `model` scores."""
    config, inputs = app.config.of(stream), app.inputs(stream)
    saved = {number: places["logs"] for number, places in saved_places(app, stream).items() if "logs" in places}
    share = max(most // max(len(saved), 1), 1)
    for number, place in saved.items():
        columns = inputs.columns()
        intake = inputs.intake(columns, 0, lambda _: model)
        if intake is None:
            return
        if intake.sessions is not None:
            intake.sessions.taped = model is None
        if model is not None:
            intake.score_by("candidate")
        source = KeptSource(
            app.config.kafka.settings(), (str(place["topic"]), int(place["partition"])), place["row"], share,
            inputs.decoder("logs", columns), belonging_of(app, stream, number),
        )  # fmt: skip
        yield _Part(number, intake, source, share, config.step, config.lateness)


@dataclass(slots=True)
class LineSums:
    """What a model says of a partition's lines, summed by entity and slot (1/64), from the slot `since` on."""

    since: int = ALWAYS
    cells: dict[tuple[str, int], Ints] = field(default_factory=dict)

    def add(self, lines: LogCounts, step: int, width: int) -> None:
        """The S (`width`) scores of N lines, few of which are not 0."""
        said = lines.said[:, SCORES : SCORES + SCORE * width]
        scores = np.where(said[:, ::SCORE] >= 0, said[:, 1::SCORE], 0).astype(np.int64)
        strange = np.flatnonzero(scores.any(axis=1) & (lines.times // step >= self.since))
        slots = (lines.times[strange] // step).tolist()
        for code, slot, score in zip(lines.codes[strange].tolist(), slots, scores[strange], strict=True):
            key = lines.names[code], slot
            self.cells[key] = self.cells[key] + score if key in self.cells else score

    def of(self, entities: Sequence[str], slots: Ints, covered: np.ndarray, width: int) -> Floats:
        """R rows x S; NaN where logs are not `covered` (R), or lines are missing."""
        found = np.zeros((len(slots), width), np.float32)
        for row, key in enumerate(zip(entities, slots.tolist(), strict=True)):
            if key in self.cells:
                found[row] = self.cells[key] / FRACTION
        found[~covered | (slots < self.since)] = np.nan
        return found


@dataclass(frozen=True, slots=True)
class Rescored(Archive):
    """Closed slots whose lines were scored by another model than the one that was in force: `sums` by partition."""

    scores: tuple[str, ...] = ()
    sums: dict[int, LineSums] = field(default_factory=dict)

    def features(self, first: int, last: int) -> list[str]:
        """Those of the model's scores in place of others."""
        names = [name for name in Archive.features(self, first, last) if name not in SCORED_FEATURES]
        return sorted([*names, *self.scores])

    def batches(
        self, partition: int, first: int, last: int, features: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """As those of the archive."""
        wanted = self.features(first, last) if features is None else list(features)
        plain = [name for name in wanted if name not in SCORED_FEATURES]
        sums = self.sums.get(partition, LineSums())
        for batch in Archive.batches(self, partition, first, last, list(dict.fromkeys([*plain, LINES]))):
            covered = pc.invert(pc.is_nan(batch.column(f"{PREFIX}{LINES}"))).to_numpy(zero_copy_only=False)
            entities, slots = batch.column("entity").to_pylist(), batch.column("slot").to_numpy()
            scores = sums.of(entities, slots, covered, len(self.scores))
            arrays = {f"{PREFIX}{name}": pa.array(scores[:, place]) for place, name in enumerate(self.scores)}
            arrays = {name: batch.column(name) for name in batch.schema.names} | arrays
            missing = pa.array(np.full(batch.num_rows, np.nan, np.float32))
            names = ["entity", "slot", "score", *(f"{PREFIX}{name}" for name in wanted)]
            yield pa.RecordBatch.from_arrays([arrays.get(name, missing) for name in names], names=names)


def rescored(
    app: App, stream: str, archive: Archive, model: FittedLines | None, first: int = ALWAYS, most: int = MOST
) -> Archive:
    """`archive` as if its lines from the slot `first` on had been scored by `model`: the topic is read again."""
    config = app.config.of(stream)
    if model is None or config.logs is None or not config.from_kafka:
        return archive
    sums: dict[int, LineSums] = {}
    for part in _parts(app, stream, model, most):
        here = sums[part.number] = LineSums(first)
        for lines in part.read():
            here.add(lines, part.step, len(model.features))
        here.since = max(first, part.since)
    return Rescored(archive.folder, archive.step, tuple(model.features), sums)
