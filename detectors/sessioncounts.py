"""How often each template came in each session: what several session scorers look at."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detectors.types import Scores
from streaming.sessions import Sessions
from streaming.types import SEVERITIES, Codes, Ints

LOUD = SEVERITIES.index("warning")
"""The least severity of a line that says of itself that something is wrong."""
PART, SAMPLE = 1024, 8192
"""Sessions that are looked at at once, and from which what needs arrays of sessions x templates is learnt at most."""


def template_counts(sessions: Sessions, templates: int) -> Codes:
    """S x (`templates` + 1) int32: lines of each template in each session; column 0 = of none that is known."""
    return _cells(sessions, templates, np.arange(len(sessions.templates)))


def came_times(sessions: Sessions, templates: int, most: int) -> Ints:
    """(`templates` + 1) x (`most` + 1): how many of S sessions have each number of lines of each template, of `most` or
    more in the last column. Needs memory for the lines alone, not for S x templates."""
    width = templates + 1
    cells, numbers = np.unique(sessions.owners * width + known_codes(sessions, templates), return_counts=True)
    places = cells % width * (most + 1) + np.minimum(numbers, most)
    came = np.bincount(places, minlength=width * (most + 1)).reshape(width, most + 1)
    came[:, 0] = len(sessions) - came.sum(axis=1)
    return came


def parts(sessions: Sessions, size: int = PART) -> Iterator[Sessions]:
    """At most `size` sessions at a time, at least once: arrays of S x templates are large."""
    for start in range(0, max(len(sessions), 1), size):
        yield sessions.take(slice(start, start + size))


def evenly(sessions: Sessions, most: int = SAMPLE) -> Sessions:
    """At most `most` of them, evenly spaced."""
    if len(sessions) <= most:
        return sessions
    return sessions.take(np.linspace(0, len(sessions) - 1, most).astype(np.int64))


def loud_counts(sessions: Sessions, templates: int) -> Codes:
    """`template_counts` of warnings and worse alone."""
    return _cells(sessions, templates, np.flatnonzero(sessions.severities >= LOUD))


def known_codes(sessions: Sessions, templates: int) -> Ints:
    """The template of each line (M), 0 for all that are not 1 to `templates`."""
    codes = sessions.templates.astype(np.int64)
    return np.where((codes < 0) | (codes > templates), 0, codes)


def _cells(sessions: Sessions, templates: int, lines: Ints) -> Codes:
    width = templates + 1
    cells = sessions.owners[lines] * width + known_codes(sessions, templates)[lines]
    return np.bincount(cells, minlength=len(sessions) * width).reshape(-1, width).astype(np.int32)


def told(sessions: Sessions, parts: NDArray[np.float64], values: NDArray[np.float64]) -> Scores:
    """Scores of S sessions from their `values` (S) and what each template added (S x K, >= 0); NaN where a session has
    no lines."""
    empty = sessions.lengths == 0
    total = parts.sum(axis=1)
    shares = parts / np.where(total > 0, total, 1)[:, None]
    shares[empty] = 0
    return Scores(np.where(empty, np.nan, values).astype(np.float32), shares.astype(np.float32))
