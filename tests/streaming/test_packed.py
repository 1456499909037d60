"""Packed numbers (`v`): the same values as named ones, whatever their number."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streaming.columns import Columns
from streaming.decode import TelemetryDecoder
from streaming.settings import TelemetryFormat
from streaming.types import Records

numbers = st.none() | st.floats(-1e6, 1e6) | st.integers(-99, 99)


def closed(names: list[str]) -> Columns:
    columns = Columns()
    columns.admit(names)
    columns.open = False
    return columns


def decoded(decoder: TelemetryDecoder, rows: list[dict[str, object]]) -> Records:
    payloads = [json.dumps({"entity": "a", "time": n, **row}).encode() for n, row in enumerate(rows)]
    count = len(payloads)
    return decoder.decode(payloads, np.arange(count), np.full(count, 10**18), count)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=6))
def test_packed_and_named_numbers_are_the_same(rows: list[list[float | None]]) -> None:
    names = ["x", "y", "z"]
    packed = decoded(TelemetryDecoder(TelemetryFormat(features=tuple(names)), closed(names)), [{"v": v} for v in rows])
    named = decoded(
        TelemetryDecoder(TelemetryFormat(), closed(names)), [{"values": dict(zip(names, v, strict=True))} for v in rows]
    )
    np.testing.assert_array_equal(packed.values, named.values)
    assert packed.values.dtype == np.float32 and not packed.dead


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_another_number_than_is_declared_is_a_dead_letter_and_its_neighbours_are_not(widths: list[int]) -> None:
    decoder = TelemetryDecoder(TelemetryFormat(features=("x", "y", "z")), closed(["x", "y", "z"]))
    found = decoded(decoder, [{"v": [float(n) for n in range(width)]} for width in widths])
    good = [place for place, width in enumerate(widths) if width == 3]
    assert found.positions.tolist() == good and (found.values == [0, 1, 2]).all()
    bad = {place: width for place, width in enumerate(widths) if width != 3}
    assert {letter.position: letter.reason for letter in found.dead} == dict.fromkeys(bad, "packed_length")
    for letter in found.dead:
        assert letter.detail == f"v: {bad[letter.position]} numbers; 3 are declared (features)"


def test_what_is_admitted_meanwhile_is_expected_of_the_next_poll() -> None:
    columns = closed(["x"])
    decoder = TelemetryDecoder(TelemetryFormat(), columns)
    assert decoded(decoder, [{"v": [1.5]}, {"v": [1, 2]}]).values.tolist() == [[1.5]]
    columns.admit(["y"])
    found = decoded(decoder, [{"v": [1.5]}, {"v": [1, None]}, {"v": [3, 4]}])
    assert found.positions.tolist() == [1, 2]
    np.testing.assert_array_equal(found.values, np.array([[1, np.nan], [3, 4]], np.float32))
