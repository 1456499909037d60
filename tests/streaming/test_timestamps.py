import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import INGESTED, START

from streaming.casting import cast_or_split, is_null_word, numbers, texts
from streaming.settings import SECOND
from streaming.timestamps import BAD, FUTURE, MISSING, MIXED, OK, EventTimes

NS = START * SECOND


def ingested(n, at=INGESTED):
    return np.full(n, at, dtype=np.int64)


def read(*raw, **kind):
    return EventTimes(**kind).read(list(raw), ingested(len(raw)))


def read_one(raw, **kind):
    times, faults = read(raw, **kind)
    return int(times[0]) if faults[0] == OK else int(-faults[0])


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-11-14T22:13:20Z", NS),
        ("2023-11-14T22:13:20.5Z", NS + SECOND // 2),
        ("2023-11-14T22:13:20.123456789Z", NS + 123_456_789),
        ("2023-11-14T22:13:20.123456789999Z", NS + 123_456_789),
        ("2023-11-14T23:13:20+01:00", NS),
        ("2023-11-14T16:43:20-0530", NS),
        ("2023-11-14t22:13:20z", NS),
        ("2023-11-14 22:13:20", NS),
        ("2023-11-14 22:13:20,250", NS + SECOND // 4),
        ("  2023-11-14T22:13:20Z ", NS),
        ("2023-11-14T22:13Z", NS - 20 * SECOND),
        ("2023-11-14", NS - (22 * 3600 + 13 * 60 + 20) * SECOND),
        ("1969-12-31T23:59:59Z", -SECOND),
        ("1700000000", NS),
        ("1700000000.25", NS + SECOND // 4),
        ("1700000000000", NS),
        ("2023-13-14T22:13:20Z", -BAD),
        ("2023-11-14T25:13:20Z", -BAD),
        ("2023-02-30T00:00:00Z", -BAD),
        ("1600-01-01T00:00:00Z", -BAD),
        ("2300-01-01T00:00:00Z", -BAD),
        ("14/11/2023", -BAD),
        ("", -BAD),
        ("nan", -BAD),
        ("inf", -BAD),
        ("-1", -BAD),
        ("now", -BAD),
    ],
)
def test_texts(text, ns):
    assert read_one(text) == ns
    # the same among others, whatever they are
    company = ["2023-11-14T22:13:20Z", "rubbish", text, "2023-11-14 22:13:20", "2023-11-14T22:13:20+01:00"]
    times, faults = EventTimes().read(company, ingested(5))
    assert (int(times[2]) if faults[2] == OK else int(-faults[2])) == ns
    assert faults[[0, 1, 3, 4]].tolist() == [OK, BAD, OK, OK]


@pytest.mark.parametrize(
    ("number", "ns"),
    [
        (START, NS),
        (START * 1_000 + 7, NS + 7_000_000),
        (START * 1_000_000 + 7, NS + 7_000),
        (START * SECOND + 7, NS + 7),
        (START + 0.1, NS + SECOND // 10),
        (START * 1000 + 0.25, NS + 250_000),
        (float(START * 1_000_000), NS),
        (0, 0),
        (0.5, SECOND // 2),
        (-1, -BAD),
        (-0.5, -BAD),
        (float("nan"), -BAD),
        (float("inf"), -BAD),
        (1e30, -BAD),
        (10**30, -BAD),
        (-(10**30), -BAD),
        pytest.param(10**5000, -BAD, id="endless"),
    ],
)
def test_numbers_by_magnitude(number, ns):
    assert read_one(number) == ns


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", SECOND)])
def test_a_stated_unit_holds_for_every_magnitude(unit, factor):
    times, faults = read(5 * factor, START * factor, unit=unit)
    assert times.tolist() == [5 * SECOND, NS]
    assert faults.tolist() == [OK, OK]


def test_what_does_not_fit_int64_in_a_stated_unit_is_bad():
    assert read_one(10**11, unit="s") == -BAD
    assert read_one(10**18, unit="ms") == -BAD


def test_the_first_number_fixes_the_unit():
    times = EventTimes()
    assert times.unit == "auto"
    ns, faults = times.read([START * 1000, START, "2023-11-14T22:13:20Z", START * 1000 + 1], ingested(4))
    assert faults.tolist() == [OK, MIXED, OK, OK]
    assert ns.tolist() == [NS, 0, NS, NS + 1_000_000]
    assert times.unit == "ms"
    _, faults = times.read([START], ingested(1))
    assert faults.tolist() == [MIXED]
    assert "not in ms" in times.explain(MIXED, START, INGESTED)


def test_bad_and_future_numbers_do_not_fix_the_unit():
    times = EventTimes()
    _, faults = times.read([-1, float("nan"), 1_900_000_000_000, START], ingested(4))
    assert faults.tolist() == [BAD, BAD, FUTURE, OK]
    assert times.unit == "s"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                START,
                START * 1000,
                START * SECOND,
                1_900_000_000,
                1_900_000_000_000,
                -1,
                "2023-11-14T22:13:20Z",
                2.5,
                "x",
            ]
        ),
        max_size=8,
    ),
    st.integers(1, 3),
)
def test_polls_do_not_matter(raw, poll):
    def told(size):
        times = EventTimes()
        parts = [times.read(raw[i : i + size], ingested(len(raw[i : i + size]))) for i in range(0, len(raw), size)]
        return [(part[0].tolist(), part[1].tolist()) for part in parts], times.state()

    (whole, unit), (cut, same_unit) = told(100), told(poll)
    assert unit == same_unit
    flat = [pair for part in cut for pair in zip(*part, strict=True)]
    assert flat == [pair for part in whole for pair in zip(*part, strict=True)]


