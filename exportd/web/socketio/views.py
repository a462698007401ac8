"""`/socket.io/`: which session a request is for, and what it does there. Origins as for `/ws`."""

from __future__ import annotations

from quart import Response, request, websocket
from quart.wrappers import Request, Websocket
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import MethodNotAllowed, RequestEntityTooLarge

from exportd.errors import InvalidRequest, Problem
from exportd.web.auth import Auth, own_origin
from exportd.web.feed import MAX_MESSAGE
from exportd.web.socketio import packets, session
from exportd.web.socketio.engine import Engine
from exportd.web.socketio.line import Line
from exportd.web.socketio.packets import BadPacket
from exportd.web.socketio.session import BROKEN, LEFT, TOO_BIG, Session
from exportd.web.websocket import Socket

PATH = "/socket.io/"
VERSION = "4"
"""Of Engine.IO: what Socket.IO 3 and newer speak."""

POLLING, WEBSOCKET = "polling", "websocket"


class SocketIO:
    """The views."""

    def __init__(self, engine: Engine, auth: Auth) -> None:
        self._engine, self._auth = engine, auth

    async def polling(self) -> Response:
        """A poll, a post, or the handshake of a client that begins with them."""
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        visitor = self._auth.visitor(asked)
        sid = parse_query(asked.args, POLLING)
        if asked.method not in {"GET", "POST"}:  # a HEAD comes with every GET, and has nothing to ask for here
            raise MethodNotAllowed(["GET", "POST"])
        if sid is not None:
            text = await _carry(asked, self._engine.find(sid, visitor))
        elif asked.method == "GET":
            text = opening(self._engine.admit(visitor, polling=True))
        else:
            raise InvalidRequest([Problem("sid", "a post needs a session; begin with GET")])
        return _answer(asked, text)

    async def socket(self) -> None:
        """A session of its own, or the upgrade of one that polls. An error before the accept answers the handshake."""
        socket: Websocket = websocket._get_current_object()  # type: ignore[attr-defined]
        visitor = self._auth.visitor(socket)
        sid = parse_query(socket.args, WEBSOCKET)
        if sid is None:
            await self._open(Socket(socket), self._engine.admit(visitor, polling=False))
        else:
            await self._upgrade(Socket(socket), self._engine.find(sid, visitor))

    async def _open(self, socket: Socket, made: Session) -> None:
        try:
            await socket.accept()
            await socket.send(opening(made))
            await Line(socket, made).run()
        finally:
            made.end(LEFT)  # if the client has gone before the line was up

    async def _upgrade(self, socket: Socket, found: Session) -> None:
        line = Line(socket, found)
        try:
            with found.upgrading():
                await socket.accept()
                if await line.probe():
                    found.upgrade()
        except BadPacket as error:
            raise InvalidRequest([Problem("sid", str(error))]) from None
        if found.polling:  # it did not do what a client does, or not in time: polls go on
            over = found.over or BROKEN
            await socket.close(over.code, over.reason)
        else:
            await line.run()


def parse_query(query: MultiDict[str, str], transport: str) -> str | None:
    """The session's id, None for a handshake. Raises `InvalidRequest`."""
    faults = []
    if query.get("EIO") != VERSION:
        faults.append(Problem("EIO", f"it has to be {VERSION}: use a client of Socket.IO 3 or newer"))
    if query.get("transport") != transport:
        faults.append(Problem("transport", f"it has to be {transport} for a request of this kind"))
    if faults:
        raise InvalidRequest(faults)
    return query.get("sid") or None


def opening(made: Session) -> str:
    """The first packet of the session."""
    upgrades = [WEBSOCKET] if made.polling else []
    return packets.opening(made.id, upgrades, session.PING_INTERVAL, session.PING_TIMEOUT, MAX_MESSAGE)


async def _carry(asked: Request, found: Session) -> str:
    """A poll or a post. Who breaks the protocol ends the session."""
    if not found.polling:
        raise InvalidRequest([Problem("transport", "this session has gone over to its WebSocket")])
    try:
        return await found.poll() if asked.method == "GET" else await _take_in(asked, found)
    except BadPacket as error:
        found.end(BROKEN)
        raise InvalidRequest([Problem("body", str(error))]) from None


async def _take_in(asked: Request, found: Session) -> str:
    with found.alone("posts"):
        for packet in packets.read_payload(await _body(asked, found)):
            await found.deliver(packet)
    return "ok"


async def _body(asked: Request, found: Session) -> bytes:
    try:
        body = await asked.get_data(cache=False)
        if len(body) > MAX_MESSAGE:
            raise RequestEntityTooLarge
    except RequestEntityTooLarge:
        found.end(TOO_BIG)
        raise
    return body if isinstance(body, bytes) else body.encode()


def _answer(asked: Request, text: str) -> Response:
    response = Response(text.encode(), content_type="text/plain; charset=UTF-8")
    response.headers["Cache-Control"] = "no-store"
    origin = asked.headers.get("Origin")
    if origin is not None and origin != own_origin(asked):  # an allowed one, else it had been refused
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Vary"] = "Origin"
    return response
