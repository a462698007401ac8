"""Where a database server is, looked up in a process of its own.

The system looks names up in a call that can neither be interrupted nor be told how long it may take, and a name server
that does not answer keeps it for half a minute. A thread would have to wait for it; a process is killed.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from psycopg import OperationalError

LOOK = 0.1
"""Seconds from one look for a cancel to the next."""

PORT = "5432"

LOOKUP = """
import socket, sys
try:
    found = socket.getaddrinfo(*sys.argv[1:], type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
except OSError as error:
    sys.exit(error.strerror)
print(*dict.fromkeys(address[0] for *_, address in found))
"""
"""Prints the addresses; says on standard error why there are none."""


def located(parameters: Mapping[str, Any], seconds: float, listen: Callable[[], None]) -> dict[str, Any]:
    """Parameters of a connection (libpq's) with the addresses of the hosts that they name.

    Raises psycopg's `OperationalError` when there are none, or not in time, and what `listen` raises. No process is
    left, whatever is raised.
    """
    hosts = str(parameters.get("host") or "").split(",")
    if "hostaddr" in parameters or all(map(_is_address, hosts)):
        return dict(parameters)
    ports = str(parameters.get("port") or PORT).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        return dict(parameters)  # psycopg says it best
    found: list[tuple[str, str, str]] = []
    errors: list[OperationalError] = []
    for host, port in zip(hosts, ports, strict=True):
        try:
            found += [(host, port, address) for address in _addresses(host, port or PORT, seconds, listen)]
        except OperationalError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    names = ("host", "port", "hostaddr")
    return {
        **parameters,
        **{name: ",".join(values) for name, values in zip(names, zip(*found, strict=True), strict=True)},
    }


def _is_address(host: str) -> bool:
    """Whether there is nothing to look up: it is a number, a socket's path, or none at all."""
    if not host or host.startswith(("/", "@")):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(host: str, port: str, seconds: float, listen: Callable[[], None]) -> list[str]:
    if _is_address(host):
        return [host if host[:1] not in {"", "/", "@"} else ""]
    until = time.monotonic() + seconds
    command = [sys.executable, "-I", "-S", "-c", LOOKUP, host, port]
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - our own program; what comes from outside is an argument
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            while True:
                try:
                    found, why = process.communicate(timeout=LOOK)
                    break
                except subprocess.TimeoutExpired:
                    listen()
                    if time.monotonic() > until:
                        raise OperationalError(f"failed to resolve host {host!r} within {seconds} s") from None
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise OperationalError(f"failed to resolve host {host!r}: {why.strip()}")
    return found.split()
