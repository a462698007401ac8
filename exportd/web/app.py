"""The application: every view at its address, error answers, and the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import orjson
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from quart import Response, request
from quart_trio import QuartTrio

from exportd.core.users import User
from exportd.errors import InvalidToken, NotFound, NotReady
from exportd.jobs.service import Service
from exportd.settings import Settings
from exportd.tokens import Tickets, make_token
from exportd.web import docs, openapi, problems
from exportd.web.auth import COOKIE, Auth, comes_by_tls
from exportd.web.connection import Connection
from exportd.web.downloads import matches_weakly
from exportd.web.exports import Exports, View
from exportd.web.feed import Feeds
from exportd.web.routes import ROUTES
from exportd.web.socketio.engine import Engine
from exportd.web.socketio.views import PATH, SocketIO
from exportd.web.static import PAGE, Asset, assets

LoginUser = Callable[[], Awaitable[User | None]]

BODY_SECONDS = 30
"""For the body of a request to come. It has at most a megabyte; who takes longer only holds a connection."""

LOGIN_SECONDS = 12 * 3600
"""How long a login by ticket lasts."""

RETRY_FAILING = 30
"""Seconds after which what fails may work again."""


def create_app(
    service: Service,
    settings: Settings,
    secret: bytes,
    tickets: Tickets,
    login_user: LoginUser,
    engine: Engine | None = None,
) -> QuartTrio:
    """The application for one server. `login_user` gives whom a login ticket logs in; without an engine there is no
    Socket.IO."""
    app = QuartTrio("exportd", static_folder=None)
    app.asgi_http_class = Connection
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # an odd address is unknown, not redirected
    problems.register(app)
    auth = Auth(secret, settings)
    feeds = Feeds(service, auth)
    pages = _Pages(service, settings, secret, tickets, login_user)
    views = Exports(service, auth, secret).views() | pages.views() | {"stream_events": feeds.stream_events}
    _route(app, views)
    app.add_url_rule("/", "index", pages.index, methods=["GET"])
    app.add_url_rule("/login", "login", pages.login, methods=["GET"])
    app.add_url_rule("/static/<name>", "static_file", pages.static_file, methods=["GET"])
    app.add_websocket("/ws", "socket", feeds.socket)
    if engine is not None:
        socketio = SocketIO(engine, auth)
        app.add_url_rule(PATH, "socketio_polling", socketio.polling, methods=["GET", "POST"])
        app.add_websocket(PATH, "socketio_socket", socketio.socket)
    return app


def _route(app: QuartTrio, views: Mapping[str, View]) -> None:
    """Every row of the table gets its view. HEAD comes with GET."""
    for route in ROUTES:
        if route.method != "HEAD":
            app.add_url_rule(route.rule, route.operation, views[route.operation], methods=[route.method])


class _Pages:
    """What is there without an identity: health, metrics, the API's description, the page and the login."""

    def __init__(
        self, service: Service, settings: Settings, secret: bytes, tickets: Tickets, login_user: LoginUser
    ) -> None:
        self._service, self._settings, self._secret = service, settings, secret
        self._tickets, self._login_user = tickets, login_user
        self._assets = assets()

    def views(self) -> dict[str, View]:
        views: list[View] = [self.healthz, self.readyz, self.metrics, self.openapi, self.docs]
        return {view.__name__: view for view in views}

    async def healthz(self) -> Response:
        return problems.json_response(b'{"status":"ok"}', 200)

    async def readyz(self) -> Response:
        if (refusal := self._service.refusal()) is not None:
            return problems.answer(refusal)
        checks = await self._service.check()
        if not checks.ready:
            sentence = "The export service cannot work now; its log tells why."
            return problems.answer(NotReady(sentence, RETRY_FAILING, checks.as_wire()))
        return problems.json_response(orjson.dumps({"status": "ready", "checks": checks.as_wire()}), 200)

    async def metrics(self) -> Response:
        return Response(await self._service.metrics(), content_type=CONTENT_TYPE_LATEST)

    async def openapi(self) -> Response:
        return problems.json_response(orjson.dumps(openapi.document()), 200)

    async def docs(self) -> Response:
        return _html(docs.page().encode())

    async def index(self) -> Response:
        return _asset(self._assets[PAGE])

    async def static_file(self, name: str) -> Response:
        if name not in self._assets:
            raise NotFound("page")
        return _asset(self._assets[name])

    async def login(self) -> Response:
        """Turns a ticket into the cookie. A HEAD, as link previews send it, does not use the ticket up."""
        if request.method == "HEAD":
            return _html(b"")
        user = await self._login_user()
        if not self._tickets.redeem(request.args.get("ticket", "")):
            raise InvalidToken("This login link was used or has expired; start exportd again for a new one.")
        if user is None:
            raise NotFound("user")
        token = make_token(self._secret, self._settings, user, LOGIN_SECONDS)
        response = Response(b"", 303, headers={"Location": "/", "Cache-Control": "no-store"})
        response.set_cookie(
            COOKIE,
            token,
            max_age=LOGIN_SECONDS,
            path="/",
            secure=comes_by_tls(request, self._settings),
            httponly=True,
            samesite="Strict",
        )
        return response


def _asset(asset: Asset) -> Response:
    """Asked for again each time: after an update no page is made of files of two versions."""
    known = matches_weakly(request.headers.get("If-None-Match", ""), asset.tag)
    response = Response(b"" if known else asset.content, 304 if known else 200, content_type=asset.media_type)
    response.headers["ETag"] = asset.tag
    response.headers["Cache-Control"] = "no-cache"
    return response


def _html(content: bytes) -> Response:
    return Response(content, content_type="text/html; charset=utf-8")
