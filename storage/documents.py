"""JSON and text as they are stored: one text for equal values."""

from functools import cached_property
from typing import Any

import msgspec
import numpy as np


def plain(value: Any) -> Any:
    """A numpy value as Python's own; TypeError for what JSON cannot say."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


class Document(dict[str, Any]):
    """A document that nobody changes once it was made, though it is stored again and again: its JSON is made once."""

    @cached_property
    def text(self) -> str:
        """As `dump_json` has it."""
        return dump_json(dict(self))


def dump_json(value: Any) -> str:
    """JSON with sorted keys, so that equal values have equal text; NaN and infinity become null."""
    if type(value) is Document:
        return value.text
    return msgspec.json.encode(value, enc_hook=plain, order="deterministic").decode()


def load_json(text: str | bytes) -> Any:
    """What `dump_json` wrote."""
    return msgspec.json.decode(text)


def storable(text: str) -> str:
    """`text` as every database can hold it: NUL becomes U+2400 and a lone surrogate `?`; all else is untouched."""
    if text.isascii():
        return text.replace("\0", "\u2400") if "\0" in text else text
    return text.replace("\0", "\u2400").encode("utf-8", "replace").decode("utf-8")
