"""The port that serves metrics to this machine: what it answers, what it bears, and that nothing is left of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests

from fedtier.metrics import Metrics
from fedtier.metrics_listener import CONNECTIONS, metrics_served
from fedtier.problems import StartupError
from tests.masters import wait_until
from tests.scrapes import Scrape

LOOPBACK = "127.0.0.1"


@pytest.fixture
def url() -> Iterator[str]:
    with metrics_served(Metrics("client"), LOOPBACK, 0) as url:
        assert url is not None
        yield url


def connected(url: str, sent: bytes) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port or 0), timeout=30)
    connection.sendall(sent)
    return connection


def test_a_scrape_needs_no_token(url: str) -> None:
    answer = requests.get(url, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert Scrape(answer.text)("build_info", tier="client", version="0.1.0") == 1


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/metricsx", 404), ("PUT", "/", 501)]
)
def test_there_is_nothing_else(url: str, method: str, path: str, status: int) -> None:
    answer = requests.request(method, url.removesuffix("/metrics") + path, timeout=30)
    assert answer.status_code == status
    assert "Python" not in answer.headers["Server"]


def test_connections_that_send_nothing_do_not_keep_a_scrape_out(url: str) -> None:
    before = set(threading.enumerate())
    with ExitStack() as held:
        silent = [held.enter_context(connected(url, b"GET /met")) for _ in range(5 * CONNECTIONS)]
        assert requests.get(url, timeout=30).status_code == 200
        assert silent[0].recv(1) == b""  # the oldest were ended for the newer ones
        wait_until(lambda: len(set(threading.enumerate()) - before) <= CONNECTIONS)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "metrics.example"])
def test_it_stays_on_this_machine(host: str) -> None:
    with pytest.raises(StartupError, match="not a loopback address"), metrics_served(Metrics("client"), host, 0):
        pass


def test_a_port_in_use_is_said_to_be() -> None:
    with metrics_served(Metrics("client"), LOOPBACK, 0) as url:
        port = urlsplit(url or "").port
        with (
            pytest.raises(StartupError, match=f"{port}: Address already in use; choose another --metrics-port"),
            metrics_served(Metrics("client"), LOOPBACK, port),
        ):
            pass


def test_without_a_port_nothing_is_served() -> None:
    with metrics_served(Metrics("client"), LOOPBACK, None) as url:
        assert url is None
        assert "metrics" not in [thread.name for thread in threading.enumerate()]


def test_nothing_is_left_of_it() -> None:
    before = set(threading.enumerate())
    with ExitStack() as held:
        with metrics_served(Metrics("client"), LOOPBACK, 0) as url:
            assert url is not None
            port = urlsplit(url).port
            silent = [held.enter_context(connected(url, b"")) for _ in range(3)]
            requests.get(url, timeout=30)
            wait_until(lambda: len(set(threading.enumerate()) - before) == 1 + len(silent))
        wait_until(lambda: set(threading.enumerate()) <= before)
    with metrics_served(Metrics("client"), LOOPBACK, port):
        pass
