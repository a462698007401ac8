"""The ASGI connection of a request: what belongs to it ends with it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import trio
from hypercorn.typing import ASGISendCallable
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection

_RESOURCES = "exportd.resources"


class Connection(TrioASGIHTTPConnection):
    """One request. Its last message is shielded, and its resources are given back whatever becomes of it.

    quart-trio cancels the request as soon as the stream is over, which is within the send of the last message: without
    the shield hypercorn never gets to rearm its keep-alive timer.
    """

    async def handle_request(self, nursery: trio.Nursery, request: Request, send: ASGISendCallable) -> None:  # type: ignore[override]
        async def shielding(message: Any) -> None:
            if message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            with trio.CancelScope(shield=True):
                await send(message)

        with ExitStack() as resources:
            cast("dict[str, Any]", request.scope)[_RESOURCES] = resources
            await super().handle_request(nursery, request, shielding)


def resources(request: Request) -> ExitStack:
    """What is entered here is left when the response is over: sent, refused or given up."""
    return cast("ExitStack", cast("dict[str, Any]", request.scope)[_RESOURCES])
