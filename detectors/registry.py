"""The detectors by name. One line adds one; from outside, an entry point of the group `tsad.detectors` does.

Targets are strings, so that listing detectors imports neither torch nor xgboost.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path

from detectors.types import Detector

GROUP = "tsad.detectors"

DETECTORS: dict[str, str] = {
    "forecast": "detectors.forecast:Forecast",
    "linear": "detectors.linear:Linear",
    "reconstruction": "detectors.reconstruction:Reconstruction",
    "subspace": "detectors.subspace:Subspace",
    "vote": "detectors.vote:Vote",
}

PROFILES: dict[str, tuple[str, ...]] = {
    "default": ("forecast", "reconstruction", "subspace", "vote"),
    "fast": ("linear", "subspace", "vote"),
}


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


def load(name: str) -> type[Detector]:
    """The class of detector `name`. KeyError naming the legal names; ImportError where its module is missing."""
    known = targets()
    if name not in known:
        raise KeyError(f"no detector {name!r}; there are {', '.join(sorted(known))}")
    module, _, attribute = known[name].partition(":")
    found: type[Detector] = getattr(import_module(module), attribute)
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
