"""A partition's memory as the parts of one snapshot file, and back."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from detectors.ensemble import Ensemble
from detectors.scorer import Scorer
from streaming.ring import WindowPlane
from streaming.types import State
from tsad.era import Era
from tsad.partition import Partition

Part = tuple[str, dict[str, NDArray[Any]], dict[str, Any]]


def parts_of(partition: Partition, others: dict[str, State]) -> Iterator[Part]:
    """Everything that `restore` needs, part by part, so that nothing is held twice; `others` are the inputs' states."""
    yield from _part(
        "eras", State(meta={"eras": [[e.version, e.first_slot, list(e.ensemble.features)] for e in partition.eras]})
    )
    for number, era in enumerate(partition.eras):
        yield from _part(f"scorer{number}", era.scorer.state())
        yield from _part(f"plane{number}", era.plane.state())
    yield from _part("windower", partition.windower.state())
    yield from _part("readings", partition.readings.state())
    yield from _part("judge", partition.judge.state())
    yield from _part("rollups", partition.rollups.state())
    yield from _part("cases", partition.book.state())
    if partition.circumstances is not None:
        yield from _part("circumstances", partition.circumstances.state())
    for name, state in others.items():
        yield from _part(name, state)


def _part(name: str, state: State) -> Iterator[Part]:
    yield name, state.arrays, state.meta


def restore(
    partition: Partition,
    held: dict[str, State],
    late_horizon: int,
    model: Callable[[str, Sequence[str]], Ensemble],
    renamed: dict[str, dict[str, str]],
) -> None:
    """Put a snapshot's parts, by name, into a fresh partition.

    `model(version, features)` gives the ensemble of a version, `renamed` by version what the ring calls its features.
    """
    partition.windower.restore(held["windower"])
    partition.eras = []
    for number, (version, first_slot, features) in enumerate(held["eras"].meta["eras"]):
        scorer = Scorer(model(version, features), late_horizon=late_horizon)
        scorer.restore(held[f"scorer{number}"])
        kept = held[f"plane{number}"]
        plane = WindowPlane(kept.meta["window"], kept.meta["size"], len(features))
        plane.restore(kept)
        partition.eras.append(
            Era(version, first_slot, scorer, plane, partition.windower.features, renamed.get(version, {}))
        )
    partition.readings.restore(held["readings"])
    partition.judge.restore(held["judge"])
    partition.rollups.restore(held["rollups"])
    tracks = {
        (row, track.identity): track for row, entity in partition.judge.entities.items() for track in entity.tracks
    }
    partition.book.restore(held["cases"], tracks)
    if partition.circumstances is not None and "circumstances" in held:  # snapshots of older versions have none
        partition.circumstances.restore(held["circumstances"])
