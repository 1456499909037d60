"""What scores log lines, fitted on the lines of a history, and its features in the closed slots."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detectors.linemodel import FittedLines
from detectors.types import Rows
from streaming.cells import FRACTION
from streaming.lastlines import UNKNOWN
from streaming.linefields import FieldReader, Fields
from streaming.linescores import MinedLines
from streaming.linetape import LineTape, TapedLines, Texts
from streaming.logfeatures import LINES, SCORED_FEATURES
from streaming.types import Codes, Floats, Ints

PART = 1 << 17
"""Lines that are read at a time."""
MOST = 1000
"""Templates that a line model knows at most: the most frequent."""


def with_lines(rows: Rows, tape: LineTape | None, names: Sequence[str]) -> tuple[Rows, FittedLines | None]:
    """`rows` (by entity and slot) with the features of the line scorers called `names`, which are fitted on the lines
    of covered rows; as they are, and None, where there are too few of those. Where not all lines of a slot are on the
    tape, its scores are missing."""
    if tape is None or not names or LINES not in rows.features:
        return rows, None
    taped = tape.read()
    place = _places(rows, tape.names, taped.entities, taped.slots)
    covered = ~np.isnan(rows.values[:, rows.features.index(LINES)])
    kept = np.flatnonzero((place >= 0) & covered[place])
    if not len(kept):
        return rows, None
    lines, known = _coded(taped.take(kept), tape.texts)
    model, scores = FittedLines.fit(known, lines, names)
    if model is None:
        return rows, None
    covered &= rows.slots >= tape.whole_from(rows.names)[rows.codes]
    return _with(rows, model.features, scores, place[kept], covered), model


def scored_by(rows: Rows, lines: FittedLines | None) -> Rows:
    """`rows` without the scores of lines that `lines` does not give: those of other models."""
    given = lines.features if lines is not None else []
    gone = [name for name in SCORED_FEATURES if name in rows.features and name not in given]
    return _without(rows, gone)


def _without(rows: Rows, gone: Sequence[str]) -> Rows:
    kept = [column for column, name in enumerate(rows.features) if name not in gone]
    return replace(rows, values=rows.values[:, kept], features=[rows.features[column] for column in kept])


def _places(rows: Rows, names: dict[str, int], entities: Codes, slots: Ints) -> Ints:
    """The row of each line (N); -1 = there is none."""
    known = {name: code for code, name in enumerate(rows.names)}
    codes = np.array([known.get(name, -1) for name in names], np.int64)[entities]
    found = np.full(len(slots), -1, np.int64)
    if not len(rows.slots) or not len(slots):
        return found
    first = min(int(rows.slots.min()), int(slots.min()))
    span = max(int(rows.slots.max()), int(slots.max())) - first + 1
    cells, wanted = rows.codes.astype(np.int64) * span + rows.slots - first, codes * span + slots - first
    place = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    there = (cells[place] == wanted) & (codes >= 0)
    found[there] = place[there]
    return found


def _coded(taped: TapedLines, texts: Texts) -> tuple[MinedLines, list[str]]:
    """Lines with codes for ids, and the texts behind the codes: of equal frequency the older template first."""
    ids, before = taped.ids, taped.before
    held, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
    by_text: dict[str, int] = {}
    for text, count in zip(texts(held.tolist()), counts.tolist(), strict=True):
        if text:
            by_text[text] = by_text.get(text, 0) + count
    known = sorted(by_text, key=lambda text: -by_text[text])[:MOST]
    code = {text: number for number, text in enumerate(known, 1)}
    code_of = np.array([code.get(text or "", 0) for text in texts(held.tolist())], np.int32)
    at = np.minimum(np.searchsorted(held, before), len(held) - 1)
    earlier = np.where(held[at] == before, code_of[at], 0)
    earlier = np.where(before < 0, UNKNOWN, earlier).astype(np.int32)
    codes = code_of[place]
    return MinedLines(codes, earlier, taped.slots, taped.new, _said(taped, codes, known), taped.related), known


def _said(taped: TapedLines, codes: Codes, texts: Sequence[str]) -> Fields:
    """What stands at the varying places of lines, read part by part."""
    reader, firsts = FieldReader(texts), range(0, len(codes), PART)
    said = []
    for first in firsts:
        part = np.arange(first, min(first + PART, len(codes)))
        said.append(reader.read(taped.take(part).shaped, codes[part]))
    return Fields.joined(said, firsts)


def _with(rows: Rows, features: Sequence[str], scores: Codes, place: Ints, covered: np.ndarray) -> Rows:
    """`rows` with N x S scores of lines summed by row, 0 where logs are covered without."""
    sums: Floats = np.full((len(rows.slots), len(features)), np.nan, np.float32)
    for number in range(len(features)):
        total = np.bincount(place, scores[:, number], len(rows.slots)) / FRACTION
        sums[covered, number] = total[covered]
    rest = _without(rows, features)
    values = np.concatenate([rest.values, sums], axis=1)
    return replace(rest, values=values, features=[*rest.features, *features])
