"""Log lines that belong together by a key found in them: a block, a request, an application."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.types import Codes, Ints


@dataclass(frozen=True, slots=True)
class Sessions:
    """S sessions of M lines in all, one after the other.

    `names` (S) are their keys, `starts` and `ends` (S) the event times (ns) of their earliest and latest line. Session
    s has the lines `bounds[s]` to `bounds[s + 1]` (S + 1) of the flat arrays, by event time, then in order of arrival:
    `templates` (M, int32), `times` (M, ns), `severities` (M, int8, as in `Lines`). To a model, a template is its place
    among the model's own + 1, 0 = none of them; before that, the miner's id.
    """

    names: Sequence[str]
    starts: Ints
    ends: Ints
    bounds: Ints
    templates: Codes
    times: Ints
    severities: NDArray[np.int8]

    def __post_init__(self) -> None:
        s, m = len(self.names), len(self.templates)
        if not len(self.starts) == len(self.ends) == len(self.bounds) - 1 == s:
            raise ValueError(f"{s} sessions need {s} starts and ends and {s + 1} bounds")
        if not len(self.times) == len(self.severities) == m == int(self.bounds[-1]):
            raise ValueError(f"{m} lines need as many times and severities, and bounds that end there")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def none(cls) -> "Sessions":
        """No session."""
        empty = np.empty(0, np.int64)
        none = empty.astype(np.int32)
        return cls([], empty, empty, np.zeros(1, np.int64), none, empty, empty.astype(np.int8))

    @classmethod
    def joined(cls, parts: "Sequence[Sessions]") -> "Sessions":
        """Those of `parts`, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        lengths = np.concatenate([np.empty(0, np.int64), *(part.lengths for part in parts)])
        empty = [cls.none()]
        columns = ("starts", "ends", "templates", "times", "severities")
        starts, ends, *flat = (np.concatenate([getattr(part, name) for part in [*empty, *parts]]) for name in columns)
        names = [name for part in parts for name in part.names]
        return cls(names, starts, ends, np.r_[0, np.cumsum(lengths)].astype(np.int64), *flat)

    @property
    def lengths(self) -> Ints:
        """Lines of each session (S)."""
        return np.diff(self.bounds)

    @property
    def owners(self) -> Ints:
        """The session of each line (M)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, index: NDArray[Any] | slice) -> "Sessions":
        """The sessions at `index` (integers, booleans or a slice)."""
        places = np.arange(len(self))[index]
        lengths = self.lengths[places]
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        lines = np.repeat(self.bounds[places] - bounds[:-1], lengths) + np.arange(bounds[-1])
        return Sessions(
            [self.names[place] for place in places.tolist()], self.starts[places], self.ends[places], bounds,
            self.templates[lines], self.times[lines], self.severities[lines],
        )  # fmt: skip
