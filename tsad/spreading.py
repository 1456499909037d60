"""A model's detectors fitted by the workers of an engine. Rows are written once, and each worker maps them into memory:
what travels is the name of a folder, and comes back as files of states. The model is the same, bit for bit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import registry
from detectors.ensemble import EnsembleSettings
from detectors.pieces import Piece, Spread, fit_piece
from detectors.types import Rows
from storage.model_files import ModelContent, read_model, write_model
from storage.types import ModelRow
from streaming.types import State
from tsad.config import Config
from tsad.detection import ensemble_settings
from tsad.engines import open_engine
from tsad.engines.queue import Queue
from tsad.engines.tasks import Engine, EngineError, Task

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_ARRAYS = ("codes", "slots", "values")


class EngineSpread:
    """Fits pieces (`detectors.pieces.Spread`) on `engine`, whose workers see `folder` under the same path."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self._written: Rows | None = None
        self._at: dict[bytes, str] = {}

    def __call__(
        self, rows: Rows, settings: EnsembleSettings, pieces: Sequence[Piece]
    ) -> Iterator[tuple[int, list[State]]]:
        """As they end. ValueError, naming it, for a piece that cannot be fitted; EngineError where processes die."""
        self._write(rows, settings)
        asked = [self._request(piece) for piece in pieces]
        queue = Queue(range(len(pieces)))
        for outcome in queue.run(self._engine, lambda number: Task(number, "fit", asked[number])):
            number = outcome.number
            if outcome.answer is not None:
                yield number, self._states(json.loads(outcome.answer))
                continue
            said = f"{pieces[number].name} could not be fitted: {outcome.reason}"
            if not outcome.crashed:
                raise ValueError(said)
            if not queue.again(number):
                raise EngineError(f"{said} ({len(queue.pauses) + 1} attempts)")

    def _write(self, rows: Rows, settings: EnsembleSettings) -> None:
        """What workers read, once."""
        if self._written is rows:
            return
        self._written = rows
        for name in _ARRAYS:
            np.save(self._folder / f"{name}.npy", getattr(rows, name), allow_pickle=False)
        told = {"names": rows.names, "features": rows.features, "settings": asdict(settings)}
        (self._folder / "rows.json").write_text(json.dumps(told), encoding="utf-8")

    def _request(self, piece: Piece) -> str:
        places = piece.at.tobytes()
        if places not in self._at:
            self._at[places] = f"at{len(self._at)}"
            np.save(self._folder / f"{self._at[places]}.npy", piece.at, allow_pickle=False)
        told = piece._asdict() | {"at": self._at[places], "folder": str(self._folder)}
        return json.dumps(told)

    def _states(self, files: list[list[str]]) -> list[State]:
        found = []
        for version, file, checksum in files:
            content = read_model(str(self._folder), ModelRow("fit", version, file, checksum, _NEVER))
            found.append(State(content.arrays, content.meta, content.blobs))
        return found


def gpus(detectors: Mapping[str, Mapping[str, Any]]) -> float:
    """How many GPUs a task asks for: one where some detector runs on it."""
    return float(any(options.get("device", "cpu") != "cpu" for options in detectors.values()))


@contextmanager
def spreading(config: Config, stream: str, engine: str, workers: int | None, address: str | None) -> Iterator[Spread]:
    """What fits the stream's detectors on the engine so named. What a cluster reads lies below `history`, which its
    nodes see; what this machine reads, in a folder for temporary files."""
    share = gpus(ensemble_settings(config.of(stream)).detectors)
    shared = Path(config.history) if address else None
    if shared is not None:
        shared.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="fit-", dir=shared) as folder,
        open_engine(engine, workers, address, share) as opened,
    ):
        yield EngineSpread(opened, Path(folder).absolute())


def fitted(request: str) -> str:
    """What a worker does: one piece; the files of its states."""
    asked = json.loads(request)
    folder = Path(asked["folder"])
    told = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    codes, slots, values = (_mapped(folder, name) for name in _ARRAYS)
    rows = Rows(told["names"], codes, slots, values, told["features"])
    keys = None if asked["keys"] is None else tuple(asked["keys"])
    piece = Piece(asked["name"], asked["scope"], _mapped(folder, asked["at"]), keys)
    states = fit_piece(rows, EnsembleSettings(**told["settings"]), piece, registry.load)
    return json.dumps([_kept(folder, state) for state in states])


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    """An array of which only what is used is read."""
    return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))


def _kept(folder: Path, state: State) -> tuple[str, str, str]:
    row = write_model(str(folder), "fit", None, ModelContent(state.arrays, state.blobs, state.meta), _NEVER)
    return row.version, row.file, row.checksum
