"""What tests tell beyond that they passed: a property of a test is printed at the end of the run, under its name.

Properties come with the reports, so they are printed whichever process ran the test, and in the order of the tests.
"""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told: dict[str, list[str]] = {}
    reports = [report for found in terminalreporter.stats.values() for report in found]
    called = [report for report in reports if getattr(report, "when", None) == "call"]
    for report in sorted(called, key=lambda report: report.start):
        for title, line in report.user_properties:
            told.setdefault(title, []).append(str(line))
    for title, lines in told.items():
        terminalreporter.section(title)
        terminalreporter.write_line("\n".join(lines))
