"""Downloads of a large archive from the page cache, by one client and by four, against nginx with sendfile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from benches import nginx
from benches.figures import Goal, Measured, Note, Row, Sample, of, ratio
from benches.ground import Ground, cpu_of
from benches.projects import Plan
from benches.session import ORIGINALS
from benches.wire import Refused, line

PLAN = Plan(images=16, side=8192, polygons=1, noise=60, packing=0)
"""1 GiB of originals."""
QUICK_PLAN = Plan(images=2, side=512, polygons=1, noise=60, packing=0)
BUFFER = 1 << 20
OURS, NGINX = "exportd", "nginx, sendfile"


def measure(ground: Ground) -> Measured:
    plan = QUICK_PLAN if ground.quick else PLAN
    with ground.serving(plan) as (daemon, user), ground.scratch() as scratch:
        ended = user.export(ORIGINALS)
        root = daemon.data / "archives"
        sides = {OURS: (f"{daemon.url}{user.base}/{ended.job}/download", daemon.pid)}
        if program := nginx.program():
            with nginx.serving(program, root, scratch) as beside:
                sides[NGINX] = (f"{beside.url}/{ended.job}.zip", beside.pid)
                yield from _rounds(sides, user.token, ended.size, ground.rounds())
        else:
            yield from _rounds(sides, user.token, ended.size, ground.rounds())
            yield Note("nginx could not be installed: it was not measured.")
    ground.drop(plan)


def _rounds(sides: dict[str, tuple[str, int]], token: str, size: int, rounds: int) -> Iterator[Sample]:
    for number in range(-1 if rounds > 1 else 0, rounds):
        for clients in (1, 4):
            for name, (url, pid) in sides.items() if number % 2 else reversed(sides.items()):
                before, began = cpu_of(pid), time.perf_counter()
                _together(url, token, size, clients)
                took, used = time.perf_counter() - began, cpu_of(pid) - before
                if number >= 0:
                    yield Sample(f"{name}, clients {clients}", clients * size / took / 1e9, "GB/s")
                    yield Sample(f"{name}, CPU, clients {clients}", used / (clients * size / 1e9), "s/GB")


def _together(url: str, token: str, size: int, clients: int) -> None:
    """Raises `Refused` unless each of them gets all of it."""
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(_download(url, token))) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if got != [size] * clients:
        raise Refused(f"of {clients} times {size} bytes came {got}")


def _download(url: str, token: str) -> int:
    """Reads all of it into one buffer again and again; the kernel's copy is all that it costs."""
    buffer = bytearray(BUFFER)
    at = url.index("/", len("http://"))
    with line(url[:at], token) as from_server:
        from_server.send(from_server.request(url[at:]))
        status, length, begun = from_server.head()
        if status != 200:
            return -status
        got = len(begun)
        while got < length and (count := from_server.socket.recv_into(buffer)):
            got += count
        return got


def _goals() -> Iterator[Goal]:
    for clients, who in ((1, "one client"), (4, "four clients")):
        speeds = ratio(f"{OURS}, clients {clients}", f"{NGINX}, clients {clients}")
        yield Goal(f"× the speed of nginx, {who}", speeds, at_least=0.9)
        yield Goal(f"CPU seconds a GB, {who}", of(f"{OURS}, CPU, clients {clients}"), at_most=0.3)


ROWS = (Row("download", "download of 1 GiB from the page cache", tuple(_goals()), measure),)
