"""Severities that lines state in their text: which words count, and that a memo by shape changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.severities import Severities, sniff_severity
from streaming.shapes import shapes
from streaming.types import SEVERITIES


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        ("ERROR out of memory", "error"),
        ("17:20:11.371 ERROR o.a.c.c.C#175 Servlet.service() threw", "error"),
        ("2023-01-29 10:00:00,123 WARN  worker: slow", "warning"),
        ("081109 203530 147 INFO dfs.DataNode: Receiving block", "info"),
        ("[warn] mod_jk child", "warning"),
        ("<Critical> core melted", "fatal"),
        ("ts=1 level=debug msg=hello", "debug"),
        ('ts=1 severity="notice" msg=hello', "info"),
        ("error: cannot open", "error"),
        ("Warning: deprecated", "warning"),
        ("FATAL: no pg_hba.conf entry", "fatal"),
        ("TRACE|enter", "trace"),
        ("INFO retry after ERROR", "info"),
        ("finished without error or warning", None),
        ("no ERRORS here, INFORMATIVE", None),
        ("see the level of debug", None),
        ("x" * 120 + " ERROR too far back", None),
        ("one two three four five six seven eight ERROR", None),
        ("temperature=high level=2 error=none", None),
        ("(error) [] : = |", "error"),
        ("] [ error", None),
        ("", None),
    ],
)
def test_severities_are_sniffed_from_the_first_words(message: str, severity: str | None) -> None:
    assert sniff_severity(message) == (-1 if severity is None else SEVERITIES.index(severity))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=120))
def test_sniffing_never_raises(message: str) -> None:
    assert -1 <= sniff_severity(message) < len(SEVERITIES)


def completed(reader: Severities, messages: list[str], stated: list[int] | None = None) -> list[int]:
    severities = np.array(stated or [-1] * len(messages), np.int8)
    found = reader.completed(severities, shapes(messages))
    assert severities.tolist() == (stated or [-1] * len(messages))
    return found.tolist()


def test_a_stated_severity_is_not_sniffed() -> None:
    reader = Severities()
    assert completed(reader, ["ERROR a", "ERROR b", "plain"], [2, -1, -1]) == [2, 4, -1]
    assert completed(reader, ["ERROR a", "ERROR b"], [2, 3]) == [2, 3]
    assert completed(reader, []) == []


SAID = st.sampled_from(
    ["ERROR a", "[warn] b", "12 INFO x", "level=debug y", "plain", "error: z", "INFO|9", "FATAL1 0xAB"]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SAID, st.integers(0, 10**6)), max_size=40), st.integers(1, 8))
def test_a_line_has_the_level_of_its_shape_however_few_are_remembered(said: list[tuple[str, int]], room: int) -> None:
    messages, reader = [f"{number} {text} {number}" for text, number in said], Severities(room)
    alone = [sniff_severity(message) for message in messages]
    assert completed(reader, messages) == alone
    assert [completed(reader, [message])[0] for message in messages] == alone
