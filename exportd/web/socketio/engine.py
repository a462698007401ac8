"""The sessions and their tasks. A session outlives the requests that carry it, so it is no request's: `open_engine`, entered
where the daemon is put together, is what they live in."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from exportd.core.users import User
from exportd.errors import InvalidRequest, Problem, ShuttingDown, TooManySessions
from exportd.web.auth import Auth
from exportd.web.socketio.conversation import Backend, Conversation
from exportd.web.socketio.session import FAILED, RESTART, Session

log = structlog.get_logger("exportd.web")

MAX_SESSIONS = 4000
MAX_PER_OWNER = 1000
"""Sessions of one user. All that have not said who they are, or say it later, count as one user's."""

RETRY = 60
"""Seconds after which there may be a place again."""


class Engine:
    """All open sessions."""

    def __init__(self, backend: Backend, auth: Auth, nursery: trio.Nursery) -> None:
        self._backend, self._auth, self._nursery = backend, auth, nursery
        self._sessions: dict[str, Session] = {}
        self._owned: Counter[str | None] = Counter()
        self._draining = False

    def __len__(self) -> int:
        return len(self._sessions)

    def admit(self, visitor: User | None, *, polling: bool) -> Session:
        """A new session, running. Raises `TooManySessions`, `ShuttingDown`."""
        owner = None if visitor is None else visitor.id
        if self._draining:
            raise ShuttingDown("The export service is stopping; try again in a minute.", RETRY)
        if len(self._sessions) >= MAX_SESSIONS or self._owned[owner] >= MAX_PER_OWNER:
            raise TooManySessions("Too many sessions are open; close some, or try again in a minute.", RETRY)
        session = Session(secrets.token_urlsafe(24), owner, polling=polling)
        self._sessions[session.id] = session
        self._owned[owner] += 1
        self._nursery.start_soon(self._live, session, visitor, name="socket.io session")
        return session

    def find(self, sid: str, visitor: User | None) -> Session:
        """The session, for whoever opened it. Somebody else's is as unknown as one that is over: `InvalidRequest`."""
        session = self._sessions.get(sid)
        owner = None if visitor is None else visitor.id
        if session is None or session.over is not None or session.owner != owner:
            raise InvalidRequest([Problem("sid", "there is no such session; connect anew")])
        return session

    def drain(self) -> None:
        """No new sessions, and none that holds up the end: see `Session.drain`."""
        self._draining = True
        for session in self._sessions.values():
            session.drain()

    async def _live(self, session: Session, visitor: User | None) -> None:
        """The session to its end. What goes wrong in it stays in it."""
        try:
            with session.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(session.keep_alive, name="heartbeat")
                    await Conversation(session, self._backend, self._auth, visitor).run()
                    nursery.cancel_scope.cancel(reason="the conversation is over")
        except Exception:
            log.exception("socketio_session_failed")
            session.end(FAILED)
        finally:
            session.end(RESTART)  # it was the engine that ended it
            del self._sessions[session.id]
            self._owned[session.owner] -= 1
            if not self._owned[session.owner]:
                del self._owned[session.owner]


@asynccontextmanager
async def open_engine(backend: Backend, auth: Auth) -> AsyncIterator[Engine]:
    """An engine; leaving the block ends all of its sessions."""
    async with trio.open_nursery() as nursery:
        yield Engine(backend, auth, nursery)
        nursery.cancel_scope.cancel(reason="the service ends")
