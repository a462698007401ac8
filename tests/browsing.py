"""A real browser over a real daemon: what the tests of the page need. Loaded as a plugin by conftest.py.

The browser lives as long as a module: while Playwright runs, its event loop is that of the thread, and nobody else's tests
should meet it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import World, write_tiny_project

from exportd.core.users import User
from exportd.settings import Settings
from exportd.store.embedded import EmbeddedCatalogue, ShareStatus
from exportd.store.importers import import_project
from exportd.tokens import load_secret, make_token

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request

CHROMIUM = shutil.which("chromium")
SHOTS = Path(__file__).resolve().parents[1] / "screenshots"
"""Not in the repository: made anew by every run, for people to look at."""

PATIENCE = 60
"""Seconds after which a process is taken to hang."""

FILM = "Time lapse, 200 frames"

STAGES = ["Annotations", "Metrics", "Overlays", "Originals", "Documentation", "Finishing"]

SOON = 20_000
"""Milliseconds after which something on the page is taken never to come."""

AT_WORK = 60_000
"""Milliseconds for what comes only when the daemon has worked for a while, which a busy machine lets take its time."""

WIDE, MIDDLE, NARROW = (1280, 860), (910, 860), (360, 740)


# --- the daemon -----------------------------------------------------------------------------------------------------


class Daemon:
    """`exportd serve` as a process."""

    def __init__(self, settings: Settings, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.settings, self.process, self.url, self.log = settings, process, url, log

    @property
    def login_link(self) -> str:
        found = re.search(r"log in: (\S+)", self.log.read_text())
        assert found
        return found[1]

    def token(self, user: User) -> str:
        return make_token(load_secret(self.settings), self.settings, user, 600)

    def client(self, user: User) -> httpx.Client:
        """The API, for what is not the page's to show."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=PATIENCE)


@contextmanager
def serving(settings: Settings, port: int = 0, **environment: str) -> Iterator[Daemon]:
    """A daemon over the data directory of `settings`; killed at the end."""
    where, log = settings.data / "daemon.json", settings.data.parent / f"serve-{time.monotonic_ns()}.log"
    where.unlink(missing_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EXPORTD_")}
    command = [sys.executable, "-m", "exportd", "serve", "--data", str(settings.data), "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=clean | environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + PATIENCE
        while not where.exists() or b"log in:" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
        yield Daemon(settings, process, json.loads(where.read_text())["url"], log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


# --- the projects ---------------------------------------------------------------------------------------------------


class Lab:
    """A data directory like a lab's: a large project, small ones, one with a missing image, one with none left."""

    def __init__(self, world: World, folder: Path) -> None:
        self.settings, self.alice, self.bob = world.settings, world.alice, world.bob
        self.nuclei = world.project_id
        self._folder, self._copies = folder, 0
        with EmbeddedCatalogue(self.settings.data) as embedded:
            self.carol = embedded.add_user("carol@example.org")
        self.film = self._film()
        self.small = self._project("Wound healing, plate 7", "wound", 3)
        self.gaps = self._project("Spheroids, day 12 (control)", "spheroid_invasive", 3, lost=1)
        self.broken = self._project("Microscope failure", "spheroid", 2, lost=2)
        self.plates = self._many("Screen, 250 wells", 250)
        self.shared = self._project("Tubulin dynamics — 微管", "microtubules", 2, owner="bob@example.org")
        with EmbeddedCatalogue(self.settings.data) as embedded:
            embedded.share(self.shared, self.alice.email, ShareStatus.ACCEPTED)

    def another(self) -> Settings:
        """The same data for a daemon, without what others have exported."""
        self._copies += 1
        data = self._folder / f"copy-{self._copies}"
        shutil.copytree(self.settings.data, data / "data")
        return self.settings.model_copy(update={"data": data / "data"})

    def _project(self, title: str, kind: str, images: int, lost: int = 0, owner: str = "alice@example.org") -> str:
        before = self._files()
        folder = self._folder / title
        folder.mkdir()
        made = import_project(self.settings, write_tiny_project(folder, images, kind), None, owner, title).project_id
        for file in sorted(self._files() - before)[:lost]:
            file.unlink()
        return made

    def _film(self, times: int = 5) -> str:
        """The large project so many times over, from the same files: what takes long enough to be met at work."""
        film = "5ab1e000-0000-4000-8000-0000000000f1"
        with closing(sqlite3.connect(self.settings.data / "catalogue.db")) as database, database:
            _again(database, "projects", f"id = '{self.nuclei}'", id=f"'{film}'", title=f"'{FILM}'")
            for time in range(times):
                changes = {"id": f"id || '-{time}'", "name": f"'t{time}_' || name"}
                _again(database, "images", f"projectId = '{self.nuclei}'", projectId=f"'{film}'", **changes)
                _again(database, "segmentations", "imageId NOT LIKE '%-_'", imageId=f"imageId || '-{time}'")
        return film

    def _many(self, title: str, images: int) -> str:
        """A project of more images than the page asks for at once, all from one file."""
        project = self._project(title, "spheroid", 1)
        with closing(sqlite3.connect(self.settings.data / "catalogue.db")) as database, database:
            ids = [row[0] for row in database.execute("SELECT id FROM images WHERE projectId = ?", [project])]
            for well in range(1, images):
                changes = {"id": f"id || '-{well}'", "name": f"'well_{well:03}.png'"}
                _again(database, "images", f"id = '{ids[0]}'", **changes)
        return project

    def _files(self) -> set[Path]:
        return {file for file in self.settings.uploads_directory.rglob("*") if file.is_file()}


def _again(database: sqlite3.Connection, table: str, which: str, **changes: str) -> None:
    """Rows once more, with these expressions for some of their columns."""
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changes.get(column, f'"{column}"') for column in columns)
    database.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE {which}")  # noqa: S608 - all of it is ours


@pytest.fixture(scope="session")
def lab(large: World, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(large.settings.data, folder / "data")
    settings = large.settings.model_copy(update={"data": folder / "data"})
    return Lab(replace(large, settings=settings), folder)


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with serving(lab.another(), EXPORTD_MAX_ACTIVE_JOBS_PER_USER="3") as running:
        yield running


# --- the browser ------------------------------------------------------------------------------------------------------


class Visit:
    """A browser of its own, with all that it complained of and asked."""

    def __init__(self, context: BrowserContext, daemon: Daemon) -> None:
        self.context, self.daemon = context, daemon
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self._excused: list[str] = []
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).netloc)

    def open(self, path: str = "/") -> Page:
        """A tab with the page, once it is up to date."""
        page = self.context.new_page()
        page.goto(self.daemon.url + path)
        return page

    def excuse(self, pattern: str) -> None:
        """Complaints that a test brings about itself: the browser reports every refused request, some of them late."""
        self._excused.append(pattern)

    @property
    def unexcused(self) -> list[str]:
        """What the browser complained of, and nobody has excused."""
        return [said for said in self.complaints if not any(re.search(pattern, said) for pattern in self._excused)]


Visitor = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: run scripts/setup")
    if CHROMIUM is None:
        pytest.skip("There is no Chromium here: scripts/test installs it where apt-get can")
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=SOON)
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def visitor(browser: Browser, daemon: Daemon, lab: Lab) -> Iterator[Visitor]:
    """Makes visits, logged in. At the end nothing must have been complained of, and no other host asked."""
    visits: list[Visit] = []

    def visit(user: User | None = lab.alice, where: Daemon = daemon, **options: Any) -> Visit:
        options = {"viewport": {"width": WIDE[0], "height": WIDE[1]}, "reduced_motion": "reduce"} | options
        context = browser.new_context(**options)
        context.set_default_timeout(SOON)
        if user is not None:
            context.add_cookies([{"name": "access_token", "value": where.token(user), "url": where.url}])
        visits.append(Visit(context, where))
        return visits[-1]

    yield visit
    for made in visits:
        made.context.close()
    assert [said for made in visits for said in made.unexcused] == []
    for made in visits:
        assert made.hosts <= {urlsplit(made.daemon.url).netloc}


