"""Charts of a run's page, as HTML that fits any width: columns over time, and bars beside their numbers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from storage.runs import SEVERITIES
from tsad.webpage import DARK, STYLE
from tsad.wording import counted

CHART_STYLE = (
    STYLE
    + """
:root { --critical: #b3261e; --warning: #e08a3c; --info: #4f9bd0; --calm: #b9c2cc; }
.chart { display: flex; align-items: flex-end; gap: 1px; height: 10rem; border-bottom: 1px solid var(--rule); }
.chart div { flex: 1 1 0; min-width: 0; height: 100%; display: flex; flex-direction: column;
  justify-content: flex-end; }
.chart div:hover { background: var(--soft); }
.axis { display: flex; justify-content: space-between; color: var(--grey); font-size: .8rem; }
.chart i, .bar i { display: block; } .bar { display: flex; height: .8rem; min-width: 6rem; }
.bar i { min-width: 2px; } .critical { background: var(--critical); } .warning { background: var(--warning); }
.info { background: var(--info); } .calm { background: var(--calm); }
.pair { display: flex; flex-wrap: wrap; gap: 0 2.5rem; } .pair > div { flex: 1 1 22rem; min-width: 0; }
.bars table { width: 100%; } .bars td:last-child { width: 55%; }
td.name, td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
td.said { white-space: normal; text-align: left; min-width: 16rem; overflow-wrap: anywhere; }
p.note > span { white-space: nowrap; } td.left, th.left { text-align: left; } td.time { white-space: nowrap; }
@media (max-width: 40rem) {
  .bars th:nth-child(3):not(:last-child), .bars td:nth-child(3):not(:last-child) { display: none; }
  .bars td:last-child { width: 35%; } .bar { min-width: 3rem; } td.time { white-space: normal; min-width: 5.5rem; }
}
"""
    + DARK.replace("--red:", "--critical: #ff8a80; --warning: #f0a35e; --info: #6cb6f0; --calm: #4a535e; --red:")
)
WIDTHS = (60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 604_800, 2_592_000, 31_536_000)
"""Seconds that a column may stand for."""
COLUMNS = 96
KEY = "".join(f'<span><span class="key {name}"></span>{name}</span> ' for name in SEVERITIES)
"""Which colour is which severity."""
WORDS = {60: "minute", 3600: "hour", 86400: "day", 604_800: "week", 31_536_000: "year"}


def width_for(first: datetime, last: datetime) -> int:
    """Seconds of a column so that a page has room for all from `first` to `last`."""
    seconds = (last - first).total_seconds()
    return next((width for width in WIDTHS if seconds / width < COLUMNS - 1), int(seconds / (COLUMNS - 2)) + 1)


def columns(rows: Iterable[Mapping[str, Any]], seconds: int) -> str:
    """Alerts over time, by severity: `rows` are bucket, severity and count."""
    counts: dict[int, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row["bucket"], {})[row["severity"]] = row["count"]
    if not counts:
        return ""
    first, last = min(counts), max(counts)
    most = max(sum(of.values()) for of in counts.values())
    bars = (_column(number * seconds, counts.get(number, {}), most) for number in range(first, last + 1))
    middle = [first, (first + last) // 2, last] if last > first + 1 else sorted({first, last})
    axis = "".join(f"<span>{_moment(number * seconds, seconds)}</span>" for number in middle)
    told = f"Alerts by when they began (UTC), at most {most:,} in {_length(seconds)}."
    drawn = f'<div class="chart" role="img" aria-label="{told}">{"".join(bars)}</div><div class="axis">{axis}</div>'
    return f'<p class="note">{told}{KEY}</p>{drawn}'


def _column(epoch: int, counts: Mapping[str, int], most: int) -> str:
    if not counts:
        return "<div></div>"
    said = ", ".join(f"{counts[name]:,} {name}" for name in SEVERITIES if name in counts)
    parts = (
        f'<i class="{name}" style="height:{100 * counts[name] / most:.2f}%"></i>'
        for name in SEVERITIES
        if name in counts
    )
    return f'<div title="{_moment(epoch, 60)}: {said}">{"".join(parts)}</div>'


def _moment(epoch: int, seconds: int) -> str:
    written = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch)).isoformat(" ", "minutes")
    return written[:10] if seconds >= 86400 else written[:16]


def _length(seconds: int) -> str:
    unit = max(one for one in WORDS if seconds % one == 0) if seconds % 60 == 0 else 60
    return counted(seconds // unit, WORDS[unit]) if seconds > unit else f"a{'n' * (unit == 3600)} {WORDS[unit]}"


def bar(parts: Sequence[tuple[str, float]], most: float) -> str:
    """A bar of parts (class, length), of which `most` fills the cell."""
    drawn = "".join(f'<i class="{kind}" style="width:{100 * part / most:.2f}%"></i>' for kind, part in parts if part)
    return f'<div class="bar">{drawn}</div>'
