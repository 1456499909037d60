"""JSON as it is stored: one text for equal values."""

from typing import Any

import msgspec
import numpy as np


def plain(value: Any) -> Any:
    """A numpy value as Python's own; TypeError for what JSON cannot say."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


def dump_json(value: Any) -> str:
    """JSON with sorted keys, so that equal values have equal text; NaN and infinity become null."""
    return msgspec.json.encode(value, enc_hook=plain, order="deterministic").decode()


def load_json(text: str | bytes) -> Any:
    """What `dump_json` wrote."""
    return msgspec.json.decode(text)
