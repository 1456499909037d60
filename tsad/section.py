"""What every table of `tsad.toml` is made of: strict keys, durations, and `false` for nothing."""

import re
from decimal import Decimal
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from streaming.settings import SECOND

UNITS = {"ms": SECOND // 1000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND}
DURATION = re.compile(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?)\s*(ms|s|m|h|d)\s*")


def parse_duration(value: object) -> int:
    """Nanoseconds of "500ms", "60s", "5m", "1h", "2d" or a number of seconds; ValueError otherwise."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match = DURATION.fullmatch(f"{value or 0}s" if number else str(value))
    if match is None:
        raise ValueError(f"a duration such as '500ms', '60s', '5m', '1h', '2d' is needed, got {value!r}")
    exact = Decimal(match[1]) * UNITS[match[2]]
    if exact >= 2**63:
        raise ValueError(f"a duration is at most 106751 days, got {value!r}")
    return round(exact)


def _expression(value: str) -> str:
    """`value`; ValueError where it is no regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return value


def _zone(value: str) -> str:
    """`value`; ValueError where it is no time zone."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("a time zone of the tz database is needed, such as 'Europe/Berlin' or 'UTC'") from None
    return value


def _written(ns: int) -> str:
    """As `parse_duration` reads it."""
    return f"{Decimal(ns) / SECOND:f}s"


_TEXT = {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,9})?(ms|s|m|h|d)$", "examples": ["60s", "5m", "1h"]}
_SECONDS = {"type": "number", "minimum": 0, "maximum": 9e9}
SAID = {"anyOf": [_TEXT, _SECONDS]}
NOT_SAID = {"anyOf": [_TEXT, _SECONDS, {"const": False}, {"type": "null"}]}
"""Durations for those who ask by a schema; a few more texts are taken."""
Duration = Annotated[
    int, BeforeValidator(parse_duration), PlainSerializer(_written, when_used="json"), WithJsonSchema(SAID)
]
MaybeDuration = Annotated[
    int | None,
    BeforeValidator(lambda value: None if value is None or value is False else parse_duration(value)),
    PlainSerializer(lambda ns: None if ns is None else _written(ns), when_used="json"),
    WithJsonSchema(NOT_SAID),
]
"""`false`, or nothing said: there is none."""
Expression = Annotated[str, Field(min_length=1), AfterValidator(_expression)]
Zone = Annotated[str, AfterValidator(_zone)]
Text = TypeVar("Text")
Without = Annotated[Text | None, BeforeValidator(lambda value: None if value is False else value)]
"""TOML has no null: `false` says that there is none."""


class Section(BaseModel):
    """A table of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
