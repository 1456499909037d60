"""JSON Lines, raw text, standard input and folders, through `open_source`."""

import gzip
import io
import json
import os
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import START, drain, record, write

from streaming.checksum import PREFIX_BYTES
from streaming.columns import Columns
from streaming.files import kind_of, open_source
from streaming.linereader import LineReader
from streaming.settings import SECOND, LogFormat, TelemetryFormat
from streaming.types import SourceChanged

JSON = TelemetryFormat()


@pytest.fixture
def lines():
    """Records of two entities, with bad ones and a blank line between."""
    rows = [record("ab"[i % 2], START + i // 2, values={"x": i, "y": -i}) for i in range(40)]
    rows[7] = b"broken"
    rows[20] = b'{"entity":"a","time":1,"values":{"x":"no"}}'
    rows[21] = b"\xff\xfe"
    return rows


def follow(path, form=JSON, poll=5000, **more):
    source = open_source(str(path), form, Columns(), **more)
    try:
        return drain(source, poll)
    finally:
        source.close()


@pytest.mark.parametrize("poll", [1, 3, 40, 5000])
def test_a_file_of_lines_is_read_as_it_comes(tmp_path, lines, poll):
    path = write(tmp_path / "a.jsonl", lines)
    reading = follow(path, poll=poll)
    assert len(reading.records) == 37
    assert reading.positions == [i for i in range(40) if i not in (7, 20, 21)]
    assert reading.reasons == [(7, "broken_json"), (20, "wrong_type"), (21, "bad_encoding")]
    assert reading.next_position == 40
    assert reading.records[3] == ("b", (START + 1) * SECOND, {"x": 3.0, "y": -3.0})


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".log", ".txt", ".jsonl.gz"])
def test_suffixes_of_lines(tmp_path, lines, suffix):
    data = b"\n".join(lines)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    assert len(follow(path).records) == 37


def test_carriage_returns_blank_lines_and_a_byte_order_mark_are_no_records(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + record() + b"\r\n\r\n\n" + record() + b"\r\n\n\n")
    reading = follow(path)
    assert reading.positions == [0, 1]
    assert reading.counts == {}


def test_ten_megabytes_on_a_line_cost_only_that_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(record() + b"\n" + b"x" * 10_000_000 + b"\n" + record() + b"\n" + b'{"' + b"y" * 3_000_000)
    reading = follow(path, poll=2)
    assert reading.positions == [0, 2]
    assert reading.reasons == [(1, "too_long"), (3, "too_long")]
    assert [len(letter.payload) for letter in reading.dead] == [65536, 65536]


def test_the_most_that_a_record_may_have_can_be_set(tmp_path):
    path = write(tmp_path / "a.jsonl", [record(), record("e" * 200)])
    assert follow(path, max_record_bytes=100).reasons == [(1, "too_long")]


@pytest.mark.parametrize("content", [b"", b"\n\n\r\n"])
@pytest.mark.parametrize("form", [JSON, LogFormat(), TelemetryFormat(order="time")])
def test_an_empty_file_is_one_dead_letter_and_the_end(tmp_path, content, form):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    source = open_source(str(path), form, Columns())
    reading = drain(source)
    assert reading.batches == 1
    assert reading.reasons == [(0, "empty")]
    assert reading.counts == {"empty": 1}
    assert str(path) in reading.dead[0].detail
    assert source.poll() is None


def test_files_are_ingested_at_their_modification_time(tmp_path):
    path = write(tmp_path / "a.jsonl", [record(time=START), record(time=START + 100)])
    os.utime(path, (START, START))
    reading = follow(path, max_ahead=99 * SECOND)
    assert reading.reasons == [(1, "future")]
    assert open_source(str(path), JSON).poll().ingested.tolist() == [START * SECOND, START * SECOND]


def stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_is_stamped_by_the_clock_and_numbers_on(monkeypatch):
    data = b"\n".join([record(time=START), b"bad", record(time=START + 100)])
    stdin(monkeypatch, data)
    source = open_source("-", JSON, clock=lambda: START * SECOND, max_ahead=99 * SECOND)
    source.seek({"path": "-", "row": 17})
    reading = drain(source)
    assert reading.positions == [17]
    assert reading.reasons == [(18, "broken_json"), (19, "future")]
    assert json.dumps(source.position(20))


def test_standard_input_gives_what_has_come_without_waiting_for_more():
    read, written = os.pipe()
    os.write(written, b"one\ntwo\nthr")
    reader = LineReader(os.fdopen(read, "rb"), "pipe")
    assert reader.read(100, wait=False) == [b"one", b"two"]
    os.write(written, b"ee\nfour\n")
    assert reader.read(1, wait=False) == [b"three"]
    assert reader.read(5, wait=False) == [b"four"]
    os.close(written)
    assert reader.read(5, wait=False) == []
    reader.close()


