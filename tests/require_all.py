"""A pytest plugin: says which tests could not run, and with ``FEDTIER_REQUIRE_ALL=1`` makes them failures."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

_REQUIRED = os.environ.get("FEDTIER_REQUIRE_ALL") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as skipped too, but did run.
    if report.skipped and not hasattr(report, "wasxfail"):
        _fail_if_required(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _fail_if_required(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        reasons = sorted({f"{report.nodeid} ({_reason(report)})" for report in skipped})
        terminalreporter.write_line(f"could not run here: {'; '.join(reasons)}")


def _fail_if_required(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _REQUIRED:
        report.outcome = "failed"
        report.longrepr = f"FEDTIER_REQUIRE_ALL=1, but it could not run: {_reason(report)}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
