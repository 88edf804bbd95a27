"""A request that fails as nobody foresaw is logged with its traceback, and with no value that was in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fedtier.logs import configure_logging
from fedtier.tokens import TokenVerifier, generate_keys
from tests.tokens import signed
from tests.workers import Worker


def broken() -> NoReturn:
    """Have a bug, where a secret is known."""
    password = "in-a-variable"
    raise ZeroDivisionError(f"a bug, {len(password)}")


def test_a_traceback_shows_no_variable_and_no_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("master")
    private, public = generate_keys()
    token = signed(private, "client", "a")
    worker = Worker("http://127.0.0.1:9", tmp_path, verifier=TokenVerifier([public]))
    worker.app.add_url_rule("/v1/broken", view_func=broken)

    answer = worker.http.get("/v1/broken?key=in-the-query", headers={"Authorization": f"Bearer {token}"})

    log = capsys.readouterr().err
    fact: dict[str, Any] = json.loads(log.splitlines()[0])
    assert (fact["event"], fact["method"], fact["path"]) == ("a request failed", "GET", "/v1/broken")
    assert "ZeroDivisionError" in log
    for secret in (token, token.rpartition(".")[2], "in-a-variable", "in-the-query"):
        assert secret not in log
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["detail"] == "the server failed; its log says more"


def test_every_answer_is_for_whoever_asked_alone(tmp_path: Path) -> None:
    worker = Worker("http://127.0.0.1:9", tmp_path)
    for path in ("/healthz", "/readyz", "/nothing", "/v1/rounds/x/model"):
        answer = worker.http.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
