"""The pages on triage and delivery are true: what they show can be used, and the names are those of the code."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

from storage.rulings import Standing
from tsad.cli import app
from tsad.delivery.template import FIELDS
from tsad.triage.likeness import FURTHER, LONGER, SLACK
from tsad.triage.rules import Reason, Rule, Rulebook

DOCS = Path(__file__).resolve().parents[2] / "docs"
TRIAGE, DELIVERY = ((DOCS / f"{name}.md").read_text() for name in ("triage", "delivery"))


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Each `tsad ...` of the console blocks, without what it is commented with."""
    lines = [line for block in blocks(text, "console") for line in block.splitlines()]
    return [shlex.split(line[2:], comments=True)[1:] for line in lines if line.startswith("$ tsad ")]


def test_the_rules_of_the_page_are_rules() -> None:
    [block] = blocks(TRIAGE, "toml")
    book = Rulebook.model_validate(tomllib.loads(block))
    assert [rule.name for rule in book.rules] == [
        "cpu only up, and by a third", "no blips", "hysteresis", "disk is urgent",
    ]  # fmt: skip
    assert book.reopen == 600 * 10**9
    shown = set(re.findall(r"^(\w+) =", block, re.MULTILINE))
    assert shown <= {*Rule.model_fields, *Rulebook.model_fields}


def test_the_table_of_reasons_is_whole() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", TRIAGE, re.MULTILINE)
    named = {name for _, cell in rows for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(get_args(Reason))
    for standing in get_args(Standing):
        assert f"`{standing}`" in TRIAGE, standing


def test_what_is_alike_is_said_as_it_is() -> None:
    said = " ".join(TRIAGE.split())
    assert f"at most {FURTHER:g} times the score and {LONGER:g} times as long (and {SLACK} slots)" in said


def test_the_fields_of_templates_are_all_named() -> None:
    told = " ".join(DELIVERY.split()).split("**Templates** name fields in braces: ")[1].split(".")[0]
    assert set(told.split(", ")) == set(FIELDS)


PAGES = {path.stem: commands(path.read_text()) for path in sorted(DOCS.glob("*.md"))}
SHOWN = [(page, typed) for page in ("triage", "delivery", "incidents", "api") for typed in PAGES[page]]


@pytest.mark.parametrize(("page", "typed"), SHOWN, ids=lambda part: part if isinstance(part, str) else " ".join(part))
def test_every_command_of_a_page_is_there_with_its_options(page: str, typed: list[str]) -> None:
    found: Any = get_command(app)
    rest = list(typed)
    if "&" in rest:
        rest = rest[: rest.index("&")]
    while rest and rest[0] in getattr(found, "commands", {}):
        found = found.commands[rest.pop(0)]
    assert rest != typed, f"{page}: there is no command {typed[0]!r}"
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"{page}: {' '.join(typed)}"
    arguments = [one for one in found.params if one.param_type_name == "argument"]
    assert not [one for one in rest if not one.startswith("-")] or arguments or known
