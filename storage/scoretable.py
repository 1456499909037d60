"""Scores on their way to their table: thousands a save, kept as columns, so that no object is made of any row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import repeat
from typing import Any, overload

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from storage.documents import dump_json
from storage.noted import NotedScores
from storage.types import ScoreRow
from storage.upsert import Copied, Piece, copy_texts, encoded, escaped, joined, lines


class ScoreTable(Sequence[ScoreRow]):
    """The rows of `parts`, in order; `time` says at which event time a slot begins. Rows are made when one is looked
    at, which PostgreSQL's way of writing (`copied`) never does."""

    def __init__(self, parts: Sequence[NotedScores], time: Callable[[int], datetime]) -> None:
        self._parts = parts
        self._time = time

    def __len__(self) -> int:
        return sum(len(part.slots) for part in self._parts)

    @overload
    def __getitem__(self, at: int) -> ScoreRow: ...

    @overload
    def __getitem__(self, at: slice) -> list[ScoreRow]: ...

    def __getitem__(self, at: int | slice) -> ScoreRow | list[ScoreRow]:
        return self._rows[at]

    def __iter__(self) -> Iterator[ScoreRow]:
        return iter(self._rows)

    @cached_property
    def _rows(self) -> list[ScoreRow]:
        rows: list[ScoreRow] = []
        for part in self._parts:
            times = {slot: self._time(slot) for slot in set(part.slots)}
            count = len(part.slots)
            columns = (
                part.entities, part.slots, map(times.__getitem__, part.slots), part.scores, part.p,
                map(msgspec.Raw, joined(votes_pieces(part), count)), repeat(part.version, count),
            )  # fmt: skip
            rows += map(ScoreRow._make, zip(*columns, strict=True))
        return rows

    def copied(self, table: sa.Table, dialect: Dialect, shared: Mapping[str, Any]) -> Copied | None:
        """The rows for a COPY into `table`, columns in `shared` alike in all; None where a window comes twice, of which
        the later counts: that is for `encode`."""
        columns = {column.name: column for column in table.columns}

        def texts(name: str, values: list[Any]) -> Sequence[str]:
            return copy_texts(encoded(columns[name], dialect, values))

        names = [texts("entity", part.entities) for part in self._parts]
        slots = [part.slots for part in self._parts]
        keys = {key for pair in zip(names, slots, strict=True) for key in zip(*pair, strict=True)}
        if len(keys) < len(self):
            return None
        alike: dict[str, list[Piece]] = {name: [texts(name, [value])[0]] for name, value in shared.items()}
        whole = []
        for part, entities in zip(self._parts, names, strict=True):
            distinct = list(set(part.slots))
            times = dict(zip(distinct, texts("time", list(map(self._time, distinct))), strict=True))
            found: dict[str, list[Piece]] = {
                **alike,
                "entity": [entities],
                "slot": [texts("slot", part.slots)],
                "time": [list(map(times.__getitem__, part.slots))],
                "score": [texts("score", part.scores)],
                "p": [texts("p", part.p)],
                "votes": votes_pieces(part, escaped),
                "model_version": [texts("model_version", [part.version])[0]],
            }
            whole.append(lines([found[name] for name in columns], len(part.slots)))
        return Copied("".join(whole), len(keys))


def votes_pieces(noted: NotedScores, spell: Callable[[str], str] = str) -> list[Piece]:
    """What follows one another in the JSON of each window's votes, by detector: its own tail probability and vote; NaN
    is no opinion. `spell` is applied to what is no number."""
    order = sorted(range(len(noted.detectors)), key=noted.detectors.__getitem__)
    heads = [f'{dump_json(noted.detectors[place])}:{{"p":' for place in order]
    pieces: list[Piece] = [spell("{" + heads[0])]
    for place, following in zip(order, [*(f",{head}" for head in heads[1:]), "}"], strict=True):
        ends = [spell(f',"voted":{vote}}}{following}') for vote in ("false", "true")]
        numbers = noted.tails[:, place].tolist()
        pieces.append(dump_json(numbers)[1:-1].split(",") if numbers else [])
        pieces.append(list(map(ends.__getitem__, noted.votes[:, place].tolist())))
    return pieces
