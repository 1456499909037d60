"""What a log template is called, and which templates of several partitions' miners are one for people."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

WILDCARD = "<*>"
ALIKE = 0.75
"""Share of equal tokens from which two templates are one, as in the miner."""


def template_id(text: str) -> str:
    """A template's public id: 16 hexadecimal digits, a hash of its words."""
    words = " ".join(text.split()).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(words, digest_size=8).hexdigest()


def grouped(texts: Iterable[str]) -> dict[str, str]:
    """The group of each template, by the group's text, in which `<*>` stands where its members differ.

    Two templates of equal length are joined where one covers the other (`<*>` covers any token), or where their first
    two tokens and three quarters of all tokens (all but one, of short ones) are equal; groups are what is connected. So
    the answer is a function of the set of texts: who mined which, and in what order they are put together, is nothing.
    """
    by_length: dict[int, set[tuple[str, ...]]] = {}
    whole = {text: tuple(text.split()) for text in texts}
    for tokens in whole.values():
        by_length.setdefault(len(tokens), set()).add(tokens)
    named: dict[tuple[str, ...], str] = {}
    for members in by_length.values():
        named |= _groups(sorted(members))
    return {text: named[tokens] for text, tokens in whole.items()}


def _groups(members: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The text of the group of each of M templates of one length L."""
    length = len(members[0])
    words: dict[str, int] = {WILDCARD: 0}
    codes = np.array([[words.setdefault(token, len(words)) for token in member] for member in members])
    codes = codes.reshape(len(members), length)
    group = np.arange(len(members))
    for place in range(1, len(members)):
        for other in np.unique(group[:place][_joined(codes[place], codes[:place])]).tolist():
            group[group == other] = group[place]
    texts = {key: _common([members[at] for at in np.flatnonzero(group == key)]) for key in np.unique(group).tolist()}
    return {member: texts[key] for member, key in zip(members, group.tolist(), strict=True)}


def _joined(one: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of M templates (M x L codes, 0 = wildcard) are one with template `one` (L)."""
    length = max(len(one), 2)
    same = others == one
    covered = (same | (others == 0)).all(axis=1) | (same | (one == 0)).all(axis=1)
    enough = (same & (one != 0)).sum(axis=1) >= min(ALIKE * length, length - 1)
    return np.asarray(covered | (enough & same[:, :2].all(axis=1)))


def _common(members: list[tuple[str, ...]]) -> str:
    columns = zip(*members, strict=True)
    return " ".join(tokens[0] if len(set(tokens)) == 1 else WILDCARD for tokens in columns)
