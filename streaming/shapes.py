"""The shape of a log line: the line with each number written as 0, for thousands of lines at once.

Lines of one shape say the same with other numbers. The masks are defined on shapes, so what a line is mined as is a
function of its shape, and a cache keyed by shapes answers exactly as the miner would.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_OTHER, _DIGIT, _HEX, _LETTER = 0, 1, 2, 4
_KINDS = np.full(256, _OTHER, np.uint8)
_KINDS[[*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), *range(0x80, 0x100)]] = _LETTER
_KINDS[[*range(ord("A"), ord("F") + 1), *range(ord("a"), ord("f") + 1)]] = _HEX
_KINDS[np.arange(ord("0"), ord("9") + 1)] = _DIGIT
_LONG = 8
"""Hexadecimal digits from which a word is a number, if a decimal one is among them."""
_PREFIXED = re.compile(rb"0[xX][0-9A-Fa-f]+")


def shapes(messages: Sequence[str]) -> list[bytes]:
    """The shape of each of N messages, in UTF-8. A line break reads as a blank.

    One ``0`` is written for a run of digits that no letter precedes, and for a hexadecimal number: behind ``0x``, or a
    word of 8 digits and more with a decimal one. So ``ssh2`` and ``utf8`` keep their digit, ``12ms`` and ``blk_-1608``
    do not.
    """
    if not messages:
        return []
    joined = "\n".join(messages)
    if joined.count("\n") >= len(messages):
        joined = "\n".join(message.replace("\n", " ") for message in messages)
    text = joined.encode("utf-8", "surrogatepass")
    if b"0x" in text or b"0X" in text:
        text = _PREFIXED.sub(b"0", text)
    return _folded(np.frombuffer(text, np.uint8)).tobytes().split(b"\n")


def _folded(text: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes of text with the numbers folded."""
    kinds = np.zeros(len(text) + 2, np.uint8)
    kinds[1:-1] = _KINDS[text]
    inside = np.zeros(len(text) + 1, np.int8)
    folded = text.copy()
    for starts, ends in (_numbers(kinds), _words(kinds)):
        folded[starts] = ord("0")
        inside[starts + 1] += 1
        inside[ends] -= 1
    kept: NDArray[np.uint8] = folded[np.cumsum(inside[:-1], dtype=np.int8) <= 0]
    return kept


def _numbers(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Beginnings and ends of runs of digits that no letter precedes."""
    starts, ends = _edges(kinds == _DIGIT)
    number = kinds[starts] & (_HEX | _LETTER) == 0
    return starts[number], ends[number]


def _words(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Beginnings and ends of long hexadecimal words of digits and letters."""
    starts, ends = _edges(kinds != _OTHER)
    long = ends - starts >= _LONG
    starts, ends = starts[long], ends[long]
    if not len(starts):
        return starts, ends
    both = np.stack([starts, ends], axis=1).ravel()
    made_of = np.bitwise_or.reduceat(kinds[1:], both)[::2]
    hexadecimal = made_of == _DIGIT | _HEX
    return starts[hexadecimal], ends[hexadecimal]


def _edges(inside: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First places of runs, and the places behind them; `inside` is padded by one on either side."""
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    return edges[::2], edges[1::2]
