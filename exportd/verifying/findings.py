"""What a check finds: faults with their places, and what was looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_FAULTS = 1000
"""That are kept; the rest is counted, so that a broken archive of a million files is no memory."""

MAX_NAMED = 5
"""Things that one sentence names."""


class Fault(NamedTuple):
    """What is wrong, and where in the archive."""

    place: str
    sentence: str


class Damaged(Exception):
    """A member cannot be read as what it is. Ends the check of this member only."""

    def __init__(self, place: str, sentence: str) -> None:
        super().__init__(f"{place}: {sentence}")
        self.fault = Fault(place, sentence)


@dataclass(slots=True)
class Findings:
    """Filled while an archive is read."""

    checks: list[str] = field(default_factory=list)
    """What was looked at, a sentence each."""
    faults: list[Fault] = field(default_factory=list)
    more: int = 0
    """Faults that were found and not kept."""

    def fault(self, place: str, sentence: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(place, sentence))
        else:
            self.more += 1

    def checked(self, sentence: str) -> None:
        self.checks.append(sentence)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def some(names: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
