"""Looking up where a server is: what psycopg is told of it, and what is left when it is given up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from psycopg import OperationalError
from psycopg.conninfo import conninfo_to_dict

from exportd.store import addresses
from exportd.store.addresses import located

SOON, LONG = 5.0, 1000.0
SLOW = f"import time; time.sleep({LONG})"
"""As the system does it while no name server answers, but for longer."""


class Cancelled(BaseException): ...


def nothing() -> None: ...


@pytest.fixture
def left() -> Callable[[], int]:
    """How many processes there are more than before the test."""
    before = len(psutil.Process().children())
    return lambda: len(psutil.Process().children()) - before


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"host": "/run/postgresql", "port": 1},
        {"host": "@abstract"},
        {"host": "127.0.0.1"},
        {"host": "::1,/run/postgresql"},
        {"host": "nobody.invalid", "hostaddr": "127.0.0.1"},
        {"host": "a.invalid,b.invalid", "port": "1,2,3"},
    ],
)
def test_what_names_nobody_is_left_as_it_is(parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "LOOKUP", SLOW)
    assert located(parameters, LONG, nothing) == parameters


def test_a_name_gets_its_addresses_and_stays_for_certificates() -> None:
    known = dict.fromkeys(found[4][0] for found in socket.getaddrinfo("localhost", 7, type=socket.SOCK_STREAM))
    given = located({"host": "localhost", "port": 7, "dbname": "d"}, LONG, nothing)
    count = len(known)
    assert given == {
        "host": ",".join(["localhost"] * count),
        "port": ",".join(["7"] * count),
        "hostaddr": ",".join(map(str, known)),
        "dbname": "d",
    }
    assert conninfo_to_dict(**given)["hostaddr"] == given["hostaddr"]


def test_several_servers_keep_their_order_and_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        addresses, "LOOKUP", "import sys; print(*{'a': ['1.1.1.1', '::1'], 'b': ['2.2.2.2']}[sys.argv[1]])"
    )
    given = located({"host": "b,/run/x,a,unknown,3.3.3.3", "port": "1,2,3,4,5"}, LONG, nothing)
    assert given == {
        "host": "b,/run/x,a,a,3.3.3.3",
        "port": "1,2,3,3,5",
        "hostaddr": "2.2.2.2,,1.1.1.1,::1,3.3.3.3",
    }


def test_a_name_without_address_is_told() -> None:
    with pytest.raises(OperationalError, match=r"failed to resolve host 'nobody\.invalid': \w"):
        located({"host": "nobody.invalid"}, LONG, nothing)


def test_an_answer_that_does_not_come_is_given_up_in_time(
    left: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "LOOKUP", SLOW)
    begun = time.monotonic()
    with pytest.raises(OperationalError, match=r"failed to resolve host 'somebody' within 0\.2 s"):
        located({"host": "somebody"}, 0.2, nothing)
    assert time.monotonic() - begun < SOON
    assert not left()


def test_whoever_is_cancelled_leaves_it_at_once_and_no_process_behind(
    left: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "LOOKUP", SLOW)
    looks: list[int] = []

    def listen() -> None:
        looks.append(left())
        if len(looks) == 2:
            raise Cancelled

    begun = time.monotonic()
    with pytest.raises(Cancelled):
        located({"host": "somebody"}, LONG, listen)
    assert time.monotonic() - begun < SOON
    assert looks == [1, 1]
    assert not left()


BLACK_HOLE = """
import time
from exportd.store.addresses import located

class Cancelled(BaseException): ...

begun = time.monotonic()
def listen():
    if time.monotonic() - begun > 0.5:
        raise Cancelled

try:
    located({"host": "somebody.example"}, 1000, listen)
except Cancelled:
    print("left after", round(time.monotonic() - begun, 1))
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs a name server of its own")
def test_a_name_server_that_never_answers_is_left_at_once(tmp_path: Path) -> None:
    """The system's own resolver, asking a server that takes everything and says nothing."""
    settings = tmp_path / "resolv.conf"
    settings.write_text("nameserver 127.0.0.77\noptions timeout:30 attempts:3\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as black_hole:
        black_hole.bind(("127.0.0.77", 53))
        black_hole.settimeout(SOON)
        asked: list[bytes] = []

        def read() -> None:
            with suppress(TimeoutError):
                asked.append(black_hole.recv(512))

        reading = threading.Thread(target=read)
        reading.start()
        mounted = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mounted, str(settings), sys.executable, "-c", BLACK_HOLE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        reading.join()
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("this system lets nobody mount")
    assert done.stdout.startswith("left after 0."), done.stderr
    assert b"somebody" in asked[0]
