"""Who may what: every call, asked by everybody over HTTP of a real daemon, and answered as SPEC §3 says.

The answers that came are printed at the end of the run, whether or not it passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from cast import CALLERS, SLOW, UNKNOWN, WITHOUT_ACCESS, Cast, performing
from conftest import World, make_world

from exportd.jobs.service import open_service
from exportd.tokens import Tickets, load_secret
from exportd.web.app import create_app
from exportd.web.auth import Auth
from exportd.web.problems import status_of_code
from exportd.web.routes import ROUTES
from exportd.web.socketio.engine import open_engine

PROJECT = "/api/projects/{project}"
POLLING, WEBSOCKET = "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket"

LEGEND = (
    "P is a project, X one that is not there. {lost} is a job of the one who is revoked now, {none} no job; the others are "
    "those of the job's user: {done} and {fresh} completed, {ended} cancelled. LINK-OF-… is a download by the link's token."
)
TABLE = """
call                                    nobody  bad token  stranger  pending  revoked  accepted  job's user  owner

GET    /                                   200        200       200      200      200       200         200    200
GET    /static/app.js                      200        200       200      200      200       200         200    200
GET    /login                              401        401       401      401      401       401         401    401
HEAD   /login                              200        200       200      200      200       200         200    200
GET    /healthz                            200        200       200      200      200       200         200    200
GET    /readyz                             200        200       200      200      200       200         200    200
GET    /metrics                            200        200       200      200      200       200         200    200
GET    /openapi.json                       200        200       200      200      200       200         200    200
GET    /docs                               200        200       200      200      200       200         200    200
GET    /nowhere                            404        404       404      404      404       404         404    404

GET    /api/export/formats                 401        401       200      200      200       200         200    200
GET    /api/projects                       401        401       200      200      200       200         200    200
GET    /api/exports                        401        401       200      200      200       200         200    200
GET    /api/exports/events                 401        401       200      200      200       200         200    200
GET    /api/exports/events?jobId={done}    401        401       200      200      200       200         200    200
WS     /ws                                 401        401       101      101      101       101         101    101
GET    SOCKETIO-POLLING                    200        200       200      200      200       200         200    200
POST   SOCKETIO-POLLING                    400        400       400      400      400       400         400    400
WS     SOCKETIO-WEBSOCKET                  101        101       101      101      101       101         101    101

POST   P/export                            401        401       403      403      403       200         200    200
POST   P/export/estimate                   401        401       403      403      403       200         200    200
GET    P/export/history                    401        401       404      404      404       200         200    200
GET    P/images                            401        401       404      404      404       200         200    200
GET    P/images/{image}/thumbnail          401        401       404      404      404       200         200    200
POST   X/export                            401        401       403      403      403       403         403    403
POST   X/export/estimate                   401        401       403      403      403       403         403    403
GET    X/export/history                    401        401       404      404      404       404         404    404
GET    X/images                            401        401       404      404      404       404         404    404
GET    X/images/{image}/thumbnail          401        401       404      404      404       404         404    404

GET    P/export/{done}/status              401        401       404      404      404       200         200    200
GET    P/export/{done}/audit               401        401       404      404      404       200         200    200
GET    P/export/{done}/download            401        401       404      404      404       200         200    200
POST   P/export/{done}/download-token      401        401       404      404      404       200         200    200
POST   P/export/{done}/cancel              401        401       404      404      404       403         409    409
DELETE P/export/{fresh}                    401        401       404      404      404       403         204    204

GET    P/export/{active}/status            401        401       404      404      404       200         200    200
GET    P/export/{active}/audit             401        401       404      404      404       200         200    200
GET    P/export/{active}/download          401        401       404      404      404       409         409    409
POST   P/export/{active}/download-token    401        401       404      404      404       409         409    409
DELETE P/export/{active}                   401        401       404      404      404       403         409    409
POST   P/export/{active}/cancel            401        401       404      404      404       403         200    200

GET    P/export/{ended}/status             401        401       404      404      404       200         200    200
GET    P/export/{ended}/download           401        401       404      404      404       410         410    410
POST   P/export/{ended}/download-token     401        401       404      404      404       410         410    410
POST   P/export/{ended}/cancel             401        401       404      404      404       403         200    200

