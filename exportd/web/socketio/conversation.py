"""What is said in a session: who it is, then the events of their exports, whatever else the platform's pages say.

A page joins a room per project. exportd tells a user the events of all their exports, in every session, in a room or not; so
joining is answered, with whether the project is theirs to see, and changes nothing.
"""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from typing import Protocol

import trio
from socketio import packet as sio

from exportd.core.job import Job
from exportd.core.users import User
from exportd.errors import ExportdError, NotFound, ProjectForbidden, Unauthenticated
from exportd.jobs.hub import Feed
from exportd.web.auth import Auth
from exportd.web.exports import canonical_uuid
from exportd.web.socketio import packets
from exportd.web.socketio.packets import Message
from exportd.web.socketio.session import BROKEN, SILENT, Session

CONNECT_SECONDS = 10.0
"""For a client to say who it is; then the place is somebody else's."""

UNAUTHENTICATED = "Authentication failed: log in first."
"""The platform's pages look for the first word: they then wait for a login and do not complain about the network."""


class Backend(Protocol):
    """What a conversation asks of the service."""

    def watch(self, user: User) -> AbstractContextManager[Feed]: ...

    async def sees(self, user: User, project_id: str) -> bool: ...

    async def cancel(self, user: User, project_id: str, job_id: str) -> tuple[Job, bool]: ...

    def hurry(self) -> AbstractContextManager[None]: ...


class Conversation:
    """Socket.IO in one session. `visitor` is who the handshake named, if it did."""

    def __init__(self, session: Session, backend: Backend, auth: Auth, visitor: User | None) -> None:
        self._session, self._backend, self._auth, self._visitor = session, backend, auth, visitor

    async def run(self) -> None:
        """Until the session is over; a cancel leaves no feed behind."""
        with self._session.messages:
            while True:
                user: User | None = None
                with trio.move_on_after(CONNECT_SECONDS):
                    user = await self._admit()
                if user is None:
                    self._session.end(SILENT)
                    return
                with self._backend.watch(user) as feed, self._session.telling(feed):
                    # Of its own: the session's id lets whoever knows it speak for this client.
                    self._session.answer(packets.connected(secrets.token_urlsafe(15)))
                    await self._attend(user)

    async def _admit(self) -> User | None:
        """Who connects, once they may."""
        async for message in self._session.messages:
            if message.kind != sio.CONNECT:
                self._session.end(BROKEN)
            elif message.namespace != packets.MAIN:
                self._refuse_namespace(message)
            elif (user := self._identify(message.data)) is not None:
                return user
            else:
                self._session.answer(packets.refused(packets.MAIN, UNAUTHENTICATED))
        return None

    def _identify(self, auth: object) -> User | None:
        """Who the handshake named, or else the token that came with the packet, as pages send it that use no cookie."""
        token = auth.get("token") if isinstance(auth, dict) else None
        if self._visitor is not None or not isinstance(token, str):
            return self._visitor
        try:
            return self._auth.bearer(token)
        except Unauthenticated:
            return None

    async def _attend(self, user: User) -> None:
        """Until the client disconnects."""
        async for message in self._session.messages:
            if message.namespace != packets.MAIN:
                self._refuse_namespace(message)
            elif message.kind == sio.DISCONNECT:
                return
            elif message.kind == sio.CONNECT:
                self._session.end(BROKEN)
            else:
                answers = await self._obey(user, message.data)
                if message.ack is not None:
                    self._session.answer(packets.ack(message.ack, *answers))

    def _refuse_namespace(self, message: Message) -> None:
        if message.kind == sio.CONNECT:
            self._session.answer(packets.refused(message.namespace, "Invalid namespace"))
        else:
            self._session.end(BROKEN)

    async def _obey(self, user: User, data: object) -> list[object]:
        """Does what the event asks for and gives what a client that waits for it is answered.

        What pages say besides (pings of their own, questions about the platform's queue) is not for exportd.
        """
        match data:
            case ["join-project", str(project), *_]:
                return [await self._join(user, project)]
            case ["leave-project", str(), *_]:
                return [{"success": True}]
            case ["export:cancel", {"projectId": str(project), "jobId": str(job)}, *_]:
                return [await self._cancel(user, project, job)]
            case _:
                return []

    async def _join(self, user: User, project: str) -> dict[str, object]:
        project_id = canonical_uuid(project)
        if project_id is not None and await self._backend.sees(user, project_id):
            return {"success": True}
        refusal = _refusal(ProjectForbidden())
        self._session.answer(packets.event("unauthorized", {"message": refusal["error"]}))
        return refusal

    async def _cancel(self, user: User, project: str, job: str) -> dict[str, object]:
        """Cancels as the call does, which pages make first; they say it here, too."""
        project_id, job_id = canonical_uuid(project), canonical_uuid(job)
        try:
            if project_id is None or job_id is None:
                raise NotFound
            with self._backend.hurry():
                await self._backend.cancel(user, project_id, job_id)
        except ExportdError as error:
            refusal = _refusal(error)
            self._session.answer(packets.event("export:cancel-error", {"jobId": job, **refusal}))
            return refusal
        return {"success": True}


def _refusal(error: ExportdError) -> dict[str, object]:
    """The error body of SPEC §3, short."""
    return {"success": False, "error": str(error), "code": error.code}
