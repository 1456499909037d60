"""Masks: what varies from line to line (times, addresses, numbers) becomes a named token before a line is mined.

A mask's token is a word like ``<NUM>`` and not Drain's wildcard: two lines that differ in masked places only must stay
*equal* there, else a line of mostly numbers would not even match its own template.
"""

import re
from collections.abc import Sequence

_HEX = "0-9A-Fa-f"

DEFAULT_MASKS: tuple[tuple[str, str], ...] = (
    (
        "TIME",
        r"(?:\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?|\d\d:\d\d:\d\d(?:[.,]\d+)?)"
        r"(?:Z|[+-]\d\d:?\d\d)?",
    ),
    ("UUID", rf"[{_HEX}]{{8}}-[{_HEX}]{{4}}-[{_HEX}]{{4}}-[{_HEX}]{{4}}-[{_HEX}]{{12}}"),
    ("IP", r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?::\d{1,5})?"),
    ("HEX", rf"(?:0[xX][{_HEX}]+|(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[{_HEX}]{{8,}})"),
    ("STR", r"\"[^\"\n]*\"|'[^'\n]*'"),
    ("PATH", r"(?<![/.<>:])(?:/[\w.@%+~-]+){2,}/?"),
    ("NUM", r"[-+]?\d+(?:\.\d+)*(?:[eE][-+]?\d+)?(?:%|[kKMGT]?[iI]?B|[mnu]?s)?"),
)
"""Names and patterns in the order in which they are tried at each place of a line."""


class Masking:
    """All masks as ONE pattern with a group each: a line is read once, however many masks there are.

    `rules` are (name, regular expression) pairs; the first that matches at a place wins and is written `<name>`. A mask
    covers whole words: no letter or digit touches it on either side. ValueError names the rule whose name or pattern is
    unusable; the group number tells the rule, so patterns have no capturing groups of their own.
    """

    def __init__(self, rules: Sequence[tuple[str, str]] = DEFAULT_MASKS) -> None:
        for name, pattern in rules:
            _check(name, pattern)
        either = "|".join(f"({pattern})" for _, pattern in rules)
        self._tokens = ("", *(f"<{name}>" for name, _ in rules))
        self._pattern = re.compile(f"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])") if rules else None

    def mask(self, message: str) -> str:
        """`message` with each match replaced by its rule's token."""
        return self._pattern.sub(self._token, message) if self._pattern else message

    def _token(self, match: re.Match[str]) -> str:
        return self._tokens[match.lastindex or 0]


def _check(name: str, pattern: str) -> None:
    if not re.fullmatch(r"[A-Za-z_]+", name):
        raise ValueError(f"mask name {name!r}: letters and _ only (digits would read as a variable again)")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"mask {name!r}: {pattern!r} is not a regular expression: {error}") from error
    if compiled.groups:
        raise ValueError(f"mask {name!r}: write (?:...) instead of capturing groups in {pattern!r}")
    if compiled.match(""):
        raise ValueError(f"mask {name!r}: {pattern!r} matches the empty string, which is everywhere")
