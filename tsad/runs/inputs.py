"""What a run read, for people, and whether two runs read the same."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from storage.backfills import BackfillRow, Backfills, UnitRow
from tsad.rows import utc
from tsad.wording import utc_text

TIMES = {"since": "from", "until": "to"}
APART = ("entities", "files", "planned")
"""Of what a unit reads: whose rows it takes, what is looked at one by one, and when that was planned."""
CONFIG = "config"
"""Where the digests of the stream's configuration stand."""
ASIDE = ("unit_rows", "bands", CONFIG)
"""How a run was cut into units, what it wrote beside and how it judged is no part of what it reads."""


def told(spec: Mapping[str, Any]) -> dict[str, str]:
    """What was asked for, by the words of the command line."""
    found = {}
    for name, value in spec.items():
        if name in ASIDE or value is None:
            continue
        at = utc_text(utc(value)) if name in TIMES and isinstance(value, int) else value
        found[TIMES.get(name, name)] = ", ".join(map(str, at)) if isinstance(at, list) else str(at)
    return found


def same_input(backfills: Backfills, one: BackfillRow, other: BackfillRow) -> bool:
    """Whether two runs read the same records: of one stream, the same range, files of the same size and stamp,
    messages of the same offsets."""
    asked = [{name: value for name, value in row.spec.items() if name not in ASIDE} for row in (one, other)]
    if one.stream != other.stream or asked[0] != asked[1]:
        return False
    return read_by(backfills.units(one.run)) == read_by(backfills.units(other.run))


def read_by(units: Iterable[UnitRow]) -> set[str]:
    """Each file, statement or range of offsets that units read, whosever rows they take of it."""
    found = set()
    for unit in units:
        for topic, reading in unit.spec.get("reads", {}).items():
            whole = {name: value for name, value in reading.items() if name not in APART}
            for part in reading.get("files", [None]):
                found.add(json.dumps([topic, whole, part], sort_keys=True))
    return found
