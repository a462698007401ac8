"""An nginx of our own, on 127.0.0.1, with its configuration and all that it writes in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

PROGRAM = "/usr/sbin/nginx"
PATIENCE = 10.0

CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/zip;
    client_body_temp_path {folder}/a;
    proxy_temp_path {folder}/b;
    fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d;
    scgi_temp_path {folder}/e;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


class Serving(NamedTuple):
    url: str
    pid: int


def program() -> str | None:
    """The nginx that is here; as root it is installed where it is missing. None when there is none to be had."""
    if found := shutil.which("nginx") or shutil.which(PROGRAM):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with suppress(subprocess.SubprocessError):
            for command in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", "nginx-light"]):
                subprocess.run(
                    ["apt-get", *command],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    timeout=300,
                    check=True,
                )
    return shutil.which("nginx") or shutil.which(PROGRAM)


@contextmanager
def serving(nginx: str, root: Path, folder: Path) -> Iterator[Serving]:
    """Serves the files in `root`."""
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers were nobody, who may not read archives
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(user=user, folder=folder, port=port, root=root))
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(
            [nginx, "-c", config, "-p", folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait(process, port, folder / "nginx.log")
        yield Serving(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise RuntimeError(f"nginx does not serve: {log.read_text()[-500:]}")
