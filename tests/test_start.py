"""A start is quick because the garbage collector rests; it must not rest for ever."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from exportd import daemon
from exportd.daemon import run
from exportd.settings import Settings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    gc.unfreeze()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_collector_works_while_the_daemon_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def look(state: str) -> None:
        if state == "READY=1":
            seen.append(gc.isenabled())
            Timer(0, signal.raise_signal, [signal.SIGTERM]).start()

    monkeypatch.setattr(daemon, "_notify", look)
    monkeypatch.setattr("exportd.logs.configure", lambda _: None)
    assert run(Settings(data=tmp_path, port=0)) == daemon.ENDED
    assert seen == [True]
    assert gc.isenabled()
