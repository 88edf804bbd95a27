from __future__ import annotations

from fedtier.metrics import ByReason, Metrics, RoundView
from fedtier.problems import RoundOver
from tests.scrapes import Scrape


def test_two_programs_in_one_process_count_apart() -> None:
    one, other = Metrics("client"), Metrics("client")
    one.uploads.ended("update", "counted")
    assert Scrape.of(one).uploads("update") == {"counted": 1}
    assert Scrape.of(other).uploads("update") == {}


def test_a_reason_that_nobody_foresaw_is_no_new_label() -> None:
    metrics = Metrics("worker")
    assert isinstance(metrics.retries, ByReason)
    for reason in ("round-over", "client-17", "Bearer abc", ""):
        metrics.retries.add(reason)
    metrics.retries.add_error(RoundOver("closed"))
    metrics.retries.add_error(OSError("gone"))
    assert Scrape.of(metrics).reasons("retries_total") == {"round-over": 2, "other": 3, "unreachable": 1}


def test_a_round_is_shown_as_it_is_when_somebody_looks() -> None:
    metrics = Metrics("master")
    assert "\nfedtier_round " not in Scrape.of(metrics).text
    metrics.round.look = lambda: RoundView(7, 9, counted=3, threshold=10, state="paused", age=12.5)
    scrape = Scrape.of(metrics)
    assert (scrape("round"), scrape("attempt"), scrape("counted_clients"), scrape("threshold_clients")) == (7, 9, 3, 10)
    assert scrape("round_age_seconds") == 12.5
    states = {state: scrape("round_state", state=state) for state in scrape.labels("round_state")}
    assert states == {"collecting": 0, "publishing": 0, "paused": 1, "finished": 0}


def test_a_scraper_gets_the_format_that_it_asks_for_without_creation_times() -> None:
    metrics = Metrics("client")
    plain, plain_type = metrics.exposition("")
    other, other_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert plain_type.startswith("text/plain")
    assert other_type.startswith("application/openmetrics-text")
    assert other.endswith(b"# EOF\n")
    assert b"_created" not in plain + other
    assert b"process_cpu_seconds_total" in plain
