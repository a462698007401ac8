"""What the load test counts and finds, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from load.checks import percentiles


@dataclass
class Tally:
    """What is counted and found, over all users. Times are in seconds."""

    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[float]] = field(
        default_factory=lambda: {"start": [], "export": [], "cancel": [], "event delay": [], "download": []}
    )

    def restart(self) -> None:
        """Counts and times anew, after the warm-up; what was found stays found."""
        self.counts, self.times = {}, {name: [] for name in self.times}

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def found(self, where: str, faults: Iterable[str]) -> None:
        self.violations += [f"{where}: {fault}" for fault in faults]

    def result(self) -> dict[str, Any]:
        times = {name: {"n": len(values), **percentiles(values)} for name, values in self.times.items()}
        return {"times": times, "counts": self.counts, "violations": self.violations}


def table(result: dict[str, Any]) -> str:
    """The result for a person, times in milliseconds."""
    lines = [f"{'ms':<12}{'n':>7}" + "".join(f"{name:>10}" for name in ("p50", "p90", "p99", "max"))]
    for name, row in result["times"].items():
        lines.append(f"{name:<12}{row['n']:>7}" + "".join(f"{1e3 * v:>10.1f}" for k, v in row.items() if k != "n"))
    lines.append(f"reference export {result['referenceSeconds']:.2f} s, load {result['loadSeconds']:.1f} s; ")
    lines[-1] += ", ".join(f"{n} {what}" for what, n in result["counts"].items())
    if seen := result["resources"]:
        rows = [moment | {"memory": moment["memory"] >> 20} for moment in seen.values()]
        kept = ", ".join(f"{k} {' -> '.join(str(row[k]) for row in rows)}" for k in rows[0])
        lines.append(f"daemon {' -> '.join(seen)}: {kept} (memory in MiB)")
    lines.append(f"{len(result['violations'])} violations")
    return "\n".join(lines + [f"  {v}" for v in result["violations"][:30]])
