"""The dashboard's files: what a browser gets, from where it may load, and how long it keeps it."""

import gzip
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import pytest

from storage.engine import open_database
from tests.tsad.asking import Asking
from tsad.api.dashboard import site

WEB = Path(str(files("tsad") / "web"))
SCRIPTS = sorted(WEB.rglob("*.js"))
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|eval\(")
TEXT_IN = re.compile(r"\bstyle=|\son\w+=|javascript:")


@pytest.fixture
def asking(sqlite_url: str) -> Iterator[Asking]:
    database = open_database(sqlite_url)
    yield Asking(database)
    database.close()


def test_the_page_runs_its_own_scripts_and_no_others(asking: Asking) -> None:
    answer = asking.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert (policy["frame-ancestors"], policy["form-action"], policy["base-uri"]) == ("'none'", "'none'", "'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert re.findall(r"<script(?![^>]*src=)", answer.text) == []
    assert TEXT_IN.findall(answer.text) == []


def test_what_the_page_names_is_there_and_kept_for_good(asking: Asking) -> None:
    page = asking.client.get("/").text
    named = re.findall(r'(?:src|href|content)="(assets/[^"]+)"', page)
    assert len(named) >= 6
    assert "{{" not in page
    for path in named:
        answer = asking.client.get(f"/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].split(";")[0] in ("text/javascript", "text/css", "image/svg+xml")


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in [*SCRIPTS, *WEB.rglob("*.css"), WEB / "index.html"]:
        assert re.findall(r"https?://(?!www\.w3\.org)", path.read_text()) == [], path.name


def test_text_never_becomes_markup() -> None:
    assert len(SCRIPTS) > 12
    assert [path.name for path in SCRIPTS if MARKUP.search(path.read_text())] == []


def test_every_module_that_is_imported_is_there() -> None:
    for path in SCRIPTS:
        for name in re.findall(r'from "([^"]+)"', path.read_text()):
            assert (path.parent / name).resolve().is_file(), (path.name, name)


def test_modules_are_small() -> None:
    assert [path.name for path in SCRIPTS if len(path.read_text().splitlines()) > 400] == []


def test_plotly_is_that_of_the_package(asking: Asking) -> None:
    (name,) = (path for path in site().files if path.endswith("plotly.min.js"))
    whole = Path(str(distribution("plotly").locate_file("plotly/package_data/plotly.min.js"))).read_bytes()
    answer = asking.client.get(f"/assets/{name}")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == whole
    plain = asking.client.get(f"/assets/{name}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == whole
    assert gzip.decompress(site().files[name].packed) == whole


@pytest.mark.parametrize("path", ["x", "../pyproject.toml", "%2e%2e/index.html", "0000/js/main.js", ""])
def test_no_other_file_is_given_out(asking: Asking, path: str) -> None:
    answer = asking.client.get(f"/assets/{path}")
    assert (answer.status_code, answer.json()["status"]) == (404, 404)
