"""What happens around a stream."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage.documents import dump_json, storable

LOGS = "logs"
"""The source of events that a partition finds in its own lines: they are nobody else's."""


@dataclass(frozen=True, slots=True)
class ContextEvent:
    """Something that happened around a stream: a deploy, the start of a batch, a backup. Key: id, a hash of what it is.

    `entity` is a name or a glob pattern, None = every entity. `source` says where it was read, and is no part of it.
    """

    kind: str
    start: datetime
    entity: str | None = None
    end: datetime | None = None
    title: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    @property
    def id(self) -> str:
        """Hash of kind, entity, start, end and title, 32 hex digits."""
        end = None if self.end is None else self.end.timestamp()
        names = [storable(text or "") for text in (self.kind, self.entity, self.title)]
        text = dump_json([*names, self.entity is None, self.start.timestamp(), end])
        return hashlib.sha256(text.encode()).hexdigest()[:32]
