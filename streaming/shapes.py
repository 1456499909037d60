"""The shape of a log line: the line with each number written as 0, for thousands of lines at once.

Lines of one shape say the same with other numbers. The masks are defined on shapes, so what a line is mined as is a
function of its shape, and a cache keyed by shapes answers exactly as the miner would.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_OTHER, _DIGIT, _LETTER = 0, 1, 2
_KINDS = np.full(256, _OTHER, np.uint8)
_KINDS[np.arange(ord("0"), ord("9") + 1)] = _DIGIT
_KINDS[[*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), *range(0x80, 0x100)]] = _LETTER


def shapes(messages: Sequence[str]) -> list[bytes]:
    """The shape of each of N messages, in UTF-8: a run of digits that no letter precedes is one ``0``.

    So ``ssh2`` and ``utf8`` keep their digit, ``12ms`` and ``blk_-1608`` do not. A line break reads as a blank.
    """
    if not messages:
        return []
    joined = "\n".join(messages)
    if joined.count("\n") >= len(messages):
        joined = "\n".join(message.replace("\n", " ") for message in messages)
    return _folded(np.frombuffer(joined.encode("utf-8", "surrogatepass"), np.uint8)).tobytes().split(b"\n")


def _folded(text: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes of text with the numbers folded."""
    kinds = _KINDS[text]
    digits = np.zeros(len(text) + 2, np.int8)
    digits[1:-1] = kinds == _DIGIT
    edges = np.flatnonzero(digits[1:] != digits[:-1])
    starts, ends = edges[::2], edges[1::2]
    number = (starts == 0) | (kinds[starts - 1] != _LETTER)
    starts, ends = starts[number], ends[number]
    inside = np.zeros(len(text) + 1, np.int8)
    inside[starts + 1] += 1
    inside[ends] -= 1
    folded = text.copy()
    folded[starts] = ord("0")
    kept: NDArray[np.uint8] = folded[np.cumsum(inside[:-1], dtype=np.int8) == 0]
    return kept
