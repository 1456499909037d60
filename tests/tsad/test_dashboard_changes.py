"""Pages on which people change something, settings and the review queue: a real browser and a real `tsad serve`."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dashboards import HOSTILE, SHOTS, Site, go, served, shown
from playwright.sync_api import Locator, Page, expect
from triaged import STEP, at, episode

from storage.engine import open_database
from storage.leases import Leases
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tsad.triage.answers import Answers
from tsad.triage.calendars import Calendar
from tsad.triage.following import triage_of
from tsad.triage.rules import Rulebook
from tsad.triage.settings import TriageConfig

FIRST, SECOND = episode(slot=100), episode(slot=300, entity="web-2")
DISK = episode(slot=400, moved={"disk": [10.0] * 12 + [12.5] * 4})


def asked(place: int, name: str) -> Alert:
    """One that is like no other, in slots of its own time."""
    moved = {f"{name} rate": [10.0, 10.3, 9.8, 10.1] * 10 + [20.0] * 4}
    made = episode(slot=int(at(place).timestamp()) // 60, stream="shop", entity=name, moved=moved)
    times = {"first_time": at(place), "last_time": at(place + 3), "peak_time": at(place), "detected_at": at(place + 3)}
    return replace(made, sentence=f"{name} rate rose to 20, where 9 to 11 was expected", **times)


ASKED = [asked(500 + 60 * place, name) for place, name in enumerate(("till", "cart", "stock", HOSTILE))]
TABS = {"calendars": "#/settings", "rules": "#/settings/rules", "tokens": "#/settings/tokens"}


@pytest.fixture(scope="module")
def site(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Seven alerts, of which one was said to be false, a rule, and calendars of which one is hostile and one over."""
    home = tmp_path_factory.mktemp("settings")
    shutil.copy(sqlite_template, home / "tsad.db")
    database = open_database(f"sqlite:///{home}/tsad.db")
    store = Store(database)
    for stream, alerts in (("fleet", [FIRST, SECOND, DISK]), ("shop", ASKED)):
        store.put_stream(StreamRow(LIVE, stream, STEP, {}))
        epoch = Leases(database).acquire(stream, [0], "host")[0]
        store.save([Changes(LIVE, stream, 0, epoch, alerts=alerts)])
    triage_of(database, TriageConfig()).all()
    answers = Answers.of(database)
    answers.say(FIRST, "feedback", "anna", answer="false", note=HOSTILE)
    answers.rule(Rulebook.model_validate({"rules": [{"name": f"no {HOSTILE}", "min_score": 1.2}]}), "anna", HOSTILE)
    nightly = {"rrule": "FREQ=DAILY", "duration": "1h", "timezone": "Europe/Berlin", "start": "2026-03-01T02:00"}
    for told in (
        {"name": "nightly", **nightly, "note": HOSTILE},
        {"name": f"{HOSTILE}/%2F?#", "entity": HOSTILE, "start": "2026-03-01T00:00", "end": "2199-01-01T00:00"},
        {"name": "upgrade", "start": "2026-03-07T22:00", "end": "2026-03-08T01:00"},
    ):
        answers.put(Calendar.model_validate(told), "anna")
    with served(home, database, {"database": f"sqlite:///{home}/tsad.db"}) as made:
        yield made


def card(page: Page, name: str) -> Locator:
    """What is set under a name."""
    return page.locator(".setting").filter(has=page.get_by_text(name, exact=True))


