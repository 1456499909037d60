"""Terminal escape sequences and other characters that nobody can read, which have no place in a line."""

import re
from collections.abc import Sequence

_MARK = "\x1b"
_ESCAPES = re.compile(
    r"\x1b(?:"
    r"\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours, movements of the cursor
    r"|[\]PX^_][^\x07\x1b\n]{0,512}(?:\x07|\x1b\\)?"  # titles, links and other strings, to their end
    r"|[ -/]{0,4}[0-~]"
    r")?"
)


def unescaped(text: str) -> str:
    """`text` without terminal escape sequences, such as colours; the rest stays as it is."""
    return _ESCAPES.sub("", text) if _MARK in text else text


def all_unescaped(texts: Sequence[str]) -> Sequence[str]:
    """`unescaped` of each of N texts; they themselves where none has any."""
    return [unescaped(text) for text in texts] if _MARK in "".join(texts) else texts


def printable(text: str) -> str:
    """`text` on one line, without control characters and those that change how others are shown."""
    if text.isprintable():
        return text
    shown = "".join(letter if letter.isprintable() else " " for letter in unescaped(text))
    return " ".join(shown.split())
