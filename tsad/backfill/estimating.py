"""What a plan may cost, before anything is read but names and times."""

from collections.abc import Sequence
from typing import Any

from storage.types import ModelRow
from tsad.app import App
from tsad.backfill.planning import Planned
from tsad.engines.local import cores
from tsad.sizing import need

SCORE_BYTES = 8
"""Of a row of results beside its values, compressed."""
QUICKER = 2.0
"""A core does so many more rows of history in a second than of a stream (`make bench-backfill`), at least."""


def estimated(
    app: App, stream: str, units: Sequence[Planned], version: ModelRow, workers: int | None
) -> dict[str, Any]:
    """Units, entities and rows of a plan; seconds of a core by the rates of `tsad.sizing`, and by the clock with so
    many `workers` (None: one a core), no less than the longest unit takes; bytes of results at most."""
    features = len(app.shelf(stream).read(version).ensemble.features)
    entities, rows = sum(one.entities for one in units), sum(one.rows for one in units)
    rate = QUICKER * need(app.config.of(stream), max(entities, 1), features).core
    busy, longest = rows / rate, max((one.rows for one in units), default=0) / rate
    return {
        "units": len(units), "unreadable": sum(bool(one.fault) for one in units), "entities": entities, "rows": rows,
        "core_seconds": round(busy), "seconds": round(max(busy / (workers or cores()), longest)),
        "result_bytes": rows * (4 * features + SCORE_BYTES),
    }  # fmt: skip