def test_every_page_of_settings_is_whole_and_shows_a_viewer_no_button(site: Site) -> None:
    """In the light and, on a phone, in the dark; names from outside are text."""
    phone = site.signed_in("admin", viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    for look, context in (("light", site.as_a("admin")), ("phone-dark", phone)):
        page = site.page("#/models", context)
        for name, place in TABS.items():
            go(page, place)
            expect(page.locator(".waiting")).to_have_count(0)
            for more in page.locator("main details").all():
                more.evaluate("one => { one.open = true; }")
            shown(site, page, f"settings-{name}", look, rules=look == "light" or name == "rules")
            assert page.evaluate("window.hacked") is None
        if look == "light":
            page.keyboard.press("g")
            page.keyboard.press("s")
            expect(page.get_by_role("heading", name="Calendars")).to_be_visible()
            expect(page.locator("#nav a[aria-current]")).to_have_text("Settings")
        page.close()
    phone.close()
    page = site.page(TABS["calendars"])
    expect(page.get_by_text("A token of a responder can change them.")).to_be_visible()
    expect(card(page, f"{HOSTILE}/%2F?#").locator("code")).to_have_text(HOSTILE)
    expect(page.locator("main button")).to_have_count(0)
    go(page, TABS["rules"])
    expect(page.get_by_text("A token of an admin can change them.")).to_be_visible()
    expect(page.locator(".trial")).to_have_count(1)
    expect(page.locator("main button")).to_have_count(0)
    go(page, TABS["tokens"])
    expect(page.get_by_text("An admin sees who may ask.")).to_be_visible()
    page.goto(f"{site.address}/#/settings/nothing")
    expect(page.get_by_text("There is nothing at this address.")).to_be_visible()
    assert site.errors() == []
    page.close()


def test_a_responder_puts_a_calendar_in_changes_ends_and_removes_it(site: Site) -> None:
    page = site.page(TABS["calendars"], site.as_a("responder"))
    expect(card(page, "nightly")).to_contain_text("every day from 2026-03-01 02:00 Europe/Berlin on, for 1h")
    expect(card(page, "nightly").locator("time")).to_have_count(3)
    expect(page.locator(".over > summary")).to_have_text("1 that is over")
    page.get_by_role("button", name="Add a calendar").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Name")).to_be_focused()
    expect(page.locator(".field:not([hidden]) .wrong", has_text="This is needed.")).to_have_count(3)
    page.get_by_label("Name").fill("sundays")
    page.get_by_label("Start").fill("2026-03-01T02:00")
    page.get_by_label("How often").select_option("other")
    page.get_by_label("Rule", exact=True).fill("FREQ=WEEKLY;BYDAY=SU")
    page.get_by_label("Lasts").fill("soon")
    page.get_by_label("Time zone").fill("Mars/Olympus")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Time zone")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".field", has=page.get_by_label("Lasts")).locator(".wrong")).to_contain_text(
        "a duration such as"
    )
    page.screenshot(path=SHOTS / "settings-calendar-form-light.png", full_page=True)
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Lasts").fill("400d")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="at most 366 days")).to_be_visible()
    page.get_by_label("Lasts").fill("90m")
    page.keyboard.press("Enter")
    found = card(page, "sundays")
    expect(found).to_contain_text("every week on Sunday from 2026-03-01 02:00 Europe/Berlin on, for 90m")
    expect(found.locator("time").first).to_contain_text("Sun ")
    expect(found).to_contain_text("by a responder")
    page.get_by_role("button", name="Change: sundays").click()
    expect(page.get_by_label("Name")).to_have_attribute("readonly", "")
    page.get_by_label("Note").fill("patches")
    page.get_by_role("button", name="Save").click()
    expect(found.locator("q")).to_have_text("patches")
    page.get_by_role("button", name="No more of it: sundays").click()
    expect(page.locator(".over > summary")).to_have_text("2 that are over")
    page.locator(".over > summary").click()
    page.get_by_role("button", name="Remove: sundays").click()
    expect(page.locator(".over > summary")).to_have_text("1 that is over")
    # a name of anything goes to the server as it is
    expect(card(page, f"{HOSTILE}/%2F?#")).to_contain_text("on now")
    page.get_by_role("button", name=f"End it now: {HOSTILE}").click()
    expect(page.locator(".over > summary")).to_have_text("2 that are over")
    assert [said for said in site.errors() if "422" not in said] == []
    page.close()


