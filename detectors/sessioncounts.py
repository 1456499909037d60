"""How often each template came in each session: what several session scorers look at."""

import numpy as np
from numpy.typing import NDArray

from detectors.types import Scores
from streaming.sessions import Sessions
from streaming.types import Codes


def template_counts(sessions: Sessions, templates: int) -> Codes:
    """S x (`templates` + 1) int32: lines of each template in each session; column 0 = of none that is known."""
    width = templates + 1
    codes = np.where(sessions.templates > templates, 0, np.maximum(sessions.templates, 0))
    cells = np.bincount(sessions.owners * width + codes, minlength=len(sessions) * width)
    return cells.reshape(len(sessions), width).astype(np.int32)


def told(sessions: Sessions, parts: NDArray[np.float64], values: NDArray[np.float64]) -> Scores:
    """Scores of S sessions from their `values` (S) and what each template added (S x K, >= 0); NaN where a session has
    no lines."""
    empty = sessions.lengths == 0
    total = parts.sum(axis=1)
    shares = parts / np.where(total > 0, total, 1)[:, None]
    shares[empty] = 0
    return Scores(np.where(empty, np.nan, values).astype(np.float32), shares.astype(np.float32))
