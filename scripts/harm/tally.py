"""What the sweeps count and find, and which points a short sweep takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from harm.operations import Operation

BEYOND = 2
"""Points after the last operation that was counted: threads may take turns otherwise the next time."""

MINOR = frozenset({"open", "close", "truncate", "delete"})
"""Operations that a short sweep leaves out: what is remembered is the same after them."""


def chosen(every: Sequence[Operation], *, short: bool) -> list[int]:
    """The points of a sweep, and some beyond. A short one takes of all that do the same in the same place the last one: by
    then most has been told."""
    if not short:
        return list(range(len(every) + BEYOND))
    last = {operation: n for n, operation in enumerate(every) if operation.name not in MINOR}
    return [*sorted(last.values()), len(every) + BEYOND - 1]


@dataclass
class Sweep:
    """The count of one sweep."""

    name: str
    points: int = 0
    fired: int = 0
    violations: list[str] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        text = f"{self.name}: {self.points} points, {self.fired} of them struck, {len(self.violations)} violations"
        kinds = [f"{count} {kind}" for kind, count in sorted(self.kinds.items())]
        outcomes = [f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items())]
        more = "; ".join(", ".join(part) for part in (kinds, outcomes) if part)
        return f"{text} ({self.seconds:.0f} s)" + (f"\n  {more}" if more else "")


class Tally:
    """All sweeps, one after the other."""

    def __init__(self) -> None:
        self.sweeps: list[Sweep] = []

    @contextmanager
    def sweep(self, name: str) -> Iterator[Sweep]:
        """Counts to this name; prints when it is over."""
        self.sweeps.append(Sweep(name))
        began = time.monotonic()
        try:
            yield self.sweeps[-1]
        finally:
            self.sweeps[-1].seconds = time.monotonic() - began
            print("\n".join([self.sweeps[-1].line(), *(f"  {v}" for v in self.sweeps[-1].violations[:30])]), flush=True)

    @property
    def violations(self) -> int:
        return sum(len(sweep.violations) for sweep in self.sweeps)

    def covered(self, fired: bool, kind: str | None = None, outcome: str | None = None) -> None:
        now = self.sweeps[-1]
        now.points += 1
        now.fired += fired
        if kind is not None:
            now.kinds[kind] = now.kinds.get(kind, 0) + 1
        if outcome is not None:
            self.counted(outcome)

    def counted(self, outcome: str, times: int = 1) -> None:
        counts = self.sweeps[-1].outcomes
        counts[outcome] = counts.get(outcome, 0) + times

    def found(self, point: str, faults: Iterable[str]) -> None:
        self.sweeps[-1].violations += [f"{point}: {fault}" for fault in faults]
