"""The line between page and daemon breaks, or is not to be had; the daemon stops; time takes archives away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import (
    AT_WORK,
    FILM,
    Daemon,
    Lab,
    Visitor,
    card,
    expect,
    look,
    open_dialog,
    serving,
    standing_still,
    start,
    state,
    stop,
)

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


class Line:
    """The page's line to the daemon: it can be cut, and then nothing that could replace it gets through."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.said: list[dict[str, Any]] = []
        self.heard: list[dict[str, Any]] = []
        self._open: list[tuple[Any, Any]] = []
        self._is_cut = False
        page.route_web_socket(re.compile("/ws$"), self._route)
        page.route("**/api/exports*", lambda route: route.abort() if self._is_cut else route.continue_())

    def _route(self, socket: Any) -> None:
        if self._is_cut:
            socket.close()
            return
        server = socket.connect_to_server()
        ends = (socket, server)
        self._open.append(ends)

        def say(message: str) -> None:
            self.said.append(json.loads(message))
            server.send(message)

        def hear(message: str) -> None:
            if ends in self._open:  # what was on its way when the line was cut has not arrived
                self.heard.append(json.loads(message))
                socket.send(message)

        socket.on_message(say)
        server.on_message(hear)

    def cut(self) -> None:
        self._is_cut = True
        while self._open:
            for end in self._open.pop():
                end.close()

    def mend(self) -> None:
        """Between two attempts of the page: in the midst of one it would be the next best way that gets through."""
        with self._page.expect_event("requestfailed", lambda request: request.url.endswith("/api/exports")):
            pass
        self._is_cut = False


def mode(page: Any, expected: str) -> None:
    expect(page.locator("#link")).to_have_attribute("data-mode", expected)


def numbers(frames: list[dict[str, Any]], job: str) -> list[int]:
    return [frame["seq"] for frame in frames if frame.get("data", {}).get("jobId") == job]


def test_a_lost_connection_is_shown_and_healed_without_gap_or_repetition(visitor: Visitor) -> None:
    visit = visitor()
    page = visit.context.new_page()
    line = Line(page)
    page.goto(visit.daemon.url)
    mode(page, "live")
    job = start(page, FILM, everything=True)
    expect(card(page, job).locator(".percent")).to_have_text(re.compile(r"^[1-9]\d? %"))
    line.cut()
    mode(page, "lost")
    expect(page.locator("#banner")).to_contain_text("The connection to exportd is lost")
    before = numbers(line.heard, job)
    look(page, "lost")
    line.heard.clear()
    line.mend()
    page.get_by_role("button", name="Try now").click()
    mode(page, "live")
    expect(page.locator("#banner")).to_be_hidden()
    card(page, job).get_by_role("button", name="Cancel").click()
    state(page, job, "cancelled")
    asked = [said["since"] for said in line.said if said.get("jobId") == job]
    assert asked == [before[-1]]
    after = numbers(line.heard, job)
    told_again = after[after.index(before[-1] + 1) :]  # what happens before the daemon has read the wish comes first
    assert told_again == sorted(set(told_again))
    expect(page.locator(".toast")).to_have_count(1)
    expect(page.locator("#announcer")).to_contain_text("Connected again.")
    visit.excuse("ERR_FAILED|WebSocket")


