"""docs/quality.md and quality.json from the parts that `benchmarks/quality.py` left."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

from benchmarks.ablation import AS_IT_IS
from tsad.evaluation.baselines import BASELINES
from tsad.evaluation.comparison import Interval, Values, difference, interval
from tsad.evaluation.scorefile import code_mark

CHOICES = Path(__file__).with_name("quality-choices.md")
FEW = 3
LEAST_EXPECTED = 10
FIGURES = {
    "vus_pr_100": "VUS-PR",
    "average_precision": "Average precision",
    "event_f1": "Event F1 at its own threshold",
}
OWN = {
    "event_f1": "event F1", "settled_event_f1": "settled event F1", "event_recall": "events found",
    "precision": "precision of rows", "false_per_1000_rows": "false episodes / 1,000 rows", "delay": "rows of delay",
    "echo": "rows of echo",
}  # fmt: skip
ABLATED = {
    "vus_pr_100": "VUS-PR", "average_precision": "AP", "settled_vus_pr_100": "settled VUS-PR",
    "settled_average_precision": "settled AP",
}  # fmt: skip
CAUSES = {
    f"{over}_{figure}": f"{title}, {said}"
    for over, said in (("extent", "labelled extents"), ("episode", "detected episodes"))
    for figure, title in (("hit_rate_100", "HitRate@100"), ("hit_rate_150", "HitRate@150"), ("ndcg_5", "NDCG@5"))
}
PROTOCOL = """Written by `make bench-quality`; not to be edited by hand. Every series is fitted on its train part and
streamed row by row through the path of live data. The peers get the same train part, rows and metrics. VUS-PR has a
buffer of 100 rows; no figure is point-adjusted. Means are over the series of a set, then over sets. Brackets hold 95%
percentiles of 2,000 bootstrap resamples of the series within each set. *Settled* is the score once its look-ahead has
passed (10 slots, window distances up to 40). A peer that looks ahead could not have said so when the row came in.
"""
Part = dict[str, dict[str, Any]]
"""What was measured, by kind and set."""


def write_document(parts: Path, document: Path, figures: Path, code: str) -> None:
    """Write both files; the document's last section is that of quality-choices.md."""
    found = {path.name: _read(path) for path in sorted(parts.iterdir())}
    ours = found.get("quality", {})
    contestants = _contestants(ours, found.get("baselines", {}))
    groups = _groups(found)
    sections = [
        "# Detection quality\n", PROTOCOL, _stale(found, code), _sets(found),
        *(_table_of(figure, title, contestants, groups) for figure, title in FIGURES.items()),
        _best(contestants, groups), _ablation(found.get("ablation", {}), groups), _own(ours),
        _budgets(found.get("thresholds", {})), _causes(ours),
        _cost(found.get("cost", {}), figures.with_name("pipeline.json")), _coldstart(found.get("coldstart", {})),
        CHOICES.read_text(encoding="utf-8"),
    ]  # fmt: skip
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text("\n".join(part.strip() + "\n" for part in sections if part), encoding="utf-8")
    standings = {
        figure: {
            group: {name: _mean(values, sets) for name, (_, values) in _of(contestants, figure).items()}
            for group, sets in groups.items()
        }
        for figure in FIGURES
    }
    figures.parent.mkdir(parents=True, exist_ok=True)
    plain = {figure: {g: {n: _plain(i) for n, i in m.items()} for g, m in s.items()} for figure, s in standings.items()}
    figures.write_text(json.dumps({"code": code, "means": plain, "parts": found}, indent=1))


def _read(folder: Path) -> Part:
    return {
        kind.name: {path.stem: json.loads(path.read_text()) for path in sorted(kind.glob("*.json"))}
        for kind in sorted(folder.iterdir())
    }


