"""One plain sentence about an alert: what moved where, what followed, and which detectors agree."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streaming.types import Floats

LOGS = "log."
FOLLOWERS, WORTH = 2, 0.25
"""At most two more channels are named, those whose SHAP value is at least a quarter of the strongest's."""


def sentence(
    names: Sequence[str],
    values: NDArray[np.float64],
    *,
    observed: Floats,
    lower: Floats,
    upper: Floats,
    votes: Sequence[str],
    texts: Mapping[str, str],
) -> str:
    """`values` (F) are signed SHAP values, `observed` T x F and the usual range (F) in raw units (NaN = unknown).

    `votes` name the detectors beyond their own threshold; `texts` what to call a feature instead of its name (the text
    of a log template).
    """
    order = np.argsort(-values, kind="stable")
    strongest = order[0]
    phrases = [_phrase(names[strongest], observed[:, strongest], lower[strongest], upper[strongest], texts)]
    others = [k for k in order[1 : 1 + FOLLOWERS] if values[k] > 0 and values[k] >= WORTH * values[strongest]]
    if others:
        phrases.append(f"{_listed([_called(names[k], texts) for k in others])} followed")
    return "; ".join([*phrases, _agreement(votes)]) + "."


def _phrase(name: str, series: Floats, lower: float, upper: float, texts: Mapping[str, str]) -> str:
    called = _called(name, texts)
    present = series[~np.isnan(series)]
    if not len(present) or np.isnan(series[-1]):
        return f"{called} is missing"
    recent = present[-max(len(series) // 4, 1) :]
    value, verb = _extreme(recent, lower, upper)
    usual = "" if np.isnan(lower) or np.isnan(upper) else _usual(lower, upper)
    if name.startswith(LOGS):
        return f"{_number(value)} {called} in a slot{usual}"
    if verb:
        return f"{called} {verb} {_number(value)}{usual}"
    if len(present) == 1:
        return f"{called} has only one value, {_number(value)}{usual}"
    if np.ptp(recent) == 0 and upper > lower:
        return f"{called} stood still at {_number(value)}{usual}"
    return f"{called} at {_number(value)} moved out of step with its peers{usual}"


def _extreme(recent: Floats, lower: float, upper: float) -> tuple[float, str]:
    """The value to report and how it got there: the newest where it is out of range, else the farthest of late."""
    newest, high, low = float(recent[-1]), float(recent.max()), float(recent.min())
    if newest > upper or newest < lower:
        return newest, "rose to" if newest > upper else "fell to"
    if high > upper or low < lower:
        above = high - upper >= lower - low
        return (high, "reached") if above else (low, "dropped to")
    return newest, ""


def _usual(lower: float, upper: float) -> str:
    low, high = _number(lower), _number(upper)
    return f", usually {low}" if low == high else f", usual range {low} to {high}"


def _called(name: str, texts: Mapping[str, str]) -> str:
    if not name.startswith(LOGS):
        return texts.get(name, name)
    kind = name.removeprefix(LOGS)
    plain = {
        "lines": "log lines", "new": "log lines never seen before", "other": "log lines of rare templates",
        "rare": "log lines that the history hardly knows", "sequence": "nats of surprise in the order of log lines",
        "field": "nats of surprise in the values of log lines",
        "recurrent": "nats of surprise in the order of log lines",
        "relation": "nats of surprise in what log lines relate",
    }  # fmt: skip
    if name in texts:
        return f'{plain[kind]} ("{texts[name]}")' if kind in plain else f'log lines "{texts[name]}"'
    level = kind.removeprefix("severity.")
    return plain.get(kind, f"log lines of severity {level}" if level != kind else f"log lines of {kind}")


def _agreement(votes: Sequence[str]) -> str:
    if not votes:
        return "no detector is beyond its own threshold, all together are"
    return f"{votes[0]} alone says so" if len(votes) == 1 else f"{_listed(votes)} agree"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _number(value: float) -> str:
    """Three digits, without an exponent up to a billion."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
