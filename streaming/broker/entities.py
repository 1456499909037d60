"""Whose a message is: by a field of its JSON, or as a stream's decoder reads it."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from streaming.broker.consumer import MILLISECOND
from streaming.broker.raw import Raw
from streaming.columns import legal_name
from streaming.decoders import PayloadDecoder
from streaming.sessionintake import SessionKeys
from streaming.types import Lines

_LATEST = 4 * 10**12
"""Kafka's time (ms) of a message that has none: nothing is from the future beside it."""
Named = list[list[str]]
"""The entities of each message."""


class FieldEntities:
    """The text (or whole number) in `field` of a JSON object; dots lead into objects where no key has that name."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode

    def __call__(self, messages: Sequence[Raw]) -> Named:
        """The entity of each message, or none."""
        return [self._entity(message.value) for message in messages]

    def _entity(self, value: bytes | None) -> list[str]:
        try:
            found = _at(self._decode(value or b""), self._field)
        except (ValueError, RecursionError):
            return []
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        return [found] if isinstance(found, str) and legal_name(found) else []


def _at(record: dict[str, Any], field: str) -> Any:
    if field in record:
        return record[field]
    found: Any = record
    for part in field.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


class DecodedEntities:
    """Those of the records that a message decodes to; each partition has a decoder of its own, as in a stream. With
    `keys`, the keys of the sessions in its lines instead."""

    def __init__(self, make: Callable[[], PayloadDecoder], keys: SessionKeys | None = None) -> None:
        self._make = make
        self._keys = keys
        self._decoders: dict[int, PayloadDecoder] = {}

    def __call__(self, messages: Sequence[Raw]) -> Named:
        """The entities of each message."""
        named: Named = [[] for _ in messages]
        order = sorted(range(len(messages)), key=lambda place: messages[place].partition)
        for number, group in groupby(order, key=lambda place: messages[place].partition):
            places = list(group)
            for place, names in zip(places, self._of(number, [messages[place] for place in places]), strict=True):
                named[place] = names
        return named

    def _of(self, number: int, messages: Sequence[Raw]) -> Named:
        decoder = self._decoders.setdefault(number, self._make())
        offsets = np.array([message.offset for message in messages], np.int64)
        stamps = np.array([_LATEST if m.timestamp is None else m.timestamp for m in messages], np.int64) * MILLISECOND
        payloads = [message.value or b"" for message in messages]
        batch = decoder.decode(payloads, offsets, stamps, int(offsets[-1]) + 1)
        names, codes = batch.names, batch.codes
        if self._keys is not None and isinstance(batch, Lines):
            names, codes = self._keys.of(batch)
        pairs = np.unique(np.stack([np.searchsorted(offsets, batch.positions), codes])[:, codes >= 0], axis=1)
        named: Named = [[] for _ in messages]
        for place, code in pairs.T.tolist():
            named[place].append(names[code])
        return named
