"""What happens again and again is told at once, then seldom, and never forgotten."""

from __future__ import annotations

from structlog.testing import capture_logs

from fedtier.serving.summary_log import SummaryLog
from tests.masters import wait_until


class Clock:
    """Stands still until it is moved, so that what is kept back is due when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_kept_back_is_told_also_when_nobody_comes_any_more() -> None:
    clock = Clock()
    summaries = SummaryLog("requests refused", clock)
    with capture_logs() as logged:
        for _ in range(3):
            summaries.add("unauthenticated", "10.0.0.1", "no token")
        assert [line["number"] for line in logged] == [1]
        assert summaries._later is not None
        summaries._later.cancel()  # it would come in ten seconds
        clock.now = 10.0
        summaries._catch_up()
    assert [line["number"] for line in logged] == [1, 2]
    assert logged[1] == {
        "event": "requests refused",
        "log_level": "warning",
        "reason": "unauthenticated",
        "number": 2,
        "addresses": 1,
        "busiest": "10.0.0.1",
        "busiest_number": 2,
        "example": "no token",
    }


def test_its_timer_tells_it() -> None:
    summaries = SummaryLog("requests refused", lambda: next(times))
    times = iter([0.0, 9.999, 10.0])
    with capture_logs() as logged:
        summaries.add("too-large", "10.0.0.1", "11 bytes")
        summaries.add("too-large", "10.0.0.1", "12 bytes")
        wait_until(lambda: len(logged) == 2)
    assert summaries._later is None


def test_what_is_ordinary_is_no_warning() -> None:
    summaries = SummaryLog("requests refused", Clock(), ordinary=frozenset({"round-over"}))
    with capture_logs() as logged:
        summaries.add("round-over", "10.0.0.1", "closed")
        summaries.add("forbidden", "10.0.0.1", "not yours")
    assert [line["log_level"] for line in logged] == ["info", "warning"]
