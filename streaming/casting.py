"""Strings into typed Arrow arrays where some of them are wrong: the rest is as if those were not there."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NULL_WORDS = ("", "na", "n/a", "nan", "null", "none", "-")
"""What an empty cell of a table of text may say, in any case and with blanks around it."""


def cast_or_split(
    array: Any, targets: Sequence[Any], start: int = 0, accept: Callable[[Any], bool] = lambda _: True
) -> Iterator[tuple[int, int, Any | None]]:
    """Cast `array` to the first of `targets` (Arrow types) that takes all of it, else its halves, and so on down.

    `accept` may refuse the cast of several elements at once, where it could differ from that of each one.
    Yields (start, stop, cast array), or (i, i + 1, None) for an element that no target takes. So each element fares as
    it would alone, a clean array costs one cast, and k bad elements of n cost O(k log n) casts.
    """
    for target in targets:
        cast = cast_or_none(array, target)
        if cast is not None and (len(array) == 1 or accept(cast)):
            yield start, start + len(array), cast
            return
    if len(array) <= 1:
        if len(array):
            yield start, start + 1, None
        return
    half = len(array) // 2
    yield from cast_or_split(array[:half], targets, start, accept)
    yield from cast_or_split(array[half:], targets, start + half, accept)


def cast_or_none(array: Any, target: Any) -> Any | None:
    """`array` cast to `target`, None if an element does not fit. Where the first does not, no more are tried."""
    try:
        # Arrow goes on behind a failure and words each one: 1.5 us an element
        if len(array) > 1:
            array[:1].cast(target)
        return array.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def texts(array: Any) -> tuple[Any, NDArray[np.bool_]]:
    """A binary array as strings, and which elements are not UTF-8 (those are null)."""
    bad = np.zeros(len(array), dtype=bool)
    pieces = []
    for start, stop, piece in cast_or_split(array, [pa.string()]):
        bad[start:stop] = piece is None
        pieces.append(pa.nulls(1, pa.string()) if piece is None else piece)
    return (pa.concat_arrays(pieces) if pieces else pa.array([], pa.string())), bad


def is_null_word(strings: Any) -> Any:
    """Boolean array: null, or one of `NULL_WORDS`."""
    word = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(strings)), value_set=pa.array(NULL_WORDS))
    return pc.or_kleene(pc.is_null(strings), word)


def numbers(array: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Strings or any numeric Arrow array as float64 (NaN = absent), and which elements are not numbers (NaN there).

    Infinity stays infinite; booleans are not numbers.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string(array.type):
        return _numbers_of_text(array)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type)):
        return np.full(len(array), np.nan), np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False), dtype=bool)
    return _float64(array.cast(pa.float64(), safe=False)), np.zeros(len(array), dtype=bool)


def _numbers_of_text(array: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    cast = cast_or_none(array, pa.float64())
    if cast is not None:
        return _float64(cast), np.zeros(len(array), dtype=bool)
    trimmed = pc.utf8_trim_whitespace(pc.if_else(is_null_word(array), None, array))
    values = np.full(len(array), np.nan)
    bad = np.zeros(len(array), dtype=bool)
    for start, stop, piece in cast_or_split(trimmed, [pa.float64()]):
        bad[start:stop] = piece is None
        if piece is not None:
            values[start:stop] = _float64(piece)
    return values, bad


def _float64(array: Any) -> NDArray[np.float64]:
    filled = pc.fill_null(array, float("nan")) if array.null_count else array
    return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.float64)