def _contestants(ours: Part, peers: Part) -> dict[str, tuple[str, dict[str, Any], str]]:
    """By name: how far it looks ahead, its sets, and the beginning of its figures' names."""
    found = {}
    for kind, sets in ours.items():
        name = f"tsad {kind.replace('-', ', ')}"
        found[name] = ("no", sets, "")
        found[f"{name}, settled"] = ("settling", sets, "settled_")
    for name, sets in peers.items():
        ahead = BASELINES[name].ahead
        found[name] = ("whole file" if ahead is None else f"{ahead} rows" if ahead else "no", sets, "")
    return found


def _of(contestants: Mapping[str, tuple[str, dict[str, Any], str]], figure: str) -> dict[str, tuple[str, Values]]:
    """One figure of each contestant's series, by set and series."""
    return {
        name: (
            ahead,
            {
                (label, row["series"]): row[start + figure]
                for label, result in sets.items() for row in result["rows"] if row.get(start + figure) is not None
            },
        )
        for name, (ahead, sets, start) in contestants.items()
    }  # fmt: skip


def _groups(found: Mapping[str, Part]) -> dict[str, list[str]]:
    """Sets of many channels, and of few."""
    channels: dict[str, int] = {}
    for part in ("quality", "baselines"):
        for sets in found.get(part, {}).values():
            channels |= {name: result["channels"] for name, result in sets.items()}
    groups = {
        "many channels": [name for name, count in channels.items() if count > FEW],
        f"up to {FEW} channels": [name for name, count in channels.items() if count <= FEW],
    }
    return {group: sets for group, sets in groups.items() if sets}


def _stale(found: Mapping[str, Part], code: str) -> str:
    """Parts of other code than today's, said openly."""
    current = {code, code_mark(baseline=True)}
    results = [result for part in found.values() for sets in part.values() for result in sets.values()]
    old = sum(result["code"] not in current for result in results)
    said = [f"**{old} of {len(results)} parts were measured with other code than that of this commit.**"] if old else []
    return "\n".join([*said, *_uneven(found)])


def _uneven(found: Mapping[str, Part]) -> list[str]:
    """Sets of which not every contestant has the same series: their means must not be held against each other."""
    series: dict[str, set[tuple[str, ...]]] = {}
    for part in ("quality", "baselines"):
        for sets in found.get(part, {}).values():
            for name, result in sets.items():
                series.setdefault(name, set()).add(tuple(result["series"]))
    return [
        f"**{name}: not every contestant has the same series.**" for name, kinds in series.items() if len(kinds) > 1
    ]


def _sets(found: Mapping[str, Part]) -> str:
    known: dict[str, Any] = {}
    for sets in (*found.get("baselines", {}).values(), *found.get("quality", {}).values()):
        known |= sets
    rows = [
        (name, str(one["channels"]), f"{len(one['series'])} of {one['of']}", one["train"])
        for name, one in sorted(known.items())
    ]
    return _markdown("Series", ("set", "channels", "series", "train part of files without one"), rows) if rows else ""


def _table_of(
    figure: str, title: str, contestants: Mapping[str, tuple[str, dict[str, Any], str]],
    groups: Mapping[str, list[str]],
) -> str:  # fmt: skip
    """A table for each group of sets, contestants by falling mean; a mean is given where no set is missing."""
    tables, values_of = [], _of(contestants, figure)
    for group, sets in groups.items():
        rows = []
        for name, (ahead, values) in values_of.items():
            by_set = [_mean(values, [one]) for one in sets]
            mean = _mean(values, sets)
            if any(by_set):
                rows.append((mean.mean if mean else -1.0, (name, ahead, *map(_short, by_set), _long(mean))))
        ordered = [row for _, row in sorted(rows, key=lambda pair: -pair[0])]
        if not ordered:
            continue
        tables.append(_markdown(f"{title}, {group}", ("", "looks ahead", *sets, "mean"), ordered))
    return "\n".join(tables)


