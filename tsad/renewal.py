"""How a stream's model is kept up to date: the first fit, the history, and what is fitted again."""

from typing import Any

from pydantic import Field, model_validator

from streaming.settings import SECOND
from streaming.types import Topic
from tsad.section import Duration, MaybeDuration, Section

DAY = 86_400 * SECOND
TOPICS: tuple[Topic, ...] = ("telemetry", "logs")


class Renewal(Section):
    """The keys of a stream that say when it is fitted, and on what; `history` is said in its topics' tables."""

    step: Duration = 60 * SECOND
    fit_after: int = Field(default=2000, ge=100)
    history_days: float = Field(default=7, ge=0, le=36_500)
    refit: MaybeDuration = None
    shadow: Duration = DAY

    @property
    def history(self) -> dict[Topic, str]:
        """The files that refits read in place of the closed slots; empty where none is named."""
        parts: dict[Topic, Any] = {topic: getattr(self, topic, None) for topic in TOPICS}
        return {topic: part.history for topic, part in parts.items() if part and part.history}

    @property
    def from_kafka(self) -> bool:
        """Whether topics can be read again."""
        return False

    @model_validator(mode="after")
    def _refits_have_a_history(self) -> "Renewal":
        """ValueError where refits are asked for that could never come."""
        if self.refit == 0 or self.shadow == 0:
            raise ValueError("refit and shadow must be longer than 0s (refit = false: none)")
        if self.history and any(getattr(self, topic, None) and topic not in self.history for topic in TOPICS):
            raise ValueError("telemetry.history and logs.history go together")
        if self.refit is None or self.step <= 0 or (self.from_kafka and not self.history_days):
            return self  # topics are read again
        kept = self.history_days * DAY / self.step
        if kept * self.step < self.shadow:
            raise ValueError(f"refit needs history_days of at least shadow, got history_days = {self.history_days:g}")
        if not self.history and kept < self.fit_after:
            raise ValueError(
                f"history_days = {self.history_days:g} keeps {kept:.0f} slots, and refit needs fit_after "
                f"({self.fit_after}) of them: raise history_days, or name telemetry.history"
            )
        return self
