"""JSON records: their typed shapes, and what is wrong with one that does not fit."""

import json
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeVar, cast

import msgspec

from streaming.deadletters import DeadReason
from streaming.settings import TelemetryFormat

Time = int | float | str
Named = dict[str, float | None]
Shape = TypeVar("Shape")


class RecordError(Exception):
    """A record that becomes a dead letter: `reason` from the closed list, `detail` for its reader."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: DeadReason = reason
        self.detail = detail


class Row(msgspec.Struct, gc=False):
    """A telemetry record: named `values`, or `v`, the numbers of the declared features in their order."""

    entity: str
    time: Time
    values: Named | None = None
    v: list[float | None] | None = None
    labels: dict[str, str] | None = None


class LogRow(msgspec.Struct, gc=False):
    """A log record; other keys are ignored."""

    entity: str
    time: Time
    message: str
    severity: str | int | None = None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_key(value: Any) -> bool:
    return isinstance(value, str) or type(value) is int


def _said(value: Any) -> str:
    """A short look at a value; an integer of many digits is not printed (Python refuses beyond 4,300)."""
    return "(endless)" if isinstance(value, int) and value.bit_length() > 256 else repr(value)[:80]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)


def untyped(payload: bytes) -> Any:
    """The JSON value in `payload`, also as Python writes it (NaN is null); RecordError if it is none."""
    if not payload.strip():
        raise RecordError("empty", "the record is empty; a JSON object is expected")
    try:
        if b"NaN" in payload or b"Infinity" in payload:
            payload = _without_constants(payload)
        return msgspec.json.decode(payload)
    except UnicodeDecodeError as error:
        raise RecordError("bad_encoding", f"not UTF-8 at byte {error.start}; JSON in UTF-8 is expected") from error
    except RecursionError as error:
        raise RecordError("broken_json", "nested too deeply; a flat JSON object is expected") from error
    except ValueError as error:
        if "out of range" in str(error):
            said = "a number is beyond the range of a double; finite numbers are allowed"
            raise RecordError("infinite_value", said) from error
        _check_encoding(payload)
        raise RecordError("broken_json", f"{error}; one JSON object a record is expected") from error


def _without_constants(payload: bytes) -> bytes:
    def constant(name: str) -> None:
        if name != "NaN":
            raise RecordError("infinite_value", f"{name} among the values; finite numbers and null are allowed")

    return msgspec.json.encode(json.loads(payload.decode(), parse_constant=constant))


def _check_encoding(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise RecordError("bad_encoding", f"not UTF-8 at byte {error.start}; JSON in UTF-8 is expected") from error


def _field(record: dict[str, Any], name: str, fits: Callable[[Any], bool], allowed: str, missing: DeadReason) -> Any:
    value = record.get(name)
    if value is None:
        raise RecordError(missing, f"{name}: missing; {allowed} is expected")
    if not fits(value):
        raise RecordError("wrong_type", f"{name}: {type(value).__name__} {_said(value)}; {allowed} is allowed")
    return value


def _named(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is not None and not _is_number(value):
            raise RecordError("wrong_type", f"values.{name:.80}: {type(value).__name__}; a number or null is allowed")


def _as_object(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise RecordError("wrong_type", f"a JSON {type(record).__name__}; a JSON object is expected")
    return record


def _typed(record: dict[str, Any], shape: type[Shape]) -> Shape:
    try:
        return msgspec.convert(record, shape)
    except (ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(record.get("values"), dict):
            _named(record["values"])
        reason: DeadReason = "infinite_value" if "range" in str(error) or "large" in str(error) else "wrong_type"
        raise RecordError(reason, str(error)) from error


def nested_row(payload: bytes) -> Row:
    """A record of layout "json", looked at field by field; RecordError says what is wrong with it."""
    record = _as_object(untyped(payload))
    _field(record, "entity", _is_text, "a string", "missing_entity")
    _field(record, "time", _is_time, "RFC 3339 or an epoch number", "missing_time")
    return _typed(record, Row)


def log_row(payload: bytes, shape: type[LogRow] = LogRow) -> LogRow:
    """A log record of layout "json", looked at field by field."""
    record = _as_object(untyped(payload))
    _field(record, "entity", _is_text, "a string", "missing_entity")
    _field(record, "time", _is_time, "RFC 3339 or an epoch number", "missing_time")
    _field(record, "message", _is_text, "a string", "missing_values")
    return _typed(record, shape)


def log_shape(names: Sequence[str]) -> type[LogRow]:
    """A log record of which the values of more keys are kept, as `related_0` and so on."""
    known = {field.name for field in msgspec.structs.fields(LogRow)}
    more = [
        (f"related_{place}", Any, msgspec.field(default=None, name=name))
        for place, name in enumerate(names)
        if name not in known
    ]
    return cast(type[LogRow], msgspec.defstruct("RelatedLogRow", more, bases=(LogRow,), gc=False))


def related_of(names: Sequence[str]) -> Callable[[LogRow], tuple[Any, ...]]:
    """Reads the values of `names` from rows of `log_shape(names)`."""
    known = {field.name for field in msgspec.structs.fields(LogRow)}
    read = attrgetter(*(name if name in known else f"related_{place}" for place, name in enumerate(names)))
    return read if len(names) > 1 else lambda row: (read(row),)


def flat_row(payload: bytes, form: TelemetryFormat, default_entity: str) -> Row:
    """A record of layout "wide" or "long" in JSON: the columns of a table as keys. Without a time column, time is 0."""
    record = _as_object(untyped(payload))
    entity: Any = default_entity
    if form.entity is not None:
        entity = str(_field(record, form.entity, _is_key, "a string", "missing_entity"))
    time = 0
    if form.time is not None:
        time = _field(record, form.time, _is_time, "RFC 3339 or an epoch number", "missing_time")
    if form.layout == "long":
        name = _field(record, form.name, _is_text, "a string", "missing_values")
        values = {name: record.get(form.value)}
    elif form.features is not None:
        values = {name: record.get(name) for name in form.features}
    else:
        apart = {form.entity, form.time, *form.ignore}
        values = {name: value for name, value in record.items() if name not in apart}
    return _typed({"entity": entity, "time": time, "values": values}, Row)
