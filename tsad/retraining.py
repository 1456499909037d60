"""What a stream is fitted on again: its history without what was alerted on, so that no incident is learnt as usual."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.types import Rows
from storage.read import Stretch
from streaming.linetape import LineTape
from streaming.logfeatures import OTHER, TEMPLATE_PREFIX
from streaming.types import Floats
from tsad.archive import Archive
from tsad.history import PREFIX
from tsad.sessionfit import SessionTape

Stretches = Callable[[int, int], Sequence[Stretch]]
"""The alerts between two slots."""
Columns = dict[int, dict[str, str]]
"""By partition: which feature of the model a log template's column is."""
LARGEST = 1 << 28
"""Values (1 GiB) that a fit gets at most: the newest."""
ALWAYS = -(1 << 60)
"""A slot before any other."""


class TooShortError(ValueError):
    """`slots` more are needed; waiting helps."""

    def __init__(self, reason: str, slots: int) -> None:
        super().__init__(reason)
        self.slots = slots


@dataclass(frozen=True, slots=True)
class Training:
    """Rows to fit on, and how many were `left_out`; `texts` of the log templates, and their `columns`; the log lines
    and their sessions, where they are at hand."""

    rows: Rows
    texts: dict[str, str]
    columns: Columns
    left_out: int
    tape: LineTape | None = None
    sessions: SessionTape | None = None


def training(archive: Archive, stretches: Stretches, least: int) -> Training:
    """The history of a stream, without incidents. TooShortError where fewer than `least` slots are left."""
    first, last = extent(archive)
    features, texts, columns = _features(archive, first, last)
    rows, scores = _read(archive, first, last, features, columns)
    unscored = bool(np.isnan(scores).all())
    kept = calm(rows, None if unscored else scores, stretches(first, last))
    check_length(kept, least)
    return Training(kept, texts, columns, len(rows.codes) - len(kept.codes))


def extent(archive: Archive) -> tuple[int, int]:
    """First and last slot that a fit reads. ValueError where there is none."""
    last = archive.newest()
    if last is None:
        raise ValueError("there is no history yet")
    first, held = last, 0
    width = max(len(archive.features(ALWAYS, last)), 1)
    for begin, rows in reversed(archive.counts(ALWAYS, last)):
        held += rows * width
        if held > LARGEST and first < last:
            break
        first = begin
    return first, last


def check_length(rows: Rows, least: int) -> None:
    """TooShortError where `rows` are of fewer than `least` slots."""
    slots = len(np.unique(rows.slots))
    if slots < least:
        reason = f"the history holds {slots} slots without incidents, and {least} (fit_after) are needed"
        raise TooShortError(reason, least - slots)


def calm(rows: Rows, scores: Floats | None, stretches: Sequence[Stretch]) -> Rows:
    """`rows` (by entity and slot) without the stretches of alerts, and those of no alert; of open ones only what was
    flagged by its score.

    Without `scores` the whole stretch of an open one goes."""
    keep = np.ones(len(rows.codes), np.bool_)
    codes = {name: code for code, name in enumerate(rows.names)}
    for stretch in stretches:
        if not stretch.id:
            named = np.array([fnmatchcase(name, stretch.entity) for name in rows.names], np.bool_)
            there = (rows.slots >= stretch.first_slot) & (rows.slots <= stretch.last_slot)
            keep &= ~(there & named[rows.codes])
            continue
        if stretch.entity not in codes:
            continue
        begin, end = np.searchsorted(rows.codes, [codes[stretch.entity], codes[stretch.entity] + 1])
        slots = rows.slots[begin:end]
        here = slice(*(begin + np.searchsorted(slots, [stretch.first_slot, stretch.last_slot + 1])))
        if stretch.state == "open" and scores is not None:
            keep[here] &= ~(scores[here] > 1)
        else:
            keep[here] = False
    return Rows(rows.names, rows.codes[keep], rows.slots[keep], rows.values[keep], rows.features)


