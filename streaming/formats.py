"""Which format a message has, by its bytes."""

import re

import cramjam
import msgspec

from streaming.remotewrite import V1, V2
from streaming.settings import Format

_OTLP_JSON = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"resource(Metrics|Logs)"[ \t\r\n]*:')
_OBJECT = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*["}]')
_RESOURCE_TAGS = b"\x0a\x12\x1a"


def format_of(payload: bytes) -> Format:
    """What a message is, by its bytes. Where it is none of the others, it is "json", which says what is wrong.

    Protobuf of OTLP begins with byte 10, and its parts fill it to the end. A snappy block of a WriteRequest cannot
    begin so (10 bytes hold no sample), nor with a JSON object's bracket and quote (its second byte would copy from
    before the beginning). What begins with blanks may look like either: then it has to parse, or to unpack.
    """
    if _OTLP_JSON.match(payload) and (payload[:1] != b"\n" or _is_json(payload)):
        return "otlp-json"
    if _OBJECT.match(payload) and (payload[1:2] == b'"' or _is_json(payload)):
        return "otlp-json" if _has_resources(payload) else "json"
    if _is_otlp(payload):
        return "otlp"
    if _is_write_request(payload) and (not _OBJECT.match(payload) or _unpacks(payload)):
        return "remote-write"
    return "otlp" if payload[:1] == b"\n" and payload[1:].lstrip()[:1] not in (b"", b"{") else "json"


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return False
    return True


class _Heads(msgspec.Struct):
    entity: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    resourceMetrics: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - OTLP's name
    resourceLogs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - OTLP's name


_HEADS = msgspec.json.Decoder(_Heads)


def _has_resources(payload: bytes) -> bool:
    """Whether an object that begins with something else is OTLP all the same."""
    if b'"resourceMetrics"' not in payload and b'"resourceLogs"' not in payload:
        return False
    try:
        heads = _HEADS.decode(payload)
    except (ValueError, RecursionError):
        return False
    there = heads.resourceMetrics is not msgspec.UNSET or heads.resourceLogs is not msgspec.UNSET
    return there and heads.entity is msgspec.UNSET


def _is_otlp(payload: bytes) -> bool:
    """Whether the payload is field 1, once or more, each with the fields of a resource's part, and nothing else."""
    at = 0
    while at < len(payload):
        if payload[at] != 0x0A:
            return False
        length, begin = _varint(payload, at + 1)
        if begin < 0 or begin + length > len(payload):
            return False
        if length and payload[begin] not in _RESOURCE_TAGS:
            return False
        at = begin + length
    return at > 0


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """A protobuf integer and the place behind it; -1 where it does not end."""
    value = 0
    for k, byte in enumerate(payload[at : at + 10]):
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, at + k + 1
    return 0, -1


def _unpacks(payload: bytes) -> bool:
    """Of what begins with a blank, which says 32 bytes at most."""
    try:
        cramjam.snappy.decompress_raw(payload)
    except cramjam.DecompressionError:
        return False
    return True


def _is_write_request(payload: bytes) -> bool:
    """Whether the payload is a snappy block whose first byte begins a request of remote-write."""
    try:
        size = cramjam.snappy.decompress_raw_len(payload)
    except (cramjam.DecompressionError, ValueError, OverflowError):
        return False
    _, at = _varint(payload, 0)
    if not size or at < 0 or at + 1 >= len(payload) or payload[at] & 3:
        return False
    # a literal's length lies in its tag, or in the one to four bytes behind it
    first = at + 1 + max((payload[at] >> 2) - 59, 0)
    return payload[first : first + 1] != b"" and payload[first] in V1 + V2
