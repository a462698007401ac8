"""`bare.py FILE`: a quart-trio handler that gives the bytes of a file as JSON, served by hypercorn as exportd configures it,
and nothing else. Prints its address."""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from hypercorn.trio import serve
from quart import Response
from quart_trio import QuartTrio

from exportd.web.server import _config as configured


def app(content: bytes) -> QuartTrio:
    made = QuartTrio(__name__)

    @made.get("/status")
    async def status() -> Response:
        return Response(content, 200, content_type="application/json")

    return made


async def main() -> None:
    config = configured()
    config.bind = ["127.0.0.1:0"]
    async with trio.open_nursery() as nursery:
        content = await trio.Path(sys.argv[1]).read_bytes()
        (url,) = await nursery.start(serve, app(content), config)
        print(url, flush=True)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    trio.run(main)
