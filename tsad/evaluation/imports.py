"""Which modules of our own a module may run: by its imports, as they are written, and theirs."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGES = ("tsad", "detectors", "storage", "streaming")


def reached(root: Path, modules: Iterable[str]) -> dict[str, Path]:
    """`modules` and all that they import, at once or later, with the files below `root`, by name.

    A text "package.module:Class" counts as an import: detectors are registered by such. ValueError where one of
    `modules` is not there.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    for name in waiting:
        if _file(root, name) is None:
            raise ValueError(f"there is no module {name} below {root}")
    while waiting:
        name = waiting.pop()
        file = None if name in found else _file(root, name)
        if file is not None:
            found[name] = file
            waiting += _parents(name)
            waiting += _imported(ast.parse(file.read_bytes(), str(file)))
    return dict(sorted(found.items()))


def _file(root: Path, name: str) -> Path | None:
    """The file of a module of ours; None for what is no module (a class of one, say) or not ours."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return None
    place = root.joinpath(*parts)
    return next((file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()), None)


def _parents(name: str) -> list[str]:
    """Packages are run before what is in them."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            yield node.value.partition(":")[0]
