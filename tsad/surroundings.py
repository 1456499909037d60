"""What the configuration says of context events: where they are told, and what they explain."""

from pydantic import Field

from streaming.settings import SECOND
from streaming.signs import Sign
from tsad.context import Allowance
from tsad.section import Duration, Expression, Section, Without


class ContextRuleConfig(Section):
    """Events of a kind that explain alerts away, at once."""

    kind: str = Field(min_length=1)
    entity: str = "*"
    features: tuple[str, ...] | None = Field(default=None, min_length=1)
    max_score: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_duration: Without[Duration] = None

    def allowance(self, step: int) -> Allowance:
        """The plain value, in slots of `step` ns."""
        slots = None if self.max_duration is None else max(self.max_duration // step, 1)
        return Allowance(self.kind, self.entity, self.features or (), self.max_score, slots)


class ContextPatternConfig(Section):
    """Log lines that are events of a kind: of the line's entity, or of `entity` (a glob pattern)."""

    kind: str = Field(min_length=1)
    pattern: Expression
    entity: str | None = None


class ContextConfig(Section):
    """`stream.NAME.context`."""

    source: str | None = None
    topic: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,249}$")
    after: Duration = 900 * SECOND
    learn: bool = True
    lines: bool = True
    rules: tuple[ContextRuleConfig, ...] | None = None
    patterns: tuple[ContextPatternConfig, ...] | None = None

    def allowances(self, step: int) -> tuple[Allowance, ...]:
        """The rules in slots of `step` ns."""
        return tuple(rule.allowance(step) for rule in self.rules or ())

    def signs(self) -> tuple[Sign, ...]:
        """The patterns as plain values."""
        return tuple(Sign(one.kind, one.pattern, one.entity) for one in self.patterns or ())

    def slots(self, step: int) -> int:
        """`after` in slots of `step` ns, the last one whole."""
        return -(-self.after // step)
