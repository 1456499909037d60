"""A fit in pieces: what a detector learns depends on its training windows alone, so that others may learn elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from detectors.cutting import cut_windows
from detectors.ensemble import EnsembleSettings, Load, build
from detectors.scope import Scoped
from detectors.types import Detector, Rows, Scope
from streaming.types import Ints, State

KEYS = 4
"""Entities (or groups) of a piece: their models are small."""


class Piece(NamedTuple):
    """What detector `name`, built for `scope`, learns of the windows that end at the rows `at`: of one that has a model
    for each key those of `keys`, else (None) the stream's; of any other all."""

    name: str
    scope: Scope
    at: Ints
    keys: tuple[str, ...] | None = None


Spread = Callable[[Rows, EnsembleSettings, Sequence[Piece]], Iterable[tuple[int, list[State]]]]
"""Fits pieces on scaled rows: the number of each as it is done, and the state of what was fitted (one for each key)."""


def pieces_of(
    detectors: Mapping[str, Detector], scope: Scope, places: Mapping[str, Ints], rows: Rows, wholes: bool = True
) -> Iterator[Piece]:
    """The pieces of fitting `detectors`, each on the windows that end at its `places`; without `wholes` the models of
    keys alone. What takes longest comes first."""
    if wholes:
        yield from (Piece(name, scope, places[name]) for name in detectors)
    for name, detector in detectors.items():
        if isinstance(detector, Scoped):
            owners = detector.owners(rows.codes[places[name]], rows.names)
            for start in range(0, len(owners), KEYS):
                yield Piece(name, scope, places[name], tuple(owners[start : start + KEYS]))


def fit_piece(rows: Rows, settings: EnsembleSettings, piece: Piece, load: Load) -> list[State]:
    """The states of what `piece` asks for, fitted on scaled `rows`."""
    detector = build(piece.name, settings, piece.scope, load)
    if not isinstance(detector, Scoped):
        detector.fit(cut_windows(rows, piece.at, settings.window))
        return [detector.state()]
    if piece.keys is None:
        detector.fit_stream(cut_windows(rows, piece.at, settings.window))
        return [detector.state()]
    mine = [code for code, name in enumerate(rows.names) if detector.key(name) in piece.keys]
    at = piece.at[np.isin(rows.codes[piece.at], mine)]
    detector.fit_own(cut_windows(rows, at, settings.window), piece.keys)
    return [detector.own_state(key) for key in piece.keys]


def put_together(detectors: Mapping[str, Detector], done: Iterable[tuple[Piece, list[State]]]) -> None:
    """Make `detectors` what their pieces have learnt."""
    own: list[tuple[Piece, list[State]]] = []
    for piece, states in done:
        if piece.keys is None:
            detectors[piece.name].restore(states[0])
        else:
            own.append((piece, states))
    for piece, states in sorted(own, key=lambda each: each[0].keys or ()):
        detector = detectors[piece.name]
        if isinstance(detector, Scoped):
            detector.put_own(dict(zip(piece.keys or (), states, strict=True)))
