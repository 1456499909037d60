"""Batches as JSON, a record each: what the decoders of layout "json" read as the same batch."""

from collections.abc import Callable

import msgspec
import numpy as np
import pyarrow as pa

from streaming.settings import SECOND
from streaming.types import SEVERITIES, Batch, Ints, Lines, Records

_json = msgspec.json.encode


def json_payloads(batch: Batch) -> list[bytes]:
    """A JSON object for each record, in order: named values that are there, or a line."""
    return _lines(batch) if isinstance(batch, Lines) else _records(batch)


def _records(batch: Records) -> list[bytes]:
    """Numbers are the shortest that are the same in float32."""
    heads = [_head(name, batch.labels.get(name)) for name in batch.names]
    keys = [_json(name).decode() + ":" for name in batch.features]
    there = ~np.isnan(batch.values)
    numbers = pa.array(batch.values[there]).cast(pa.string()).to_pylist()
    cells = [keys[column] + number for column, number in zip(np.nonzero(there)[1].tolist(), numbers, strict=True)]
    counts = there.sum(axis=1)
    ends = np.cumsum(counts)
    starts = (ends - counts).tolist()
    rows = zip(batch.codes.tolist(), times_as_text(batch.times), starts, ends.tolist(), strict=True)
    return [f'{heads[code]}"time":"{time}","values":{{{",".join(cells[a:b])}}}}}'.encode() for code, time, a, b in rows]


def _head(entity: str, labels: dict[str, str] | None) -> str:
    said = f'"labels":{_json(labels).decode()},' if labels else ""
    return f'{{"entity":{_json(entity).decode()},{said}'


def _lines(batch: Lines) -> list[bytes]:
    rows = zip(batch.codes.tolist(), times_as_text(batch.times), batch.messages, batch.severities.tolist(), strict=True)
    return [
        _json(
            {"entity": batch.names[code], "time": time, "message": message}
            | ({"severity": SEVERITIES[severity]} if severity >= 0 else {})
        )
        for code, time, message, severity in rows
    ]


def times_as_text(times: Ints) -> list[str]:
    """Event times (ns) in RFC 3339, UTC: no other form is read alike whatever the size of the number."""
    as_text: Callable[..., np.ndarray] = np.datetime_as_string
    whole = times % SECOND == 0
    found = np.empty(len(times), object)
    found[whole] = as_text(times[whole].astype("datetime64[ns]"), unit="s")
    found[~whole] = as_text(times[~whole].astype("datetime64[ns]"), unit="ns")
    return [f"{text}Z" for text in found.tolist()]
