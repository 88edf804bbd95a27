from __future__ import annotations

from structlog.testing import capture_logs

from fedtier.problems import RoundOver, TooLarge
from fedtier.serving import refusal_log
from fedtier.serving.refusal_log import RefusalLog


def test_what_honest_clients_are_told_is_no_warning() -> None:
    with capture_logs() as logged:
        RefusalLog(lambda: 0.0).request(RoundOver("closed"), "10.0.0.1")
    assert [line["log_level"] for line in logged] == ["info"]
    assert RoundOver.name in refusal_log._ORDINARY


def test_a_refused_update_of_a_known_client_is_a_line_with_all_that_names_it() -> None:
    refusals = RefusalLog(lambda: 0.0)
    about: dict[str, object] = {"client_id": "client-3", "round": 7, "attempt": 9}
    with capture_logs() as logged:
        for _ in range(5):
            refusals.upload("update", TooLarge("the body has 11 bytes"), about)
    detail = "the body has 11 bytes"
    line = {"event": "update refused", "log_level": "info", "reason": "too-large", "detail": detail, **about}
    assert logged == [line]
