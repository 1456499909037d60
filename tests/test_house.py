"""The house rules that a machine can check."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tsad", "streaming", "detectors", "storage")
CODE = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 400, 50
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "joblib", "jsonpickle", "cloudpickle", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "system", "popen"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def long_functions(tree: ast.AST) -> list[str]:
    """Functions of more than 50 lines, their docstring not counted."""
    return [node.name for node in functions(tree) if body_lines(node) > MAX_FUNCTION]


def body_lines(node: Function) -> int:
    first = node.body[0]
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if told else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def unsafe_imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return [name for name in found if name.split(".")[0] in UNSAFE_MODULES]


def unsafe_calls(tree: ast.AST) -> list[str]:
    """eval, exec, a shell, or unpickling by numpy, pandas or torch."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        owner = getattr(getattr(node.func, "value", None), "id", "")
        if (
            (name in UNSAFE_CALLS and owner in {"", "os"})
            or name == "read_pickle"
            or (owner, name) == ("torch", "load")
        ):
            found.append(name)
        risky = [keyword for keyword in node.keywords if keyword.arg in {"allow_pickle", "shell"}]
        found += [f"{keyword.arg}=..." for keyword in risky if not is_false(keyword.value)]
    return found


def is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def offenders(check: Callable[[ast.AST], list[str]]) -> list[str]:
    parsed = ((path, ast.parse(path.read_text(encoding="utf-8"))) for path in CODE)
    return [f"{path.relative_to(ROOT)}: {name}" for path, tree in parsed for name in check(tree)]


def test_there_is_code_in_every_package() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in CODE} == set(PACKAGES)


def test_no_file_is_longer_than_400_lines() -> None:
    assert [f"{path.relative_to(ROOT)}: {lines(path)}" for path in CODE if lines(path) > MAX_FILE] == []


@pytest.mark.parametrize("check", [long_functions, unsafe_imports, unsafe_calls])
def test_the_code_has_none_of(check: Callable[[ast.AST], list[str]]) -> None:
    assert offenders(check) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path.relative_to(ROOT)) for path in CODE if path.stem in EMPTY_NAMES] == []


def test_nothing_is_left_to_do() -> None:
    marks = [mark + "DO" for mark in ("TO", "TO-")] + ["FIX" + "ME", "XX" + "X"]
    left = [(path.name, mark) for path in CODE + TESTS for mark in marks if mark in path.read_text(encoding="utf-8")]
    assert left == []


def test_the_tests_keep_up_with_the_code() -> None:
    """A line of tests for each line of code: below that, nothing may be added without tests."""
    assert sum(map(lines, TESTS)) >= sum(map(lines, CODE))


@pytest.mark.parametrize(
    ("source", "check"),
    [
        ("import pickle", unsafe_imports),
        ("from joblib.externals import x", unsafe_imports),
        ("eval('1')", unsafe_calls),
        ("import os\nos.system('ls')", unsafe_calls),
        ("np.load(f, allow_pickle=True)", unsafe_calls),
        ("subprocess.run('ls', shell=yes)", unsafe_calls),
        ("torch.load(f)", unsafe_calls),
        ("def f():\n" + "    x = 1\n" * 50, long_functions),
    ],
)
def test_the_checks_find_what_they_look_for(source: str, check: Callable[[ast.AST], list[str]]) -> None:
    assert len(check(ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("source", "check"),
    [
        ("import json", unsafe_imports),
        ("model.eval()\nstore.load(f)\nnp.load(f, allow_pickle=False)", unsafe_calls),
        ('def f():\n    """' + "told\n" * 60 + '    """\n' + "    x = 1\n" * 49, long_functions),
    ],
)
def test_the_checks_find_nothing_else(source: str, check: Callable[[ast.AST], list[str]]) -> None:
    assert check(ast.parse(source)) == []
