"""Warnings and errors that set in and came again: symptoms, unless their template does so without alerts as well."""

from dataclasses import dataclass, field
from typing import Any

from streaming.onsets import Symptom

KEPT, TEMPLATES = 512, 2000
"""Symptoms that are kept of an entity, and templates that are counted."""
ALONE = 2
"""So often at least, and more often than with one, a template must have come without an alert to be no symptom."""


@dataclass(slots=True)
class Complaints:
    """`held`: by entity, the slots in which a warning or an error set in and came again, its template, and whether an
    alert went on then (1) or none has (0). `tally`: by template how often that was, up to what has been judged, and how
    often with an alert; `ahead`: those (slot, template) that no judgement has come to yet."""

    held: dict[str, list[list[int]]] = field(default_factory=dict)
    tally: dict[int, list[int]] = field(default_factory=dict)
    ahead: list[tuple[int, int]] = field(default_factory=list)

    def add(self, one: Symptom) -> None:
        """Take in one that came again."""
        mine = self.held.setdefault(one.entity, [])
        mine.append([one.first, one.slot, one.template, 0])
        del mine[:-KEPT]
        self.ahead.append((one.slot, one.template))

    def come_to(self, slot: int) -> None:
        """Count those up to `slot`: how far lines have come beyond it depends on how they are read."""
        due = sorted(one for one in self.ahead if one[0] <= slot)
        if due:
            self.ahead = [one for one in self.ahead if one[0] > slot]
        for _, template in due:
            times, met = self.tally.pop(template, (0, 0))
            self.tally[template] = [times + 1, met]
            if len(self.tally) > TEMPLATES:
                del self.tally[next(iter(self.tally))]

    def meet(self, entity: str, first: int, last: int) -> None:
        """An alert of an entity goes on from slot `first` to `last`."""
        for one in self.held.get(entity, ()):
            if not one[3] and first <= one[1] <= last:
                one[3] = 1
                self.tally.setdefault(one[2], [1, 0])[1] += 1

    def suffers(self, entity: str, first: int, last: int) -> bool:
        """Whether an entity has a symptom from slot `first` to `last`."""
        mine = self.held.get(entity, ())
        return any(first <= begun and again <= last and self._counts(template) for begun, again, template, _ in mine)

    def _counts(self, template: int) -> bool:
        times, met = self.tally.get(template, (1, 1))
        return times - met < ALONE or met >= times - met

    def forget(self, oldest: int) -> None:
        """Drop those that came again before the slot `oldest`."""
        kept = {entity: [one for one in mine if one[1] >= oldest] for entity, mine in self.held.items()}
        self.held = {entity: mine for entity, mine in kept.items() if mine}

    def state(self) -> dict[str, Any]:
        """As plain data."""
        tally = [[template, *counts] for template, counts in self.tally.items()]
        return {"symptoms": self.held, "complained": tally, "complaints_ahead": self.ahead}

    @classmethod
    def of(cls, meta: dict[str, Any]) -> "Complaints":
        """What gave `meta`; of a symptom older versions kept the slots alone."""
        held = meta.get("symptoms", {})
        return cls(
            {entity: [[*one, -1, 1][:4] for one in mine] for entity, mine in held.items()},
            {template: [times, met] for template, times, met in meta.get("complained", ())},
            [(slot, template) for slot, template in meta.get("complaints_ahead", ())],
        )