def test_an_export_that_ends_while_the_line_is_cut_is_told_of_once(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    visit = visitor()
    page = visit.context.new_page()
    line = Line(page)
    page.goto(visit.daemon.url)
    mode(page, "live")
    job = start(page, "Microscope failure", everything=True)
    line.cut()
    mode(page, "lost")
    with daemon.client(lab.alice) as client:
        status = f"/api/projects/{lab.broken}/export/{job}/status"
        while client.get(status).json()["status"] in ("pending", "processing"):
            pass
    line.mend()
    page.get_by_role("button", name="Try now").click()
    state(page, job, "failed")
    mode(page, "live")
    expect(page.locator(".toast")).to_have_count(1)
    visit.excuse("ERR_FAILED|WebSocket")


@pytest.mark.parametrize(("blocked", "expected"), [(1, "stream"), (2, "polling")])
def test_without_websocket_there_are_other_ways(visitor: Visitor, blocked: int, expected: str) -> None:
    visit = visitor()
    page = visit.context.new_page()
    page.route_web_socket(re.compile("/ws$"), lambda socket: socket.close())
    if blocked == 2:
        page.route("**/api/exports/events", lambda route: route.abort())
    page.goto(visit.daemon.url)
    mode(page, expected)
    job = start(page, FILM, everything=True)
    expect(card(page, job).locator(".percent")).to_have_text(re.compile(r"^[1-9]\d? %"))
    expect(card(page, job).locator(".pace")).to_contain_text("a second", timeout=AT_WORK)
    card(page, job).get_by_role("button", name="Cancel").click()
    state(page, job, "cancelled")
    later = start(page, "Wound healing, plate 7")
    state(page, later, "completed")
    told = [re.compile("was cancelled$"), re.compile("has started.$"), re.compile("is completed$")]
    expect(page.locator("#announcer p")).to_have_text(told)
    visit.excuse("ERR_FAILED|WebSocket")


def test_an_export_that_is_over_at_the_first_look_is_told_of(daemon: Daemon, lab: Lab, visitor: Visitor) -> None:
    visit = visitor()
    page = visit.context.new_page()
    page.route_web_socket(re.compile("/ws$"), lambda socket: socket.close())
    page.route("**/api/exports/events", lambda route: route.abort())
    page.goto(visit.daemon.url)
    mode(page, "polling")
    held: list[Any] = []
    page.route(re.compile("/api/exports$|/status$"), lambda route: held.append(route))  # noqa: PLW0108 - as elsewhere
    dialog = open_dialog(page, "Wound healing, plate 7")
    with page.expect_response(lambda answer: answer.url.endswith("/export")) as answer:
        dialog.get_by_role("button", name="Start export").click()
    job = answer.value.json()["jobId"]
    with daemon.client(lab.alice) as client:
        status = f"/api/projects/{answer.value.url.split('/')[-2]}/export/{job}/status"
        while client.get(status).json()["status"] != "completed":
            pass
    page.unroute(re.compile("/api/exports$|/status$"))
    for route in held:
        route.continue_()
    state(page, job, "completed")
    expect(page.locator(".toast")).to_have_count(1)
    expect(page.locator(".toast")).to_contain_text("is completed")
    visit.excuse("ERR_FAILED|WebSocket")


def test_a_stream_that_falls_silent_is_taken_for_lost(lab: Lab, visitor: Visitor) -> None:
    with serving(lab.another()) as daemon:
        visit = visitor(where=daemon)
        page = visit.context.new_page()
        page.clock.install()
        page.route_web_socket(re.compile("/ws$"), lambda socket: socket.close())
        page.goto(daemon.url)
        mode(page, "stream")
        with standing_still(daemon):
            page.clock.run_for(45_000)
            mode(page, "lost")
        visit.context.close()
    visit.excuse("ERR_|WebSocket")


@pytest.fixture(scope="module")
def strict(lab: Lab) -> Iterator[Daemon]:
    """One export at a time, archives for a moment."""
    with serving(lab.another(), EXPORTD_ARCHIVE_TTL="1s") as running:
        yield running


def test_one_export_too_many_is_refused_in_the_dialog(strict: Daemon, visitor: Visitor) -> None:
    visit = visitor(where=strict)
    page = visit.open()
    job = start(page, FILM, everything=True)
    dialog = open_dialog(page, "Wound healing, plate 7")
    dialog.get_by_role("button", name="Start export").click()
    expect(dialog.locator(".remarks")).to_contain_text("wait for it to end or cancel it")
    look(page, "dialog-refused")
    dialog.get_by_role("button", name="Not now").click()
    card(page, job).get_by_role("button", name="Cancel").click()
    state(page, job, "cancelled")
    visit.excuse("429")


def test_an_archive_that_has_expired_is_said_to_be_gone(strict: Daemon, lab: Lab, visitor: Visitor) -> None:
    visit = visitor(where=strict)
    page = visit.open()
    job = start(page, "Wound healing, plate 7")
    state(page, job, "expired")
    with strict.client(lab.alice) as client:
        assert client.get(f"/api/projects/{lab.small}/export/{job}/download").status_code == 410
    expect(card(page, job).get_by_role("link", name="Download")).to_have_count(0)
    expect(card(page, job).locator(".line")).to_contain_text("and is gone")
    expect(card(page, job).get_by_role("button", name="Export again")).to_be_visible()
    look(page, "expired")


def test_a_daemon_that_drains_says_so_and_one_that_comes_back_is_found(lab: Lab, visitor: Visitor) -> None:
    settings = lab.another()
    with serving(settings) as first:
        visit = visitor(where=first)
        page = visit.open()
        mode(page, "live")
        job = start(page, FILM, everything=True)
        expect(card(page, job).locator(".percent")).to_have_text(re.compile(r"^[1-9]\d? %"))
        first.process.kill()
        first.process.wait()
        mode(page, "lost")
        with page.expect_event("requestfailed"):  # while nobody is there: later the page may be quicker than the click
            page.get_by_role("button", name="Try now").click()
    with serving(settings, port=int(urlsplit(first.url).port or 0)) as second:
        mode(page, "live")
        state(page, job, "failed")
        expect(card(page, job).locator(".line")).to_contain_text("stopped before the export was finished")
        expect(page.locator(".toast")).to_have_count(1)
        start(page, FILM, everything=True)
        stop(second)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator("#banner")).to_contain_text("exportd is stopping")
        expect(page.get_by_role("button", name=f"Export {FILM}")).to_have_attribute("aria-disabled", "true")
        look(page, "draining")
    visit.excuse("ERR_CONNECTION|WebSocket|503|ERR_")
