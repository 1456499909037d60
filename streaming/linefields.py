"""What stands at the varying places of log lines, for a whole poll at once.

Where a line varies follows from its shape and its template: both are looked at once and remembered as a plan, by which
the values of all lines of that shape are then taken from arrays.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streaming.masking import Masking
from streaming.shapes import Numbers, stretches
from streaming.templates import WILDCARD
from streaming.types import Codes, Ints

PLACES = 4096
"""A field's number is that of its template times this, and its place: the token times 32, which of the token's masked
pieces times 2, and 1 where it is a word."""
_OF_TOKEN, _PIECES, _TOKENS = 32, 15, 128
_SCALES = {
    "": 1.0, "%": 1.0, "b": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "ki": 2.0**10, "mi": 2.0**20,
    "gi": 2.0**30, "ti": 2.0**40, "pi": 2.0**50, "hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "ns": 1e-9, "us": 1e-6,
    "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "min": 60.0,
}  # fmt: skip
"""Units as masks know them, in lower case, in bytes, seconds and hertz."""
_NUMBER = re.compile(r"([-+]?)0(\.0)?([a-zA-Z%µ]*?)(?:(?<=[kKMGTPi])[bB])?(?:/s|ps)?")
_RUN = re.compile("(?<![A-Za-z0-9\x80-\U0010ffff])0")
_NAMING = {"STR", "PATH", "ID", "IP"}
"""Masks whose text tells one thing from another; times and random identifiers do not."""
_JOINED = 4
"""Numbers that a word holds at most: an address has four."""
PLAN_BYTES = 16 << 20
"""Text of shapes whose plans are remembered: beyond, all are forgotten and made again."""
_ENTRY = np.dtype(
    [("field", np.int64), ("key", np.int64), ("first", np.int64), ("numbers", np.int64), ("scale", np.float64)]
)


@dataclass(frozen=True, slots=True)
class ShapedLines:
    """What N lines say is read from: the `shapes` of the lines, and their `numbers`."""

    shapes: Sequence[bytes]
    numbers: Numbers

    def between(self, start: int, stop: int) -> "ShapedLines":
        """The lines from `start` to `stop`."""
        return ShapedLines(self.shapes[start:stop], self.numbers.between(start, stop))


SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
Told = Callable[[int, int], tuple[str, str, float]]


@dataclass(frozen=True, slots=True)
class Fields:
    """R values of lines: `lines` (R, rising), `fields` (R, see `PLACES`) and `keys` (R): equal ones for equal values,
    and the bits of a number where the field is one. `told` gives a line's field for people: the value as it was
    written, the token that it stands in between its neighbours (of the template), and what a number of its unit is
    worth."""

    lines: Ints
    fields: Ints
    keys: Ints
    told: Told

    @classmethod
    def joined(cls, parts: Sequence["Fields"], firsts: Sequence[int]) -> "Fields":
        """Those of parts of the lines, of which the first ones are `firsts`; nobody can be told of them."""
        none = np.zeros(0, np.int64)
        lines = np.concatenate([none, *(part.lines + first for part, first in zip(parts, firsts, strict=True))])
        fields, keys = (np.concatenate([none, *(getattr(one, name) for one in parts)]) for name in ("fields", "keys"))
        return cls(lines, fields, keys, lambda _, __: ("", "", 1.0))

    def of_lines(self, lines: Ints) -> "Fields":
        """Those of some lines (rising), which keep their number."""
        starts, stops = (np.searchsorted(self.lines, lines, side=side) for side in SIDES)
        of = stretches(starts, stops - starts)
        return replace(self, lines=self.lines[of], fields=self.fields[of], keys=self.keys[of])

    @property
    def are_words(self) -> NDArray[np.bool_]:
        """Which are words (R)."""
        return (self.fields & 1).astype(np.bool_)

    @property
    def numbers(self) -> NDArray[np.float64]:
        """The keys as numbers (R); of words nothing is meant."""
        return self.keys.view(np.float64)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A varying piece of a shape: its place, its text there, and which of the line's numbers it holds, from the
    `first` on. `scale` makes a number what it is, by its sign and unit; 0 = it is a word."""

    place: int
    text: str
    first: int
    numbers: int
    scale: float

    def entry(self, code: int) -> tuple[int, int, int, int, float]:
        digest = blake2b(self.text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = 0 if self.scale else int.from_bytes(digest, "little", signed=True)
        return code * PLACES + self.place, key, self.first, self.numbers, self.scale


class FieldReader:
    """Reads the values of lines whose template is one of `texts` (codes 1, 2, ...).

    A value is a number with its unit, or a word: a quoted string, a path, an address, an identifier, or a token at a
    wildcard of the template. With `wanted` only those fields are read. What is read of a line is a function of its
    shape, its numbers and its template.
    """

    def __init__(self, texts: Sequence[str], wanted: Collection[int] | None = None) -> None:
        self._tokens = [[], *(text.split() for text in texts)]
        self._wanted = None if wanted is None else frozenset(wanted)
        self._read = np.ones(len(self._tokens), np.bool_)
        if wanted is not None:
            self._read = np.isin(np.arange(len(self._tokens)), np.array(list(wanted), np.int64) // PLACES)
        self._masks = Masking()
        self._forget()

    def _forget(self) -> None:
        self._plans: dict[tuple[bytes, int], int] = {}
        self._latest: dict[bytes, int] = {}
        self._held = 0
        self._bounds, self._codes = np.zeros(1025, np.int64), np.zeros(1025, np.int32)
        self._entries = np.zeros(1024, _ENTRY)

    def read(self, lines: ShapedLines, codes: Codes) -> Fields:
        """The values of N lines with templates `codes` (N, 0 = none of ours)."""
        plans = self._plans_of(lines, codes)
        starts, counts = self._bounds[plans], self._bounds[plans + 1] - self._bounds[plans]
        which = np.repeat(np.arange(len(plans)), counts)
        entries = self._entries[stretches(starts, counts)]
        place = lines.numbers.first[which] + entries["first"]
        keys, good = entries["key"].copy(), np.ones(len(entries), np.bool_)
        scale = entries["scale"]
        one = np.flatnonzero(scale != 0)
        numbers = _numbers(lines.numbers, place[one], entries["numbers"][one] > 1) * scale[one]
        keys[one], good[one] = (numbers + 0.0).view(np.int64), ~np.isnan(numbers)  # 0.0: there is one zero
        for number in range(_JOINED):
            more = np.flatnonzero((entries["numbers"] > number) & (scale == 0))
            said = lines.numbers.values[place[more] + number]
            good[more] &= ~np.isnan(said)
            keys[more] = keys[more] * 1_000_003 + np.nan_to_num(said).astype(np.int64)
        return Fields(which[good], entries["field"][good], keys[good], partial(self._told, lines))

    def _told(self, lines: ShapedLines, line: int, field: int) -> tuple[str, str, float]:
        code, place = divmod(field, PLACES)
        shape, numbers = lines.shapes[line], lines.numbers.take(np.array([line]))
        piece = next(one for one in self._pieces(shape, code) if one.place == place)
        token, tokens = place // _OF_TOKEN, self._tokens[code]
        around = " ".join(tokens[max(token - 1, 0) : token + 2])
        said = iter(range(piece.first, piece.first + piece.numbers))

        def written(_: re.Match[str]) -> str:
            place = next(said)
            return f"{numbers.values[place]:0{numbers.digits[place]}.0f}"

        return _RUN.sub(written, piece.text) if piece.numbers else piece.text, around, abs(piece.scale)

    def _plans_of(self, lines: ShapedLines, codes: Codes) -> Ints:
        """The plan of each line (N); the first one is empty."""
        if self._held > PLAN_BYTES:
            self._forget()
        known = self._latest.get
        found = np.array([known(shape, -1) for shape in lines.shapes], np.int64)
        wanted = np.where(self._read[codes], codes, 0)
        for line in np.flatnonzero((found < 0) | (self._codes[found] != wanted)).tolist():
            shape, code = lines.shapes[line], int(wanted[line])
            plan = self._plans.get((shape, code))
            found[line] = self._latest[shape] = self._add(shape, code) if plan is None else plan
        return found

    def _add(self, shape: bytes, code: int) -> int:
        plan = self._plans[shape, code] = len(self._plans) + 1
        self._held += len(shape)
        made = [piece.entry(code) for piece in self._pieces(shape, code)] if code else []
        made = [entry for entry in made if self._wanted is None or entry[0] in self._wanted]
        if plan + 2 > len(self._bounds):
            self._bounds = np.concatenate([self._bounds, np.zeros_like(self._bounds)])
            self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)])
        start = int(self._bounds[plan])
        while start + len(made) > len(self._entries):
            self._entries = np.concatenate([self._entries, np.zeros_like(self._entries)])
        self._entries[start : start + len(made)] = np.array(made, _ENTRY)
        self._bounds[plan + 1], self._codes[plan] = start + len(made), code
        return plan

    def _pieces(self, shape: bytes, code: int) -> Iterator[_Piece]:
        text = shape.decode("utf-8", "surrogatepass")
        runs = [match.start() for match in _RUN.finditer(text)]
        masked, done, token, inside, pieces = list[str](), 0, 0, False, dict[int, int]()
        for name, start, end in self._masks.found(text):
            before = text[done:start]
            token += len(before.split()) - (inside and before[:1].strip() != "")
            inside = inside if not before else not before[-1].isspace()
            token, inside, done = token + (not inside), True, end
            masked += [before, f"<{name}>"]
            nth = pieces[token] = pieces.get(token, -1) + 1
            if token <= _TOKENS and nth < _PIECES:
                first = bisect_left(runs, start)
                place = (token - 1) * _OF_TOKEN + 2 * nth
                yield from _piece(name, place, text[start:end], first, bisect_left(runs, end) - first)
        masked.append(text[done:])
        yield from self._at_wildcards("".join(masked).split()[:_TOKENS], code)

    def _at_wildcards(self, tokens: Sequence[str], code: int) -> Iterator[_Piece]:
        template = self._tokens[code]
        if len(template) == len(tokens):
            for place, (token, wildcard) in enumerate(zip(tokens, template, strict=True)):
                if wildcard == WILDCARD:
                    yield _Piece(place * _OF_TOKEN + 2 * _PIECES + 1, token, 0, 0, 0.0)


def _piece(name: str, place: int, text: str, first: int, numbers: int) -> Iterator[_Piece]:
    """What a masked piece says, if that means anything."""
    if name == "NUM" and (match := _NUMBER.fullmatch(text)):
        scale = _SCALES.get(match[3].lower(), 0.0)
        if scale:
            yield _Piece(place, text, first, 1 + bool(match[2]), -scale if match[1] == "-" else scale)
    elif name in _NAMING and numbers <= _JOINED:
        yield _Piece(place + 1, text, first, numbers, 0.0)


def _numbers(numbers: Numbers, places: Ints, fractions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The number at each of R places, whose fraction is the next one where there are `fractions`."""
    values = numbers.values[places]
    behind = np.flatnonzero(fractions)
    after = places[behind] + 1
    values[behind] += numbers.values[after] / 10.0 ** numbers.digits[after]
    return values
