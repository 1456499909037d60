"""Answers of Prometheus' API as arrays, and those of several queries as rows of one table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streaming.columns import MAX_NAME, legal_name
from streaming.deadletters import DeadReason
from streaming.mapping import SeriesMapping
from streaming.prometheus.settings import TooMuchError, UnansweredError
from streaming.remotewrite import NAME
from streaming.types import Floats, Ints

LARGEST = float(np.finfo(np.float32).max)


class Series(msgspec.Struct):
    """One series: pairs of time (s) and value, of a range or of one time; native histograms have neither."""

    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None
    histograms: list[tuple[float, msgspec.Raw]] = []


class _Result(msgspec.Struct):
    resultType: str  # noqa: N815 - as the API has it
    result: list[Series] = []


class _Answer(msgspec.Struct):
    status: str
    data: _Result
    isPartial: bool = False  # noqa: N815 - VictoriaMetrics': some of its nodes did not answer


_DECODE = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class Points:
    """P points of S series: `labels` of each series; `series` (P) index them; `times` (P, ms) and `values` (P).

    `histograms`: times at which series have native histograms, which are no numbers. `refused`: why the server would
    not answer, where it was asked for one time only.
    """

    labels: Sequence[dict[str, str]]
    series: Ints
    times: Ints
    values: NDArray[np.float64]
    histograms: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    refused: str | None = None

    def check(self, first_ms: int, step_ms: int, count: int) -> "Points":
        """Itself; UnansweredError where a time is not one of `count` from `first_ms` on."""
        for times in (self.times, self.histograms):
            places, rest = np.divmod(times - first_ms, step_ms)
            wrong = np.flatnonzero((rest != 0) | (places < 0) | (places >= count))
            if len(wrong):
                at = int(times[wrong[0]]) / 1000
                raise UnansweredError(f"a point at {at:.3f} in the answer, which was not asked for")
        return self

    @classmethod
    def none(cls, refused: str) -> "Points":
        """No points."""
        return cls([], np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), refused=refused)


def read(payload: bytes, most: int) -> Points:
    """The points of an answer; UnansweredError where it is none, TooMuchError where it has more than `most` series."""
    try:
        answer = _DECODE(payload)
        found = answer.data.result
        pairs = list(chain.from_iterable([one.value] if one.value else one.values for one in found))
        values = np.fromiter((float(text) for _, text in pairs), np.float64, len(pairs))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UnansweredError(f"no answer of Prometheus' API: {error}: {payload[:80]!r}") from error
    if answer.status != "success" or answer.data.resultType not in ("matrix", "vector"):
        said = f"status {answer.status!r:.40}, result {answer.data.resultType!r:.40}; a matrix is expected"
        raise UnansweredError(f"no answer of Prometheus' API: {said}")
    if answer.isPartial:
        raise UnansweredError("the answer is partial: some of the servers behind it do not answer")
    if len(found) > most:
        raise TooMuchError(f"{len(found)} series; {most} are allowed (max_series): aggregate them in the query")
    sizes = [1 if one.value else len(one.values) for one in found]
    series = np.repeat(np.arange(len(found)), sizes)
    histograms = _ms([time for one in found for time, _ in one.histograms])
    return Points([one.metric for one in found], series, _ms([time for time, _ in pairs]), values, histograms)


def _ms(seconds: Sequence[float]) -> Ints:
    return np.rint(np.array(seconds, np.float64) * 1000).astype(np.int64)


class Fault(NamedTuple):
    """What could not be used of a query at a place."""

    place: int
    query: int
    reason: DeadReason
    detail: str


@dataclass(frozen=True, slots=True)
class Table:
    """N rows by (place, entity's name): places (N, times counted from the first one asked), codes (N) of `names`, and
    values N x Q, a column for each query, NaN where it has none; `labels` of entities; `faults` by place."""

    names: list[str]
    places: Ints
    codes: Ints
    values: Floats
    labels: dict[str, dict[str, str]]
    faults: list[Fault]


NAMELESS = f"a series without labels whose values make a name of 1 to {MAX_NAME} characters (mapping.entity)"
INFINITE = "infinite, or beyond 3.4e38; finite float32 numbers are allowed"
HISTOGRAM = "native histograms are no numbers: ask histogram_quantile() or the like of them"


def tabled(
    answers: Sequence[Points],
    mapping: SeriesMapping,
    first_ms: int,
    step_ms: int,
    count: int,
    wanted: Collection[str] | None = None,
) -> Table:
    """The answers of Q queries at `count` times from `first_ms` on, of all entities or those that are `wanted`. Several
    values of a query for one entity and time become their mean."""
    labels: dict[str, dict[str, str]] = {}
    named = [entities_of(one, mapping, labels, wanted) for one in answers]
    names = sorted(labels)
    rank = {name: place for place, name in enumerate(names)} | {"": -1}
    shape, size = (count, len(names), len(answers)), count * len(names)
    sums, counts = np.zeros(shape), np.zeros(shape, np.int64)
    faults: list[Fault] = []
    for query, (one, entities) in enumerate(zip(answers, named, strict=True)):
        places = (one.times - first_ms) // step_ms
        coded = np.array([OTHERS if name is None else rank[name] for name in entities], np.int64)[one.series]
        there, beyond = ~np.isnan(one.values), np.abs(one.values) > LARGEST
        faults += _faults(query, one, places[there & (coded == -1)], places[beyond & (coded >= 0)])
        held = (one.histograms - first_ms) // step_ms
        faults += [Fault(place, query, "unsupported", HISTOGRAM) for place in np.unique(held).tolist()]
        good = there & ~beyond & (coded >= 0)
        cell = places[good] * len(names) + coded[good]
        sums[:, :, query] = np.bincount(cell, one.values[good], size).reshape(shape[:2])
        counts[:, :, query] = np.bincount(cell, minlength=size).reshape(shape[:2])
    places, codes = np.nonzero(counts.any(axis=2))
    with np.errstate(invalid="ignore"):
        means = sums[places, codes] / counts[places, codes]
    values = np.clip(means, -LARGEST, LARGEST).astype(np.float32)
    return Table(names, places, codes, values, labels, sorted(faults, key=lambda fault: fault.place))


OTHERS = -2
"""The code of entities that are not wanted."""


def _faults(query: int, points: Points, nameless: Ints, infinite: Ints) -> list[Fault]:
    found = [Fault(place, query, "missing_entity", NAMELESS) for place in np.unique(nameless).tolist()]
    found += [Fault(place, query, "infinite_value", INFINITE) for place in np.unique(infinite).tolist()]
    return found if points.refused is None else [*found, Fault(0, query, "unsupported", points.refused)]


def entities_of(
    points: Points, mapping: SeriesMapping, labels: dict[str, dict[str, str]], wanted: Collection[str] | None
) -> list[str | None]:
    """The entity of each series ("": no name that can be stored; None: not wanted); its labels go to `labels`."""
    found: list[str | None] = []
    for metric in points.labels:
        name = mapping.entity(metric)
        if not name and not metric.keys() - {NAME}:
            name = mapping.default  # a sum over everything
        if not legal_name(name):
            found.append("")
        elif wanted is not None and name not in wanted:
            found.append(None)
        else:
            labels.setdefault(name, mapping.entity_labels(metric))
            found.append(name)
    return found
