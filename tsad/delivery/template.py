"""What templates are and may name."""

import re
from collections.abc import Mapping
from typing import Any

FIELDS = (
    "status", "severity", "stream", "entity", "sentence", "score", "p", "first_time", "last_time", "id", "key", "link",
    "reason", "features",
)  # fmt: skip
"""What templates may name."""


def filled(template: str, fields: Mapping[str, Any]) -> str:
    """`template` with its {fields}; nothing of a field is looked into, and {{ is a brace. KeyError for one that is not
    there."""

    def value(match: re.Match[str]) -> str:
        return match[0][0] if match[0] in ("{{", "}}") else str(fields[match[1]])

    return re.sub(r"\{\{|\}\}|\{(\w*)\}", value, template)
