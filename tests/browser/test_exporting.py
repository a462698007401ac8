"""Somebody opens the page, exports, watches, changes their mind, downloads."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import zipfile
from typing import Any

import pytest
from browsing import AT_WORK, FILM, STAGES, Daemon, Lab, Visitor, begin, cancel, card, expect, open_dialog, start, state

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def test_the_login_link_opens_the_page_once(daemon: Daemon, visitor: Visitor) -> None:
    visit = visitor(user=None)
    page = visit.context.new_page()
    page.goto(daemon.login_link)
    assert page.url == f"{daemon.url}/"
    expect(page.get_by_role("button", name="Export Sample: nuclei")).to_be_visible()
    expect(page.locator("#link")).to_have_attribute("data-mode", "live")
    assert visit.context.request.get(daemon.login_link).status == 401


def test_an_export_is_estimated_started_watched_and_downloaded(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    page = visitor(accept_downloads=True).open()
    dialog = open_dialog(page, "Wound healing, plate 7")
    expect(dialog.locator(".estimate")).to_contain_text("3 images")
    dialog.get_by_role("button", name="Not now").click()
    job = start(page, "Wound healing, plate 7")
    state(page, job, "completed")
    made = card(page, job)
    with page.expect_download() as saved:
        made.get_by_role("link", name="Download").click()
    assert saved.value.suggested_filename == "Wound healing, plate 7.zip"
    assert "token=" in saved.value.url
    content = saved.value.path().read_bytes()
    with daemon.client(lab.alice) as client:
        assert client.get(f"/api/projects/{lab.small}/export/{job}/download").content == content
    made.get_by_role("button", name="Details").click()
    expect(made.locator(".sum code")).to_have_text(hashlib.sha256(content).hexdigest())
    expect(made.locator(".line")).to_contain_text(re.compile(r"kB · kept until"))
    expect(made.locator(".holds")).to_have_text("Originals, COCO, Excel metrics, Documentation")
    expect(made.locator(".timeline li")).to_have_count(3)
    expect(made.locator(".timeline li").first).to_contain_text("by you")
    expect(made.locator(".timeline")).to_contain_text(re.compile("Asked for.*Began to work.*Completed", re.DOTALL))


WATCH = """
window.seen = [];
const look = () => {
  const card = document.querySelector(".card.active[data-job]");
  if (card) window.seen.push([...card.querySelectorAll("[role=progressbar]")].map((bar) => Number(bar.ariaValueNow)));
};
window.shift = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  window.shift += entry.hadRecentInput ? 0 : entry.value;
})).observe({ type: "layout-shift" });
new MutationObserver(look).observe(document.getElementById("exports"), { subtree: true, attributes: true, childList: true });
"""


def test_every_bar_only_goes_forward(visitor: Visitor) -> None:
    page = visitor().open()
    page.evaluate(WATCH)
    job = start(page, FILM, everything=True)
    expect(card(page, job).locator(".stages .label")).to_have_text(STAGES)
    page.evaluate("window.shift = 0")
    expect(card(page, job).locator(".pace")).to_contain_text("a second", timeout=AT_WORK)
    expect(card(page, job).locator(".percent")).to_have_text(re.compile(r"^[2-9]\d %"), timeout=AT_WORK)
    assert page.evaluate("window.shift") < 0.001, "nothing moves but the bars"
    cancel(page, job)
    seen = page.evaluate("window.seen")
    assert len({tuple(values) for values in seen}) > 10
    for before, after in itertools.pairwise(seen):
        assert all(a <= b for a, b in zip(before, after, strict=True))
    assert len(page.locator("#announcer p").all()) <= 3


def test_a_cancel_in_mid_flight_is_the_end_in_every_tab(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    visit = visitor()
    first, second = visit.open(), visit.open()
    job = start(first, FILM, everything=True)
    expect(card(second, job).locator(".percent")).to_have_text(re.compile(r"^[1-9]\d? %"))
    with first.expect_response(re.compile("/cancel$")) as answer:
        card(first, job).get_by_role("button", name="Cancel").click()
    assert answer.value.json()["cleanupCompleted"] is True
    for page in (first, second):
        state(page, job, "cancelled")
        expect(card(page, job).locator(".line")).to_have_text("Nothing of it is left, and nothing can be downloaded.")
        expect(card(page, job).get_by_role("link")).to_have_count(0)
        expect(page.locator(".toast")).to_have_count(1)
        expect(page.locator(".toast")).to_have_text("The export of Time lapse, 200 frames was cancelled")
    assert first.evaluate("document.activeElement.closest('.card')?.dataset.job") == job
    with daemon.client(lab.alice) as client:
        assert client.get(f"/api/projects/{lab.film}/export/{job}/download").status_code == 410
    later = start(second, "Wound healing, plate 7")  # whatever may still come of the first has come when this is done
    for page in (first, second):
        state(page, later, "completed")
        state(page, job, "cancelled")


def test_a_cancel_that_comes_too_late_says_so(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    """The button is pressed at 40 %; the cancel is sent on when the export is completed."""
    visit = visitor()
    page = visit.open()

    def wait(route: Any) -> None:
        with daemon.client(lab.alice) as client:
            while client.get(route.request.url.replace("/cancel", "/status")).json()["status"] == "processing":
                pass
        route.continue_()

    page.route("**/cancel", wait)
    job = start(page, "Sample: nuclei", everything=True)
    card(page, job).get_by_role("button", name="Cancel").click()
    state(page, job, "completed")
    expect(card(page, job).locator(".line")).to_have_text(
        "It was completed before the cancel came; the archive is there."
    )
    expect(card(page, job).get_by_role("link", name="Download")).to_be_visible()
    visit.excuse("409")


def test_a_reload_in_mid_export_goes_on_where_it_was(visitor: Visitor) -> None:
    page = visitor().open()
    job = start(page, FILM, everything=True)
    percent = card(page, job).locator(".percent")
    expect(percent).to_have_text(re.compile(r"^[1-9]\d? %"))
    before = int(percent.inner_text().removesuffix(" %"))
    page.reload()
    assert int(percent.inner_text().removesuffix(" %")) >= before
    expect(card(page, job).locator(".pace")).to_contain_text("a second", timeout=AT_WORK)
    expect(card(page, job).locator(".stages .label")).to_have_text(STAGES)
    cancel(page, job)


def test_an_event_before_anything_else_is_known_of_an_export_does_not_mix_up_its_stages(visitor: Visitor) -> None:
    """The list of exports is held back until the line has told of the one at work."""
    visit = visitor()
    first = visit.open()
    job = start(first, FILM, everything=True)
    expect(card(first, job).locator(".percent")).to_have_text(re.compile(r"^[1-9]\d? %"))
    second = visit.context.new_page()
    held: list[Any] = []
    is_told = False
    second.route(
        re.compile("/api/exports$|/status$"), lambda route: route.continue_() if is_told else held.append(route)
    )
    second.goto(visit.daemon.url)
    expect(card(second, job)).to_be_visible()
    is_told = True
    for route in held:
        route.continue_()
    expect(card(second, job).locator(".stages .label")).to_have_text(STAGES)
    cancel(first, job)


def test_all_that_are_found_can_be_chosen_though_not_all_are_drawn(lab: Lab, visitor: Visitor) -> None:
    page = visitor().open()
    dialog = open_dialog(page, "Screen, 250 wells")
    dialog.get_by_text("Only some").click()
    expect(dialog.locator(".thumb")).to_have_count(100)
    dialog.get_by_role("button", name="Choose all 250").click()
    expect(dialog.locator(".tally")).to_have_text("250 of 250 chosen")
    dialog.get_by_role("button", name="Choose none").click()
    dialog.get_by_label("Search images").fill("well_2")
    dialog.get_by_role("button", name="Choose all 50 found").click()
    expect(dialog.locator(".tally")).to_have_text("50 of 250 chosen")
    dialog.get_by_label("Search images").fill("")
    dialog.get_by_role("button", name="Show more (150 left)").click()
    dialog.get_by_role("button", name="Show more (50 left)").click()
    expect(dialog.locator(".thumb")).to_have_count(250)
    expect(dialog.locator(".thumb :checked")).to_have_count(50)
    expect(dialog.locator(".estimate")).to_contain_text("50 images")


def test_return_in_the_search_for_images_starts_nothing(visitor: Visitor) -> None:
    page = visitor().open()
    dialog = open_dialog(page, "Sample: nuclei")
    dialog.get_by_text("Only some").click()
    dialog.get_by_role("checkbox", name="nuclei_002.png").check(force=True)
    expect(dialog.locator(".estimate")).to_contain_text("1 image")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    dialog.get_by_label("Search images").fill("nuclei_003")
    dialog.get_by_label("Search images").press("Enter")
    expect(dialog.locator(".thumb")).to_have_count(1)
    assert [url for url in asked if url.endswith("/export")] == []
    expect(dialog).to_be_visible()


def test_a_scale_is_remembered_for_its_project_alone(visitor: Visitor) -> None:
    page = visitor().open()
    dialog = open_dialog(page, "Wound healing, plate 7")
    dialog.get_by_label("Micrometres per pixel").fill("0.325")
    job = begin(page)
    state(page, job, "completed")
    expect(open_dialog(page, "Sample: nuclei").get_by_label("Micrometres per pixel")).to_have_value("")
    page.keyboard.press("Escape")
    expect(open_dialog(page, "Wound healing, plate 7").get_by_label("Micrometres per pixel")).to_have_value("0.325")


def test_a_start_takes_nobodys_focus_away(visitor: Visitor) -> None:
    """Who has moved on while the page asks for the new export stays where they are."""
    page = visitor().open()
    held: list[Any] = []
    page.route("**/status", lambda route: held.append(route))  # noqa: PLW0108 - as below
    with page.expect_request("**/status"):
        job = start(page, FILM, everything=True)
    page.get_by_label("Search projects").focus()
    with page.expect_response("**/status"):
        held.pop().continue_()
    page.wait_for_timeout(200)  # for what the page does with the answer
    expect(page.get_by_label("Search projects")).to_be_focused()
    cancel(page, job)


def test_a_cancel_takes_nobodys_focus_away(visitor: Visitor) -> None:
    page = visitor().open()
    held: list[Any] = []
    page.route("**/cancel", lambda route: held.append(route))  # noqa: PLW0108 - Playwright notes on it, built-ins do not let it
    job = start(page, FILM, everything=True)
    with page.expect_request("**/cancel"):
        card(page, job).get_by_role("button", name="Cancel").click()
    page.get_by_label("Search projects").focus()
    held.pop().continue_()
    expect(page.locator(".toast")).to_be_visible()
    page.evaluate("new Promise((done) => setTimeout(done))")  # what the page does next has been done
    expect(page.get_by_label("Search projects")).to_be_focused()


def test_a_long_history_is_drawn_step_by_step(visitor: Visitor) -> None:
    """As the daemon would tell of it: 200 exports that have ended, the most that it tells of."""
    page = visitor().open()
    job = start(page, "Wound healing, plate 7")
    state(page, job, "completed")

    def many(route: Any) -> None:
        (one,) = [made for made in route.fetch().json() if made["id"] == job]
        times = [f"2026-01-31T12:{number // 60:02}:{number % 60:02}.000Z" for number in range(199)]
        copies = [one | {"id": f"{n:08}{job[8:]}", "createdAt": time} for n, time in enumerate(times)]
        route.fulfill(json=[one, *reversed(copies)])

    page.route("**/api/exports", many)
    page.reload()
    cards = page.locator(".ended .card")
    expect(cards).to_have_count(20)
    expect(page.locator(".most")).to_have_text("Only the newest 200 are listed here.")
    page.get_by_role("button", name="Show more (180 left)").click()
    expect(cards).to_have_count(40)
    expect(cards.nth(20).locator("h3")).to_be_focused()


def test_only_chosen_images_are_exported_and_each_has_its_picture(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    page = visitor().open()
    dialog = open_dialog(page, "Sample: nuclei")
    dialog.get_by_text("Only some").click()
    expect(dialog.locator(".thumb")).to_have_count(40)
    expect(dialog.locator(".remarks")).to_have_text("Choose at least one image.")
    expect(dialog.locator(".thumb img").first).to_have_js_property("naturalWidth", 256)
    for name in ("nuclei_002.png", "nuclei_003.png"):
        dialog.get_by_role("checkbox", name=name).check(force=True)
    expect(dialog.locator(".tally")).to_have_text("2 of 40 chosen")
    expect(dialog.locator(".estimate")).to_contain_text("2 images")
    with page.expect_response(lambda answer: answer.url.endswith("/export")) as answer:
        dialog.get_by_role("button", name="Start export").click()
    job = answer.value.json()["jobId"]
    state(page, job, "completed")
    with daemon.client(lab.alice) as client:
        archive = client.get(f"/api/projects/{lab.nuclei}/export/{job}/download").content
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert [name for name in names if name.startswith("images/")] == ["images/nuclei_002.png", "images/nuclei_003.png"]


def test_choices_come_from_the_table_of_formats_and_are_remembered(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    page = visitor().open()
    with daemon.client(lab.alice) as client:
        formats = client.get("/api/export/formats").json()
    dialog = open_dialog(page, "Sample: nuclei")
    for table in formats.values():
        for row in table:
            expect(dialog.locator(".choice", has_text=row["description"])).to_contain_text(row["name"])
    for box in dialog.locator(".choices > .choice input").all():
        box.uncheck()
    expect(dialog.locator(".remarks")).to_have_text("Choose something to export.")
    expect(dialog.get_by_role("button", name="Start export")).to_have_attribute("aria-disabled", "true")
    dialog.get_by_label("Overlays").check()
    dialog.get_by_label("Line, pixels").fill("3.5")
    dialog.get_by_role("checkbox", name="GeoJSON").check()
    expect(dialog.locator(".estimate")).to_contain_text("40 images")
    with page.expect_request(lambda request: request.url.endswith("/export")) as sent:
        dialog.get_by_role("button", name="Start export").click()
    options = json.loads(sent.value.post_data or "")["options"]
    assert (options["annotationFormats"], options["includeVisualizations"]) == (["geojson"], True)
    assert options["visualizationOptions"]["strokeWidth"] == 3.5
    expect(dialog).to_be_hidden()
    page.reload()
    dialog = open_dialog(page, "Sample: nuclei")
    expect(dialog.get_by_role("checkbox", name="GeoJSON")).to_be_checked()
    expect(dialog.get_by_role("checkbox", name="COCO")).not_to_be_checked()
    expect(dialog.get_by_label("Line, pixels")).to_have_value("3.5")
    dialog.get_by_role("button", name="Not now").click()
    expect(page.locator(".card.active")).to_have_count(0)


def test_a_value_that_cannot_be_is_told_beside_the_button(visitor: Visitor) -> None:
    page = visitor().open()
    dialog = open_dialog(page, "Sample: nuclei")
    dialog.get_by_label("Micrometres per pixel").fill("2000")
    expect(dialog.locator(".remarks")).to_contain_text("Micrometres per pixel")
    expect(dialog.get_by_role("button", name="Start export")).to_have_attribute("aria-disabled", "true")


def test_warnings_and_failures_are_spelled_out(visitor: Visitor) -> None:
    page = visitor().open()
    job = start(page, "Spheroids, day 12 (control)")
    state(page, job, "completed")
    card(page, job).get_by_text("3 warnings").click()
    expect(card(page, job).locator(".warnings li").first).to_have_text(
        re.compile(r"^\d.png was left out: the file is missing")
    )
    job = start(page, "Microscope failure")
    state(page, job, "failed")
    expect(card(page, job).locator(".line")).to_contain_text("None of the 2 images can be exported")
    card(page, job).get_by_role("button", name="Export again").click()
    expect(page.get_by_role("dialog").locator(".subject")).to_have_text("Microscope failure")


def test_a_project_is_found_by_its_name_and_by_its_owner(visitor: Visitor) -> None:
    page = visitor().open()
    rows = page.locator("#projects .row[data-project]")
    expect(rows).to_have_count(7)
    page.get_by_label("Search projects").fill("wound")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("3 images · Yours")
    page.get_by_label("Search projects").fill("bob@")
    expect(rows).to_contain_text("Shared by bob@example.org")
    page.get_by_label("Search projects").fill("nothing like it")
    expect(page.get_by_role("heading", name="No project matches")).to_be_visible()


def test_the_history_of_a_project_has_everybodys_exports(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    with daemon.client(lab.bob) as client:
        order = {"options": {"annotationFormats": ["coco"]}}
        job = client.post(f"/api/projects/{lab.shared}/export", json=order).json()["jobId"]
    page = visitor().open()
    expect(page.locator("#exports .skeleton")).to_have_count(0)
    expect(card(page, job)).to_have_count(0)
    page.get_by_role("button", name="Tubulin dynamics").first.click()
    state(page, job, "completed")
    card(page, job).get_by_role("button", name="Details").click()
    expect(card(page, job).locator(".timeline li").first).to_contain_text("by who started it")
    page.reload()
    state(page, job, "completed")
    page.get_by_role("button", name="Show mine of all projects").click()
    expect(card(page, job)).to_have_count(0)


def test_what_is_removed_in_one_tab_is_gone_in_the_other(visitor: Visitor) -> None:
    visit = visitor()
    first, second = visit.open(), visit.open()
    job = start(first, "Wound healing, plate 7")
    state(second, job, "completed")
    card(first, job).get_by_role("button", name="Remove").click()
    first.get_by_role("dialog").get_by_role("button", name="Remove").click()
    for page in (first, second):
        expect(card(page, job)).to_have_count(0)


def test_a_strangers_project_is_not_there(lab: Lab, visitor: Visitor) -> None:
    visit = visitor(lab.carol)
    page = visit.open(f"/#{lab.nuclei}")
    expect(page.get_by_role("heading", name="No projects yet")).to_be_visible()
    expect(page.locator("#exports .note")).to_contain_text("There is no such project, or you have no access to it.")
    expect(page.locator("body")).not_to_contain_text("nuclei")
    visit.excuse("404")


def test_who_is_not_known_is_told_how_to_log_in(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    visit = visitor(user=None)
    page = visit.open()
    expect(page.get_by_role("heading", name="Log in to exportd")).to_be_visible()
    expect(page.locator("#projects")).to_be_hidden()
    visit.context.add_cookies([{"name": "access_token", "value": daemon.token(lab.alice), "url": daemon.url}])
    expect(page.get_by_role("button", name="Export Sample: nuclei")).to_be_visible()
    visit.excuse("401|no valid credentials")


def test_the_keyboard_is_enough(visitor: Visitor) -> None:
    page = visitor().open()
    expect(page.get_by_role("button", name=f"Export {FILM}")).to_be_visible()

    def press_until(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            here = page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent")
            if name in here:
                return
        pytest.fail(f"{name} is not reached")

    press_until(f"Export {FILM}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").locator(".estimate")).to_contain_text("200 images")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert f"Export {FILM}" in page.evaluate("document.activeElement.ariaLabel"), "the focus is back where it was"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").locator(".estimate")).to_contain_text("200 images")
    press_until("Overlays")  # the label of a checkbox is not its text: it is reached by what stands around it
    page.keyboard.press("Space")
    press_until("Start export")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".card.active h3")).to_be_focused()
    press_until("Cancel the export")
    page.keyboard.press("Enter")
    expect(page.locator(".card.over h3").first).to_be_focused()
