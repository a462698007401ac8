"""A way to a server that can be closed: what is connected goes on, who comes then is taken and never answered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Gateway:
    """Listens on a port of 127.0.0.1 and passes on to a socket of the file system. Made by `open_gateway`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.mute = False
        self.ignored = 0
        """Connections that were taken and are never answered."""

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def hung_up(self) -> bool:
        """Whether the latest client has gone."""
        self._sockets[-1].setblocking(False)
        try:
            while self._sockets[-1].recv(1 << 16):
                pass
        except BlockingIOError:
            return False
        return True

    def serve(self) -> None:
        """Until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if self.mute:
                    self.ignored += 1
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                self._sockets.append(server)
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def open_gateway(path: str) -> Iterator[Gateway]:
    gateway = Gateway(path)
    serving = threading.Thread(target=gateway.serve, daemon=True)
    serving.start()
    try:
        yield gateway
    finally:
        gateway.close()
        serving.join()