@contextmanager
def standing_still(daemon: Daemon) -> Iterator[None]:
    """The process does nothing meanwhile: what moves can be looked at."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def stop(daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGTERM)


# --- what one does on the page -------------------------------------------------------------------------------------------


def expect(what: Any) -> Any:
    """Waits until it holds."""
    from playwright.sync_api import expect as of_playwright

    return of_playwright(what)


def open_dialog(page: Page, title: str) -> Locator:
    page.get_by_role("button", name=f"Export {title}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".estimate")).to_contain_text("object")
    return dialog


def start(page: Page, title: str, everything: bool = False) -> str:
    """Starts an export by the dialog; the id of its card."""
    dialog = open_dialog(page, title)
    if everything:
        for box in dialog.locator(".choices > .choice input").all():
            box.check()
    return begin(page)


def begin(page: Page) -> str:
    """Presses the button of the dialog; the id of the export's card."""
    dialog = page.get_by_role("dialog")
    with page.expect_response(lambda answer: answer.url.endswith("/export")) as answer:
        dialog.get_by_role("button", name="Start export").click()
    expect(dialog).to_be_hidden()
    return str(answer.value.json()["jobId"])


def cancel(page: Page, job: str) -> None:
    card(page, job).get_by_role("button", name="Cancel").click()
    state(page, job, "cancelled")


def card(page: Page, job: str) -> Locator:
    return page.locator(f'.card[data-job="{job}"]')


def state(page: Page, job: str, expected: str) -> None:
    expect(card(page, job)).to_have_attribute("data-state", expected)


# --- what one sees --------------------------------------------------------------------------------------------------


Colours = Literal["light", "dark"]

LOOKS: tuple[tuple[str, tuple[int, int], Colours, bool], ...] = (
    ("wide", WIDE, "light", False),
    ("wide", WIDE, "dark", True),
    ("middle", MIDDLE, "light", False),
    ("narrow", NARROW, "dark", False),
    ("narrow", NARROW, "light", True),
)
"""Name and size of the window, colours, and whether axe has a look, which takes longer than the picture."""


def look(page: Page, name: str, full: bool = False, judge: bool = True) -> None:
    """Screenshots in light and dark, from narrow to wide; axe must find nothing, and nothing may reach beyond the window."""
    found: list[str] = []
    SHOTS.mkdir(exist_ok=True)
    for size, (width, height), colours, judged in LOOKS:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")
        page.screenshot(path=SHOTS / f"{name}-{size}-{colours}.png", full_page=full)
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if beyond > 0:
            found.append(f"{size}: {beyond} pixels beyond the window")
        if judge and judged:
            found += [f"{size} {colours}: {fault}" for fault in _faults(page)]
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert found == [], name


def _faults(page: Page) -> Iterator[str]:
    """What axe-core calls moderate or worse."""
    from axe_playwright_python.sync_playwright import Axe

    for fault in Axe().run(page).response["violations"]:
        if fault["impact"] != "minor":
            for node in fault["nodes"]:
                yield f"{fault['id']} ({fault['impact']}): {node['target']} {node['failureSummary']}"
