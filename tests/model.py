"""What any history of requests does to exports, without a single export: the service is compared with this.

All exports are one user's, who has a share of the owner's projects. One runs at a time, `CAP` may be active. What the user
asks without access is refused before the table is looked at; the owner always has access.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from exportd.errors import (
    ExportActive,
    ExportCancelled,
    ExportCompleted,
    ExportdError,
    ExportExpired,
    ExportFailed,
    ExportNotReady,
    NotFound,
    ProjectForbidden,
    TooManyActive,
)

CAP = 2
"""Active exports that the user may have."""

Outcome = str | type[ExportdError]
"""The state after a request, or the error that refuses it."""

Pair = tuple[str, str]
"""A state, and what is asked of an export in it or happens to it."""

# fmt: off
COLUMNS = (           "status",      "cancel",        "delete",     "download",      "expire",     "restart")
TABLE: dict[str, tuple[Outcome, ...]] = {
    "pending":    ("pending",    "cancelled",     ExportActive, ExportNotReady,  "pending",    "cancelled"),
    "processing": ("processing", "cancelled",     ExportActive, ExportNotReady,  "processing", "cancelled"),
    "completed":  ("completed",  ExportCompleted, "gone",       "completed",     "expired",    "completed"),
    "expired":    ("expired",    ExportCompleted, "gone",       ExportExpired,   "expired",    "expired"),
    "failed":     ("failed",     ExportFailed,    "gone",       ExportFailed,    "failed",     "failed"),
    "cancelled":  ("cancelled",  "cancelled",     "gone",       ExportCancelled, "cancelled",  "cancelled"),
    "gone":       (NotFound,     NotFound,        NotFound,     NotFound,        "gone",       "gone"),
}
# fmt: on
"""An id that nobody ever had is as one that is gone."""

AT_ONCE = "cancel by all at once"
"""The user twice, and the owner."""

REQUESTS = ("status", "cancel", AT_ONCE, "delete", "download")
"""Each of one export."""

HAPPENINGS = ("finish", "expire", "restart", "revoke access", "grant access")
"""Each to all exports."""


class Step(NamedTuple):
    """A request or a happening. `export` counts from the first start; `sound` says whether the project can be exported."""

    what: str
    export: int = 0
    sound: bool = True


@dataclass(frozen=True)
class Export:
    state: str
    sound: bool


@dataclass(frozen=True)
class Model:
    """All exports in the order of their starts."""

    exports: tuple[Export, ...] = ()
    access: bool = True

    @property
    def active(self) -> int:
        return sum(export.state in ("pending", "processing") for export in self.exports)

    def state(self, export: int) -> str:
        return self.exports[export].state if export < len(self.exports) else "gone"

    def after(self, step: Step) -> tuple[Model, Outcome]:
        """The model after a step, and the outcome of it: of the one export, or of all taken together ("")."""
        if step.what == "start":
            return self._start(step.sound)
        if step.what in REQUESTS:
            return self._ask(step)
        if step.what.endswith("access"):
            return replace(self, access=step.what == "grant access"), ""
        return self._with(tuple(self._happen(export, step.what) for export in self.exports)), ""

    def pairs(self, step: Step) -> Iterator[Pair]:
        """What the step is a test of."""
        may = "" if self.access else ", no access"
        if step.what == "start":
            yield f"{self.active} active{may}", step.what
        elif step.what in REQUESTS:
            yield self.state(step.export) + may, step.what
        else:
            yield from ((export.state + may, step.what) for export in self.exports)

    def _start(self, sound: bool) -> tuple[Model, Outcome]:
        if not self.access:
            return self, ProjectForbidden
        if self.active == CAP:
            return self, TooManyActive
        return self._with((*self.exports, Export("pending", sound))), "pending"

    def _ask(self, step: Step) -> tuple[Model, Outcome]:
        state = self.state(step.export)
        if not self.access and step.what != AT_ONCE:
            return self, NotFound
        outcome = TABLE[state][COLUMNS.index("cancel" if step.what == AT_ONCE else step.what)]
        if not isinstance(outcome, str):
            return self, outcome
        changed = list(self.exports)
        changed[step.export] = replace(changed[step.export], state=outcome)
        return self._with(tuple(changed)), outcome

    def _happen(self, export: Export, what: str) -> Export:
        if what == "finish":
            return replace(export, state=self._finished(export)) if export.state == "processing" else export
        state = TABLE[export.state][COLUMNS.index(what)]
        assert isinstance(state, str)
        return replace(export, state=state)

    def _finished(self, export: Export) -> str:
        if not export.sound:
            return "failed"
        return "completed" if self.access else "cancelled"

    def _with(self, exports: tuple[Export, ...]) -> Model:
        """With the first that waits at work, when nothing else is."""
        states = [export.state for export in exports]
        if "pending" in states and "processing" not in states:
            first = states.index("pending")
            exports = (*exports[:first], replace(exports[first], state="processing"), *exports[first + 1 :])
        return replace(self, exports=exports)


# --- every reachable pair -------------------------------------------------------------------------------------------

EXPORTS = 2
"""Exports in a model that is walked: one that runs, and one that waits for it."""


def steps(exports: int) -> list[Step]:
    """All steps with so many exports; the last id of a request is one that nobody has."""
    asked = [Step(what, export) for what in REQUESTS for export in range(exports + 1)]
    return [Step("start"), Step("start", sound=False), *map(Step, HAPPENINGS), *asked]


@cache
def reachable() -> frozenset[Pair]:
    """All pairs, found by walking the model through every state it can be in."""
    found: set[Pair] = set()
    known, waiting = {Model()}, deque([Model()])
    while waiting:
        model = waiting.popleft()
        for step in steps(EXPORTS):
            found |= set(model.pairs(step))
            then, _ = model.after(step)
            if len(then.exports) <= EXPORTS and then not in known:
                known.add(then)
                waiting.append(then)
    return frozenset(found)


def programs() -> Iterator[list[Step]]:
    """Programs that hit every reachable pair together: each goes on to the nearest that is missing, until there is none."""
    missing = set(reachable())
    while missing:
        model, program = Model(), list[Step]()
        while path := _nearest(model, missing):
            for step in path:
                missing -= set(model.pairs(step))
                model, _ = model.after(step)
            program += path
        yield program


def _nearest(model: Model, missing: set[Pair]) -> list[Step]:
    """The shortest way from here to a step that hits one of the missing; empty when there is none."""
    known, waiting = {model}, deque([(model, list[Step]())])
    while waiting:
        at, path = waiting.popleft()
        for step in steps(EXPORTS):
            then, _ = at.after(step)
            if len(then.exports) > EXPORTS:
                continue
            if not missing.isdisjoint(at.pairs(step)):
                return [*path, step]
            if then not in known:
                known.add(then)
                waiting.append((then, [*path, step]))
    return []
