"""The table of a stream that groups its log lines to sessions."""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator, model_validator

from streaming.sessionintake import SessionKeys
from streaming.sessiontable import SessionRules
from streaming.settings import SECOND
from tsad.section import Duration, Expression, Section

SUFFIX = ".sessions"
"""What the stream of a stream's sessions is called behind that one's name."""


def of_sessions(stream: str) -> str:
    """The stream that the sessions of `stream` are entities of."""
    return f"{stream}{SUFFIX}"


class SessionConfig(Section):
    """Log lines that belong together: by `key`, a regular expression whose one group is sought in each line, or by what
    they say in `field`."""

    key: Expression | None = None
    field: str | None = Field(default=None, min_length=1)
    gap: Duration = 600 * SECOND
    max_length: Duration = 24 * 3600 * SECOND
    max_lines: int = Field(default=1000, ge=2, le=100_000)
    max_open: int = Field(default=100_000, ge=1, le=10_000_000)
    keyed_by: Literal["entity", "session"] = "entity"
    alert_budget: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @field_validator("key")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        groups = re.compile(value or "()").groups
        if groups != 1:
            raise ValueError(f"a session's key is what the one group of the expression finds; it has {groups}")
        return value

    @field_validator("gap", "max_length")
    @classmethod
    def _some_time(cls, value: int) -> int:
        if value == 0:
            raise ValueError("must be longer than 0s")
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> "SessionConfig":
        if (self.key is None) == (self.field is None):
            raise ValueError("say either key, what is sought in a line's text, or field, what came with it")
        return self

    def keys(self, relations: Sequence[str]) -> SessionKeys:
        """What finds them in lines whose `relations` are related to each other."""
        return SessionKeys(self.key, self.field, apart=self.field not in relations)

    def rules(self, step: int, lateness: int, late_horizon: int) -> SessionRules:
        """The plain value for `streaming`."""
        return SessionRules(
            step, lateness, late_horizon, self.gap, self.max_lines, self.max_length, self.max_open
        )  # fmt: skip