def test_an_admin_sees_what_rules_would_change_before_they_are_applied_and_takes_them_back(site: Site) -> None:
    page = site.page(TABS["rules"], site.as_a("admin"))
    proposed = page.locator(".setting", has_text="said false of alert")
    expect(proposed).to_contain_text("Of 7 alerts of the last 30 days 0 would vanish and 0 would appear.")
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("Name").fill("disk by 3")
    page.get_by_label("Features", exact=True).fill("disk*")
    page.get_by_label("Least deviation", exact=True).fill("far")
    page.get_by_role("button", name="See what it would change").click()
    expect(page.get_by_label("Least deviation", exact=True)).to_be_focused()
    expect(page.locator(".wrong", has_text="valid number")).to_be_visible()
    page.get_by_label("Least deviation", exact=True).fill("3")
    page.get_by_role("button", name="See what it would change").click()
    tried = page.get_by_role("region", name="What it would change")
    expect(tried).to_contain_text("Of 7 alerts of the last 30 days 1 would vanish and 0 would appear.")
    tried.locator("summary").click()
    page.screenshot(path=SHOTS / "settings-rule-form-light.png", full_page=True)
    expect(tried.locator("tbody tr")).to_have_count(1)
    expect(tried.locator("tbody tr")).to_contain_text("deviation (disk by 3)")
    expect(page.locator(".row-facts").first).to_contain_text("Version 1, by anna")
    page.get_by_label("Why").fill("small ones")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.locator(".row-facts").first).to_contain_text("Version 2, by a admin")
    expect(page.locator(".setting .toml").nth(1)).to_have_text(
        '[[rules]]\nname = "disk by 3"\nfeatures = ["disk*"]\nmin_deviation = 3'
    )
    page.locator(".versions summary").first.click()
    expect(page.locator(".versions li").first).to_contain_text("+ disk by 3")
    # of a version that somebody else has changed meanwhile nothing is applied
    other = site.page(TABS["rules"], site.as_a("admin"))
    other.get_by_role("button", name="Remove: disk by 3").click()
    expect(other.get_by_role("region", name="What it would change")).to_contain_text("1 would appear")
    page.get_by_role("button", name="Take version 2 back").click()
    tried.get_by_role("button", name="Take version 2 back").click()
    expect(page.locator(".row-facts").first).to_contain_text("Version 3, by a admin")
    expect(page.locator(".row-facts").first).to_contain_text("version 2 is taken back")
    expect(page.get_by_role("button", name="Remove: disk by 3")).to_have_count(0)
    other.get_by_role("button", name="Apply", exact=True).click()
    expect(other.get_by_role("alert").filter(has_text="version 2 of the rules is not the newest")).to_be_visible()
    other.close()
    page.get_by_role("button", name="Apply: like").click()
    expect(page.locator(".row-facts").first).to_contain_text("Version 4, by a admin")
    expect(page.get_by_text("Answers speak for no rule.")).to_be_visible()
    assert [said for said in site.errors() if "422" not in said and "409" not in said] == []
    page.close()


