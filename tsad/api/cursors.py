"""Where a list goes on: the key of its last row, opaque to those who ask."""

import base64
import binascii
import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query
from pydantic.json_schema import SkipJsonSchema

from tsad.api.problems import ProblemError

Absent = SkipJsonSchema[None]
"""Of a parameter that was not said: it has no value for that."""
Cursor = Annotated[
    str | Absent, Query(max_length=2000, description="`next_cursor` of the page before; else the first page.")
]
Limit = Annotated[int, Query(ge=1, le=500, description="Rows of a page.")]


def written(order: str, key: list[Any] | None) -> str | None:
    """A cursor behind `key` of a list so ordered; None where nothing follows."""
    if key is None:
        return None
    text = json.dumps([order, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str | None, order: str) -> list[Any] | None:
    """The key that a cursor stands for; ProblemError where it is none of a list so ordered."""
    if cursor is None:
        return None
    try:
        told = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        told = None
    if not isinstance(told, list) or told[:1] != [order]:
        raise refused()
    return told[1:]


def refused() -> ProblemError:
    """For a cursor that was not made for this list."""
    said = "it is not the next_cursor of a page of this list, in this order"
    return ProblemError.of("query.cursor", said, HTTPStatus.NOT_FOUND)
