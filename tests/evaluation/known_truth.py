"""Streams of which the truth is known: what is normal in them, and which events were planted."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from detectors.ensemble import Ensemble, EnsembleSettings
from detectors.scorer import Scorer
from detectors.types import Rows
from streaming.types import Windows
from tsad.episodes import Episode, Rule
from tsad.evaluation.decisions import episodes_of

CHANNELS, WINDOW, SETTLE, QUIET = 4, 16, 10, 60
DAY_SLOTS = 1440
MINUTE = 60 * 10**9
DETECTORS: dict[str, dict[str, Any]] = {"linear": {}, "subspace": {"slots": 10}}


def values_of(kind: str, entities: int, slots: int, seed: int) -> Any:
    """Entities x slots x channels with unit scale around levels of their own. Kinds: see `NOISE`, and `seasonal`."""
    rng, levels = np.random.default_rng(seed), np.random.default_rng(100).normal(0, 50, (entities, 1, CHANNELS))
    if kind == "seasonal":
        phase = np.random.default_rng(101).uniform(0, 1, (entities, 1, CHANNELS))
        turn = np.sin(2 * np.pi * (np.arange(slots)[:, None] / 120 + phase))
        return (levels + 2 * turn + rng.normal(size=(entities, slots, CHANNELS))).astype(np.float32)
    return (levels + NOISE[kind](rng, (entities, slots, CHANNELS))).astype(np.float32)


def remembering(rng: Any, shape: tuple[int, int, int]) -> Any:
    """Normal numbers, each .8 of the one before plus noise."""
    noise = rng.normal(size=(shape[0], shape[1] + 50, shape[2])) * np.sqrt(1 - 0.64)
    for slot in range(1, noise.shape[1]):
        noise[:, slot] += 0.8 * noise[:, slot - 1]
    return noise[:, 50:]


NOISE = {
    "stationary": lambda rng, shape: rng.normal(size=shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(4, size=shape) / np.sqrt(2),
    "autocorrelated": remembering,
}


def fit(kind: str, entities: int, rows: int, budget: float, seed: int) -> Ensemble:
    """A model of `rows` slots of each entity that may open `budget` false episodes a day."""
    values = values_of(kind, entities, rows, seed)
    codes = np.repeat(np.arange(entities, dtype=np.int32), rows)
    table = Rows(
        names_of(entities),
        codes,
        np.tile(np.arange(rows, dtype=np.int64), entities),
        values.reshape(-1, CHANNELS),
        [f"f{channel}" for channel in range(CHANNELS)],
    )
    settings = EnsembleSettings(
        step_ns=MINUTE, window=WINDOW, detectors=DETECTORS, scope="stream", alert_budget=budget, settle=SETTLE,
        quiet=QUIET,
    )  # fmt: skip
    return Ensemble.fit(table, settings)


def judged(model: Ensemble, values: Any, poll: int = 20) -> list[list[Episode]]:
    """The episodes of each entity that the product opens on `values` (entities x slots x channels)."""
    entities, slots, _ = values.shape
    everyone = np.arange(entities, dtype=np.int32)
    scorer = Scorer(model)
    scorer.bind(everyone, names_of(entities))
    scaled = np.stack([scorer.scale(everyone, slot, values[:, slot]) for slot in range(slots)], axis=1)
    score, settled = (np.full((slots, entities), np.nan) for _ in range(2))
    for start, windows in _polls(model, scaled, everyone, poll):
        verdicts, stop = scorer.score(windows), start + len(windows) // entities
        score[start:stop] = verdicts.score.reshape(-1, entities)
        settled[start:stop] = (np.log(verdicts.settled_p) / np.log(model.alpha)).reshape(-1, entities)
    told = np.concatenate([settled[SETTLE - 1 :], np.full((SETTLE - 1, entities), np.nan)])
    flagged = (score > 1).any(axis=0)
    rule = Rule(SETTLE, QUIET)
    return [episodes_of(score[:, one], told[:, one], rule) if flagged[one] else [] for one in range(entities)]


def names_of(entities: int) -> list[str]:
    """Their names."""
    return [f"host-{entity:04d}" for entity in range(entities)]


def _polls(model: Ensemble, scaled: Any, everyone: Any, poll: int) -> Iterator[tuple[int, Windows]]:
    entities, slots, channels = scaled.shape
    before = np.full((entities, WINDOW - 1, channels), np.nan, np.float32)
    padded = np.concatenate([before, scaled], axis=1)
    for start in range(0, slots, poll):
        ends = range(start, min(start + poll, slots))
        values = np.concatenate([padded[:, end : end + WINDOW] for end in ends])
        codes, slot = np.tile(everyone, len(ends)), np.repeat(np.asarray(ends, np.int64), entities)
        yield start, Windows(codes, slot, values, list(model.features), names_of(entities))
