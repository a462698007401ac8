"""Cancels an export at its n-th scheduling step, or at its n-th look for a cancel inside a worker thread; holds it there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

JOB_TASKS = ("export ", "prepare ", "deadline ")
"""How the tasks of a job are named."""


class CancelAtStep(trio.abc.Instrument):
    """Calls `act` once, at the n-th step of the job's tasks.

    `due` chooses the moment: when the task has just become due to run (the cancel finds it scheduled already), or when
    it has just paused (the cancel has to wake it). Trio swallows what an instrument raises, so errors are kept.
    """

    def __init__(self, n: int, act: Callable[[], object], *, due: bool) -> None:
        self._left = n
        self._act = act
        self._due = due
        self.fired = False
        self.errors: list[Exception] = []

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if self._due:
            self._step(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._due:
            self._step(task)

    def _step(self, task: trio.lowlevel.Task) -> None:
        if self.fired or not task.name.startswith(JOB_TASKS):
            return
        if self._left > 0:
            self._left -= 1
            return
        self.fired = True
        try:
            self._act()
        except Exception as error:  # noqa: BLE001 - trio would swallow it
            self.errors.append(error)


class CancelAtCheck:
    """Calls `act` once, in the event loop, when a worker thread looks for a cancel for the n-th time."""

    def __init__(self, n: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = n
        self._act = act
        self.fired = False
        self._real: Any = trio.from_thread.check_cancelled
        monkeypatch.setattr(trio.from_thread, "check_cancelled", self)

    def __call__(self) -> None:
        if not self.fired:
            if self._left == 0:
                self.fired = True
                # The cancel is made from another system task, so that this thread is found working.
                trio.from_thread.run_sync(self._act)
            else:
                self._left -= 1
        self._real()


class Brake:
    """Worker threads of exports stand still at their looks, but within `off`; their own cancel reaches them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._free = threading.Event()
        self._real: Any = trio.from_thread.check_cancelled
        monkeypatch.setattr(trio.from_thread, "check_cancelled", self)

    def __call__(self) -> None:
        self._real()
        while not self._free.wait(0.001):
            self._real()

    @contextmanager
    def off(self) -> Iterator[None]:
        self._free.set()
        try:
            yield
        finally:
            self._free.clear()