class Pipe(io.BytesIO):
    """Gives `size` bytes a read, as a pipe may."""

    def __init__(self, data, size):
        super().__init__(data)
        self.size = size

    def read1(self, size=-1):
        return self.read(self.size)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"\xef\xbb\xbf", b"\xef\xbb\xbfa", b"\r", b""]), max_size=12),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(3, 10),
)
def test_lines_do_not_depend_on_how_the_bytes_come(parts, chunk, most, limit):
    data = b"\n".join(parts)
    reader = LineReader(Pipe(data, chunk), "pipe", limit)
    got = []
    while lines := reader.read(most):
        assert len(lines) <= most
        got += lines
    bare = data[3:] if data[:3] == b"\xef\xbb\xbf" else data
    expected = [line for line in (part.removesuffix(b"\r") for part in bare.split(b"\n")) if line]
    assert [line[:limit] for line in got] == [line[:limit] for line in expected]
    assert [len(line) > limit for line in got] == [len(line) > limit for line in expected] or b"\r" in data
    assert all(len(line) <= limit + 1 for line in got)


@pytest.mark.parametrize("poll", [1, 4, 11, 100])
def test_going_on_from_any_position_gives_the_rest(tmp_path, lines, poll):
    path = write(tmp_path / "a.jsonl", lines)
    whole = follow(path)
    source = open_source(str(path), JSON, Columns())
    while (batch := source.poll(poll)) is not None:
        position = json.loads(json.dumps(source.position(batch.next_position)))
        assert position["path"] == str(path)
        assert position["row"] == batch.next_position
        again = open_source(str(path), JSON, Columns())
        again.seek(position)
        rest = drain(again, 7)
        at = [i for i, place in enumerate(whole.positions) if place >= batch.next_position]
        assert rest.records == [whole.records[i] for i in at]
        assert rest.dead == [letter for letter in whole.dead if letter.position >= batch.next_position]


def test_a_restart_keeps_the_sample_of_dead_letters_and_the_unit(tmp_path):
    path = write(tmp_path / "a.jsonl", [record(time=START * 1000), *[b"bad"] * 250, record(time=START)])
    whole = follow(path)
    source = open_source(str(path), JSON)
    drain(source, 50, most=5)
    again = open_source(str(path), JSON)
    # the place is the caller's: it may lie behind what was polled
    again.seek(source.position(80))
    rest = drain(again)
    assert rest.dead == [letter for letter in whole.dead if letter.position >= 80]
    assert rest.reasons[-1] == (251, "mixed_time_unit")


def test_a_file_of_lines_may_grow(tmp_path, lines):
    path = write(tmp_path / "a.jsonl", lines)
    source = open_source(str(path), JSON)
    position = source.position(drain(source).next_position)
    with path.open("ab") as more:
        more.write(record("new") + b"\n")
    again = open_source(str(path), JSON)
    again.seek(position)
    assert drain(again).entities == ["new"]


def test_a_file_of_lines_that_was_edited_or_cut_is_refused(tmp_path, lines):
    path = write(tmp_path / "a.jsonl", lines)
    source = open_source(str(path), JSON)
    position = source.position(drain(source).next_position)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"a"', b'"c"', 1))
    with pytest.raises(SourceChanged, match=r"a\.jsonl.*changed"):
        open_source(str(path), JSON).seek(position)
    path.write_bytes(data[:-50])
    with pytest.raises(SourceChanged, match=r"a\.jsonl: has shrunk"):
        open_source(str(path), JSON).seek(position)


def test_a_position_beyond_the_rows_is_refused(tmp_path, lines):
    path = write(tmp_path / "a.jsonl", lines)
    source = open_source(str(path), JSON)
    with pytest.raises(SourceChanged, match="has only 40 rows, 41"):
        source.seek(source.position(41))


def test_the_checksum_of_a_long_file_covers_its_start(tmp_path):
    path = write(tmp_path / "a.jsonl", [record()] * 3000)
    assert path.stat().st_size > PREFIX_BYTES
    checksum = open_source(str(path), JSON).position(1)["checksum"]
    assert checksum.startswith(f"{PREFIX_BYTES}:{path.stat().st_size}:")


def test_seeking_back_reads_again(tmp_path, lines):
    source = open_source(str(write(tmp_path / "a.jsonl", lines)), JSON, Columns())
    start = source.position(0)
    first = drain(source)
    source.seek(start)
    assert drain(source, 3).records == first.records


def test_a_file_of_lines_can_be_put_in_order(tmp_path):
    times = [5, 1, 3, 1, 4]
    rows = [record("e", START + t, values={"x": i}, labels={"seen": str(t)}) for i, t in enumerate(times)]
    path = write(tmp_path / "a.jsonl", [*rows[:2], b"bad", *rows[2:]])
    reading = follow(path, TelemetryFormat(order="time"), poll=2)
    assert [value["x"] for value in reading.values] == [1, 3, 2, 4, 0]
    assert reading.positions == [6, 7, 8, 9, 10]
    assert reading.reasons == [(2, "broken_json")]
    # labels hold for an entity, not for a time: the last ones in the file count
    assert reading.labels == {"e": {"seen": "4"}}


def test_log_lines_can_be_put_in_order(tmp_path):
    path = write(
        tmp_path / "a.log",
        [record("p", START + t, message=f"m{t}", severity="error") for t in (3, 1, 2)] + [b"bad"],
    )
    reading = follow(path, LogFormat(order="time"), poll=2)
    assert [message for _, _, message, _ in reading.records] == ["m1", "m2", "m3"]
    assert reading.reasons == [(3, "broken_json")]


