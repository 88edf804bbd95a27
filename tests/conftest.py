"""Fixtures that tests of every package share."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping

import hypothesis
import pytest
import structlog

from tests.s3_servers import S3Server, running_server


@pytest.hookimpl(tryfirst=True)  # before the profile that somebody chose for this run
def pytest_configure() -> None:
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile(
        "no stopwatch", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("no stopwatch")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return over how many processes `-n auto` spreads the tests; 0 is this one, where what a test prints is shown."""
    if config.option.capture == "no":
        return 0
    # Two also on one core: tests that start servers wait more than they compute.
    return min(max(os.cpu_count() or 1, 2), 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real S3 server, so that what needs none can be run by itself in little time."""
    for item in items:
        if "s3_server" in getattr(item, "fixturenames", ()):
            item.add_marker("system")


@pytest.fixture(autouse=True)
def logs_to_standard_error() -> None:
    """Keep what servers in this process log out of the output of commands that a test calls in it."""
    structlog.reset_defaults()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))


@pytest.fixture(autouse=True)
def nothing_is_said_later() -> Iterator[None]:
    """Keep what servers in this process would still log after a minute out of the test that runs then."""
    yield
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server with a bucket; give its `environment` to the processes that a test starts."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The server's AWS variables, set in this process too."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server.environment


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """The name of the server's bucket."""
    return s3_server.bucket


@pytest.fixture
def bucket_key() -> str:
    """A key that no other test uses."""
    return f"tests/{uuid.uuid4().hex}/model.safetensors"
