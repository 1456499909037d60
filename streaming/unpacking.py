"""What was packed for the wire, unpacked within bounds: never more than allowed, whatever a header says."""

import zlib

import cramjam

from streaming.json_records import RecordError

GZIP = 31
"""zlib's window bits for gzip."""
MEMBERS = 100
"""Members of a gzip stream: what is left behind each one is copied, so that a million empty ones cost hours."""
SNAPPY_RATIO = 22
"""Times its length that a snappy block holds at most: three bytes copy 64 at most."""


def gunzipped(payload: bytes, most: int) -> bytes:
    """What a gzip stream of one or more members holds; RecordError `too_long` beyond `most` bytes, else
    `broken_message`."""
    parts: list[bytes] = []
    room = most
    while payload:
        if len(parts) == MEMBERS:
            raise RecordError("broken_message", f"more than {MEMBERS} gzip members, {MEMBERS} are allowed")
        stream = zlib.decompressobj(GZIP)
        try:
            parts.append(stream.decompress(payload, room + 1))
        except zlib.error as error:
            raise RecordError("broken_message", f"{error}; gzip is expected") from error
        room -= len(parts[-1])
        if room < 0:
            raise RecordError("too_long", f"more than {most} bytes unpacked, {most} are allowed")
        if not stream.eof:
            raise RecordError("broken_message", "the gzip stream is cut off")
        payload = stream.unused_data
    return b"".join(parts)


def check_snappy(payload: bytes, most: int) -> None:
    """RecordError where a snappy block says that it holds more than `most` bytes, or more than it can."""
    try:
        size = cramjam.snappy.decompress_raw_len(payload)
    except (cramjam.DecompressionError, ValueError, OverflowError) as error:
        raise RecordError("broken_message", f"{error}; a snappy block is expected") from error
    if size > most:
        raise RecordError("too_long", f"{size} bytes unpacked, {most} are allowed")
    if size > SNAPPY_RATIO * len(payload):
        raise RecordError("broken_message", f"{len(payload)} bytes cannot hold {size}; a snappy block is expected")
