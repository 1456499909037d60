"""A running `tsad serve` and a browser before it, for tests of the dashboard."""

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium
from playwright.sync_api import Browser, BrowserContext, Page, expect
from servers import NoServerError

from storage.engine import Database
from storage.tokens import Tokens
from tests.tsad.command_line import finished, serving

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
PATIENCE = 90_000
"""Milliseconds that a busy machine may take."""
expect.set_options(timeout=PATIENCE)
CONTRAST = {"runOnly": ["color-contrast"]}
HOSTILE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


@dataclass
class Site:
    """A running server, a browser, and contexts of it that have a session's cookie, by role."""

    address: str
    tokens: dict[str, str]
    browser: Browser
    said: list[str] = field(default_factory=list)
    contexts: dict[str, BrowserContext] = field(default_factory=dict)

    def as_a(self, role: str) -> BrowserContext:
        """The context of a role."""
        if role not in self.contexts:
            self.contexts[role] = self.signed_in(role, viewport={"width": 1280, "height": 900})
        return self.contexts[role]

    def signed_in(self, role: str = "viewer", **options: Any) -> BrowserContext:
        """A context with the session's cookie, by the door that people take."""
        context = self.browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{self.address}/#token={self.tokens[role]}")
        ready(page)
        assert "token" not in page.url
        page.close()
        return context

    def page(self, place: str = "#/", context: BrowserContext | None = None) -> Page:
        """A page, loaded; what its console says is kept."""
        page = (context or self.as_a("viewer")).new_page()
        page.on("console", lambda said: self.said.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.goto(f"{self.address}/{place}")
        ready(page)
        return page

    def errors(self) -> list[str]:
        """What consoles complained of since the last look."""
        found = [line for line in self.said if line.startswith(("error", "warning", "trace"))]
        self.said.clear()
        return found


def ready(page: Page) -> None:
    """Wait until a page is whole."""
    page.wait_for_selector("main[data-ready]")


def go(page: Page, place: str) -> None:
    """To another page, as a link does."""
    before = page.locator("main").get_attribute("data-ready")
    page.evaluate("place => { location.hash = place; }", place)
    page.wait_for_function("before => document.querySelector('main').dataset.ready !== before", arg=before)


def shown(site: Site, page: Page, name: str, look: str, rules: bool = True) -> None:
    """Take a picture: nothing complains, nothing is wider than the window, and (`rules`) axe finds nothing grave: of
    all its rules in the light, of contrast in the dark."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}-{look}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, look)
    assert page.locator("h1").count() == 1, name
    if rules:
        found = Axe().run(page, {"exclude": [[".plot"]]}, None if look == "light" else CONTRAST).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in grave] == [], (name, look)
    assert site.errors() == [], (name, look)


@contextmanager
def served(home: Path, database: Database, told: Mapping[str, str]) -> Iterator[Site]:
    """`tsad serve` in `home`, whose configuration says what is `told`; skips the test where there is no browser."""
    (home / "tsad.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items()))
    tokens = {role: Tokens(database).add(f"a {role}", role) for role in ("viewer", "responder", "admin")}
    process, port = serving(home)
    try:
        with chromium() as browser:
            yield Site(f"http://127.0.0.1:{port}", tokens, browser)
    except NoServerError as error:
        pytest.skip(str(error))
    finally:
        process.send_signal(signal.SIGTERM)
        log = finished(process).err
        assert not any(token in log for token in tokens.values())
