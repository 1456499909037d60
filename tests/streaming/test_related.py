"""Named values of log lines: from every format, through tables, and as keys that models know."""

from typing import Any

import msgspec
import numpy as np
import pytest

from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.related import LONGEST, Related
from streaming.rowtables import to_lines, to_table
from streaming.settings import LogFormat
from streaming.types import Lines

NAMES = ("user", "entity", "status")


def decoded(format: LogFormat, payloads: list[bytes]) -> Lines:
    none = np.arange(len(payloads))
    found = decoder_of(format, Columns()).decode(payloads, none, none + 10**18, len(payloads))
    assert isinstance(found, Lines)
    return found


def said(lines: Lines) -> list[list[str]]:
    assert lines.related is not None
    return [[lines.related.text(line, place) for place in range(len(NAMES))] for line in range(len(lines.codes))]


def record(**more: Any) -> bytes:
    return msgspec.json.encode({"entity": "web", "time": 1e9, "message": "hello"} | more)


def test_keys_of_json_records_are_kept() -> None:
    payloads = [
        record(user="ann", status=500), record(user=7, status=True), record(status=2.5, user=["no", "text"]),
        b"broken", record(user="", status=None), record(user="x\0y", severity="info", other=1),
    ]  # fmt: skip
    lines = decoded(LogFormat(relations=NAMES), payloads)
    assert said(lines) == [
        ["ann", "web", "500"], ["7", "web", "true"], ["", "web", "2.5"], ["", "web", ""], ["x\ufffdy", "web", ""],
    ]  # fmt: skip
    assert dict(lines.dead_counts) == {"broken_json": 1}
    assert decoded(LogFormat(), payloads).related is None


def test_groups_of_the_pattern_are_kept() -> None:
    pattern = r"(?P<time>\S+) (?P<entity>\S+) (?P<user>\S+)?: (?P<message>.*)"
    form = LogFormat(layout="text", pattern=pattern, relations=NAMES)
    lines = decoded(form, [b"2001-01-01T00:00:00Z web ann: hello", b"2001-01-01T00:00:01Z db : hello"])
    assert said(lines) == [["ann", "web", ""], ["", "db", ""]]


def otlp(**attributes: str) -> bytes:
    def pairs(some: dict[str, str]) -> list[dict[str, Any]]:
        return [{"key": key, "value": {"stringValue": value}} for key, value in some.items()]

    line = {"timeUnixNano": str(10**18), "body": {"stringValue": "hello"}, "attributes": pairs(attributes)}
    resource = {"attributes": pairs({"host.name": "web", "status": "ok"})}
    return msgspec.json.encode({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [line]}]}]})


def test_attributes_of_opentelemetry_are_kept_beside_json() -> None:
    payloads = [otlp(user="ann"), record(user="bob"), otlp(status="bad")]
    lines = decoded(LogFormat(format="auto", relations=NAMES), payloads)
    assert said(lines) == [["ann", "web", "ok"], ["bob", "web", ""], ["", "web", "bad"]]
    assert said(decoded(LogFormat(format="otlp-json", relations=NAMES), payloads[::2])) == said(lines)[::2]


def test_they_survive_a_table() -> None:
    lines = decoded(LogFormat(relations=NAMES), [record(user="ann"), record(status="ok"), record()])
    again = to_lines(to_table(lines, long=False), lines.positions, lines.next_position)
    assert said(again) == said(lines)
    none = decoded(LogFormat(), [record()])
    assert to_lines(to_table(none, long=False), none.positions, 1).related is None


def test_keys_are_equal_where_the_texts_are() -> None:
    one = Related.of(("user", "host"), [("ann", "web"), ("bob", None), ("ann", 7)])
    two = Related.of(("user", "host"), [(None, "7"), ("web", "bob")])
    assert one.keys[0, 0] == one.keys[2, 0] != one.keys[1, 0]
    assert one.keys[2, 1] == two.keys[0, 1]
    assert two.keys[0, 0] == one.keys[1, 1] == -1
    assert Related.of(("user",), [("x" * 999,)]).texts == ["x" * LONGEST]


def test_lines_one_after_another() -> None:
    one, two = (Related.of(("user", "host"), [(user, "web"), (None, user)]) for user in ("ann", "bob"))
    whole = Related.joined([Related.none(1), one, Related.of(("other", "names"), [("a", "b")]), two.take(slice(1, 2))])
    texts = [[whole.text(line, place) for place in range(2)] for line in range(len(whole))]
    assert texts == [["", ""], ["ann", "web"], ["", "ann"], ["", ""], ["", "bob"]]
    assert Related.joined([]).codes.shape == (0, 0)


def test_of_a_long_history_the_keys_are_kept_alone() -> None:
    whole = Related.of(("user", "host"), [("ann", "web"), ("bob", None), ("ann", 7)])
    bare = whole.without_texts()
    assert not bare.texts
    assert bare.text(0, 0) == ""
    np.testing.assert_array_equal(bare.keys, whole.keys)
    np.testing.assert_array_equal(bare.take(np.array([2, 0])).keys, whole.keys[[2, 0]])
    joined = Related.joined([bare.take(slice(0, 1)), Related.none(1), whole.take(slice(1, 3))])
    np.testing.assert_array_equal(joined.keys, np.insert(whole.keys, 1, -1, axis=0))


@pytest.mark.parametrize("related", [Related.none(3), Related.of(("a", "b"), [(None, None)] * 3)])
def test_lines_that_say_nothing_have_no_keys(related: Related) -> None:
    assert (related.keys == -1).all()
    assert len(related) == 3
