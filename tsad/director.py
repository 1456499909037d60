"""Which model version judges which slot: orders, promotions from outside, the cold start and the first fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from storage.types import ModelRow, Order
from streaming.columns import Columns
from streaming.logfeatures import is_log_feature
from streaming.logintake import LogIntake
from streaming.settings import Timing
from streaming.types import State
from streaming.windower import Windower
from tsad.era import Era, begin_era, first_scorer
from tsad.models import COLD, Model, ModelShelf
from tsad.partition import Partition

FitHistory = Callable[[Partition, int], ModelRow]
"""Fits on the partition's final slots before the given one, writes the model, and returns its row."""


@dataclass(slots=True)
class Director:
    """Answers `next_era` for one partition. `orders` are the stored ones, `fresh` those that the next save stores.

    `rows` finds a version's row; `fit` makes the first model after `fit_after` slots.
    """

    shelf: ModelShelf
    timing: Timing
    intake: LogIntake | None
    rows: Callable[[str], ModelRow]
    fit: FitHistory
    fit_after: int
    orders: list[Order]
    columns: Columns
    windower: Windower
    fresh: list[Order] = field(default_factory=list)
    first_slot: int | None = None
    tried: bool = False
    announced: int = 0
    declared: list[str] = field(default_factory=list)
    log: Any = field(default_factory=structlog.get_logger)

    @property
    def newest(self) -> str | None:
        """The version that the last order names."""
        known = [*self.orders, *self.fresh]
        return known[-1].version if known else None

    @property
    def renamed(self) -> dict[str, dict[str, str]]:
        """By version, what the ring calls its features, where that differs."""
        return self.intake.renamed if self.intake is not None else {}

    def follow(self, version: str) -> None:
        """Order `version` for the slots behind all that was taken, whose records it can still decode and mine, and not
        for the first slot of another order: of two for one slot nobody could say which came last."""
        taken, before = self.windower.taken_through, [*self.orders, *self.fresh][-1:]
        self.order(version, max([0 if taken is None else taken + 1, *(order.first_slot + 1 for order in before)]))

    def order(self, version: str, first_slot: int) -> None:
        """From `first_slot` on, `version` judges."""
        self.fresh.append(Order("model", version, first_slot))
        self.announce()

    def announce(self) -> None:
        """Let the input know the orders that it does not know yet: which features and log templates will count."""
        known = [*self.orders, *self.fresh]
        for place in range(self.announced, len(known)):
            order, model = known[place], self.model(known[place].version)
            self.windower.widen(self.columns.names)
            before, named = len(self.columns), [name for name in model.ensemble.features if not is_log_feature(name)]
            self.columns.admit(named)
            if self.columns.open:
                self.windower.widen(self.columns.names)
                self.windower.declare(named, order.first_slot)
            else:  # their values up to now were not decoded
                self.windower.begin(self.columns.names[before:], order.first_slot)
            if self.intake is not None:
                keep = order.first_slot - self.timing.late_horizon - self.shelf.settings.settle
                ends = [following.first_slot for following in known[1 : place + 1]]
                loaded = [old for old, end in zip(known[:place], ends, strict=True) if end > keep]
                texts = [self.model(old.version).templates for old in loaded]
                self.intake.adopt_from(order.first_slot, order.version, [*texts, model.templates])
        self.announced = len(known)

    def adopted(self) -> None:
        """Declare the log columns of the versions whose line has come, before that line is processed."""
        if self.intake is None:
            return
        for order in [*self.orders, *self.fresh]:
            names = self.intake.renamed.get(order.version)
            if names is not None and order.version not in self.declared:
                self.declared.append(order.version)
                self.windower.widen(self.columns.names)
                self.windower.declare(list(names.values()), order.first_slot)

    def next_era(self, partition: Partition, slot: int) -> Callable[[], Era | None] | None:
        """How to make the era that begins with `slot`; None where none does."""
        if self.first_slot is None:
            self.first_slot = slot
        current = partition.eras[-1] if partition.eras else None
        due = [order for order in [*self.orders, *self.fresh] if order.first_slot <= slot]
        if due and (current is None or current.version != due[-1].version):
            return lambda: self._model_era(partition, due[-1].version, slot)
        if current is not None and current.version != COLD:
            return None
        if self._fit_due(slot):
            return lambda: self._fitted_era(partition, slot)
        known = self._known_features(partition, slot)
        if not known or (current is not None and list(current.ensemble.features) == known):
            return None
        return lambda: self._era(partition, COLD, self.shelf.cold(known), slot)

    def missing_slots(self, closed: int | None) -> int | None:
        """Slots that still have to close after `closed` before the first fit; None where none is awaited."""
        if self.newest is not None or self.tried:
            return None
        if self.first_slot is None or closed is None:
            return self._wanted
        return max(0, self.first_slot + self._wanted - closed - 1)

    @property
    def _wanted(self) -> int:
        # a fit uses slots that nothing late can change any more
        return self.fit_after + self.timing.late_horizon + self.shelf.settings.settle

    def model(self, version: str, features: Sequence[str] = ()) -> Model:
        """The model of a version; `features` matter to the unfitted one."""
        return self.shelf.cold(features) if version == COLD else self.shelf.read(self.rows(version))

    def _fit_due(self, slot: int) -> bool:
        if self.tried or self.first_slot is None or any(order.first_slot > slot for order in self.orders):
            return False
        return slot - self.first_slot >= self._wanted

    def _fitted_era(self, partition: Partition, slot: int) -> Era | None:
        """The first model, in force from `slot` on; None where none could be fitted."""
        self.tried = True
        try:
            row = self.fit(partition, slot)
        except ValueError as error:
            self.log.warning("no model could be fitted; vote goes on alone", reason=str(error))
            return None
        self.order(row.version, slot)
        return self._model_era(partition, row.version, slot)

    def _model_era(self, partition: Partition, version: str, slot: int) -> Era:
        if self.intake is not None:
            self.intake.adopted(version)
            self.adopted()
        return self._era(partition, version, self.model(version), slot)

    def _known_features(self, partition: Partition, slot: int) -> list[str]:
        """What `vote` watches before the first fit: the features seen so far; log templates wait for the fit."""
        windower = partition.windower
        pairs = zip(windower.features, windower.ring.since.tolist(), strict=True)
        return sorted(name for name, since in pairs if since <= slot and not name.startswith("log.template."))

    def _era(self, partition: Partition, version: str, model: Model, slot: int) -> Era:
        if partition.eras:
            scorer = partition.eras[-1].scorer.promote(model.ensemble)
        else:
            scorer = first_scorer(model.ensemble, partition.windower, self.timing)
        self.log.info("model in force", version=version, slot=slot, features=len(model.ensemble.features))
        return begin_era(version, slot, scorer, partition.windower, self.timing, self.renamed.get(version, {}))

    def state(self) -> State:
        """What an order does not say."""
        meta = {"first_slot": self.first_slot, "tried": self.tried}
        return State(meta=meta | {"announced": self.announced, "declared": self.declared})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self.first_slot, self.tried = state.meta["first_slot"], state.meta["tried"]
        self.announced, self.declared = state.meta["announced"], list(state.meta["declared"])


def feature_order(names: Sequence[str]) -> list[str]:
    """Telemetry first, then logs, each in order of appearance: the same whichever topic was polled first."""
    return sorted(names, key=is_log_feature)
