"""Masks: what varies from line to line (times, addresses, numbers) becomes a named token before a line is mined.

A mask's token is a word like ``<NUM>`` and not Drain's wildcard: two lines that differ in masked places only must stay
*equal* there, else a line of mostly numbers would not even match its own template.
"""

import re
from collections.abc import Iterator, Sequence

from streaming.shapes import shapes

_HEX = "0-9A-Fa-f"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"\d+:\d+:\d+(?:[.,]\d+)?"
_METHOD = "(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) "
_ADDRESS = r"/?\d+\.\d+\.\d+\.\d+(?::\d+)?"

DEFAULT_MASKS: tuple[tuple[str, str], ...] = (
    ("UUID", rf"(?=[-{_HEX}]*\d)[{_HEX}]{{1,8}}(?:-[{_HEX}]{{1,4}}){{3}}-[{_HEX}]{{1,12}}"),
    (
        "TIME",
        rf"(?:\d+[-/]\d+[-/]\d+(?:[T -]\d+[:.]\d+(?:[:.]\d+(?:[.,]\d+)?)?)?|{_CLOCK}"
        rf"|(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?{_MONTH} +\d+,?(?: \d+)? {_CLOCK}(?: \d+)?)"
        r"(?:Z| ?[+-]\d+:?\d+)?",
    ),
    ("IP", rf"{_ADDRESS}(?:,{_ADDRESS})*|(?=[:A-Fa-f]*\d)(?:[{_HEX}]{{1,4}}:){{4,7}}[{_HEX}]{{1,4}}"),
    # a hexadecimal number is a number: one that happens to have no letter must read the same
    ("NUM", rf"\d[xX][{_HEX}]+|\d[{_HEX}]+|(?=[A-Fa-f]+\d)[{_HEX}]{{8,}}"),
    ("STR", rf"\"(?!{_METHOD})[^\"\n]*\"|'[^'\n]*'"),
    ("PATH", r"(?<![/.<>:])(?:/[\w.@%+~-]+){2,}/?"),
    ("ID", r"[A-Za-z]\w*?_-?\d\w*"),
    (
        "NUM",
        r"[-+]?\d+(?:\.\d+)*(?:[eE][-+]?\d+)?(?:%|[kKMGTP](?:i?[bB])?(?:/s|ps)?|[bB]|[mnuµ]?s|secs?|min|[kMG]?Hz)?",
    ),
)
"""Names and patterns in the order in which they are tried at each place of a line's shape, where a number is one 0."""


class Masking:
    """All masks as ONE pattern with a group each: a line is read once, however many masks there are.

    `rules` are (name, regular expression) pairs; the first that matches at a place wins and is written `<name>`. A mask
    covers whole words: no letter or digit touches it on either side. ValueError names the rule whose name or pattern is
    unusable; the group number tells the rule, so patterns have no capturing groups of their own. The default masks read
    a line's shape (`streaming.shapes`), masks of a user the line as it came: they may count digits.
    """

    def __init__(self, rules: Sequence[tuple[str, str]] | None = None) -> None:
        self._shaped = rules is None
        rules = DEFAULT_MASKS if rules is None else rules
        for name, pattern in rules:
            _check(name, pattern)
        either = "|".join(f"({pattern})" for _, pattern in rules)
        self._tokens = ("", *(f"<{name}>" for name, _ in rules))
        self._pattern = re.compile(f"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])") if rules else None

    @property
    def by_shape(self) -> bool:
        """Whether the keys are the messages' shapes."""
        return self._shaped

    def keys(self, messages: Sequence[str]) -> Sequence[bytes | str]:
        """Of each of N messages what decides how it is masked: of equal keys, `read` gives equal text."""
        return shapes(messages) if self._shaped else [self._sub(message) for message in messages]

    def read(self, key: bytes | str) -> str:
        """The masked text of the messages with this key."""
        return key if isinstance(key, str) else self._sub(key.decode("utf-8", "surrogatepass"))

    def mask(self, message: str) -> str:
        """`message` with each match replaced by its rule's token."""
        return self.read(self.keys([message])[0])

    def found(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Each place where a rule matches: its name, the place, and that behind it."""
        for match in self._pattern.finditer(text) if self._pattern else ():
            yield self._tokens[match.lastindex or 0][1:-1], match.start(), match.end()

    def _sub(self, message: str) -> str:
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
