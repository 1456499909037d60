"""Which entity a series of a message belongs to, and which features its values are."""

from collections.abc import Mapping as Labels
from dataclasses import dataclass
from typing import Literal

from streaming.settings import INCREASE, RATE, Aggregate, MappedFeature, Mapping

Kind = Literal["gauge", "counter", "delta"]

ENTITY_LABELS = ("service.name", "host.name", "host", "job", "instance")
"""Labels that name the entity where the configuration names none: those that there are.

`service.instance.id` is not among them: SDKs draw it anew at each start, and each start would be a new entity.
"""
MAX_CACHED = 50_000


@dataclass(frozen=True, slots=True)
class Target:
    """The feature that a series counts in, and how series of the same timestamp are joined."""

    name: str
    aggregate: Aggregate


class SeriesMapping:
    """A configured `Mapping`, with what it answered before. `default` names the entity where no label does so."""

    def __init__(self, mapping: Mapping, default: str) -> None:
        self.default = default
        self._entity = mapping.entity
        self._features = mapping.features
        self._by_metric: dict[str, list[MappedFeature]] = {}
        for feature in mapping.features or ():
            self._by_metric.setdefault(feature.metric, []).append(feature)
        self._asked: dict[tuple[str, str], list[tuple[MappedFeature, str]]] = {}
        self._known: dict[tuple[str, str, Kind, tuple[str | None, ...]], tuple[Target, ...]] = {}

    def entity(self, labels: Labels[str, str]) -> str:
        """The entity's name: the values of its labels, "" where there is none of them."""
        if self._entity == ():
            return self.default
        names = ENTITY_LABELS if self._entity is None else self._entity
        return "/".join([value for name in names if (value := labels.get(name))])

    def entity_labels(self, labels: Labels[str, str]) -> dict[str, str]:
        """Those of `labels` that name the entity."""
        names = ENTITY_LABELS if self._entity is None else self._entity
        return {name: labels[name] for name in names if name in labels}

    def settles(self, labels: Labels[str, str]) -> bool:
        """Whether `labels` (of a resource) name the entity, so that those of a point need not be looked at."""
        if self._entity is None:
            return any(name in labels for name in ENTITY_LABELS)
        return all(name in labels for name in self._entity)

    def matches(self, metric: str) -> bool:
        """Whether a feature of `metric` itself asks for labels."""
        return any(feature.match for feature in self._by_metric.get(metric, ()))

    def targets(self, metric: str, part: str, kind: Kind, labels: Labels[str, str]) -> tuple[Target, ...]:
        """The features of a series: of `part` ("", "count", "p99") of `metric`."""
        whole = f"{metric}.{part}" if part else metric
        rules = None if self._features is None else self._rules(metric, part)
        asked = () if rules is None else tuple(labels.get(name) for rule, _ in rules for name in rule.match)
        key = (metric, part, kind, asked)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            if rules is None:
                known = (_target(whole, kind, None),)
            else:
                known = tuple(
                    _target(name, kind if rule.kind == "auto" else rule.kind, rule.aggregate)
                    for rule, name in rules
                    if all(labels.get(label) == value for label, value in rule.match.items())
                )
            self._known[key] = known
        return known

    def _rules(self, metric: str, part: str) -> list[tuple[MappedFeature, str]]:
        """The features asked of a part, with their names: a feature of the whole metric has one for each part."""
        known = self._asked.get((metric, part))
        if known is None:
            known = [(rule, f"{rule.name}.{part}" if part else rule.name) for rule in self._by_metric.get(metric, ())]
            known += [(rule, rule.name) for rule in (self._by_metric.get(f"{metric}.{part}", ()) if part else ())]
            if len(self._asked) >= MAX_CACHED:
                self._asked.clear()
            self._asked[metric, part] = known
        return known


def bare(feature: str) -> str:
    """The name without `rate(...)` or `increase(...)` around it."""
    for start in (RATE, INCREASE):
        if feature.startswith(start) and feature.endswith(")"):
            return feature[len(start) : -1]
    return feature


def _target(name: str, kind: Kind, aggregate: Aggregate | None) -> Target:
    if kind == "gauge":
        return Target(name, aggregate or "mean")
    start = RATE if kind == "counter" else INCREASE
    # a mean of counters falls, as if one were reset, when a new series begins; their sum does not
    return Target(name if name.startswith(start) else f"{start}{name})", aggregate or "sum")