GET    P/export/{lost}/status              401        401       404      404      404       200         200    200
GET    P/export/{lost}/audit               401        401       404      404      404       200         200    200
GET    P/export/{lost}/download            401        401       404      404      404       200         200    200
POST   P/export/{lost}/download-token      401        401       404      404      404       200         200    200
POST   P/export/{lost}/cancel              401        401       404      404      404       403         403    409
DELETE P/export/{lost}                     401        401       404      404      404       403         403    204

GET    P/export/{none}/status              401        401       404      404      404       404         404    404
GET    P/export/{none}/audit               401        401       404      404      404       404         404    404
GET    P/export/{none}/download            401        401       404      404      404       404         404    404
POST   P/export/{none}/download-token      401        401       404      404      404       404         404    404
POST   P/export/{none}/cancel              401        401       404      404      404       404         404    404
DELETE P/export/{none}                     401        401       404      404      404       404         404    404
GET    X/export/{done}/status              401        401       404      404      404       404         404    404
GET    X/export/{done}/audit               401        401       404      404      404       404         404    404
GET    X/export/{done}/download            401        401       404      404      404       404         404    404
POST   X/export/{done}/download-token      401        401       404      404      404       404         404    404
POST   X/export/{done}/cancel              401        401       404      404      404       404         404    404
DELETE X/export/{done}                     401        401       404      404      404       404         404    404

