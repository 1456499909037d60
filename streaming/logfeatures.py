"""Logs as features of the same window: which columns of the ring a line counts in.

``log.lines`` (all lines), ``log.new`` (lines that founded a template), ``log.severity.*`` (debug and worse),
``log.template.<n>`` (lines of one template) and ``log.other`` (lines of no template with a column).
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.miner import Miner
from streaming.types import SEVERITIES, Codes, Floats, Ints, State

PREFIX = "log."
TEMPLATE_PREFIX = "log.template."
LINES, NEW, OTHER = "log.lines", "log.new", "log.other"
RARE, SEQUENCE, FIELD, RELATION, RECURRENT = (
    "log.rare", "log.sequence", "log.field", "log.relation", "log.recurrent"
)  # fmt: skip
SCORED_FEATURES = (RARE, SEQUENCE, FIELD, RELATION, RECURRENT)
"""What models of lines add, where a version has any."""
COUNTED_SEVERITIES = SEVERITIES[1:]

_GRAVE = ("log.severity.error", "log.severity.fatal")
COMPLAINTS = ("log.severity.warning", *_GRAVE)


class LogFeatures:
    """Columns of the ring that each line is counted in.

    `column` gives the ring's column of a feature name and makes it when new (-1: there is no room, and nothing is
    counted there; see `Columns.index`); `miner` is the partition's. OPEN (before
    the first model): each template gets a column of its own when first seen, up to `max_template_columns`, the rest
    counts in `log.other`. CLOSED (after `close`): only the templates of the loaded models have columns.
    """

    def __init__(self, miner: Miner, column: Callable[[str], int], max_template_columns: int = 100) -> None:
        self._miner = miner
        self._column = column
        self._limit = max_template_columns
        self._open = True
        self._names: dict[int, str] = {}
        self._given: dict[int, str] = {}
        self._index()

    @property
    def is_open(self) -> bool:
        """Whether new templates still get columns."""
        return self._open

    def columns(self, severities: NDArray[np.int8], ids: Codes, is_new: NDArray[np.bool_]) -> Codes:
        """Columns to add 1 to, N x 5 (int32, -1 = none), for N lines with their template ids (-1 = none).

        `severities` (N) as `Severities.completed` leaves them.
        """
        if self._open:
            self._admit(ids)
        counted = np.full((len(ids), 5), -1, np.int32)
        counted[:, 0] = self._column(LINES)
        counted[is_new, 1] = self._column(NEW)
        counted[:, 2] = self._severities[severities]
        if len(self._ids):
            place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            known = (self._ids[place] == ids) & (self._templates[place] >= 0)
            counted[known, 3] = self._templates[place[known]]
        else:
            known = np.zeros(len(ids), np.bool_)
        counted[~known, 4] = self._column(OTHER)
        return counted

    def close(self, models: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """Count the templates of the loaded models only, each given as {feature name: template text}, the newest last.

        Returns for each model {its feature name: the ring's feature name}: a template that has a column keeps it with
        its history, whatever a model calls it. `log.other` is what no loaded model has a column for (who reads the ring
        for one model adds the columns of the others). New columns are asked for here, so the ring's columns are closed
        after this call, not before.
        """
        if not models:
            raise ValueError("close needs at least one model's templates")
        adopted = [self._miner.adopt(list(model.values())) for model in models]
        self._open = False
        wanted = dict.fromkeys(int(key) for ids in adopted for key in ids)
        self._names = {key: self._name(key) for key in wanted}
        self._index()
        return [
            {name: self._names[int(key)] for name, key in zip(model, ids, strict=True)}
            for model, ids in zip(models, adopted, strict=True)
        ]

    def texts(self) -> dict[str, str]:
        """The current text of the template in each `log.template.<n>` column of the ring."""
        texts = self._miner.texts(self._names)
        return {name: text for name, text in zip(self._names.values(), texts, strict=True) if text is not None}

    def state(self) -> State:
        """Mode and which template has which column, by name; the miner's state is the miner's."""
        return State(meta={"open": self._open, "counted": list(self._names), "given": list(self._given.items())})

    def restore(self, state: State) -> None:
        """Go on from what `state` gave; the miner is restored already."""
        self._open = state.meta["open"]
        self._given = {int(key): name for key, name in state.meta["given"]}
        self._names = {int(key): self._given[int(key)] for key in state.meta["counted"]}
        self._index()

    def _admit(self, ids: Codes) -> None:
        unseen, first = np.unique(ids[~np.isin(ids, self._ids) & (ids >= 0)], return_index=True)
        fresh = unseen[np.argsort(first)][: max(self._limit - len(self._names), 0)].tolist()
        if fresh:
            self._names |= {key: self._name(key) for key in fresh}
            self._index()

    def _name(self, key: int) -> str:
        """The column of a template for good: it has the same one when it counts again."""
        return self._given.setdefault(key, f"{TEMPLATE_PREFIX}{len(self._given)}")

    def _index(self) -> None:
        for name in (LINES, NEW, OTHER):
            self._column(name)
        levels = [f"log.severity.{name}" for name in COUNTED_SEVERITIES]
        by_level = {name: self._column(level) for name, level in zip(COUNTED_SEVERITIES, levels, strict=True)}
        self._severities = np.array([*(by_level.get(name, -1) for name in SEVERITIES), -1], np.int32)
        self._ids = np.array(sorted(self._names), np.int32)
        self._templates = np.array([self._column(self._names[int(key)]) for key in self._ids], np.int32)


def is_log_feature(name: str) -> bool:
    """Whether a feature counts log lines (and is missing, not zero, where logs are not covered)."""
    return name.startswith(PREFIX)


def is_grave(name: str) -> bool:
    """Whether a feature counts lines that say themselves that something is wrong."""
    return name in _GRAVE


def unit_of(name: str) -> float:
    """How many lines of a log feature are worth speaking of; 0 for other features.

    A line or two that nobody knows are no event, an error is. Surprise counts in nats, of which such a line has some
    five.
    """
    if not is_log_feature(name):
        return 0.0
    if name in SCORED_FEATURES and name != RARE:
        return 15.0
    return 1.0 if is_grave(name) else 3.0


def top_templates(totals: NDArray[Any], k: int = 20) -> Ints:
    """Places of the `k` largest totals above 0, largest first; of equal ones the first."""
    counts: NDArray[np.float64] = np.nan_to_num(np.asarray(totals, np.float64))
    order = np.argsort(-counts, kind="stable")[:k]
    return order[counts[order] > 0].astype(np.int64)


def fold_templates(
    values: Floats, features: Sequence[str], texts: Container[str], k: int = 20
) -> tuple[Floats, list[str]]:
    """Keep the `k` most frequent `log.template.*` columns of N x F closed slots; the others are added to `log.other`.

    Only templates in `texts` (`LogFeatures.texts`: those that the miner still holds) can stay. A template has no column
    before it was first seen: where the slot's logs are covered (`log.lines` is there), that is 0, not missing. Returns
    values N x G and the G features; without template columns, what came in.
    """
    places = [place for place, name in enumerate(features) if name.startswith(TEMPLATE_PREFIX)]
    if not places:
        return values, list(features)
    covered = ~np.isnan(values[:, features.index(LINES)])
    counts = values[:, places]
    counts[covered] = np.nan_to_num(counts[covered])
    held = np.array([features[place] in texts for place in places])
    top = top_templates(np.nansum(counts, axis=0, dtype=np.float64) * held, k)
    folded = values.copy()
    folded[:, places] = counts
    folded[:, features.index(OTHER)] += np.delete(counts, top, axis=1).sum(axis=1)
    gone = set(np.delete(np.array(places), top).tolist())
    keep = [place for place in range(len(features)) if place not in gone]
    return folded[:, keep], [features[place] for place in keep]
