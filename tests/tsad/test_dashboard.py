"""The dashboard as people see it: a real browser, a real `tsad serve`, a database that a run made.

Screenshots are left in `build/screenshots`, to be looked at.
"""

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium
from playwright.sync_api import Browser, BrowserContext, Page, expect
from servers import NoServerError

from storage.incidents import Incidents
from storage.leases import Leases, utc_now
from storage.read import AlertFilter
from storage.store import Store
from storage.tokens import Tokens
from storage.types import Alert, StreamRow
from tests.storage.stored_samples import alert, empty, explanation
from tests.tsad.command_line import finished, running_until, started
from tests.tsad.streams import FIT_SLOTS, STREAM, ListApp, cells_with_anomalies, payloads, run_through
from tsad.runner import Limits
from tsad.triage.following import triage_of

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
PATIENCE = 90_000
"""Milliseconds that a busy machine may take."""
expect.set_options(timeout=PATIENCE)
CHARTED = ("overview", "alert", "entity")
CONTRAST = {"runOnly": ["color-contrast"]}
HOSTILE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
EVIDENCE: dict[str, Any] = {
    "slot": 13, "features": [HOSTILE, "memory"], "observed": [[1.0, None, 3.5], [0.0, 0.0, 9.0]], "lower": [0.5, None],
    "upper": [1.5, 1.0], "texts": {HOSTILE: HOSTILE}, "said": {"log.new": [HOSTILE]},
    "lines": [{"feature": "log.new", "line": HOSTILE}], "contributions": [[HOSTILE, 0.8]],
}  # fmt: skip


@dataclass
class Site:
    """A running server, what it stands on, and a browser whose context has the session's cookie."""

    address: str
    store: Store
    token: str
    responder: str
    strongest: Alert
    hostile: Alert
    incident: str
    browser: Browser
    said: list[str] = field(default_factory=list)
    context: BrowserContext = field(init=False)

    def page(self, place: str = "#/", context: BrowserContext | None = None) -> Page:
        """A page, loaded; what its console says is kept."""
        page = (context or self.context).new_page()
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


def signed_in(site: Site, **options: Any) -> BrowserContext:
    """A context with the session's cookie, by the door that people take."""
    context = site.browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{site.address}/#token={site.token}")
    ready(page)
    assert "token" not in page.url
    page.close()
    return context


@pytest.fixture(scope="module")
def app(make_shared: Any) -> ListApp:
    """A stream that was run, and beside it one whose names and lines come from somebody hostile."""
    app: ListApp = make_shared({"telemetry": [*payloads(cells_with_anomalies(), FIT_SLOTS), b"{"]})
    run_through(app, Limits())
    return app


