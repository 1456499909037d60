"""Every figure of one scored series, by name. Point-adjusted F1 is not among them: a random score reaches .62 to 1."""

import numpy as np

from tsad.episodes import Rule
from tsad.evaluation.affiliation import best_affiliation_f1
from tsad.evaluation.causes import hit_rate, ndcg, ranking
from tsad.evaluation.decisions import Flagged, delays, echoes, episodes_of, false_episodes, meeting
from tsad.evaluation.extents import Bools, Doubles, Extents, Ints
from tsad.evaluation.ranked import Ranked
from tsad.evaluation.running import Scored
from tsad.evaluation.series import Series, extents_of
from tsad.evaluation.severity import severity_figures
from tsad.evaluation.vus import volume

Figures = dict[str, float | None]
BUFFERS = (100, 20)


def measure(series: Series, scored: Scored, rule: Rule) -> Figures:
    """All figures; None where a series does not say (no labels, no event, no causes)."""
    labels = np.zeros(len(scored.row), np.bool_) if series.labels is None else series.labels
    events = Extents.of(labels)
    score, settled = scored.score.astype(np.float64), scored.settled.astype(np.float64)
    found: Figures = {"rows": len(labels), "events": None if series.labels is None else len(events)}
    if len(events) and not labels.all():
        found |= _ranking_figures(labels, score, "") | _ranking_figures(labels, settled, "settled_")
    found |= _own_threshold(series, events, scored, rule)
    if series.levels is not None:
        found |= severity_figures(labels, series.levels, score)
        found |= severity_figures(labels, series.levels, settled, "settled_")
    if series.causes:
        found |= _causes(series, scored, rule)
    return found | {"fit_seconds": scored.fit_seconds, "stream_seconds": scored.stream_seconds}


def _ranking_figures(labels: Bools, scores: Doubles, start: str) -> Figures:
    """Figures over all thresholds."""
    ranked, found = Ranked(labels, scores), Figures()
    for buffer in BUFFERS:
        both = volume(labels, scores, buffer)
        found |= {f"vus_pr_{buffer}": both.pr, f"vus_roc_{buffer}": both.roc}
    found |= {
        "average_precision": ranked.average_precision, "roc_auc": ranked.roc_auc, "best_f1": ranked.best_f1,
        "best_event_f1": ranked.best_event_f1, "pa_k_area": ranked.pa_k_area(),
        "affiliation_f1": best_affiliation_f1(labels, scores),
        "best_delay": _median(delays(ranked.events, scores >= ranked.event_threshold)),
    }  # fmt: skip
    return {start + name: value for name, value in found.items()}


def _own_threshold(series: Series, events: Extents, scored: Scored, rule: Rule) -> Figures:
    """Figures at the product's own threshold, which has seen no label. False episodes: retracted ones count."""
    episodes = episodes_of(scored.surprise, scored.settled_surprise, rule)
    found: Figures = {"episodes": len(episodes), "retracted": sum(one.state == "retracted" for one in episodes)}
    if series.labels is None:
        return found
    false = false_episodes(events, episodes)
    found |= {"false_episodes": false, "false_per_1000_rows": 1000 * false / len(scored.row)}
    if not len(events):
        return found
    for start, flags in (("", scored.alert), ("settled_", scored.settled_surprise > 1)):
        at = Flagged.of(events, flags)
        found |= {f"{start}event_recall": at.event_recall, f"{start}precision": at.precision, f"{start}event_f1": at.f1}
    return found | {"delay": _median(delays(events, scored.alert)), "echo": _mean(echoes(events, episodes))}


def _causes(series: Series, scored: Scored, rule: Rule) -> Figures:
    """Figures of the named channels, over labelled extents and over the episodes that met them, by `ranking`: the sum
    over rows of share x score."""
    place = {name: number for number, name in enumerate(scored.channels)}
    episodes = episodes_of(scored.surprise, scored.settled_surprise, rule)
    found: dict[str, list[float]] = {}
    for cause, extent in extents_of(series.causes, series):
        named = np.isin(np.arange(len(place)), [place[name] for name in cause.channels if name in place])
        if not named.any():
            continue
        stretches = {"extent": slice(int(extent.starts[0]), int(extent.stops[0]))}
        met = meeting(extent, episodes).get(0)
        if met:
            stretches["episode"] = slice(met[0].first, met[-1].last + 1)
        for kind, stretch in stretches.items():
            order = ranking(scored.shares[stretch].astype(np.float64), scored.score[stretch].astype(np.float64))
            for name, value in _cause_figures(order, named).items():
                found.setdefault(f"{kind}_{name}", []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _cause_figures(order: Ints, named: Bools) -> dict[str, float]:
    rates = {f"hit_rate_{percent}": hit_rate(order, named, percent) for percent in (100, 150)}
    return rates | {"ndcg_5": ndcg(order, named)}


def _median(values: Ints) -> float | None:
    return float(np.median(values)) if len(values) else None


def _mean(values: Ints) -> float | None:
    return float(values.mean()) if len(values) else None