def _best(contestants: Mapping[str, tuple[str, dict[str, Any], str]], groups: Mapping[str, list[str]]) -> str:
    """By set: ours against the peer that is best there, chosen by these very labels, which favours it."""
    rows = []
    values_of = _of(contestants, "vus_pr_100")
    for name in (one for sets in groups.values() for one in sets):
        local = {who: (ahead, _within(values, [name])) for who, (ahead, values) in values_of.items()}
        for kind, peers in (
            ("any", [who for who in local if who in BASELINES and local[who][1]]),
            ("causal", [who for who in local if who in BASELINES and local[who][1] and local[who][0] == "no"]),
        ):
            if not peers:
                continue
            best = max(peers, key=lambda who: interval(local[who][1]).mean)
            for who in local:
                apart = None if who in BASELINES else difference(local[who][1], local[best][1])
                if apart is not None:
                    said = f"{_long(apart.mean, '+.3f')}, p {apart.p:.2g}, {apart.won} : {apart.lost}"
                    theirs = f"{best} {_short(interval(local[best][1]))}"
                    rows.append((name, kind, theirs, who, _short(interval(local[who][1])), said))
    heads = ("set", "of peers", "the best", "tsad", "VUS-PR", "is better by (paired; Wilcoxon's p; won : lost)")
    return _markdown("VUS-PR against the best peer of each set", heads, rows) if rows else ""


def _ablation(part: Part, groups: Mapping[str, list[str]]) -> str:
    """Means over the sets of a group, and what each variant costs or gains; few and many channels have other parts."""
    tables = []
    for kind, sets in part.items():
        for group, names in groups.items():
            known = [sets[name]["variants"] for name in names if sets.get(name, {}).get("variants")]
            shared = [name for name in (known[0] if known else {}) if all(name in one for one in known)]
            rows = [(name, *_apart(known, name)) for name in shared]
            if rows:
                tables.append(_markdown(f"Ablation: {kind.replace('-', ', ')}, {group}", ("", *ABLATED.values()), rows))
    return "\n".join(tables)


def _apart(known: Sequence[Mapping[str, Mapping[str, float]]], variant: str) -> list[str]:
    """Each figure's mean over sets, with its difference from that of the ensemble as it is."""
    cells = []
    for figure in ABLATED:
        mean, plain = (float(np.mean([one[name][figure] for one in known])) for name in (variant, AS_IT_IS))
        cells.append(f"{mean:.3f}" if variant == AS_IT_IS else f"{mean:.3f} ({mean - plain:+.3f})")
    return cells


def _own(ours: Part) -> str:
    rows = []
    for kind, sets in ours.items():
        for name, result in sets.items():
            rows.append((kind, name, *(_average(result["rows"], figure) for figure in OWN)))
    heads = ("profile, scope", "set", *OWN.values())
    return _markdown("At the product's own threshold (budget 1 a day for each series)", heads, rows) if rows else ""


def _budgets(part: Part) -> str:
    """The promise: false episodes opened (retracted ones too) over those that the budget expects, where those are
    enough to judge by, with the exact Poisson interval."""
    rows = []
    for kind, sets in part.items():
        for name, result in sets.items():
            expected = result["expected"]
            if expected < LEAST_EXPECTED:
                continue
            opened = sum(row["false_episodes"] or 0 for row in result["rows"])
            low, high = poisson_interval(opened)
            rows.append((
                kind.rpartition("-")[0], name, f"{result['budget']:g}", f"{expected:.0f}", f"{opened:.0f}",
                f"{opened / expected:.2f} [{low / expected:.2f}, {high / expected:.2f}]",
                _average(result["rows"], "event_f1"), _average(result["rows"], "settled_event_f1"),
            ))  # fmt: skip
    heads = ("profile, scope", "set", "budget a day", "expected", "opened", "ratio", "event F1", "settled event F1")
    title = f"The budget: false episodes where at least {LEAST_EXPECTED} are expected"
    return _markdown(title, heads, rows) if rows else ""


def poisson_interval(count: float) -> tuple[float, float]:
    """The exact 95% interval of a Poisson mean of which `count` were seen (Garwood, 1936)."""
    return (float(chi2.ppf(0.025, 2 * count) / 2) if count else 0.0), float(chi2.ppf(0.975, 2 * count + 2) / 2)


