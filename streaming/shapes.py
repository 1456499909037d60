"""The shape of a log line: the line with each number written as 0, for thousands of lines at once.

Lines of one shape say the same with other numbers. The masks are defined on shapes, so what a line is mined as is a
function of its shape, and a cache keyed by shapes answers exactly as the miner would.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_OTHER, _DIGIT, _HEX, _LETTER = 0, 1, 2, 4
_KINDS = np.full(256, _OTHER, np.uint8)
_KINDS[[*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), *range(0x80, 0x100)]] = _LETTER
_KINDS[[*range(ord("A"), ord("F") + 1), *range(ord("a"), ord("f") + 1)]] = _HEX
_KINDS[np.arange(ord("0"), ord("9") + 1)] = _DIGIT
BREAK = "\v"
"""Stands for a line break: it parts words, and tells what is sought in the first line only where that ends."""
_LONG = 8
"""Hexadecimal digits from which a word is a number, if a decimal one is among them."""
_PREFIXED = re.compile(rb"0[xX][0-9A-Fa-f]+")
_DIGITS = 15
"""Decimal digits up to which a number is read: a double holds so many."""
_NO_NUMBER = b"0" * (_DIGITS + 1)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the numbers of N lines say: those of line n lie from `first[n]` (N + 1) to `first[n + 1]`, in their order.

    `values` (R, float64) are the decimal numbers, without sign or fraction; NaN for a hexadecimal one and for one of
    more than 15 digits. `digits` (R, int8) are their digits, leading zeros counted.
    """

    values: NDArray[np.float64]
    digits: NDArray[np.int8]
    first: NDArray[np.int64]

    @classmethod
    def none(cls, lines: int) -> "Numbers":
        """Of lines without any."""
        return cls(np.zeros(0), np.zeros(0, np.int8), np.zeros(lines + 1, np.int64))

    @classmethod
    def joined(cls, parts: Sequence["Numbers"]) -> "Numbers":
        """Those of lines one after another."""
        whole = [cls.none(0), *parts]
        counts = np.concatenate([np.diff(part.first) for part in whole])
        values, digits = (np.concatenate([getattr(part, name) for part in whole]) for name in ("values", "digits"))
        return cls(values, digits, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def take(self, index: NDArray[np.int64]) -> "Numbers":
        """Those of the lines at `index`."""
        counts = np.diff(self.first)[index]
        places = stretches(self.first[index], counts)
        return Numbers(self.values[places], self.digits[places], np.concatenate([[0], np.cumsum(counts)]))

    def between(self, start: int, stop: int) -> "Numbers":
        """Those of the lines from `start` to `stop`."""
        part, first = slice(self.first[start], self.first[stop]), self.first[start : stop + 1]
        return Numbers(self.values[part], self.digits[part], first - first[0])


def stretches(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The whole numbers from `starts` (N) on, so many as `counts` (N) says, one stretch behind another."""
    ends = np.cumsum(counts)
    found: NDArray[np.int64] = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + counts, counts)
    return found


def shapes_and_numbers(messages: Sequence[str]) -> tuple[list[bytes], Numbers]:
    """The shape of each of N messages, and the numbers that are 0 in it."""
    if not messages:
        return [], Numbers.none(0)
    text = _joined(messages)
    if b"0x" in text or b"0X" in text:
        text = _PREFIXED.sub(_no_number, text)
    return _read(np.frombuffer(text, np.uint8))


def shapes(messages: Sequence[str]) -> list[bytes]:
    """The shape of each of N messages, in UTF-8. A line break reads as another blank, `BREAK`.

    One ``0`` is written for a run of digits that no letter precedes, and for a hexadecimal number: behind ``0x``, or a
    word of 8 digits and more with a decimal one. So ``ssh2`` and ``utf8`` keep their digit, ``12ms`` and ``blk_-1608``
    do not.
    """
    if not messages:
        return []
    text = _joined(messages)
    if b"0x" in text or b"0X" in text:
        text = _PREFIXED.sub(b"0", text)
    letters = np.frombuffer(text, np.uint8)
    kinds = _padded(letters)
    return _folded(letters, [_numbers(kinds), _words(kinds)]).tobytes().split(b"\n")


def _no_number(match: re.Match[bytes]) -> bytes:
    """A hexadecimal number that reads as none; one behind a letter or digit is part of something else. (A look behind
    in the pattern would cost ten times as much: the 0 could not be sought first.)"""
    start = match.start()
    return b"0" if start and _KINDS[match.string[start - 1]] != _OTHER else _NO_NUMBER


def _joined(messages: Sequence[str]) -> bytes:
    joined = "\n".join(messages)
    if joined.count("\n") >= len(messages):
        joined = "\n".join(message.replace("\n", BREAK) for message in messages)
    return joined.encode("utf-8", "surrogatepass")


def _padded(text: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The kind of each byte, with one of neither kind on either side."""
    kinds = np.zeros(len(text) + 2, np.uint8)
    kinds[1:-1] = _KINDS[text]
    return kinds


def _folded(text: NDArray[np.uint8], runs: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> NDArray[np.uint8]:
    """Bytes of text with the numbers folded, which are `runs` from and to."""
    inside = np.zeros(len(text) + 1, np.int8)
    folded = text.copy()
    for starts, ends in runs:
        folded[starts] = ord("0")
        inside[starts + 1] += 1
        inside[ends] -= 1
    kept: NDArray[np.uint8] = folded[np.cumsum(inside[:-1], dtype=np.int8) <= 0]
    return kept


def _read(text: NDArray[np.uint8]) -> tuple[list[bytes], Numbers]:
    kinds = _padded(text)
    (starts, ends), words = _numbers(kinds), _words(kinds)
    shaped = _folded(text, [(starts, ends), words]).tobytes().split(b"\n")
    lengths = ends - starts
    if len(words[0]):  # a word may begin with digits, which are no number of their own
        alone = ~np.isin(starts, words[0])
        starts = np.concatenate([starts[alone], words[0]])
        lengths = np.concatenate([lengths[alone], np.full(len(words[0]), _DIGITS + 1)])
        order = np.argsort(starts, kind="stable")
        starts, lengths = starts[order], lengths[order]
    lines = np.searchsorted(starts, np.flatnonzero(text == ord("\n")))
    digits = np.minimum(lengths, _DIGITS + 1).astype(np.int8)
    first = np.concatenate([[0], lines, [len(starts)]]).astype(np.int64)
    return shaped, Numbers(_decimal(text, starts, digits), digits, first)


def _decimal(text: NDArray[np.uint8], starts: NDArray[np.intp], digits: NDArray[np.int8]) -> NDArray[np.float64]:
    """The numbers that `digits` from `starts` on spell (R); NaN where they are too many."""
    values = np.where(digits > _DIGITS, np.nan, (text[starts] & 15).astype(np.float64))
    left = np.flatnonzero((digits > 1) & (digits <= _DIGITS))
    for place in range(1, _DIGITS):
        left = left[digits[left] > place] if place > 1 else left
        if not len(left):
            break
        values[left] = values[left] * 10 + (text[starts[left] + place] & 15)
    return values


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
