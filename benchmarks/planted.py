"""Does severity order outcomes? Anomalies of one, two and four times a size, planted into real series.

Each series is fitted on the end of its train part and streamed as live data are, once for each size: the same places,
kinds, channels and lengths, so that nothing but the size differs. Of an anomaly the worst episode counts that begins in
it or soon behind it (none: 0). Concordance (MAD-Bench, Cao et al., 2024): of all pairs of different size the part in
which the greater one is judged worse; ties count half, as what is found at no size does. `within`: pairs of the same
anomaly; `found`: those of them of which one was found at least; `pooled`: pairs of all anomalies of a series, whatever
else they differ in.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from detectors.inject import Kind, noise, plant  # noqa: E402
from streaming.types import Floats, Windows  # noqa: E402
from tsad.episodes import Episode, Rule, severity  # noqa: E402
from tsad.evaluation.decisions import episodes_of  # noqa: E402
from tsad.evaluation.harness import Plan  # noqa: E402
from tsad.evaluation.running import Scored, Stream, first_slot, fit_together  # noqa: E402
from tsad.evaluation.series import Series, find_series  # noqa: E402
from tsad.evaluation.severity import concordance  # noqa: E402
from tsad.triage.digests import level_of_episode  # noqa: E402

SIZES = (1.0, 2.0, 4.0)
KINDS: tuple[Kind, ...] = ("spike", "shift", "noise", "trend")
TRAIN, TEST, APART, BEFORE, BEHIND = 5000, 2600, 160, 40, 12
LEVELS = {"info": 1.0, "warning": 2.0, "critical": 3.0}
DEVELOP = ("asd/omi-1", "smd/machine-2-1", "jumpstarter_d2/service0")
"""The series by which severity was chosen."""
REPORT = (
    "asd/omi-2", "asd/omi-3", "smd/machine-1-6", "smd/machine-3-4", "jumpstarter_d2/service1",
    "jumpstarter_d2/service2",
)  # fmt: skip
"""Those that are reported on."""


@dataclass(frozen=True, slots=True)
class Planted:
    """An anomaly in rows `start` to `stop` (exclusive) of some channels; `size` in standard deviations, at 1x."""

    start: int
    stop: int
    kind: Kind
    channels: tuple[int, ...]
    size: float
    seed: int


def places(series: Series, seed: int) -> list[Planted]:
    """Anomalies in stretches without a label, far enough apart."""
    rng = np.random.default_rng(seed)
    spread = np.nanmax(series.train, axis=0) > np.nanmin(series.train, axis=0)
    varying = np.flatnonzero(spread)
    labels = np.zeros(len(series.test), np.bool_) if series.labels is None else series.labels
    found = []
    for start in range(APART, len(series.test) - APART, APART):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        length = 1 if kind == "spike" else int(rng.integers(8, 25))
        count = min(int(rng.geometric(0.6)), len(varying))
        channels = tuple(sorted(rng.choice(varying, count, replace=False).tolist()))
        size = float(np.exp(rng.uniform(np.log(3.0), np.log(12.0))) * rng.choice([-1.0, 1.0]))
        if not labels[start - BEFORE : start + APART - BEFORE].any():
            found.append(Planted(start, start + length, kind, channels, size, int(rng.integers(1 << 30))))
    return found


def with_anomalies(series: Series, planted: Sequence[Planted], times: float) -> Series:
    """The series with all of them, at so many times their size."""
    low, width = np.nanmin(series.train, axis=0), np.ptp(np.nan_to_num(series.train), axis=0)
    width = np.where(width > 0, width, 1)
    scaled = ((series.test - low) / width).astype(np.float32)
    blocks = ((series.train - low) / width).astype(np.float32)
    blocks = blocks[: len(blocks) // BEFORE * BEFORE].reshape(-1, BEFORE, blocks.shape[1])
    sigma = noise(_windows(blocks))
    for one in planted:
        part = slice(one.stop - BEFORE, one.stop)
        mask = np.zeros((1, scaled.shape[1]), np.bool_)
        mask[0, list(one.channels)] = True
        changed = plant(
            _windows(scaled[None, part]), mask, one.kind, sizes=np.array([one.size * times], np.float32),
            lengths=np.array([one.stop - one.start]), sigma=sigma, rng=np.random.default_rng(one.seed),
        )  # fmt: skip
        scaled[part] = np.where(mask, changed.values[0], scaled[part])
    return replace(series, test=(scaled * width + low).astype(np.float32))


def _windows(values: Floats) -> Windows:
    count, _, features = values.shape
    names = [f"f{place}" for place in range(features)]
    return Windows(np.zeros(count, np.int32), np.arange(count, dtype=np.int64), values, names, ["s"])


def judged(series: Series, profile: str, seed: int) -> dict[str, list[list[float]]]:
    """By measure, of each anomaly how bad it is at each size."""
    plan = Plan(profile=profile)
    series = replace(
        series.knowing(TRAIN), test=series.test[:TEST], labels=None if series.labels is None else series.labels[:TEST]
    )
    planted, config = places(series, seed), plan.config_of([series])
    start = first_slot([series])
    ensemble, rule = fit_together([series], config, start), Rule(config.settle, config.quiet)
    found: dict[str, list[list[float]]] = {}
    for times in SIZES:
        scored = Stream(config, ensemble, start, with_anomalies(series, planted, times)).run()
        episodes = [
            one for one in episodes_of(scored.surprise, scored.settled_surprise, rule) if one.state != "retracted"
        ]
        for place, one in enumerate(planted):
            mine = [e for e in episodes if e.first < one.stop + BEHIND and e.last >= one.start]
            for measure, values in _measures(mine, scored).items():
                found.setdefault(measure, [[] for _ in planted])[place].append(values)
    return found


def _measures(episodes: Sequence[Episode], scored: Scored) -> dict[str, float]:
    told = [(one, _channels(scored.shares[one.peak])) for one in episodes]
    features = scored.shares.shape[1]
    return {
        "severity": max((LEVELS[severity(e.score, n, features, e.last - e.first + 1)] for e, n in told), default=0.0),
        "score": max((e.score for e, _ in told), default=0.0),
        "severity_score": max((level_of_episode(e.score, e.last - e.first + 1) for e, _ in told), default=0.0),
    }  # fmt: skip


def _channels(shares: Floats) -> int:
    excess = shares - shares.min(initial=1)
    return int((excess >= 0.5 * excess.max(initial=0)).sum()) if shares.any() else 0


def concordances(found: dict[str, list[list[float]]]) -> dict[str, float | int | None]:
    """Of one series, by measure."""
    told: dict[str, float | int | None] = {}
    for measure, values in found.items():
        pairs = [(a, b) for one in values for a, b in combinations(one, 2)]
        told[f"{measure}_within"] = _rising(pairs)
        told[f"{measure}_found"] = _rising([pair for pair in pairs if max(pair) > 0])
        flat, levels = np.array(values).ravel(), np.tile(SIZES, len(values))
        pooled = concordance(levels, flat)
        told[f"{measure}_pooled"] = None if pooled is None else round(pooled, 3)
    scores = found.get("score", [])
    for place, times in enumerate(SIZES):
        told[f"found_at_{times:.0f}x"] = sum(one[place] > 0 for one in scores)
    return told | {"anomalies": len(scores)}


def _rising(pairs: Sequence[tuple[float, float]]) -> float | None:
    """The part in which the second one is greater; ties count half."""
    return round(float(np.mean([(np.sign(b - a) + 1) / 2 for a, b in pairs])), 3) if pairs else None


def planted_concordance(
    data: Path, names: Sequence[str], profile: str = "fast", seed: int = 1
) -> dict[str, dict[str, Any]]:
    """Figures of each series, and their mean."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        (file,) = find_series(data / f"{name}.test.parquet")
        found[name] = concordances(judged(Plan().read(file), profile, seed))
        print(name, found[name], flush=True)
    keys = [key for key in next(iter(found.values())) if key.endswith(("_within", "_found", "_pooled"))]
    told = {key: [one[key] for one in found.values() if one[key] is not None] for key in keys}
    return found | {"mean": {key: round(float(np.mean(values)), 3) for key, values in told.items() if values}}
