"""The dashboard as people see it: a real browser, a real `tsad serve`, a database that a run made.

Screenshots are left in `build/screenshots`, to be looked at.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from dashboards import HOSTILE, SHOTS, Site, go, ready, served, shown
from playwright.sync_api import BrowserContext, expect

from storage.incidents import Incidents
from storage.leases import Leases, utc_now
from storage.read import AlertFilter
from storage.store import Store
from storage.types import Alert, StreamRow
from tests.storage.stored_samples import alert, empty, explanation
from tests.tsad.streams import FIT_SLOTS, STREAM, ListApp, cells_with_anomalies, payloads, run_through
from tsad.runner import Limits
from tsad.triage.following import triage_of

CHARTED = ("overview", "alert", "entity")
EVIDENCE: dict[str, Any] = {
    "slot": 13, "features": [HOSTILE, "memory"], "observed": [[1.0, None, 3.5], [0.0, 0.0, 9.0]], "lower": [0.5, None],
    "upper": [1.5, 1.0], "texts": {HOSTILE: HOSTILE}, "said": {"log.new": [HOSTILE]},
    "lines": [{"feature": "log.new", "line": HOSTILE}], "contributions": [[HOSTILE, 0.8]],
}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What there is to look at."""

    store: Store
    strongest: Alert
    hostile: Alert
    incident: str


@pytest.fixture(scope="module")
def app(make_shared: Any) -> ListApp:
    """A stream that was run, and beside it one whose names and lines come from somebody hostile."""
    app: ListApp = make_shared({"telemetry": [*payloads(cells_with_anomalies(), FIT_SLOTS), b"{"]})
    run_through(app, Limits())
    return app


@pytest.fixture(scope="module")
def kept(app: ListApp) -> Kept:
    """The stream's alerts, and those of a hostile name."""
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
    strongest = max(app.reader.alerts(AlertFilter(stream=STREAM, limit=None)), key=lambda one: one.score)
    return Kept(store, strongest, hostile, incident)


@pytest.fixture(scope="module")
def site(app: ListApp, kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("served")
    told = {"database": app.config.database, "history": str(app.config.history)}
    with served(home, app.database, told) as made:
        yield made


def places(kept: Kept) -> dict[str, str]:
    """Every page; those of settings have tests of their own."""
    return {
        "overview": f"#/?stream={STREAM}", "alerts": "#/alerts", "alert": f"#/alerts/{kept.strongest.id}",
        "incidents": "#/incidents", "incident": f"#/incidents/{kept.incident}",
        "entities": f"#/entities?stream={STREAM}", "entity": f"#/entity?stream={STREAM}&entity=c", "models": "#/models",
    }  # fmt: skip


def seen(site: Site, kept: Kept, context: BrowserContext, look: str) -> None:
    """Look at every page."""
    page = site.page("#/models", context)
    for name, place in places(kept).items():
        go(page, place)
        if name in CHARTED:
            page.wait_for_selector(".plot svg.main-svg")
        shown(site, page, name, look, rules=look == "light" or name in CHARTED)  # the others have the same colours
    page.close()


def test_every_page_is_whole(site: Site, kept: Kept) -> None:
    seen(site, kept, site.as_a("viewer"), "light")


def test_every_page_is_whole_on_a_phone_in_the_dark(site: Site, kept: Kept) -> None:
    context = site.signed_in(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    seen(site, kept, context, "phone-dark")
    context.close()


def test_a_token_is_asked_for_and_kept_where_no_script_reads_it(site: Site) -> None:
    context = site.browser.new_context()
    page = context.new_page()
    page.goto(f"{site.address}/#/alerts?severity=critical")
    page.get_by_label("Token").fill("tsad_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("the token is unknown, has expired or was revoked")
    page.get_by_label("Token").fill(site.tokens["viewer"])
    page.keyboard.press("Enter")
    ready(page)
    assert page.locator("h1").inner_text() == "Alerts", "where one wanted to go"
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    kept = page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie]")
    assert site.tokens["viewer"] not in json.dumps([page.url, kept])
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert context.cookies() == []
    context.close()


def test_what_comes_from_outside_is_shown_as_text(site: Site, kept: Kept) -> None:
    page = site.page("#/models")
    lists = ("#/alerts?stream=fleet", "#/incidents?stream=fleet", "#/?stream=fleet")
    for place in (*lists, f"#/alerts/{kept.hostile.id}"):
        go(page, place)
        page.wait_for_selector(".charts .plot svg.main-svg" if "/alerts/" in place else ".row-sentence")
        assert HOSTILE in page.locator("main").inner_text()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0
    assert site.errors() == []
    page.close()


def test_alerts_come_and_change_while_one_looks(site: Site, kept: Kept) -> None:
    page = site.page("#/alerts?stream=fleet")
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#alerts > li")).to_have_count(2)
    fresh = alert("web-7", 20, severity="critical", sentence="cpu rose to 3", evidence=EVIDENCE)
    kept.store.save([empty(alerts=[fresh])])
    expect(page.locator("#alerts > li")).to_have_count(3)
    first = page.locator("#alerts > li").first
    expect(first).to_contain_text("web-7")
    kept.store.save(
        [empty(alerts=[replace(fresh, state="resolved", last_time=fresh.last_time + timedelta(minutes=5))])]
    )
    expect(first.locator(".state")).to_have_text("resolved")
    expect(page.locator("#alerts > li")).to_have_count(3)
    assert site.errors() == []
    page.close()


def test_an_answer_acts_at_once_and_is_taken_back(site: Site, kept: Kept) -> None:
    """By a responder; a viewer is told that he may not."""
    place = f"#/alerts/{kept.strongest.id}"
    page = site.page(place)
    expect(page.locator(".answers")).to_contain_text("A token of a responder can answer.")
    expect(page.get_by_role("button", name="False alarm")).to_have_count(0)
    page.close()
    page = site.page(place, site.as_a("responder"))
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
    page.close()


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