TEXT = LogFormat(layout="text", pattern=r"(?P<time>\S+) (?P<message>.*)", default_entity="{file}")
TRACE = ["what", "2023-11-14T22:13:20Z hello", "  File x.py", "Caused by: y", "2023-11-14T22:13:21Z ERROR bye", "why"]


@pytest.mark.parametrize("poll", [1, 2, 5000])
def test_text_logs_from_a_file_are_records_of_several_lines(tmp_path, poll):
    reading = follow(write(tmp_path / "app.log", TRACE), TEXT, poll=poll)
    assert reading.records == [
        ("app", START * SECOND, "hello\n  File x.py\nCaused by: y", -1),
        ("app", (START + 1) * SECOND, "ERROR bye\nwhy", -1),
    ]
    assert reading.reasons == [(0, "no_match")]


def test_text_logs_of_one_line_each(tmp_path):
    reading = follow(write(tmp_path / "app.log", TRACE), replace(TEXT, join_lines=False))
    assert [message for _, _, message, _ in reading.records] == ["hello", "ERROR bye"]
    assert reading.counts == {"no_match": 3, "bad_time": 1}


def test_a_folder_is_all_its_files_in_the_order_of_time(tmp_path):
    for name, start in (("b", 0), ("a", 1)):
        write(tmp_path / f"{name}.jsonl", [record(name, START + start + 2 * i, values={name: i}) for i in range(5)])
    write(tmp_path / "c.ndjson", [record("c", START, values={"c": 0})])
    write(tmp_path / "README.md", ["not data"])
    write(tmp_path / ".hidden.jsonl", ["not data"])
    reading = follow(tmp_path, poll=4)
    assert reading.times == sorted(reading.times)
    assert reading.entities == list("bcabababab" + "a")
    # of one time: by name of the file
    assert reading.records[1] == ("c", START * SECOND, {"c": 0.0})
    assert reading.counts == {}


def test_a_folder_as_it_comes(tmp_path):
    for name in "ba":
        write(tmp_path / f"{name}.jsonl", [record(name, START + i) for i in range(3)])
    reading = follow(tmp_path, TelemetryFormat(order="arrival"), poll=2)
    assert reading.entities == list("aaabbb")
    assert reading.positions == list(range(6))


def test_rows_without_a_time_begin_anew_in_each_file_of_a_folder(tmp_path):
    form = TelemetryFormat(layout="wide", entity=None, time=None, default_entity="{file}", order="arrival")
    for name in "ab":
        write(tmp_path / f"{name}.part.jsonl", ['{"x":1}', '{"x":2}'])
    reading = follow(tmp_path, form)
    assert reading.records == [(name, i * SECOND, {"x": i + 1.0}) for name in "ab" for i in range(2)]


def test_going_on_in_a_folder(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.jsonl", [record(name, START + i) for i in range(4)] + [b"bad"])
    for order in ("time", "arrival"):
        form = TelemetryFormat(order=order)
        whole = follow(tmp_path, form)
        source = open_source(str(tmp_path), form)
        while (batch := source.poll(3)) is not None:
            again = open_source(str(tmp_path), form)
            again.seek(json.loads(json.dumps(source.position(batch.next_position))))
            rest = drain(again)
            assert rest.records == whole.records[len(whole.records) - len(rest.records) :]
            assert [p for p in whole.positions if p >= batch.next_position] == rest.positions
            assert all(letter.position >= batch.next_position for letter in rest.dead)
        source.close()


def test_a_folder_to_which_a_file_came_is_refused(tmp_path):
    write(tmp_path / "a.jsonl", [record()])
    position = open_source(str(tmp_path), JSON).position(1)
    write(tmp_path / "b.jsonl", [record()])
    with pytest.raises(SourceChanged, match=r"b\.jsonl"):
        open_source(str(tmp_path), JSON).seek(position)


def test_what_cannot_be_opened_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_source(str(tmp_path / "nothing.jsonl"), JSON)
    with pytest.raises(ValueError, match=r"'\.xlsx'.*\.jsonl"):
        open_source(str(write(tmp_path / "a.xlsx", ["x"])), JSON)
    with pytest.raises(ValueError, match="logs are read from files of lines"):
        open_source(str(write(tmp_path / "a.csv", ["x"])), LogFormat())
    with pytest.raises(ValueError, match="layout 'wide' or 'long'"):
        open_source(str(tmp_path / "a.csv"), JSON)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file for layout 'json'"):
        open_source(str(tmp_path / "empty"), JSON)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(os.urandom(5000))[:-100])
    with pytest.raises(ValueError, match=r"cut\.jsonl\.gz.*damaged"):
        drain(open_source(str(tmp_path / "cut.jsonl.gz"), JSON))


def test_kinds_by_suffix(tmp_path):
    assert [kind_of(tmp_path / name) for name in ("a.CSV", "a.b.tsv.gz", "x.parquet", "y.json.gz")] == [
        *("csv", "csv", "parquet", "lines")
    ]
