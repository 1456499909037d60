"""The detectors by name. One line adds one; from outside, an entry point of the group `tsad.detectors` does.

Targets are strings, so that listing detectors imports neither torch nor xgboost.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from detectors.products import one_blas_thread
from detectors.types import Detector, LineScorer, SessionScorer

GROUP = "tsad.detectors"

DETECTORS: dict[str, str] = {
    "bent": "detectors.bending:Bent",
    "discord": "detectors.discord:Discord",
    "forecast": "detectors.forecast:Forecast",
    "linear": "detectors.linear:Linear",
    "neighbours": "detectors.neighbours:Neighbours",
    "reconstruction": "detectors.reconstruction:Reconstruction",
    "subspace": "detectors.subspace:Subspace",
    "vote": "detectors.vote:Vote",
}

LINE_SCORERS: dict[str, str] = {
    "field": "detectors.parameters:Parameters",
    "rare": "detectors.rarity:Rarity",
    "recurrent": "detectors.recurrent:Recurrent",
    "relation": "detectors.relation:Relation",
    "sequence": "detectors.sequence:Sequence",
}
"""What scores log lines, by the name of its feature behind `log.`."""

SESSION_SCORERS: dict[str, str] = {
    "components": "detectors.sessionspace:SessionSpace",
    "counts": "detectors.countsurprise:CountSurprise",
    "nearest": "detectors.sessionneighbours:SessionNeighbours",
    "order": "detectors.sessionorder:SessionOrder",
}
"""What scores sessions of log lines, by name."""

_LONG = 40
_PLAIN = {"hide": 0.0, "scored": 10, "narrowing": 30, "epochs": 10}
_EVIDENCE: dict[str, dict[str, Any]] = {"forecast": {}, "vote": {}}
_WHOLE = {"whole": True, "look_ahead": 40}

PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "default": {
        "linear": {},
        "linear-far": {"ahead": 10},
        "neighbours": {},
        "neighbours-long": {"slots": _LONG},
        "reconstruction": _PLAIN,
        "subspace": {"rank": 40},
        "subspace-long": {"slots": _LONG, "rank": 40},
        **_EVIDENCE,
    },
    "few": {
        **{f"discord-{slots}": {"slots": slots, **_WHOLE} for slots in (10, 20, 40, 100)},
        **{f"discord-shape-{slots}": {"slots": slots, "level": False, **_WHOLE} for slots in (20, 40, 100)},
        **_EVIDENCE,
    },
    "fast": {name: {} for name in ("linear", "subspace", "vote")},
}
"""Detectors and their options by profile. One that stands several times in a list is called `name-label`."""

FEW_CHANNELS = {"default": "few"}
"""What a profile becomes where the data have few continuous channels (`detectors.channels`)."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One line about a detector; `memory` is "window", "online" or "" (not stated in its source)."""

    name: str
    summary: str
    memory: str
    target: str


def targets() -> dict[str, str]:
    """Every known detector's "module:Class" by name; our own names cannot be taken by an entry point."""
    outside = {point.name: point.value for point in entry_points(group=GROUP)}
    return outside | DETECTORS


def profile(name: str, few_channels: bool = False) -> dict[str, dict[str, Any]]:
    """A copy of a profile's detectors and options, for data of few channels or of many; KeyError naming the legal
    names."""
    if name not in PROFILES:
        raise KeyError(f"profile = {name!r} is unknown; allowed: {', '.join(PROFILES)}")
    chosen = FEW_CHANNELS.get(name, name) if few_channels else name
    return {detector: dict(options) for detector, options in PROFILES[chosen].items()}


def registered(name: str) -> str:
    """The registered detector that `name` stands for: itself, or what precedes its first "-" (a label). KeyError
    naming the legal names."""
    if name in DETECTORS:  # not worth a look into every installed distribution
        return name
    known = targets()
    for found in (name, name.partition("-")[0]):
        if found in known:
            return found
    raise KeyError(f"detector {name!r} is unknown; allowed: {', '.join(sorted(known))}")


def load(name: str) -> type[Detector]:
    """The class of detector `name`, labelled or not. KeyError as `registered`; ImportError where its module is
    missing."""
    kind = registered(name)
    found: type[Detector] = _imported(DETECTORS.get(kind) or targets()[kind])
    return found


def load_line_scorer(name: str) -> type[LineScorer]:
    """The class of line scorer `name`. KeyError naming the legal names."""
    found: type[LineScorer] = _named("line scorer", LINE_SCORERS, name)
    return found


def load_session_scorer(name: str) -> type[SessionScorer]:
    """The class of session scorer `name`. KeyError naming the legal names."""
    found: type[SessionScorer] = _named("session scorer", SESSION_SCORERS, name)
    return found


def _named(kind: str, places: Mapping[str, str], name: str) -> Any:
    """What lies at the one of `places` that `name` says."""
    if name not in places:
        raise KeyError(f"{kind} {name!r} is unknown; allowed: {', '.join(places)}")
    return _imported(places[name])


@cache
def _imported(target: str) -> Any:
    """What lies at "module:Class". A BLAS that came with it uses one thread: fits must not depend on their number."""
    module, _, attribute = target.partition(":")
    found = getattr(import_module(module), attribute)
    one_blas_thread()
    return found


def options(name: str) -> list[str] | None:
    """What `detector_options` may say of detector `name`; None where it takes anything. Imports its module."""
    taken = signature(load(name)).parameters.values()
    if any(one.kind is Parameter.VAR_KEYWORD for one in taken):
        return None
    return [one.name for one in taken]


def available() -> list[Listing]:
    """All detectors, sorted by name, read from their sources without importing them."""
    return [Listing(name, *_read(target), target) for name, target in sorted(targets().items())]


def _read(target: str) -> tuple[str, str]:
    """Summary (first line of the class docstring) and memory of a "module:Class", from its source text."""
    module, _, attribute = target.partition(":")
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        return "(not installed)", ""
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            return summary, next(_class_constants(node, "memory"), "")
    return "", ""


def _class_constants(node: ast.ClassDef, name: str) -> Iterator[str]:
    for statement in node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.Constant(value=str(value))) if found == name:
                yield value
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Constant(value=str(value))) if found == name:
                yield value