def test_the_unit_comes_back():
    times = EventTimes()
    times.read([START * 1000], ingested(1))
    again = EventTimes()
    again.restore(times.state())
    assert again.unit == "ms"
    stated = EventTimes("s")
    stated.restore("ms")
    assert stated.unit == "s"


def test_the_future_is_judged_by_the_ingest_timestamp():
    times = EventTimes(max_ahead=10 * SECOND)
    _, faults = times.read([START, START + 10, START + 11], ingested(3, NS))
    assert faults.tolist() == [OK, OK, FUTURE]
    said = times.explain(FUTURE, START + 11, NS)
    assert "10 s" in said
    assert "2023-11-14T22:13:20" in said


@pytest.mark.parametrize("fault", [BAD, MIXED, FUTURE, MISSING])
def test_explanations_survive_any_value(fault):
    for value in (None, 10**6000, "x" * 10_000, float("nan"), b"\0"):
        assert 10 < len(EventTimes().explain(fault, value, INGESTED)) < 300


def column(*cells, kind):
    array = pa.array(cells, kind)
    times, faults = EventTimes().read_column(array, ingested(len(array)))
    return [int(time) if fault == OK else int(-fault) for time, fault in zip(times, faults, strict=True)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamp_columns(unit, zone):
    cells = pa.array([START, None]).cast(pa.timestamp("s")).cast(pa.timestamp(unit, zone), safe=False)
    times, faults = EventTimes().read_column(cells, ingested(2))
    assert times.tolist() == [NS, 0]
    assert faults.tolist() == [OK, MISSING]


def test_a_timestamp_beyond_int64_is_bad_alone():
    assert column(dt.datetime(9999, 1, 1), dt.datetime(2020, 1, 1), kind=pa.timestamp("us"))[0] == -BAD
    assert column(dt.datetime(9999, 1, 1), dt.datetime(2020, 1, 1), kind=pa.timestamp("us"))[1] > 0


def test_other_typed_columns():
    assert column(dt.date(1970, 1, 2), kind=pa.date32()) == [86_400 * SECOND]
    assert column(START, None, -1, kind=pa.int64()) == [NS, -MISSING, -BAD]
    assert column(START + 0.5, float("nan"), kind=pa.float64()) == [NS + SECOND // 2, -BAD]
    assert column(Decimal(START), kind=pa.decimal128(20, 2)) == [NS]
    assert column("2023-11-14", None, "x", kind=pa.string())[1:] == [-MISSING, -BAD]
    assert column(True, kind=pa.bool_()) == [-BAD]
    assert column(2**64 - 1, 5, kind=pa.uint64()) == [-BAD, 5 * SECOND]


def test_large_integers_stay_exact_beside_a_fraction():
    ns = START * SECOND + 123_456_789
    assert column(str(ns), f"{ns + 1}", kind=pa.string()) == [ns, ns + 1]
    times, faults = EventTimes("ns").read([str(ns), "1.75"], ingested(2))
    assert times.tolist() == [ns, 2]
    assert faults.tolist() == [OK, OK]


def test_a_format_of_ones_own():
    times = EventTimes(time_format="%d/%m/%Y %H:%M:%S %z")
    ns, faults = times.read(["14/11/2023 23:13:20 +0100", "2023-11-14T22:13:20Z", ""], ingested(3))
    assert ns.tolist() == [NS, 0, 0]
    assert faults.tolist() == [OK, BAD, BAD]
    assert "%d/%m/%Y" in times.explain(BAD, "x", INGESTED)


def test_a_format_without_a_year_takes_that_of_ingestion_or_the_one_before():
    times = EventTimes(time_format="%b %d %H:%M:%S")
    march = int(np.datetime64("2024-03-01T00:00:00", "ns").astype(np.int64))
    ns, faults = times.read(["Feb 29 12:00:00", "Dec 31 23:00:00"], ingested(2, march))
    assert faults.tolist() == [OK, OK]
    assert ns.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist() == ["2024-02-29", "2023-12-31"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["1", "2.5", "x", "", "inf", "9" * 400, None]) | st.text(max_size=4), max_size=10))
