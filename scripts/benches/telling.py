"""The table for a person and the JSON for a program. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benches.figures import Row, Sample, Verdict, spread

KEPT = 1000
"""Single values of a side that the JSON has; of more it has them at even distances."""


@dataclass(slots=True)
class Result:
    """What came of a row."""

    row: Row
    samples: dict[str, list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    profile: list[str] = field(default_factory=list)
    seconds: float = 0.0
    elsewhere: float = 0.0
    """Share of the machine's CPU time that others took meanwhile: above some percent, trust ratios only."""
    broken: str | None = None
    stopped: bool = False
    """By a signal: no other row is measured."""

    def add(self, sample: Sample) -> None:
        self.samples.setdefault(sample.what, []).append(sample.value)
        self.units[sample.what] = sample.unit

    @property
    def verdicts(self) -> list[Verdict]:
        return [goal.judge(self.samples) for goal in self.row.goals]


def table(result: Result) -> str:
    """One row: its sides with median and spread, then its goals."""
    lines = [f"\n{result.row.name}: {result.row.title}"]
    lines[0] += f"  ({result.seconds:.0f} s, others took {result.elsewhere:.0%} of the machine)"
    for what, values in result.samples.items():
        low, median, high = map(_number, spread(values))
        lines.append(f"    {what:<44}{median:>10} {result.units[what]:<9}{low:>10} to {high:<10}n={len(values)}")
    lines += [f"  {_verdict(verdict)}" for verdict in result.verdicts]
    lines += [f"    {note}" for note in result.notes]
    if result.broken:
        lines.append(f"  BROKEN: {result.broken}")
    lines += [f"    {line}" for line in result.profile]
    return "\n".join(lines)


def _verdict(verdict: Verdict) -> str:
    wanted = f"{verdict.goal.what} {verdict.goal.sign} {_number(verdict.goal.bound)}"
    if verdict.found is None:
        return f"{'not measured':<17} {wanted}"
    found = "met" if verdict.met else f"MISSED by {verdict.missed_by:.0%}"
    low, median, high = map(_number, verdict.found)
    return f"{found:<17} {wanted}: {median}" + (f" ({low} to {high})" if low != high else "")


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def summary(results: Sequence[Result]) -> str:
    verdicts = [verdict for result in results for verdict in result.verdicts]
    counts = {
        "met": sum(v.met is True for v in verdicts),
        "missed": sum(v.met is False for v in verdicts),
        "not measured": sum(v.met is None for v in verdicts),
        "rows broken": sum(result.broken is not None for result in results),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def document(results: Sequence[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """The whole run as JSON."""
    return {"format": "exportd bench", "version": 1, **about, "rows": {r.row.name: _row(r) for r in results}}


def _row(result: Result) -> dict[str, Any]:
    return {
        "title": result.row.title,
        "seconds": round(result.seconds, 1),
        "elsewhere": round(result.elsewhere, 3),
        "samples": {what: _side(values, result.units[what]) for what, values in result.samples.items()},
        "goals": [_goal(verdict) for verdict in result.verdicts],
        "notes": result.notes,
        "profile": result.profile,
        "broken": result.broken,
    }


def _side(values: Sequence[float], unit: str) -> dict[str, Any]:
    low, median, high = spread(values)
    told = values[:: -(-len(values) // KEPT)]
    return {"unit": unit, "n": len(values), "low": low, "median": median, "high": high, "values": list(told)}


def _goal(verdict: Verdict) -> dict[str, Any]:
    goal = verdict.goal
    return {
        "what": goal.what,
        "sign": goal.sign,
        "bound": goal.bound,
        "value": verdict.value,
        "low": verdict.found and verdict.found.low,
        "high": verdict.found and verdict.found.high,
        "met": verdict.met,
        "missedBy": round(verdict.missed_by, 3),
    }