GET    LINK-OF-USER                        200        200       200      200      200       200         200    200
GET    LINK-OF-REVOKED                     404        404       404      404      404       404         404    404
GET    LINK-OF-STRANGER                    404        404       404      404      404       404         404    404
GET    LINK-OF-ANOTHER-JOB                 401        401       401      401      401       401         401    401
"""

OTHER_HEADS = {"/login", "SOCKETIO-POLLING"}
"""The one leaves the ticket as it is, the other opens no session."""
BODIES = {"export": {"options": SLOW}, "export/estimate": {"options": SLOW}}


@dataclass
class Stage:
    """The cast, and the jobs that the table names."""

    cast: Cast
    image: str
    jobs: dict[str, str] = field(default_factory=dict)

    def job(self, name: str) -> str:
        """The job of this name, made again when the last call has ended it."""
        if name == "none":
            return UNKNOWN
        wanted = {"ended": "cancelled", "active": "processing"}.get(name, "completed")
        if name not in self.jobs or self._status(self.jobs[name]) != wanted:
            made = {"ended": self.cast.cancelled, "active": self._active}.get(name, self.cast.finished)
            self.jobs[name] = self.cast.lost() if name == "lost" else made("job's user")
        return self.jobs[name]

    def _active(self, who: str) -> str:
        job = self.cast.started(who, SLOW)
        self.cast.daemon.wait(job, "processing")
        return job

    def _status(self, job: str) -> str:
        found = self.cast.ask("owner", "GET", f"{self.cast.daemon.base}/{job}/status").json()
        return str(found.get("status"))

    def address(self, path: str) -> str:
        """What a row of the table asks for."""
        known = f"/api/projects/{self.cast.world.project_id}"
        path = re.sub(r"^P/", f"{known}/", path)
        path = re.sub(r"^X/", f"/api/projects/{UNKNOWN}/", path)
        path = path.replace("SOCKETIO-POLLING", POLLING).replace("SOCKETIO-WEBSOCKET", WEBSOCKET)
        if path.startswith("LINK-OF-"):
            path = self._link(path.removeprefix("LINK-OF-"))
        return re.sub(r"{(\w+)}", lambda name: self.image if name[1] == "image" else self.job(name[1]), path)

    def _link(self, whose: str) -> str:
        done, lost = self.job("done"), self.job("lost")
        tokens = {
            "USER": lambda: self.cast.link("job's user", done),
            "REVOKED": lambda: self.cast.link("revoked", done),
            "STRANGER": lambda: self.cast.link("stranger", done),
            "ANOTHER-JOB": lambda: self.cast.link("job's user", lost),
        }
        return f"{self.cast.daemon.base}/{done}/download?token={tokens[whose]()}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    world = make_world(tmp_path_factory.mktemp("access") / "data", 40)
    with performing(world, max_running_jobs="2") as cast:
        image = cast.ask("owner", "GET", f"/api/projects/{world.project_id}/images").json()["images"][0]["id"]
        yield Stage(cast, image)


@dataclass(frozen=True)
class Row:
    """A call, and the answer for each of the callers."""

    method: str
    path: str
    answers: tuple[str, ...]


def rows() -> list[Row]:
    found = []
    for text in TABLE.strip().splitlines()[1:]:
        if text:
            method, path, *answers = text.split()
            found.append(Row(method, path, tuple(answers)))
    return found


def line(title: str, cells: Iterable[str]) -> str:
    columns = zip(cells, CALLERS, strict=False)
    return f"{title:40}{''.join(cell.rjust(max(len(name), 7) + 2) for cell, name in columns)}"


@contextmanager
def told(record_property: Callable[[str, object], None], row: Row, came: list[str]) -> Iterator[None]:
    """Adds the row to what the run prints, whatever comes of it."""
    try:
        yield
    finally:
        if row == rows()[0]:
            record_property("who may what", LEGEND)
            record_property("who may what", line("call", CALLERS))
        record_property("who may what", line(f"{row.method:6} {row.path}", came))


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.method} {row.path}")
def test_everybody_is_answered_as_the_table_says(
    stage: Stage, row: Row, record_property: Callable[[str, object], None]
) -> None:
    came: list[str] = []
    with told(record_property, row, came):
        came.extend(_asked(stage, row, who) for who in CALLERS)
    assert tuple(came) == row.answers, dict(zip(CALLERS, zip(came, row.answers, strict=True), strict=True))


def _asked(stage: Stage, row: Row, who: str) -> str:
    path = stage.address(row.path)
    if row.method == "WS":
        return str(stage.cast.shake_hands(who, path))
    body = BODIES.get(row.path.partition("/")[2]) if row.method == "POST" else None
    answer = stage.cast.ask(who, row.method, path, json=body)
    if row.method == "GET" and row.path not in OTHER_HEADS:
        assert stage.cast.ask(who, "HEAD", path).status_code == answer.status_code
    if row.path.endswith("/export") and answer.status_code == 200:
        stage.cast.tidy(answer.json()["jobId"])
    if answer.status_code in {401, 403, 404}:
        assert set(answer.json()) == {"success", "error", "code"}, "not a hint of what there is"
        assert status_of_code(answer.json()["code"]) == answer.status_code
    return str(answer.status_code)


async def test_the_table_has_every_call_that_there_is(world: World) -> None:
    """By the application's own map of addresses: what is added to it has to be added to the table."""
    auth = Auth(load_secret(world.settings), world.settings)

    async def nobody() -> None:
        return None

    async with open_service(world.settings) as service, open_engine(service, auth) as engine:
        app = create_app(service, world.settings, load_secret(world.settings), Tickets(), nobody, engine)
        there = {
            ("WS" if rule.websocket else method, re.sub(r"<\w+>", "*", rule.rule))
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }
    asked = {(row.method, _rule(row.path)) for row in rows()} - {("GET", "/nowhere"), ("HEAD", "/login")}
    assert asked == there
    described = {(r.method, re.sub(r"{\w+}", "*", r.path)) for r in ROUTES if r.method != "HEAD"}
    assert described <= there


def _rule(path: str) -> str:
    path = re.sub(r"LINK-OF-.*", "P/export/{done}/download", path)
    path = re.sub(r"SOCKETIO-\w+", "/socket.io/", path).partition("?")[0]
    path = re.sub(r"^[PX]/", "/api/projects/{project}/", path).replace("/static/app.js", "/static/{name}")
    return re.sub(r"{\w+}", "*", path)


def test_lists_show_what_the_caller_has_access_to_and_nothing_else(stage: Stage) -> None:
    project, done, lost = stage.cast.world.project_id, stage.job("done"), stage.job("lost")
    for who in CALLERS[2:]:
        projects = [p["id"] for p in stage.cast.ask(who, "GET", "/api/projects").json()]
        assert projects == ([] if who in WITHOUT_ACCESS else [project])
        jobs = {job["id"] for job in stage.cast.ask(who, "GET", "/api/exports").json()}
        assert (done in jobs) == (who == "job's user")
        assert lost not in jobs, "its user has lost access, and it is nobody else's"
