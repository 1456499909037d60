"""The dashboard's files: the page at `/`, and what it loads, under names that hold a checksum and so never change."""

import gzip
import re
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from importlib.metadata import distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from fastapi import APIRouter, Request, Response

from tsad.api.problems import ProblemError

router = APIRouter(include_in_schema=False)
PAGE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
PLOTLY = "plotly.min.js"
SHEETS = re.compile(rb'document\.getElementById\("([0-9a-f]{64})"\)')
"""In plotly.js: the ids under which parts of it (maps, which nothing here draws) look whether their inline style is
there already. Elements of these ids keep them from making it, which the policy above would refuse."""


@dataclass(frozen=True, slots=True)
class File:
    """What a browser is sent, and the same in gzip."""

    kind: str
    content: bytes
    packed: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, content: bytes) -> "File":
        """Of a file of that name."""
        return cls(f"{KINDS[Path(name).suffix]}; charset=utf-8", content, gzip.compress(content, 6, mtime=0))


@dataclass(frozen=True, slots=True)
class Site:
    """The page, and its files by the path below `/assets/`, which begins with a checksum of what they hang on."""

    page: bytes
    files: dict[str, File]


@cache
def site() -> Site:
    """As the packages hold it; read once."""
    own = dict(sorted(_below(files("tsad") / "web")))
    plotly = Path(str(distribution("plotly").locate_file(f"plotly/package_data/{PLOTLY}"))).read_bytes()
    page = own.pop("index.html")
    mark = _mark(b"".join(name.encode() + content for name, content in own.items()))
    found = {f"{mark}/{name}": File.of(name, content) for name, content in own.items()}
    charts = f"{_mark(plotly)}/{PLOTLY}"
    made = b"".join(b'<template id="%s"></template>' % found for found in sorted(set(SHEETS.findall(plotly))))
    for place, said in ((b"{{assets}}", f"assets/{mark}"), (b"{{plotly}}", f"assets/{charts}")):
        page = page.replace(place, said.encode())
    page = page.replace(b"{{made}}", made)
    return Site(page, found | {charts: File.of(PLOTLY, plotly)})


@router.get("/")
def page() -> Response:
    """The page; it asks for a token itself."""
    return Response(site().page, media_type="text/html", headers=PAGE)


@router.get("/assets/{path:path}")
def asset(request: Request, path: str) -> Response:
    """One of its files. They hold nothing that is anybody's."""
    found = site().files.get(path)
    if found is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "there is no such file")
    packed = "gzip" in request.headers.get("accept-encoding", "")
    told = {**FOR_GOOD, "Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if packed else {})
    return Response(found.packed if packed else found.content, media_type=found.kind, headers=told)


def _below(folder: Traversable, before: str = "") -> list[tuple[str, bytes]]:
    found = []
    for item in folder.iterdir():
        name = f"{before}{item.name}"
        if item.is_dir():
            found += _below(item, f"{name}/")
        elif Path(name).suffix in KINDS:
            found.append((name, item.read_bytes()))
    return found


def _mark(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
