"""One HTML file that needs nothing else: what every page of the product's reports is made of. Text is escaped here."""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from tsad.wording import one_line

Cell = str | tuple[str, str]

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --grey: #5f6873; --rule: #d5dae0; --soft: #f5f7f9; --blue: #0072b2;
  --paper: #fff; --red: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 72rem; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem; border-bottom: 1px solid var(--rule); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .2rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; } p.note, .facts { color: var(--grey); font-size: .88rem; max-width: 58rem; }
a { color: var(--blue); text-decoration: none; } a:hover, a:focus-visible { text-decoration: underline; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.tile { border: 1px solid var(--rule); border-radius: 6px; padding: .5rem .8rem; min-width: 8.2rem; }
.tile b { display: block; font-size: 1.4rem; font-weight: 600; } .tile span { color: var(--grey); font-size: .82rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; } thead th { background: var(--soft); font-weight: 600;
  white-space: normal; vertical-align: bottom; } tr.total td, tr.ours td { font-weight: 600; }
td.low { color: var(--red); } td small { color: var(--grey); }
img { width: 100%; height: auto; display: block; }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .8em; vertical-align: -.05em; }
@media print { h3 { break-after: avoid; } img { break-inside: avoid; } }
"""
DARK = """
@media (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e6e9ed; --grey: #9aa5b1; --rule: #353c45; --soft: #20252b; --blue: #6cb6f0;
    --paper: #14181d; --red: #ff8a80; }
}
"""
"""For pages without pictures, which are drawn on white."""


def text(value: object, limit: int = 200) -> str:
    """`value` on one line, as HTML: names come from outside."""
    return escape(one_line(str(value), limit))


def table(heads: Iterable[Cell], rows: Iterable[tuple[str, Iterable[Cell]]], kind: str = "") -> str:
    """Cells are HTML; each row has a class, and a cell may have one before it."""
    head = "".join(_cell(name, "th") for name in heads)
    body = "".join(f'<tr class="{of}">{"".join(map(_cell, row))}</tr>' for of, row in rows)
    return f'<div class="wide {kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell, tag: str = "td") -> str:
    return f"<{tag}>{cell}</{tag}>" if isinstance(cell, str) else f'<{tag} class="{cell[0]}">{cell[1]}</{tag}>'


def tiles(figures: Mapping[str, str]) -> str:
    """Figures by what they are, both HTML."""
    parts = [f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in figures.items()]
    return f'<div class="tiles">{"".join(parts)}</div>' if parts else ""


def facts(named: Mapping[str, str]) -> str:
    """A line of facts by name."""
    return f'<p class="facts">{" · ".join(f"{text(name)} {text(fact)}" for name, fact in named.items())}</p>'


def write(path: Path, title: str, parts: Iterable[str], style: str = STYLE) -> None:
    """The page of this title, of `parts` that are HTML, to `path`; folders are made."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{text(title)}</title>'
    body = "\n".join(part for part in parts if part)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = f'<!doctype html>\n<html lang="en"><head>{head}<style>{style}</style></head><body>\n{body}\n</body></html>\n'
    path.write_text(page, encoding="utf-8")
