"""A fit in pieces is the fit in one: the same bits, whoever fits them and in whichever order they come back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors import registry
from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.pieces import KEYS, Piece, fit_piece
from detectors.types import Rows
from streaming.types import State

ENTITIES, SLOTS = 6, 460
DETECTORS: dict[str, dict[str, Any]] = {
    "subspace": {"slots": 4},
    "subspace-long": {"slots": 12},
    "linear": {},
    "discord": {"slots": 8, "whole": True},
    "vote": {},
}
SETTINGS = EnsembleSettings(
    step_ns=60 * 10**9, window=16, detectors=DETECTORS, settle=5, quiet=8, max_windows=3000, seasons=False,
    groups={f"host-{n}": "even" if n % 2 == 0 else "odd" for n in range(ENTITIES - 1)},
)  # fmt: skip


def rows() -> Rows:
    """Six hosts of three channels; the last is too young for a model of its own."""
    draw = np.random.default_rng(1)
    counts = [SLOTS] * (ENTITIES - 1) + [60]
    codes = np.repeat(np.arange(ENTITIES, dtype=np.int32), counts)
    slots = np.concatenate([np.arange(count) for count in counts])
    phase = draw.uniform(0, 6, (ENTITIES, 3))[codes]
    values = np.sin(slots[:, None] / 20 + phase) + draw.normal(0, 0.1, (len(codes), 3))
    return Rows([f"host-{n}" for n in range(ENTITIES)], codes, slots, values.astype(np.float32), ["x", "y", "z"])


class Elsewhere:
    """Fits pieces last first, and hands states on as a file would: copied, and their keys in another order."""

    def __init__(self) -> None:
        self.asked: list[list[Piece]] = []

    def __call__(
        self, rows: Rows, settings: EnsembleSettings, pieces: Sequence[Piece]
    ) -> Iterator[tuple[int, list[State]]]:
        self.asked.append(list(pieces))
        for number in reversed(range(len(pieces))):
            states = fit_piece(rows, settings, pieces[number], registry.load)
            yield number, [self.sent(state) for state in states]

    def sent(self, state: State) -> State:
        arrays = {name: state.arrays[name].copy() for name in sorted(state.arrays, reverse=True)}
        return State(arrays, dict(state.meta), dict(state.blobs))


def assert_same(one: State, other: State) -> None:
    assert one.meta == other.meta
    assert list(one.arrays) == list(other.arrays)
    assert one.blobs == other.blobs
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)


@pytest.mark.parametrize("scope", ["auto", "entity", "group", "stream"])
def test_a_fit_in_pieces_is_the_fit_in_one(scope: Any) -> None:
    settings, elsewhere = replace(SETTINGS, scope=scope), Elsewhere()
    whole = Ensemble.fit(rows(), settings)
    assert whole.scope == ("entity" if scope == "auto" else scope)
    assert_same(whole.state(), Ensemble.fit(rows(), settings, spread=elsewhere).state())
    assert all(piece.name in DETECTORS for pieces in elsewhere.asked for piece in pieces)


def test_the_pieces_are_the_streams_models_and_those_of_a_few_keys() -> None:
    elsewhere = Elsewhere()
    Ensemble.fit(rows(), SETTINGS, spread=elsewhere)
    first, own, again = elsewhere.asked
    assert [piece.name for piece in first if piece.keys is None] == list(DETECTORS)
    scoped = [piece for piece in own if piece.keys is not None]
    assert {len(piece.keys or ()) for piece in scoped} == {KEYS, ENTITIES - 1 - KEYS}
    assert {key for piece in scoped for key in piece.keys or ()} == {f"host-{n}" for n in range(ENTITIES - 1)}
    # a stream's model that is there is not fitted again; one that has no parts is
    assert [piece.name for piece in own if piece.keys is None] == ["discord"]
    assert [(piece.name, len(piece.at) > len(first[3].at)) for piece in again] == [("discord", True)]


def test_models_that_do_not_fit_memory_have_no_pieces_of_keys() -> None:
    elsewhere = Elsewhere()
    found = Ensemble.fit(rows(), replace(SETTINGS, model_memory=1), spread=elsewhere)
    assert found.scope == "stream"
    assert all(piece.keys is None for pieces in elsewhere.asked for piece in pieces)


def test_progress_counts_pieces() -> None:
    told: list[tuple[str, int, int]] = []
    Ensemble.fit(rows(), SETTINGS, spread=Elsewhere(), progress=lambda *each: told.append(each))
    counted = [(done, total) for stage, done, total in told if stage == "fit in pieces"]
    assert counted[: len(DETECTORS) + 1] == [(n, len(DETECTORS)) for n in range(len(DETECTORS) + 1)]
