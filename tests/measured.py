"""A pytest plugin: prints at the end what tests measured and gave to ``record_property``; nothing depends on it."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{report.nodeid.rpartition('/')[2].partition('::')[0]} {name}: {value}")
