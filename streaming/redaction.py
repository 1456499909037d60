"""Takes secrets out of lines that are kept for people: tokens, passwords, keys, card numbers."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streaming.escapes import printable

LOOKED_AT, SHOWN = 1_000, 300
"""Characters of a line that are looked at, and of what is kept of it."""

_VALUE = r"(?P<secret>\"[^\"]*\"?|'[^']*'?|[^\s\"'&;,)\]}]+)"
_WORDS = (
    "password|passwd|passphrase|pwd|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key|session[_-]?id"
)


class Rule(NamedTuple):
    """`patterns`, sought where the line holds one of `words` (in small letters): a look at each word is cheap."""

    words: tuple[str, ...]
    patterns: tuple[str, ...]


RULES: Mapping[str, Rule] = {
    "private_key": Rule(
        ("private key",),
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----END).)*(?:-----END [A-Z ]*PRIVATE KEY-----)?",),
    ),
    "url": Rule(("://",), (r"(?<=://)[^\s/@:]*:(?P<secret>[^\s/@]+)(?=@)",)),
    "authorization": Rule(
        ("authorization", "bearer", "cookie"),
        (
            r"(?i)\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:[a-z]+\s+)?(?P<secret>[^\s\"',;]+)",
            r"(?i)\bbearer\s+(?P<secret>[\w.~+/=-]{8,})",
            r"(?i)\b(?:set-)?cookie[\"']?\s*:\s*(?P<secret>[^\"']+)",
        ),
    ),
    "jwt": Rule(("eyj",), (r"\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}",)),
    "aws_key": Rule(("akia", "asia", "abia", "acca"), (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",)),
    "token": Rule(
        ("gh", "glpat-", "xox", "sk-", "k_live_", "npm_", "hf_", "dop_v1_", "aiza"),
        (
            r"\b(?:gh[oprsu]_|github_pat_|glpat-|xox[abeoprs]-|sk-|[rs]k_live_|npm_|hf_|dop_v1_)[\w-]{16,}",
            r"\bAIza[\w-]{35}",
        ),
    ),
    "password": Rule(
        ("pass", "pwd", "secret", "token", "credential", "key", "session"),
        (rf"(?i)(?:{_WORDS})s?[\w-]{{0,20}}[\"']?\s{{0,3}}(?:=>|:=|[=:])\s{{0,3}}{_VALUE}",),
    ),
    "card": Rule(("",), (r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-])",)),
    "email": Rule(("@",), (r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",)),
}
"""By name, in the order in which they are sought; the group `secret` is what is taken out, else the whole."""
OPTIONAL = frozenset({"email"})
"""Those that nobody seeks unless asked."""


class Redaction:
    """Replaces what patterns find by their name, such as `<PASSWORD>`, on one line without control characters.

    `choice`: by name True or False for one of `RULES`, or a pattern of one's own, in place of those of that name.
    ValueError names what cannot be used.
    """

    def __init__(self, choice: Mapping[str, bool | str] | None = None) -> None:
        choice = choice or {}
        for name, said in choice.items():
            _check(name, said)
        own = [(name, Rule(("",), (said,))) for name, said in choice.items() if isinstance(said, str)]
        built_in = [(name, rule) for name, rule in RULES.items() if choice.get(name, name not in OPTIONAL) is True]
        self._rules = [
            (rule.words, [re.compile(pattern) for pattern in rule.patterns], _replacing(name))
            for name, rule in [*own, *built_in]
        ]

    def __call__(self, text: str) -> str:
        """At most `SHOWN` characters of a line, its secrets replaced.

        Of a longer line than `LOOKED_AT` characters the word that would be cut is left out: it may be half a secret.
        """
        looked_at = bounded(text)
        small = looked_at.lower()
        for words, patterns, replace in self._rules:
            if any(word in small for word in words):
                for pattern in patterns:
                    looked_at = pattern.sub(replace, looked_at)
        return looked_at[:SHOWN]


def bounded(text: str) -> str:
    """What is looked at of a line: printable, at most `LOOKED_AT` characters, cut between two words where it can be."""
    part = printable(text[:LOOKED_AT])
    return part if len(text) <= LOOKED_AT else part.rpartition(" ")[0] or part


def _replacing(name: str) -> Callable[[re.Match[str]], str]:
    token = f"<{name.upper()}>"

    def replace(match: re.Match[str]) -> str:
        if name == "card" and not _luhn(match[0]):
            return match[0]
        if "secret" not in match.re.groupindex or match["secret"] is None:
            return token
        (start, stop), begin = match.span("secret"), match.start()
        return match[0][: start - begin] + token + match[0][stop - begin :]

    return replace


def _luhn(text: str) -> bool:
    """Whether digits have the check digit of a card number."""
    digits = [int(letter) for letter in text if letter in "0123456789"]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _check(name: str, said: bool | str) -> None:
    if not re.fullmatch(r"[a-z][a-z_]*", name):
        raise ValueError(f"redact.{name}: names have small letters and _ only")
    if isinstance(said, bool):
        if name not in RULES:
            raise ValueError(f"redact.{name} = {str(said).lower()}: a pattern is needed; built in: {', '.join(RULES)}")
        return
    try:
        pattern = re.compile(said)
    except re.error as error:
        raise ValueError(f"redact.{name}: {said!r} is no regular expression: {error}") from None
    if pattern.match(""):
        raise ValueError(f"redact.{name}: {said!r} matches the empty string, which is everywhere")
