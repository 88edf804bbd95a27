from __future__ import annotations

from structlog.testing import capture_logs

from fedtier.problems import RoundOver, TooLarge, Unauthenticated
from fedtier.serving import refusal_log
from fedtier.serving.refusal_log import RefusalLog
from tests.masters import wait_until


class Clock:
    """Stands still until it is moved, so that what is kept back is due when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_kept_back_is_told_also_when_nobody_comes_any_more() -> None:
    clock = Clock()
    refusals = RefusalLog(clock)
    with capture_logs() as logged:
        for _ in range(3):
            refusals.request(Unauthenticated("no token"), "10.0.0.1")
        assert [line["number"] for line in logged] == [1]
        assert refusals._later is not None
        refusals._later.cancel()  # it would come in ten seconds
        clock.now = 10.0
        refusals._catch_up()
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
    refusals = RefusalLog(lambda: next(times))
    times = iter([0.0, 9.999, 10.0])
    with capture_logs() as logged:
        refusals.request(TooLarge("11 bytes"), "10.0.0.1")
        refusals.request(TooLarge("12 bytes"), "10.0.0.1")
        wait_until(lambda: len(logged) == 2)
    assert refusals._later is None


def test_what_honest_clients_are_told_is_no_warning() -> None:
    with capture_logs() as logged:
        RefusalLog(Clock()).request(RoundOver("closed"), "10.0.0.1")
    assert [line["log_level"] for line in logged] == ["info"]
    assert RoundOver.name in refusal_log._ORDINARY


def test_a_refused_update_of_a_known_client_is_a_line_with_all_that_names_it() -> None:
    refusals = RefusalLog(Clock())
    about: dict[str, object] = {"client_id": "client-3", "round": 7, "attempt": 9}
    with capture_logs() as logged:
        for _ in range(5):
            refusals.upload("update", TooLarge("the body has 11 bytes"), about)
    detail = "the body has 11 bytes"
    line = {"event": "update refused", "log_level": "info", "reason": "too-large", "detail": detail, **about}
    assert logged == [line]
