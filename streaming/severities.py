"""The severity of lines whose record states none: the level that the text begins with, sought once for each shape."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streaming.types import SEVERITIES

_SPELLINGS = {"warn": 3, "notice": 2, "information": 2, "err": 4, "severe": 4, "critical": 5, "crit": 5, "emerg": 5}
_LEVELS = {name: code for code, name in enumerate(SEVERITIES)} | _SPELLINGS
_UPPER = {name.upper(): code for name, code in _LEVELS.items()}
_BRACKETS = {"[": "]", "(": ")", "<": ">"}
_KEYS = {"level", "lvl", "severity", "loglevel"}
_HEAD_TOKENS, _HEAD_CHARACTERS = 8, 120
SHORT = 512
"""Bytes of shapes that are remembered; longer ones are few, or an attack on the memory."""


def sniff_severity(message: str) -> int:
    """Index into `SEVERITIES` of the level that a message states in its first 8 tokens; -1 when it states none.

    A level is an upper-case word of its own, or any spelling in brackets, behind ``level=`` or before a colon that ends
    the first token; the first one counts. The word "error" in prose is not a level, and what somebody slipped in behind
    a line break states none.
    """
    first = next(iter(message[:_HEAD_CHARACTERS].splitlines()), "")
    tokens = first.replace("|", " ").split(None, _HEAD_TOKENS)[:_HEAD_TOKENS]
    for place, token in enumerate(tokens):
        word = token.strip("[](){}<>:,;")
        level = _UPPER.get(word)
        if level is None and (_BRACKETS.get(token[0]) == token[-1] or (place == 0 and token[-1] == ":")):
            level = _LEVELS.get(word.lower())
        if level is None and "=" in word:
            key, _, value = word.partition("=")
            level = _LEVELS.get(value.strip("\"'").lower()) if key.lower() in _KEYS else None
        if level is not None:
            return level
    return -1


class Severities:
    """Reads levels from shapes of lines (`streaming.shapes`): a number is no level, so a shape has all.

    At most `capacity` shapes are remembered: beyond, all are forgotten and the living ones come back.
    """

    def __init__(self, capacity: int = 65_536) -> None:
        self._known: dict[bytes, int] = {}
        self._capacity = capacity

    def completed(self, severities: NDArray[np.int8], shaped: Sequence[bytes]) -> NDArray[np.int8]:
        """`severities` of N lines, where those not stated (-1) are read from the lines' shapes, if these state one."""
        unstated = np.flatnonzero(severities < 0)
        if not len(unstated):
            return severities
        wanted = shaped if len(unstated) == len(shaped) else [shaped[place] for place in unstated.tolist()]
        found = list(map(self._known.get, wanted))
        if None in found:
            pairs = zip(wanted, found, strict=True)
            found = [self._level(shape) if level is None else level for shape, level in pairs]
        completed = severities.copy()
        completed[unstated] = np.array(found, np.int8)
        return completed

    def _level(self, shape: bytes) -> int:
        level = self._known.get(shape)
        if level is None:
            if len(self._known) >= self._capacity:
                self._known.clear()
            level = sniff_severity(shape[: 4 * _HEAD_CHARACTERS].decode("utf-8", "ignore"))
            if len(shape) <= SHORT:
                self._known[shape] = level
        return level
