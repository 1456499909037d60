"""What detection is worth early: an entity of which only the last rows before its test part are known, or none at all.

A first entity has no model but one of its own few rows (`vote` alone where there are none). A new entity of a known
fleet is judged by the model of its neighbours, at the scope of the stream, which never saw it: the rows before the test
part are streamed, not fitted on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from detectors.ensemble import Ensemble
from tsad.config import StreamConfig
from tsad.detection import ensemble_settings
from tsad.evaluation.running import Scored, Stream, first_slot, fit_together
from tsad.evaluation.series import Series


@dataclass(frozen=True, slots=True)
class ColdStart:
    """`rows`: how many rows before its test part are known of an entity, None = the whole train part."""

    rows: int | None
    entity: Literal["first", "fleet"] = "first"

    @property
    def label(self) -> str:
        """The rows as they are written: "50", or "all"."""
        return "all" if self.rows is None else str(self.rows)

    @classmethod
    def parse(cls, text: str, entity: Literal["first", "fleet"] = "first") -> list["ColdStart"]:
        """Points of a curve: "0,50,all"; ValueError otherwise."""
        parts = [part.strip() for part in text.split(",")]
        if not all(re.fullmatch(r"\d+|all", part) for part in parts):
            raise ValueError(f"--rows needs numbers of rows, or all, such as 0,50,200,all; got {text!r}")
        return [cls(None if part == "all" else int(part), entity) for part in parts]

    def run(self, group: Sequence[Series], config: StreamConfig) -> list[Scored]:
        """The test part of each series of `group` (same channels and step), as if the others were all that is known.

        ValueError where an entity of a fleet has no neighbour.
        """
        return [self.of(one, [other for other in group if other is not one], config) for one in group]

    def of(self, series: Series, others: Sequence[Series], config: StreamConfig) -> Scored:
        """One series, beside `others`."""
        start = first_slot([series, *others])
        series = series if self.rows is None else series.knowing(self.rows)
        if self.entity == "fleet":
            if not others:
                raise ValueError(f"{series.file.test}: no other series of its folder has its channels and step")
            return Stream(config, fit_together(others, config, start), start, series, before=len(series.train)).run()
        if not len(series.train):
            return Stream(config, Ensemble.cold(ensemble_settings(config), series.channels), start, series).run()
        return Stream(config, fit_together([series], config, start), start, series).run()
