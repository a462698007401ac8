"""Every state of the page: accessible by axe-core's rules, and in screenshots for people to look at. The states of a line
that breaks are in test_line.py."""

from __future__ import annotations

import re

import pytest
from browsing import (
    FILM,
    Daemon,
    Lab,
    Visitor,
    begin,
    cancel,
    card,
    expect,
    look,
    open_dialog,
    serving,
    standing_still,
    start,
    state,
)

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def test_at_work(daemon: Daemon, visitor: Visitor) -> None:
    page = visitor().open()
    dialog = open_dialog(page, FILM)
    dialog.get_by_label("Overlays").check()
    job = begin(page)
    expect(card(page, job).locator("[data-stage=done]")).to_have_count(2)
    expect(card(page, job).locator(".pace")).to_contain_text("left")
    with standing_still(daemon):
        look(page, "at-work")
    cancel(page, job)


def test_waiting_and_being_cancelled(lab: Lab, visitor: Visitor) -> None:
    with serving(lab.another(), EXPORTD_MAX_RUNNING_JOBS="1", EXPORTD_MAX_ACTIVE_JOBS_PER_USER="3") as daemon:
        visit = visitor(where=daemon)
        page = visit.open()
        first = start(page, FILM, everything=True)
        second = start(page, "Screen, 250 wells")
        expect(card(page, second).locator(".what")).to_have_text("Waiting, number 1 in the queue")
        with standing_still(daemon):
            card(page, first).get_by_role("button", name="Cancel").click()
            state(page, first, "cancelling")
            look(page, "waiting")
        state(page, first, "cancelled")
        cancel(page, second)
        visit.context.close()


def test_what_was_exported(visitor: Visitor) -> None:
    page = visitor().open()
    for title, end in (("Microscope failure", "failed"), ("Spheroids, day 12 (control)", "completed")):
        job = start(page, title)
        state(page, job, end)
    card(page, job).get_by_text("3 warnings").click()
    card(page, job).get_by_role("button", name="Details").click()
    expect(card(page, job).locator(".timeline li")).to_have_count(3)
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="Exports", exact=False).first.click()
    look(page, "exported", full=True)
    card(page, job).get_by_role("button", name="Remove").click()
    look(page, "remove")


def test_the_lists(visitor: Visitor) -> None:
    page = visitor().open()
    expect(page.locator("#projects .row[data-project]")).to_have_count(7)
    expect(page.locator("#link")).to_have_attribute("data-mode", "live")
    look(page, "lists")
    page.get_by_role("button", name="Tubulin dynamics").first.click()
    expect(page.locator(".filter")).to_be_visible()
    page.get_by_label("Search projects").fill("nothing like it")
    look(page, "nothing-found")


def test_the_dialog(visitor: Visitor) -> None:
    page = visitor().open()
    dialog = open_dialog(page, "Sample: nuclei")
    look(page, "dialog")
    dialog.get_by_label("Overlays").check()
    dialog.get_by_text("Only some").click()
    for picture in dialog.locator(".thumb img").all()[:12]:
        expect(picture).to_have_js_property("naturalWidth", 256)
    for number in (1, 3, 4):
        dialog.get_by_role("checkbox", name=f"nuclei_00{number}.png").check(force=True)
    expect(dialog.locator(".estimate")).to_contain_text("3 images")
    look(page, "dialog-images")
    for box in dialog.locator(".thumb input").all()[:4]:
        box.uncheck(force=True)
    expect(dialog.locator(".remarks")).to_have_text("Choose at least one image.")
    look(page, "dialog-nothing")
    dialog.get_by_label("Guide").scroll_into_view_if_needed()
    look(page, "dialog-end")


def test_before_anything_is_there(lab: Lab, visitor: Visitor) -> None:
    page = visitor(lab.carol).open()
    expect(page.get_by_role("heading", name="No projects yet")).to_be_visible()
    look(page, "empty")
    visit = visitor(user=None)
    page = visit.open()
    expect(page.get_by_role("heading", name="Log in to exportd")).to_be_visible()
    look(page, "login")
    visit.excuse("401|no valid credentials")


def test_while_it_loads_and_when_it_cannot(visitor: Visitor) -> None:
    visit = visitor()
    page = visit.context.new_page()
    page.route(re.compile("/api/"), lambda _: None)  # never answered
    page.goto(visit.daemon.url)
    expect(page.locator(".skeleton").first).to_be_visible()
    look(page, "loading")
    page = visit.context.new_page()
    page.route(re.compile("/api/"), lambda route: route.abort())
    page.goto(visit.daemon.url)
    expect(page.get_by_role("heading", name="The projects could not be loaded")).to_be_visible()
    look(page, "unreachable")
    visit.excuse("ERR_FAILED")


def test_the_api_pages(visitor: Visitor) -> None:
    page = visitor(user=None).open("/docs")
    expect(page.get_by_role("heading", name="Start an export")).to_be_visible()
    look(page, "docs")
    page.goto(page.url + "#export-progress")
    look(page, "docs-events", judge=False)  # of the page that was judged just before