def _causes(ours: Part) -> str:
    rows = [
        (kind, name, *(_average(result["rows"], figure) for figure in CAUSES))
        for kind, sets in ours.items()
        for name, result in sets.items()
        if any(row.get("extent_ndcg_5") is not None for row in result["rows"])
    ]
    return _markdown("Root cause", ("profile, scope", "set", *CAUSES.values()), rows) if rows else ""


def _cost(part: Part, pipeline: Path) -> str:
    """One entity after the other (each slot a batch of one window), and many at a time where `make bench` has run."""
    runs = json.loads(pipeline.read_text())["runs"] if pipeline.exists() else []
    many = {
        f"{run['profile']}-{run['scope']}": f"{run['cpu_us_per_row']:.0f} ({run['entities']:,} entities)"
        for run in runs
        if (run["format"], run["lines_per_row"]) == ("packed", 0)
    }
    rows = [
        (
            kind, name, str(one["channels"]), f"{one['fit_seconds']:.1f} ({one['train_rows']:,} rows)",
            f"{one['us_per_row']:.0f}", many.get(kind, "–"), f"{one['model_bytes'] / one['entities']:,.0f}",
            f"{one['ring_bytes'] + one['learnt_bytes']:,}",
        )
        for kind, sets in part.items()
        for name, one in sets.items()
    ]  # fmt: skip
    heads = (
        "profile, scope", "set", "channels", "fit, CPU s", "µs a row, one entity", "µs a row, `make bench`",
        "model, bytes an entity of the fit", "rings and what is learnt, bytes an entity",
    )  # fmt: skip
    return _markdown("Cost, one core", heads, rows) if rows else ""


def _coldstart(part: Part) -> str:
    rows = []
    for profile, sets in part.items():
        for name, result in sets.items():
            curves = result["curves"]
            for kind, said in (("first", "first entity"), ("fleet", "new one of a known fleet")):
                keys = [key for key in ("0", "50", "200", "1000", "all") if any(key in one[kind] for one in curves)]
                told = {key: [one[kind][key] for one in curves if one[kind].get(key)] for key in keys}
                cells = {
                    key: f"{np.mean([one['immediate'] for one in known]):.3f}"
                    for key, known in told.items() if known
                }  # fmt: skip
                if cells:
                    count = str(len(curves))
                    rows.append((profile, name, said, count, *(cells.get(key, "–") for key in _COLUMNS)))
    heads = ("profile", "set", "entity", "series", *(f"{key} rows" for key in _COLUMNS))
    said = (
        "\nA first entity is fitted on that many rows (on none, `vote` judges alone); a new one is judged by a model"
        " fitted on the other series of its set, which has streamed that many of its rows. Immediate scores.\n"
    )
    return _markdown("Cold start: VUS-PR against training rows", heads, rows) + said if rows else ""


_COLUMNS = ("0", "50", "200", "1000", "all")


def _within(values: Values, sets: Sequence[str]) -> Values:
    return {key: value for key, value in values.items() if key[0] in sets}


def _mean(values: Values, sets: Sequence[str]) -> Interval | None:
    """None where one of the sets is missing."""
    chosen = _within(values, sets)
    return interval(chosen) if {name for name, _ in chosen} == set(sets) else None


def _average(rows: Iterable[Mapping[str, Any]], figure: str) -> str:
    known = [row[figure] for row in rows if row.get(figure) is not None]
    return f"{np.mean(known):.3f}" if known else "–"


def _short(one: Interval | None) -> str:
    return f"{one.mean:.3f}" if one else "–"


def _long(one: Interval | None, form: str = ".3f") -> str:
    return f"{one.mean:{form}} [{one.low:{form}}, {one.high:{form}}]" if one else "–"


def _plain(one: Interval | None) -> dict[str, float] | None:
    return {"mean": one.mean, "low": one.low, "high": one.high} if one else None


def _markdown(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"\n## {title}\n", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