def test_casting_fares_as_each_cell_would_alone(cells):
    array = pa.array(cells, pa.string())
    values, bad = numbers(array)
    for i in range(len(cells)):
        value, is_bad = numbers(array[i : i + 1])
        assert repr(values[i]) == repr(value[0])
        assert bad[i] == is_bad[0]


def test_number_cells():
    values, bad = numbers(pa.array([" 1.5 ", "-2e3", "NA", "Null", "-", None, "1,5", "0x1", "true", "-inf"]))
    np.testing.assert_array_equal(values, [1.5, -2000, *[np.nan] * 7, -np.inf])
    assert bad.tolist() == [False] * 6 + [True] * 3 + [False]


def test_typed_number_columns():
    for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(20, 0)):
        values, bad = numbers(pa.array([1, None]).cast(kind))
        np.testing.assert_array_equal(values, [1, np.nan])
        assert not bad.any()
    assert numbers(pa.array([True, None]))[1].tolist() == [True, False]


def test_texts_that_are_not_utf8():
    strings, bad = texts(pa.array([b"a", b"\xff", None, "é".encode()], pa.binary()))
    assert strings.to_pylist() == ["a", None, None, "é"]
    assert bad.tolist() == [False, True, False, False]
    assert texts(pa.array([], pa.binary()))[0].to_pylist() == []


def test_null_words():
    assert is_null_word(pa.array([" NaN ", "none", None, "0", "x"])).to_pylist() == [True, True, True, False, False]


def test_a_clean_array_is_cast_in_one_piece():
    pieces = list(cast_or_split(pa.array(["1"] * 100), [pa.int64()]))
    assert [(start, stop) for start, stop, _ in pieces] == [(0, 100)]
    refused = list(cast_or_split(pa.array(["1"] * 4), [pa.int64()], accept=lambda _: False))
    assert [(start, stop) for start, stop, _ in refused] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert list(cast_or_split(pa.array([], pa.string()), [pa.int64()], accept=lambda _: False)) == []
