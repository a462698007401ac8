"""Samples, and when a goal is met. Pure: what was measured goes in, what is told comes out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from benches.ground import Ground


class Sample(NamedTuple):
    """One value of one side."""

    what: str
    value: float
    unit: str = "s"


class Note(NamedTuple):
    """A sentence for whoever reads the row: what could not be measured, and why."""

    sentence: str


Samples: TypeAlias = Mapping[str, Sequence[float]]
"""By side, in the order in which they were taken: the n-th ones belong to one round."""

Figure: TypeAlias = Callable[[Samples], Sequence[float]]
"""What a goal looks at, a value for each round or one for all; none when it was not measured."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What must be reached. Its value is the median of the figure."""

    what: str
    figure: Figure
    at_least: float = -math.inf
    at_most: float = math.inf

    @property
    def bound(self) -> float:
        return self.at_least if math.isfinite(self.at_least) else self.at_most

    @property
    def sign(self) -> str:
        return ">=" if math.isfinite(self.at_least) else "<="

    def judge(self, samples: Samples) -> Verdict:
        values = self.figure(samples)
        return Verdict(self, spread(values) if values else None)


class Verdict(NamedTuple):
    """A goal and how near one came; None: it was not measured."""

    goal: Goal
    found: Spread | None

    @property
    def value(self) -> float | None:
        """What is judged: the median."""
        return None if self.found is None else self.found.median

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.goal.at_least <= self.value <= self.goal.at_most

    @property
    def missed_by(self) -> float:
        """As a share of the bound; 0 when it is met."""
        if self.value is None or self.met:
            return 0.0
        return abs(self.value - self.goal.bound) / abs(self.goal.bound)


Measured: TypeAlias = Iterator[Sample | Note]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `measure` takes its samples side by side, is bounded, and removes what it has made."""

    name: str
    title: str
    goals: tuple[Goal, ...]
    measure: Callable[[Ground], Measured]


class Spread(NamedTuple):
    """Many values in three; the outer ones are quartiles, or all there is of fewer than four."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 4:
        return Spread(min(values), statistics.median(values), max(values))
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


NOISE = 1e-3
"""Share of a difference below which there is none."""


# --- figures ------------------------------------------------------------------------------------------------------------


def of(what: str, scale: float = 1.0) -> Figure:
    """The values themselves, in another unit."""
    return lambda samples: [value * scale for value in samples.get(what, ())]


def ratio(above: str, below: str) -> Figure:
    """Round by round: what disturbs a round disturbs both sides of it."""
    return lambda samples: [a / b for a, b in zip(samples.get(above, ()), samples.get(below, ()), strict=False)]


def quantile(what: str, share: float, scale: float = 1.0) -> Figure:
    """By nearest rank: 0.5 the median, 0.99 all but one in a hundred, 1 the greatest."""

    def figure(samples: Samples) -> list[float]:
        ordered = sorted(samples.get(what, ()))
        return [ordered[max(0, math.ceil(share * len(ordered)) - 1)] * scale] if ordered else []

    return figure


def exponent(what: str) -> Figure:
    """k of `time = fixed + a n^k`, from sides named `what n` of three or more sizes: the cost of the smallest counts as fixed.
    The two largest decide, as that is where growth shows. Where noise hides it, 0, or much too large a number."""

    def figure(samples: Samples) -> list[float]:
        found = {int(name.removeprefix(what)): values for name, values in samples.items() if name.startswith(what)}
        if len(found) < 3:
            return []
        sizes = sorted(found)
        first, middle, last = sizes[0], sizes[-2], sizes[-1]
        times = {size: statistics.median(found[size]) for size in (first, middle, last)}
        whole = times[last] - times[first]
        if whole <= 0:
            return [0.0]
        grown = whole / max(times[middle] - times[first], NOISE * whole)
        return [math.log(grown) / math.log((last - first) / (middle - first))]

    return figure