@pytest.fixture(scope="module")
def site(app: ListApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    Leases(app.database).acquire("fleet", [0], "host-a")
    store = Store(app.database, utc_now)
    store.put_stream(StreamRow("live", "fleet", 60 * 10**9, {}))
    event = {"id": "e", "kind": "deploy", "title": HOSTILE, "time": "2026-03-01T00:05:00+00:00", "why": "rule"}
    hostile = alert(HOSTILE, evidence=EVIDENCE, sentence=HOSTILE, explained_by_event=event, explanation="done")
    parts = [explanation(hostile, HOSTILE), explanation(hostile, "m", value=-0.3)]
    other = alert(f"{HOSTILE} 2", 12, evidence=EVIDENCE, sentence=HOSTILE, explanation="done")
    store.save([empty(alerts=[hostile, other], explanations=parts)])
    triage_of(app.database, app.config.triage, utc_now).all()
    incident = next(iter(Incidents(app.database).of_alerts([other.id]).values()))[0]
    home = tmp_path_factory.mktemp("served")
    told = {"database": app.config.database, "history": app.config.history}
    (home / "tsad.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items()))
    token, responder = (Tokens(app.database).add(f"a {role}", role) for role in ("viewer", "responder"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = started(home, "serve", "--bind", f"127.0.0.1:{port}")

    def listens() -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    running_until(process, listens)
    strongest = max(app.reader.alerts(AlertFilter(stream=STREAM, limit=None)), key=lambda one: one.score)
    try:
        with chromium() as browser:
            made = Site(f"http://127.0.0.1:{port}", store, token, responder, strongest, hostile, incident, browser)
            made.context = signed_in(made, viewport={"width": 1280, "height": 900})
            yield made
    except NoServerError as error:
        pytest.skip(str(error))
    finally:
        process.send_signal(signal.SIGTERM)
        told = finished(process).err
        assert token not in told


def places(site: Site) -> dict[str, str]:
    """Every page."""
    return {
        "overview": f"#/?stream={STREAM}", "alerts": "#/alerts", "alert": f"#/alerts/{site.strongest.id}",
        "incidents": "#/incidents", "incident": f"#/incidents/{site.incident}",
        "entities": f"#/entities?stream={STREAM}", "entity": f"#/entity?stream={STREAM}&entity=c", "models": "#/models",
    }  # fmt: skip


def seen(site: Site, context: BrowserContext, look: str) -> None:
    """Look at every page: it is whole, nothing complains, nothing is wider than the window, axe finds nothing grave."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page = site.page("#/models", context)
    for name, place in places(site).items():
        go(page, place)
        if name in CHARTED:
            page.wait_for_selector(".plot svg.main-svg")
        page.screenshot(path=SHOTS / f"{name}-{look}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, look)
        assert page.locator("h1").count() == 1, name
        assert site.errors() == [], (name, look)
        if look != "light" and name not in CHARTED:
            continue  # its colours are those of the others
        found = Axe().run(page, {"exclude": [[".plot"]]}, None if look == "light" else CONTRAST).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in grave] == [], (name, look)
        assert site.errors() == [], (name, look)
    page.close()


def test_every_page_is_whole(site: Site) -> None:
    seen(site, site.context, "light")


def test_every_page_is_whole_on_a_phone_in_the_dark(site: Site) -> None:
    context = signed_in(site, viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    seen(site, context, "phone-dark")
    context.close()


def test_a_token_is_asked_for_and_kept_where_no_script_reads_it(site: Site) -> None:
    context = site.browser.new_context()
    page = context.new_page()
    page.goto(f"{site.address}/#/alerts?severity=critical")
    page.get_by_label("Token").fill("tsad_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("the token is unknown, has expired or was revoked")
    page.get_by_label("Token").fill(site.token)
    page.keyboard.press("Enter")
    ready(page)
    assert page.locator("h1").inner_text() == "Alerts", "where one wanted to go"
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    kept = page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie]")
    assert site.token not in json.dumps([page.url, kept])
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert context.cookies() == []
    context.close()


def test_what_comes_from_outside_is_shown_as_text(site: Site) -> None:
    page = site.page("#/models")
    lists = ("#/alerts?stream=fleet", "#/incidents?stream=fleet", "#/?stream=fleet")
    for place in (*lists, f"#/alerts/{site.hostile.id}"):
        go(page, place)
        page.wait_for_selector(".charts .plot svg.main-svg" if "/alerts/" in place else ".row-sentence")
        assert HOSTILE in page.locator("main").inner_text()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0
    assert site.errors() == []
    page.close()


def test_alerts_come_and_change_while_one_looks(site: Site) -> None:
    page = site.page("#/alerts?stream=fleet")
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#alerts > li")).to_have_count(2)
    fresh = alert("web-7", 20, severity="critical", sentence="cpu rose to 3")
    site.store.save([empty(alerts=[fresh])])
    expect(page.locator("#alerts > li")).to_have_count(3)
    first = page.locator("#alerts > li").first
    expect(first).to_contain_text("web-7")
    site.store.save(
        [empty(alerts=[replace(fresh, state="resolved", last_time=fresh.last_time + timedelta(minutes=5))])]
    )
    expect(first.locator(".state")).to_have_text("resolved")
    expect(page.locator("#alerts > li")).to_have_count(3)
    assert site.errors() == []
    page.close()


def test_an_answer_acts_at_once_and_is_taken_back(site: Site) -> None:
    """By a responder; a viewer is told that he may not."""
    place = f"#/alerts/{site.strongest.id}"
    page = site.page(place)
    expect(page.locator(".answers")).to_contain_text("A token of a responder can answer.")
    expect(page.get_by_role("button", name="False alarm")).to_have_count(0)
    page.close()
    context = signed_in(replace(site, token=site.responder))
    page = site.page(place, context)
    answers = page.locator(".answers")
    expect(answers).to_contain_text("People are told of it")
    page.get_by_label("Note").fill(HOSTILE)
    page.get_by_role("button", name="False alarm").click()
    expect(answers).to_contain_text("Nobody is told of it: answered")
    expect(answers.locator(".marks q")).to_have_text(HOSTILE)
    assert page.evaluate("window.hacked") is None
    page.screenshot(path=SHOTS / "answers-light.png", full_page=True)
    page.get_by_role("button", name="Snooze 2 h").click()
    expect(answers.locator(".marks li")).to_have_count(2)
    for left in (1, 0):
        page.get_by_role("button", name="Take back").first.click()
        expect(page.get_by_role("button", name="Take back")).to_have_count(left)
    expect(answers.locator(".marks .undone")).to_have_count(2)
    expect(answers).to_contain_text("People are told of it")
    assert site.errors() == []
    context.close()


def test_the_keyboard_is_enough(site: Site) -> None:
    page = site.page("#/models")
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_selector("#alerts")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    row = page.locator("#alerts > li").first
    expect(row.locator("a")).to_be_focused()
    name = row.locator(".entity").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator(".alert-head h1")).to_have_text(name)
    page.keyboard.press("u")
    page.wait_for_selector("#alerts")
    page.keyboard.press("/")
    expect(page.locator("input[type=search]")).to_be_focused()
    page.keyboard.type("c")
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/alerts?entity=c")
    expect(page.locator("#alerts .entity").first).to_have_text("c")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.close()


def test_a_link_shows_the_same_view(site: Site) -> None:
    page = site.page("#/alerts")
    page.get_by_label("warning", exact=True).check()
    page.wait_for_url("**severity=warning")
    page.get_by_label("Order").select_option("-score")
    page.wait_for_url("**sort=-score")
    ready(page)
    link, other = page.url, site.page()
    other.goto(link)
    other.reload()
    ready(other)
    assert other.get_by_label("warning", exact=True).is_checked()
    assert other.locator("#alerts").inner_text() == page.locator("#alerts").inner_text()
    page.close()
    other.close()


def test_the_theme_can_be_switched_and_stays(site: Site) -> None:
    page = site.page("#/models")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()
    dark = page.evaluate(paper)
    assert light != dark
    page.reload()
    ready(page)
    assert page.evaluate(paper) == dark
    page.evaluate("localStorage.removeItem('tsad-theme')")
    page.close()


def test_nothing_and_errors_have_a_page_too(site: Site) -> None:
    page = site.page("#/alerts?entity=nobody")
    expect(page.get_by_text("No alert meets these filters.")).to_be_visible()
    page.goto(f"{site.address}/#/nowhere")
    expect(page.get_by_text("There is nothing at this address.")).to_be_visible()
    page.goto(f"{site.address}/#/alerts/abcdef012345")
    expect(page.get_by_role("alert")).to_contain_text("there is no alert 'abcdef012345'")
    page.route("**/api/v1/models", lambda route: route.abort())
    page.goto(f"{site.address}/#/models")
    expect(page.get_by_role("alert")).to_contain_text("tsad serve does not answer")
    page.unroute("**/api/v1/models")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("in force since")).to_be_visible()
    page.close()
    site.errors()