def learnable(rows: Rows, stretches: Stretches) -> tuple[Rows, int]:
    """`rows` without alerts and maintenance windows, and how many that leaves out. ValueError where nothing is left."""
    if not len(rows.slots):
        return rows, 0
    kept = calm(rows, None, stretches(int(rows.slots.min()), int(rows.slots.max())))
    if not len(kept.slots):
        raise ValueError("nothing is left to fit on: every slot belongs to an alert or lies in a maintenance window")
    return kept, len(rows.slots) - len(kept.slots)


def arranged(values: Floats, names: Sequence[str], features: Sequence[str], called: Mapping[str, str]) -> Floats:
    """N x columns `names` -> N x `features`: what a template's column is `called`; one that is called nothing counts in
    `log.other`."""
    place = {name: number for number, name in enumerate(features)}
    found = np.full((len(values), len(features)), np.nan, np.float32)
    for column, name in enumerate(names):
        target = place.get(called.get(name, OTHER if name.startswith(TEMPLATE_PREFIX) else name))
        if target is not None:
            held, more = found[:, target], values[:, column]
            found[:, target] = np.where(np.isnan(held), more, held + np.nan_to_num(more))
    return found


def values_of(batch: pa.RecordBatch, names: Sequence[str]) -> Floats:
    """The value columns `names` of a batch, N x F."""
    found = np.empty((batch.num_rows, len(names)), np.float32)
    for place, name in enumerate(names):
        found[:, place] = batch.column(f"{PREFIX}{name}").to_numpy(zero_copy_only=False)
    return found


def _features(archive: Archive, first: int, last: int) -> tuple[list[str], dict[str, str], Columns]:
    """The features of all partitions together, texts of the templates among them, and each partition's columns.

    Templates of different partitions are the same one where their texts are."""
    names = archive.features(first, last)
    features = [name for name in names if not name.startswith(TEMPLATE_PREFIX)]
    named: dict[str, str] = {}
    columns: Columns = {}
    for partition in archive.partitions():
        texts = {column: text for column, text in archive.texts(partition).items() if column in names}
        columns[partition] = {
            column: named.setdefault(text, f"{TEMPLATE_PREFIX}{len(named)}") for column, text in texts.items()
        }
    return features + list(named.values()), {name: text for text, name in named.items()}, columns


def _read(archive: Archive, first: int, last: int, features: list[str], columns: Columns) -> tuple[Rows, Floats]:
    """Rows of all partitions by (entity, slot), and their scores."""
    names, known = archive.features(first, last), dict[str, int]()
    room = sum(rows for _, rows in archive.counts(first, last))
    codes, slots = np.zeros(room, np.int32), np.zeros(room, np.int64)
    scores, values, count = np.zeros(room, np.float32), np.zeros((room, len(features)), np.float32), 0
    for partition in archive.partitions():
        for batch in archive.batches(partition, first, last, names):
            part = slice(count, min(count + batch.num_rows, room))
            size = part.stop - part.start  # an hour that was rewritten since may have more rows
            codes[part] = codes_of(batch, known)[:size]
            slots[part] = batch.column("slot").to_numpy()[:size]
            scores[part] = batch.column("score").to_numpy()[:size]
            arrays = arranged(values_of(batch, names), names, features, columns.get(partition, {}))
            values[part], count = arrays[:size], part.stop
    order = np.lexsort((slots[:count], codes[:count]))
    rows = Rows(list(known), codes[order], slots[order], values[order], features)
    return rows, scores[order]


def codes_of(batch: pa.RecordBatch, known: dict[str, int]) -> NDArray[np.int32]:
    """The entities of a batch as numbers; new ones join `known`."""
    entity = batch.column("entity").dictionary_encode()
    number = [known.setdefault(name, len(known)) for name in entity.dictionary.to_pylist()]
    codes: NDArray[np.int32] = np.array(number, np.int32)[entity.indices.to_numpy()]
    return codes