def test_an_admin_makes_a_token_sees_it_once_and_revokes_it(site: Site) -> None:
    page = site.page(TABS["tokens"], site.as_a("admin"))
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_label("Name").fill("a viewer")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Name").fill(HOSTILE)
    page.get_by_label("Role").select_option("responder")
    page.keyboard.press("Enter")
    secret = page.locator("#secret")
    expect(secret).to_be_focused()
    token = secret.input_value()
    page.screenshot(path=SHOTS / "settings-token-light.png", full_page=True)
    assert token.startswith("tsad_")
    assert page.request.get(f"{site.address}/api/v1/me", headers={"Authorization": f"Bearer {token}"}).ok
    expect(rows).to_have_count(4)
    page.get_by_role("button", name="Done").click()
    page.reload()
    expect(rows).to_have_count(4)
    assert token not in page.content()
    mine = rows.filter(has_text=HOSTILE)
    page.get_by_role("button", name=f"Revoke: {HOSTILE}").click()
    mine.get_by_role("button", name="Keep").click()
    page.get_by_role("button", name=f"Revoke: {HOSTILE}").click()
    mine.get_by_role("button", name="Revoke for good").click()
    expect(mine).to_contain_text("revoked")
    assert page.request.get(f"{site.address}/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status == 401
    assert page.evaluate("window.hacked") is None
    assert [said for said in site.errors() if "409" not in said] == []
    page.close()


def test_twenty_are_reviewed_in_a_minute_by_the_keyboard(site: Site) -> None:
    page = site.page("#/review?stream=shop", site.as_a("responder"))
    rows = page.locator(".review-row")
    expect(rows).to_have_count(4)
    expect(rows.first.locator(".row-link")).to_be_focused()
    expect(rows.first.locator(".plot svg.main-svg").first).to_be_visible()
    expect(rows.first.locator(".reason")).to_have_text("like nothing answered yet")
    shown(site, page, "review", "light")
    page.keyboard.press("t")
    expect(rows.nth(0).locator(".outcome")).to_contain_text("True")
    expect(rows.nth(1).locator(".row-link")).to_be_focused()
    expect(rows.nth(1).locator(".plot svg.main-svg").first).to_be_visible()
    expect(page.locator(".plot")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    expect(rows.nth(2).locator(".outcome")).to_contain_text("False alarm")
    expect(rows.nth(3).locator(".row-link")).to_be_focused()
    page.keyboard.press("e")
    expect(rows.nth(3).locator(".outcome")).to_contain_text("Expected")
    expect(rows.nth(1).locator(".row-link")).to_be_focused()
    expect(page.get_by_text("1 to go.")).to_be_visible()
    page.keyboard.press("z")
    expect(page.get_by_text("2 to go.")).to_be_visible()
    expect(rows.nth(3).locator(".row-link")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("take the last answer back")
    page.keyboard.press("Escape")
    # "g e" goes to the entities, and answers nothing
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_role("heading", name="Entities")).to_be_visible()
    page.keyboard.press("e")
    page.keyboard.press("u")
    expect(rows).to_have_count(2)
    for left in (1, 0):
        rows.nth(1 - left).get_by_role("button", name="True").click()
        expect(page.locator(".review-row:not(.answered)")).to_have_count(left)
    page.get_by_role("button", name="Look for more").click()
    expect(page.get_by_text("There is nothing to review.")).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert site.errors() == []
    page.close()


def test_a_viewer_sees_the_queue_and_its_faults(site: Site) -> None:
    """On a phone, in the dark."""
    context = site.signed_in(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    page = site.page("#/review?stream=fleet", context)
    rows = page.locator(".review-row")
    expect(rows).to_have_count(2)
    expect(page.get_by_text("A token of a responder can answer.")).to_be_visible()
    expect(page.get_by_role("button", name="True")).to_have_count(0)
    page.keyboard.press("t")
    expect(rows.first.locator(".plot svg.main-svg").first).to_be_visible()
    shown(site, page, "review", "phone-dark")
    expect(page.locator(".answered")).to_have_count(0)
    page.route("**/api/v1/review*", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("tsad serve does not answer")
    context.close()
    site.errors()


def test_an_incident_is_answered_as_a_whole_and_taken_back_as_one(site: Site) -> None:
    page = site.page("#/incidents", site.as_a("responder"))
    page.locator(".row-link", has_text="disk").click()
    answers = page.locator(".answers")
    expect(answers).to_contain_text("Of its 1 alert: 1 told of (confirmed).")
    page.get_by_label("Note").fill(HOSTILE)
    page.get_by_role("button", name="Expected").click()
    expect(answers).to_contain_text("Of its 1 alert: 1 not told of (answered).")
    expect(answers.locator(".marks q")).to_have_text(HOSTILE)
    page.screenshot(path=SHOTS / "incident-answers-light.png", full_page=True)
    page.locator(".alert-row .row-link").click()
    expect(answers).to_contain_text("Nobody is told of it: answered")
    answers.get_by_role("link", name="the whole incident").click()
    page.get_by_role("button", name="Take back").click()
    expect(answers).to_contain_text("Of its 1 alert: 1 told of (confirmed).")
    expect(answers.locator(".marks .undone")).to_have_count(1)
    assert page.evaluate("window.hacked") is None
    assert site.errors() == []
    page.close()
